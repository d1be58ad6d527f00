"""Writes docs/ledger.md by running the ledger's functions: `python -m tests.support.ledger_docs`. A test compares."""

from collections.abc import Iterable
from pathlib import Path

from domain.ids import MerchantId, Prefix
from domain.money import Money, decimal
from ledger import accounts
from ledger.accounts import Account, Normal
from ledger.journal import Status
from ledger.postings import Entry, HoldAction
from tests.support.ledger_flows import flows, operation

TARGET = Path(__file__).parents[2] / "docs" / "ledger.md"

PAYMENT = operation(Prefix.PAYMENT, "one")
CAPTURE = operation(Prefix.CAPTURE, "one")
REFUND = operation(Prefix.REFUND, "one")
PAYOUT = operation(Prefix.PAYOUT, "one")


def euro(minor: int) -> Money:
    return Money(minor, "EUR")


CHART: list[tuple[Account, str]] = [
    (accounts.unsettled(MerchantId("{merchant}")), "captured for the merchant, not yet paid to us by the provider"),
    (accounts.payable(MerchantId("{merchant}")), "owed to the merchant; above zero the merchant owes it"),
    (accounts.receivable("{provider}"), "captured by the provider, not yet settled"),
    (accounts.provider_balance("{provider}"), "settled to our account with the provider"),
    (accounts.provider_fees("{provider}"), "what the provider charges us"),
    (accounts.FEE_INCOME, "what we charge"),
    (accounts.PAYOUTS_IN_TRANSIT, "payouts that the rail has taken and that have not arrived"),
    (accounts.DISPUTED_FUNDS, "withdrawn by a provider while a dispute is open"),
    (accounts.BANK, "our bank account"),
    (accounts.SUSPENSE, "what fits nowhere, until a person has explained it"),
    (accounts.fx("{desk}"), "where one currency leaves and another arrives"),
]

FLOWS: list[tuple[str, str, Entry]] = [
    ("Top-up of 1,000.00", "The merchant's money has reached our bank.", flows.top_up("line-1", euro(100_000))),
    (
        "Authorize 100.00",
        "What the provider will owe us against what we shall owe the merchant. No bound: it is the issuer's money.",
        flows.hold(PAYMENT, euro(10_000)),
    ),
    (
        "Capture 40.00, our fee 0.40",
        "It uses up its part of the hold; a final capture gives the rest up. Above what is left, or after the hold's "
        "end, it uses up what there is, nothing included, and is booked in full.",
        flows.capture(CAPTURE, PAYMENT, euro(4_000), fee=euro(40)),
    ),
    (
        "Void or expire the rest",
        "What is left of the hold goes back. Done also where nothing was held: a hold that comes later is refused.",
        flows.release(PAYMENT),
    ),
    (
        "Reserve a refund of 15.00",
        "A gate on what is refundable of the payment, and on nothing else: the merchant's balance does not bound it.",
        flows.refund_reserve(REFUND, PAYMENT, euro(1_500)),
    ),
    (
        "Refund of 15.00 done",
        "It debits *payable*, never *unsettled*, and our fee is not given back.",
        flows.refund_done(REFUND, PAYMENT, euro(1_500)),
    ),
    ("Refund failed before it was done", "Only the reserve goes back.", flows.release(REFUND)),
    (
        "Reserve a payout of 200.00",
        "A gate on what is available: *payable* less what is reserved of it already.",
        flows.payout_reserve(PAYOUT, euro(20_000)),
    ),
    (
        "Payout accepted",
        "The rail has it: no longer payable, not yet gone from the bank.",
        flows.payout_accepted(PAYOUT, euro(20_000)),
    ),
    ("Payout paid", "It has arrived.", flows.payout_paid(PAYOUT, euro(20_000))),
    (
        "Payout failed after it was accepted",
        "The merchant is owed it again. The entry points at the one that it reverses.",
        flows.payout_failed(PAYOUT, euro(20_000)),
    ),
    ("Payout refused before it was accepted", "Only the reserve goes back.", flows.release(PAYOUT)),
]

SAYS = {
    Status.POSTED: "it is in the book; acknowledged is durable",
    Status.REPLAYED: "it was in the book already, with the same content",
    Status.CONFLICTING_CONTENT: "the reference is taken by other content; nothing is written but an event",
    Status.REJECTED_BEFORE: "the gate was refused before; the answer says why",
    Status.INSUFFICIENT_FUNDS: "the gate asks for more than is available",
    Status.REFUNDABLE_EXCEEDED: "the gate asks for more than is refundable of the payment, in its currency",
    Status.HOLD_NOT_OPEN: "the gate was released before it came",
    Status.ACCOUNT_CLOSED: "the gate draws on a closed account",
}

HEAD = """<!-- Generated from the code by `python -m tests.support.ledger_docs`; do not edit. -->

# The ledger

A double-entry, append-only book in Postgres. An *entry* is one balanced fact; a *posting* is one line of it. Amounts
are integers of the currency's minor unit. **Debit is positive, credit negative**; each entry sums to zero in each
currency.

Business events become entries in [ledger/postings.py](../ledger/postings.py), by pure functions. Entries are written by
one function of the database, `ledger.post`, in one round trip and one commit ([ledger/schema](../ledger/schema)).

## Chart of accounts

An account is a code and a currency, and is opened when it is first used. It has one currency for ever.

| account | grows by | holds |
|---|---|---|
"""

LAYERS = """
A posting stands in one of three **layers**: *posted* (what has moved), *pending debit* and *pending credit* (what is
held). A hold is a pair of pending lines, so the pending layers sum to zero as the posted one does. Every posting
carries the balance of its layer after it and the version of its account, counted without a gap: a balance at any past
time is one index probe.

What is *available* of a merchant is *payable*, less the pending debits on it.

## Gates and facts

A **gate** (the hold of a payment, the reserve of a refund or a payout) may be refused. The refusal is stored with an
event, and final for its reference: the same gate again gets the same answer, whatever has changed since. A **fact**
(what a provider or a bank has done) is never refused: it knows no bound, no expiry, and needs no open hold
([money rule 3](money-rules.md#3-gates-and-facts)). So a merchant's account has no bound of its own. A gate that is let
through a bound leaves a row with what was available under the lock, and the database checks that row.

| answer | means |
|---|---|
"""

FLOWS_HEAD = """
A fact in another currency than its hold or its payment is a bug of ours, and raises: adapters compare the currency of
every answer with what was asked.

## The flows

In EUR, of the merchant `acme` at the provider `simulator`; ids are shortened. Each table is what the flow's function
returns.
"""

REFUSED_HEAD = """
## What the database refuses, whoever asks

| refused | by |
|---|---|
"""

LOCKS = """
Locks are taken in one order: reference, hold, refundable, accounts by id. Whoever keeps to it cannot deadlock. What
depends on a lock is read in a later statement, so the function insists on READ COMMITTED.

Entries, postings and events are partitioned by month, made twelve months ahead by the migration and again by each
worker that starts. There is no default partition: a missing month fails loudly. References are unique for ever.

`Journal.verify()` recomputes all that is derived (balances, running balances, versions, holds, what is refundable of
each payment, the event of each entry) and names the first row that is wrong.
"""

REFUSED = {
    "an entry that does not sum to zero in each currency, posted and pending apart": (
        "a trigger on each statement, on the table and on every partition"
    ),
    "a change or removal of what is written": "triggers that bind owner and superuser too, on every partition",
    "a second effect of a reference": "a primary key that is not partitioned; other content is a conflict",
    "a gate above its bound": "a CHECK on the gate's own row",
    "a hold below zero, a closed hold with something left": "CHECKs on its row",
    "a line in another currency than its account, an unknown currency": "foreign keys",
    "writing past the posting function": "roles: `ledger_poster` may execute it, and nothing else",
}


def text() -> str:
    """Lay out the whole page."""
    parts = [HEAD]
    parts += [f"| `{account.code}` | {_side(account.normal)} | {holds} |\n" for account, holds in CHART]
    parts.append(LAYERS)
    parts += [f"| `{status}` | {SAYS[status]} |\n" for status in Status]
    parts.append(FLOWS_HEAD)
    parts += [_flow(*flow) for flow in FLOWS]
    parts.append(REFUSED_HEAD)
    parts += [f"| {what} | {by} |\n" for what, by in REFUSED.items()]
    parts.append(LOCKS)
    return "".join(parts)


def _flow(title: str, why: str, entry: Entry) -> str:
    pointing = f", reverses `{_short(entry.reverses)}`" if entry.reverses else ""
    head = f"\n### {title}\n\n`{_short(entry.reference)}`, a {entry.nature}{pointing}. {why}\n"
    rows = [*_posted(entry), *_held(entry)]
    if rows:
        head += "\n| account | debit | credit | pending debit | pending credit |\n|---|---:|---:|---:|---:|\n"
    return head + "".join(f"| `{code}` | {' | '.join(cells)} |\n" for code, *cells in rows) + _effect_on_hold(entry)


def _posted(entry: Entry) -> Iterable[tuple[str, ...]]:
    for line in entry.lines:
        amount = decimal(Money(abs(line.amount.minor), line.amount.currency))
        if line.amount.minor > 0:
            yield line.account.code, amount, "", "", ""
        elif line.amount.minor < 0:
            yield line.account.code, "", amount, "", ""


def _held(entry: Entry) -> Iterable[tuple[str, ...]]:
    hold = entry.hold
    if hold is not None and hold.action is HoldAction.OPEN:
        amount = decimal(Money(hold.amount, entry.lines[hold.debit].amount.currency))
        yield entry.lines[hold.debit].account.code, "", "", amount, ""
        yield entry.lines[hold.credit].account.code, "", "", "", amount


def _effect_on_hold(entry: Entry) -> str:
    hold = entry.hold
    if hold is None or hold.action in (HoldAction.OPEN, HoldAction.NONE):
        return ""
    name = _short(hold.reference)
    if hold.action is HoldAction.RELEASE or hold.final:
        return f"\nOf the hold `{name}`: all that is left is released.\n"
    amount = decimal(Money(hold.amount, entry.lines[0].amount.currency))
    return f"\nOf the hold `{name}`: {amount}, or what is left of it, is used up.\n"


def _short(reference: str) -> str:
    """Write a reference with its operation's prefix only."""
    for of in (PAYMENT, CAPTURE, REFUND, PAYOUT):
        reference = reference.replace(of, f"{of.split('_', 1)[0]}_…")
    return reference


def _side(normal: Normal) -> str:
    return "debit" if normal is Normal.DEBIT else "credit"


if __name__ == "__main__":
    TARGET.write_text(text())
