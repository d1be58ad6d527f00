"""Writes docs/ledger.md by running the ledger's functions: `python -m tests.support.ledger_docs`. A test compares."""

from collections.abc import Iterable
from pathlib import Path
from textwrap import fill

from domain.ids import MerchantId, Prefix
from domain.money import Money, decimal
from ledger import accounts
from ledger.accounts import Account, Normal
from ledger.entry import Entry, HoldAction, Nature
from ledger.journal import Status
from ledger.postings import credit, debit
from ledger.settlements import LineKind
from tests.support.ledger_flows import PROVIDER, flows, operation

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

CAPTURED = flows.capture(CAPTURE, PAYMENT, euro(4_000), fee=euro(40))
UNEXPLAINED = flows.read_line("ln-6", LineKind.UNEXPLAINED, euro(2_300))

Flow = tuple[str, str, Entry]

PAYMENTS: list[Flow] = [
    (
        "Authorize 100.00",
        "What the provider will owe us against what we shall owe the merchant. No bound: it is the issuer's money.",
        flows.hold(PAYMENT, euro(10_000)),
    ),
    (
        "Capture 40.00, our fee 0.40",
        "It uses up its part of the hold; a final capture gives the rest up. Above what is left, or after the hold's "
        "end, it uses up what there is, nothing included, and is booked in full.",
        CAPTURED,
    ),
    (
        "Void or expire the rest",
        "What is left of the hold goes back. Done also where nothing was held: a hold that comes later is refused.",
        flows.release(PAYMENT),
    ),
    (
        "Capture failed after it was done",
        "The provider has taken it back before its settlement line came: nothing is owed, and our fee goes back.",
        flows.capture_failed(CAPTURE, PAYMENT, euro(4_000), settled=False, fee=euro(40)),
    ),
    (
        "Capture failed after its line was settled",
        "The same under the same reference, but the line has made it *payable* already, so that is where it goes from.",
        flows.capture_failed(CAPTURE, PAYMENT, euro(4_000), settled=True, fee=euro(40)),
    ),
]

REFUNDS: list[Flow] = [
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
        "Refund failed after it was done",
        "It has not reached the payer: the merchant is owed it again, and it can be refunded again.",
        flows.refund_failed(REFUND, PAYMENT, euro(1_500)),
    ),
]

PAYOUTS: list[Flow] = [
    (
        "Reserve a payout of 200.00",
        "A gate on what is available: *payable* less what is held of it already. Kept while the outcome is unknown.",
        flows.payout_reserve(PAYOUT, euro(20_000)),
    ),
    (
        "Payout accepted",
        "The rail has it: no longer payable, not yet gone from the bank.",
        flows.payout_accepted(PAYOUT, euro(20_000)),
    ),
    (
        "Payout paid by our bank",
        "It has arrived. The line of the bank's statement is matched with this entry, never posted again.",
        flows.payout_paid(PAYOUT, euro(20_000)),
    ),
    (
        "Payout paid out of our balance with the provider",
        "The same where the rail is a provider that pays out of what it has settled to us.",
        flows.payout_paid(PAYOUT, euro(20_000), PROVIDER),
    ),
    ("Payout refused before it was accepted", "Only the reserve goes back.", flows.release(PAYOUT)),
    (
        "Payout failed after it was accepted",
        "The merchant is owed it again.",
        flows.payout_failed(PAYOUT, euro(20_000)),
    ),
    (
        "Payout returned to our bank after it was paid",
        "The cash is ours again, and owed to the merchant again. A payout tried again is a new one.",
        flows.payout_returned("ret-1", PAYOUT, euro(20_000)),
    ),
    (
        "Payout returned to our balance with the provider",
        "It comes back to where it was paid from.",
        flows.payout_returned("ret-1", PAYOUT, euro(20_000), PROVIDER),
    ),
    ("Top-up of 1,000.00", "The merchant's money has reached our bank.", flows.top_up("bk-1", euro(100_000))),
]

DISPUTES: list[Flow] = [
    (
        "Funds of 25.00 withdrawn",
        "The provider owes that much less. The merchant cannot be paid it while the dispute is open: it is held in "
        "full, whatever is there, by a fact. Withdrawn again after a win: the same under another key.",
        flows.funds_withdrawn("wd-1", PAYMENT, euro(2_500)),
    ),
    (
        "Dispute won",
        "The provider owes it again, and it can be refunded again.",
        flows.dispute_won("won-1", "wd-1", PAYMENT, euro(2_500)),
    ),
    (
        "Dispute won for 15.00 of it",
        "A decision over a part draws its part of the hold; the last one gives back all that is left.",
        flows.dispute_won("won-1", "wd-1", PAYMENT, euro(2_500), part=euro(1_500), final=False),
    ),
    (
        "Dispute lost",
        "It was the merchant's loss. It stays counted as disputed: the payer has it back, and is not refunded it too.",
        flows.dispute_lost("lost-1", "wd-1", PAYMENT, euro(2_500)),
    ),
]

LINES: list[Flow] = [
    (
        "Line: capture of 40.00",
        "Paid to us, so what was unsettled becomes payable, less our fee. Only a capture that stands does so.",
        flows.capture_line("ln-1", euro(4_000), euro(40), settles=CAPTURED),
    ),
    (
        "Line: capture that failed, taken off again",
        "Cash only: the failure's own entry has taken it of the merchant. Where it was paid to us all the same, the "
        "line that does so is the reverse of this one.",
        flows.line("ln-2", LineKind.CAPTURE_FAILED, euro(-4_000)),
    ),
    (
        "Line: refund of 15.00",
        "Taken from our balance. A line of a refund that failed is the reverse.",
        flows.line("ln-3", LineKind.REFUND, euro(-1_500)),
    ),
    (
        "Line: dispute of 25.00",
        "Taken from our balance. A line of a dispute that was won is the reverse.",
        flows.line("ln-4", LineKind.DISPUTE, euro(-2_500)),
    ),
    (
        "Line: fee of 3.00",
        "What the provider charges us. A fee that is given back is the reverse.",
        flows.line("ln-5", LineKind.FEE, euro(-300)),
    ),
    (
        "Line: payout of 37.00 to our bank",
        "The line of the bank's statement is matched with this entry, never posted again.",
        flows.line("ln-7", LineKind.PAYOUT, euro(-3_700)),
    ),
    (
        "Line: our bank has paid the provider 5.00",
        "Where refunds, disputes and fees were more than captures, the payout is below zero.",
        flows.line("ln-8", LineKind.PAYOUT, euro(500)),
    ),
    (
        "Line: unexplained 23.00",
        "It fits nowhere: booked all the same, and a break.",
        flows.line("ln-6", LineKind.UNEXPLAINED, euro(2_300)),
    ),
    (
        "Bank line: unexplained 12.00",
        "The cash is in our bank; whose it is, nobody knows yet.",
        flows.bank_line("bk-2", euro(1_200)),
    ),
]

PEOPLE: list[Flow] = [
    (
        "Suspense resolved: the 23.00 were a merchant's",
        "Out of suspense, all or a part, to where it belongs.",
        flows.resolved("dec-1", UNEXPLAINED, accounts.payable(flows.merchant)),
    ),
    (
        "Correction: our fee was 0.10 too high",
        "Any balanced lines, pointing at the entry that they correct.",
        flows.corrected(
            "dec-2",
            CAPTURED,
            debit(accounts.FEE_INCOME, euro(10)),
            credit(accounts.payable(flows.merchant), euro(10)),
        ),
    ),
    (
        "Correction: a capture taken back whole",
        "The exact opposite of an entry, what it made refundable included. A hold is not opened again by it.",
        flows.taken_back("dec-3", CAPTURED),
    ),
    (
        "Exchange of 50.00 EUR of a merchant's for 54.00 USD",
        "Through the desk's position, an account in each currency; each currency sums to zero by itself.",
        flows.exchanged("fx-1", euro(5_000), Money(5_400, "USD")),
    ),
    (
        "Exchange of 50.00 EUR in our bank for 54.00 USD",
        "It covers the one above: the desk's position is zero again in both currencies.",
        flows.exchanged("fx-2", euro(5_000), Money(5_400, "USD"), account=accounts.BANK),
    ),
]

SECTIONS: list[tuple[str, str, list[Flow]]] = [
    ("Payments", "Made in [ledger/postings.py](../ledger/postings.py).", PAYMENTS),
    ("Refunds", "Made in [ledger/postings.py](../ledger/postings.py).", REFUNDS),
    (
        "Payouts and top-ups",
        "Made in [ledger/postings.py](../ledger/postings.py); a return, which a bank or a provider starts, in "
        "[ledger/settlements.py](../ledger/settlements.py).",
        PAYOUTS,
    ),
    (
        "Disputes",
        "Made in [ledger/disputes.py](../ledger/disputes.py). All are facts of the provider, in whatever order "
        "they are told: an end that comes before its withdrawal leaves nothing to hold when that comes.",
        DISPUTES,
    ),
    (
        "Settlement lines and bank lines",
        "Made in [ledger/settlements.py](../ledger/settlements.py). A line is known by the natural key of its "
        "format, so the same line in two files has one effect ([money rule 11](money-rules.md#11-provider-cash)). "
        "What a webhook has told and the line that pays for it are two entries: one says what is owed, the other "
        "that it was paid.",
        LINES,
    ),
    (
        "Exchanges and what people decide",
        "Made in [ledger/settlements.py](../ledger/settlements.py) and "
        "[ledger/corrections.py](../ledger/corrections.py). Nothing written is changed: a correction is a new "
        "entry that points at the old one, says why, and names who approved it.",
        PEOPLE,
    ),
]

SAYS = {
    Status.POSTED: "it is in the book; acknowledged is durable",
    Status.REPLAYED: "it was in the book already, with the same content",
    Status.CONFLICTING_CONTENT: "the reference is taken by other content; nothing is written but an event",
    Status.REJECTED_BEFORE: "the gate was refused before; `first` says why",
    Status.INSUFFICIENT_FUNDS: "the gate asks for more than is available",
    Status.REFUNDABLE_EXCEEDED: "the gate asks for more than is refundable of the payment, in its currency",
    Status.HOLD_NOT_OPEN: "the hold was given up before the gate came, is used up, or has expired",
    Status.HOLD_EXCEEDED: "the gate asks for more than its hold has left",
    Status.CURRENCY_DIFFERS: "the gate asks in another currency than its hold's",
    Status.ACCOUNT_CLOSED: "the gate stands at a closed account",
}

HEAD = """<!-- Generated from the code by `python -m tests.support.ledger_docs`; do not edit. -->

# The ledger

A double-entry, append-only book in Postgres. An *entry* is one balanced fact; a *posting* is what it does to one
account. Amounts are integers of the currency's minor unit. **Debit is positive, credit negative**; each entry sums to
zero in each currency.

Business events become entries by pure functions: those of our own operations in
[ledger/postings.py](../ledger/postings.py), what providers and banks start in
[ledger/disputes.py](../ledger/disputes.py) and [ledger/settlements.py](../ledger/settlements.py), what people decide in
[ledger/corrections.py](../ledger/corrections.py). [ledger/journal.py](../ledger/journal.py) takes entries and answers
once they are durable; its writer sends one that is alone to `ledger.post`, and what arrives meanwhile together to
`ledger.post_batch`: one round trip and one commit either way ([ledger/schema](../ledger/schema)).

## Chart of accounts

An account is a code and a currency, and is opened when it is first used. It has one currency for ever. Its number is
made of its name (the first 63 bits of the SHA-256 of `code|currency`), and the database refuses another: no cache,
restored backup or second database can take a number for a different account.

| account | grows by | holds |
|---|---|---|
"""

LAYERS = """
The accounts of providers (receivable, balance), *disputed funds*, *payouts in transit* and *unsettled* are ways, not
places: they return to zero once everything that was told has been settled, whatever happened and in whatever order.
What stays there is a break. A merchant **owes** what *payable* and *unsettled* together are below zero.

## Postings and layers

An account has three **layers**: *posted* (what has moved), *pending debit* and *pending credit* (what is held). An
entry has one posting for each account that it changes, with its change in each layer, the account's three balances
after it, and the account's version, counted without a gap: any past balance is one index probe. A hold stands at two
accounts, so what is pending on the debit side equals what is pending on the credit side, as the posted layer sums to
zero.

What is *available* of a merchant is *payable*, less the pending debits on it.

An entry is its own audit event: it says who wrote it, when, why and (in its postings) what was before. What leaves no
entry leaves an event beside it: conflicts, accounts opened, closed and reopened, seals, months archived and restored.

## Holds

A hold is opened by a gate, or by a fact (the withdrawn funds of a dispute), and named by its entry's reference. A
payment can have several: its authorization's, and one for each refund and each dispute that is open. A fact draws what
it asks for or what is left, a final one all of it; a release gives back what is left. A hold ends once: *captured*
(used up), *voided* or *expired* (given back). A release of what was never held ends it before it began: a gate that
comes late is refused, a fact that comes late is booked and holds nothing.

## Gates and facts

A **gate** (the hold of a payment, the reserve of a refund or a payout) may be refused. The refusal is stored, and final
for its reference: the same gate again gets the same answer, whatever has changed since. A **fact** (what a provider or
a bank has done, what people have decided) is never refused: it knows no bound, no expiry, and needs no open hold
([money rule 3](money-rules.md#3-gates-and-facts)). So a merchant's account has no bound of its own. A gate that is let
through a bound leaves on its entry what was available under the lock, and the database checks that row.

What can be refunded of a payment is captured − refunded − reserved − disputed, kept in one row for each payment and
currency, changed under its lock by the posting functions alone ([money rule
10](money-rules.md#10-refundable-per-payment)). A gate's hold reserves; facts change the other three, and may take the
rest below zero.

| answer | means |
|---|---|
"""

FLOWS_HEAD = """
An account that is not open yet is no answer: nothing is written, the writer opens it, and posts again. A fact in
another currency than its hold's is booked and draws nothing: adapters compare the currency of every answer with what
was asked.

## The flows

In EUR, of the merchant `acme` at the provider `simulator`; ids are shortened. Each table is what the flow's function
returns. Our fee is fixed when a payment is admitted.
"""

REFUSED_HEAD = """
## What the database refuses, whoever asks

| refused | by |
|---|---|
"""

LOCKS = """
Locks are taken in one order: reference, hold, accounts by their number, refundable. Several of a kind are taken in the
order of their names. Whoever keeps to it cannot deadlock. What depends on a lock is read in a later statement, so the
posting functions insist on READ COMMITTED.

Entries and postings are partitioned by month, made ahead. There is no default partition: a missing month fails loudly.
References are unique for ever, in a table that is not partitioned.

## Seals, verification, archive

Closed windows of the book are sealed: a digest over everything written in them, signed with a key that the database
does not have, so that a superuser who changes history is found. Verification recomputes all that is derived and every
seal, and names the first row that is wrong ([ledger-operations.md](ledger-operations.md)).

A month that is closed and sealed is archived to Parquet with its digest, read back and compared before it is detached,
and can be restored ([ledger-operations.md](ledger-operations.md)).
"""

REFUSED = {
    "an entry that does not sum to zero in each currency, posted and pending apart": (
        "a trigger on each statement, on the table and on every partition"
    ),
    "a change or removal of what is written": "triggers that bind owner and superuser too, on every partition",
    "a second effect of a reference": "a primary key that is not partitioned; other content is a conflict",
    "a gate above its bound": "a CHECK on the gate's own entry",
    "a hold below zero or above its amount, a closed hold with something left": "CHECKs on its row",
    "less than nothing pending, reserved or held": "CHECKs on the rows of the account, the payment and the hold",
    "removing a balance, a hold or a refundable row, or changing what it is of": "triggers on each of the three tables",
    "a posting in another currency than its account's": "the same trigger that sums the entry",
    "an unknown currency, an account under another number than its name's": "a foreign key, a CHECK",
    "writing past the posting functions": "roles: `ledger_poster` may execute them, and nothing else",
}


def text() -> str:
    """Lay out the whole page."""
    parts = [HEAD]
    parts += [f"| `{account.code}` | {_side(account.normal)} | {holds} |\n" for account, holds in CHART]
    parts.append(LAYERS)
    parts += [f"| `{status}` | {SAYS[status]} |\n" for status in Status]
    parts.append(FLOWS_HEAD)
    for title, made, shown in SECTIONS:
        parts.append(f"\n### {title}\n\n{_wrapped(made)}\n")
        parts += [_flow(*flow) for flow in shown]
    parts.append(REFUSED_HEAD)
    parts += [f"| {what} | {by} |\n" for what, by in REFUSED.items()]
    parts.append(LOCKS)
    return "".join(parts)


def _wrapped(paragraph: str) -> str:
    return fill(paragraph, 120, break_long_words=False, break_on_hyphens=False)


def _flow(title: str, why: str, entry: Entry) -> str:
    pointing = f", points at `{_short(entry.reverses)}`" if entry.reverses else ""
    head = f"\n#### {title}\n\n`{_short(entry.reference)}`, a {entry.nature}{pointing}. {why}\n"
    rows = [*_posted(entry), *_held(entry)]
    if rows:
        head += "\n| account | debit | credit | pending debit | pending credit |\n|---|---:|---:|---:|---:|\n"
    table = "".join(f"| `{code}` | {' | '.join(cells)} |\n" for code, *cells in rows)
    effects = [*_effect_on_hold(entry), *_effect_on_payment(entry), *([f"Why: {_short(entry.why)}."] * bool(entry.why))]
    return head + table + (f"\n{' '.join(effects)}\n" if effects else "")


def _posted(entry: Entry) -> Iterable[tuple[str, ...]]:
    mixed = entry.currency is None
    for line in entry.lines:
        amount = _amount(Money(abs(line.amount.minor), line.amount.currency), mixed)
        if line.amount.minor > 0:
            yield line.account.code, amount, "", "", ""
        elif line.amount.minor < 0:
            yield line.account.code, "", amount, "", ""


def _held(entry: Entry) -> Iterable[tuple[str, ...]]:
    hold = entry.hold
    if hold and hold.money and hold.debit and hold.credit:
        yield hold.debit.code, "", "", decimal(hold.money), ""
        yield hold.credit.code, "", "", "", decimal(hold.money)


def _effect_on_hold(entry: Entry) -> Iterable[str]:
    hold = entry.hold
    if hold is None:
        return
    match hold.action:
        case HoldAction.OPEN:
            yield f"Opens the hold `{_short(hold.reference)}`."
        case HoldAction.RELEASE:
            yield f"Of the hold `{_short(hold.reference)}`: all that is left is released."
        case HoldAction.USE:
            assert hold.money is not None
            rest = "; the rest is released" if hold.final else ""
            yield f"Of the hold `{_short(hold.reference)}`: {decimal(hold.money)}, or what there is, is used up{rest}."


def _effect_on_payment(entry: Entry) -> Iterable[str]:
    change = entry.refundable
    if change is None:
        return
    changes = {"captured": change.captured, "refunded": change.refunded, "disputed": change.disputed}
    if entry.nature is Nature.GATE and entry.hold and entry.hold.money:
        changes["reserved"] = entry.hold.money.minor
    said = [
        f"{what} {'−' if minor < 0 else '+'}{decimal(euro(abs(minor)))}" for what, minor in changes.items() if minor
    ]
    yield f"Of the payment `{_short(change.payment)}`: {', '.join(said)}."


def _amount(money: Money, mixed: bool) -> str:
    return str(money) if mixed else decimal(money)


def _short(reference: str) -> str:
    """Write a reference with its operation's prefix only."""
    for of in (PAYMENT, CAPTURE, REFUND, PAYOUT):
        reference = reference.replace(of, f"{of.split('_', 1)[0]}_…")
    return reference


def _side(normal: Normal) -> str:
    return "debit" if normal is Normal.DEBIT else "credit"


if __name__ == "__main__":
    TARGET.write_text(text())
