"""What must hold when a schedule has ended, by the numbers of docs/simulation.md. Judges; repairs nothing.

Those that must hold in the middle are where they can be broken: I2 in the book that takes an entry, I4 where a receipt
arrives, I9 and the hold's release in `world`.
"""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain

from domain.money import Money, fee
from domain.outcomes import Outcome
from ledger.accounts import DISPUTED_FUNDS, FEE_INCOME, PAYOUTS_IN_TRANSIT, receivable
from ledger.entry import Entry
from simulator.records import UNDER_WAY, Kind, Phase, Record
from tests.simulation.payloads import Exact
from tests.simulation.provider import SECRET
from tests.simulation.world import World

CURRENCY = "EUR"
CARD_NUMBER = re.compile(rb"(?<![0-9a-z._])[0-9]{13,19}(?![0-9a-z._])")
FEES = {"capture": 1, "capture_failed": -1}  # which entries earn us our fee, and which give it back
OWED = {  # what each kind of entry adds to what a merchant is owed, before our fee
    "top_up": 1, "capture": 1, "capture_failed": -1, "refund_done": -1, "refund_failed": 1, "payout_accepted": -1,
    "payout_failed": 1, "payout_returned": 1, "dispute_lost": -1,
}  # fmt: skip
MOVING = {Kind.COLLECTION: "captured", Kind.PAYBACK: "refunded", Kind.TRANSFER: "paid out"}
GONE = (
    frozenset({Phase.FAILED, Phase.BOUNCED, Phase.RETURNED, Phase.RECALLED}) | UNDER_WAY
)  # has moved nothing, or not for good


def broken(world: World) -> Iterator[str]:
    """Every invariant that does not hold at the end of a schedule."""
    effects = [record for bank in world.banks.values() for record in bank.books.effects()]
    yield from no_effect_twice(world, effects)
    yield from both_books_agree(world, effects)
    yield from receipts_tell_the_truth(world, effects)
    yield from merchants_are_owed_what_was_earned(world)
    yield from every_run_has_ended(world)
    yield from nothing_is_left(world)
    yield from no_secret_was_written(world)


def _operation(record: Record) -> str:
    return record.merchant_ref.split(".", 1)[0]


def no_effect_twice(world: World, effects: list[Record]) -> Iterator[str]:
    """I1: an operation moves money once, whatever its attempts; and a reference has one effect."""
    counted = Counter((_operation(record), record.kind) for record in effects if record.kind in MOVING)
    for (operation, kind), times in counted.items():
        if times > 1:
            yield f"I1: {operation} was {MOVING[kind]} {times} times"
    for bank in world.banks.values():
        for reference in bank.books.doubles():
            yield f"I1: {reference} had more than one effect"


def both_books_agree(world: World, effects: list[Record]) -> Iterator[str]:
    """I3: the providers' money is the ledger's, in sum and for each payment."""
    book = world.journal.book
    for name, bank in world.banks.items():
        total = bank.books.totals().get(CURRENCY)
        theirs = total.collected - total.paid_back - total.withdrawn + total.given_back if total else 0
        untold = [record for whose, record in world.untold if whose == name]
        if any(record.kind is Kind.DISPUTE for record in untold):
            continue  # which turns were told and which not is for reconciliation to find out
        theirs += sum(_untold(record) for record in untold)
        ours = book.posted[receivable(name).code, CURRENCY]
        if theirs != ours:
            yield f"I3: {name} has moved {theirs}, the ledger says {ours}"
    collected, paid_back = Counter[str](), Counter[str]()
    untold = {record.id for _, record in world.untold if record.phase is Phase.FAILED}
    for record in effects:
        payment = record.authorisation_ref.split(".", 1)[0]
        stands = record.phase in (Phase.COLLECTED, Phase.PAID_BACK) or record.id in untold
        if stands and record.kind is Kind.COLLECTION:
            collected[payment] += record.minor
        if stands and record.kind is Kind.PAYBACK:
            paid_back[payment] += record.minor
    for (payment, _), row in book.payments.items():
        if (row.captured, row.refunded) != (collected[payment], paid_back[payment]):
            yield (
                f"I3: {payment} has captured {collected[payment]} and refunded {paid_back[payment]} at the provider,"
                f" {row.captured} and {row.refunded} in the ledger"
            )
        if row.reserved:
            yield f"I6: {row.reserved} of {payment} is still reserved"
    yield from _payouts_agree(world, effects)


def _payouts_agree(world: World, effects: list[Record]) -> Iterator[str]:
    transfers = Counter[Phase]()
    for record in effects:
        if record.kind is Kind.TRANSFER:
            transfers[record.phase] += record.minor
    in_transit = -world.journal.book.posted[PAYOUTS_IN_TRANSIT.code, CURRENCY]
    if in_transit != transfers[Phase.ACCEPTED]:
        yield f"I3: {transfers[Phase.ACCEPTED]} is on its way at the provider, {in_transit} in the ledger"
    booked = Counter(entry.kind for entry in world.journal.entries.values())
    ends = Counter(record.phase for record in effects if record.kind is Kind.TRANSFER)
    untold = sum(record.phase is Phase.RETURNED for _, record in world.untold)
    owed_again = ends[Phase.BOUNCED] + ends[Phase.RECALLED] + ends[Phase.RETURNED] - untold
    if booked["payout_failed"] + booked["payout_returned"] != owed_again:
        yield f"I3: {owed_again} payouts came back, {booked['payout_failed'] + booked['payout_returned']} are booked so"
    gone = ends[Phase.ARRIVED] + untold
    if booked["payout_paid"] - booked["payout_returned"] != gone:
        yield f"I3: {gone} payouts have arrived for good, {booked['payout_paid']} are booked as paid"


def _untold(record: Record) -> int:
    """What our books cannot know: nobody has told us, and reconciliation is the last word."""
    match record.phase:
        case Phase.FAILED:
            return record.minor if record.kind is Kind.COLLECTION else -record.minor
        case _:
            return 0


def merchants_are_owed_what_was_earned(world: World) -> Iterator[str]:
    """I2: our fee is on what was captured by payments' runs, and the merchant is owed all the rest."""
    book, entries = world.journal.book, world.journal.entries.values()
    moved = Counter[str]()
    for entry in entries:
        moved[entry.kind] += sum(line.amount.minor for line in entry.lines if line.amount.minor > 0)
    fees = sum(
        sign * fee(_debited(entry), world.fee_of(entry)).minor for entry in entries if (sign := FEES.get(entry.kind))
    )
    if -book.posted[FEE_INCOME.code, CURRENCY] != fees:
        yield f"I2: {-book.posted[FEE_INCOME.code, CURRENCY]} was taken as our fee, and it should be {fees}"
    owed = sum(sign * moved[kind] for kind, sign in OWED.items()) - fees
    ours = -sum(amount for (code, _), amount in book.posted.items() if code.startswith("merchant:"))
    if ours != owed:
        yield f"I2: the merchant is owed {ours}, and it should be {owed}"


def _debited(entry: Entry) -> Money:
    return Money(sum(line.amount.minor for line in entry.lines if line.amount.minor > 0), CURRENCY)


def receipts_tell_the_truth(world: World, effects: list[Record]) -> Iterator[str]:
    """I4: what an initiator was told is what has happened, once; what was refused left nothing behind."""
    once, net = Counter[str](), Counter[str]()
    for record in effects:
        if record.kind in MOVING and record.phase not in UNDER_WAY:
            once[_operation(record)] += record.minor
            if record.phase not in GONE:
                net[_operation(record)] += -record.minor if record.kind is Kind.PAYBACK else record.minor
    for operation, receipts in world.receipts.items():
        receipt = receipts[0]
        kind = operation.split("_", 1)[0]
        if receipt.outcome is Outcome.DONE and kind in ("cap", "rfd") and once[operation] < receipt.moved.minor:
            yield f"I4: {operation} moved {once[operation]}, and its initiator was told {receipt.moved}"
        if receipt.outcome is Outcome.REFUSED and net[operation] and operation not in world.settled_late:
            yield f"I4: {operation} moved {net[operation]}, and its initiator was told that it was refused"


def every_run_has_ended(world: World) -> Iterator[str]:
    """I5 and liveness: every run has ended, and its row says the same; every initiator has been answered."""
    for run in world.server.executions:
        if run.open:
            yield f"I5: {run.id} has not ended"
        if run.ended in ("failed", "canceled"):
            yield f"I5: {run.id} was {run.ended}: {run.result}"
    for run in world.server.runs.values():
        kind, _, operation = run.id.partition("/")
        if kind == "late" or not run.ended:
            continue
        row = next((row for each, row in world.operations.rows.items() if each == operation), None)
        if row is None and run.result not in ("not_started", "canceled"):
            yield f"I5: {run.id} ended {run.result} without a row"
        if row is not None and run.ended == "completed" and row.state != run.result:
            settled = (row.state, run.result) in (("returned", "paid"), ("reversed", "succeeded"))
            was_reset = sum(each.id == run.id for each in world.server.executions) > 1  # an earlier end was noted first
            if not settled and not was_reset:
                yield f"I5: {run.id} ended {run.result}, its row says {row.state}"
    for operation in world.starts:
        if operation not in world.receipts:
            yield f"I5: whoever asked for {operation} was never answered"


def no_secret_was_written(world: World) -> Iterator[str]:
    """I10: no secret and no card number in any payload; judged where payloads are written at all."""
    if isinstance(world.converter, Exact):
        for data in world.converter.written:
            if SECRET.encode() in data:
                yield "I10: the provider's secret is in a payload"
            for number in CARD_NUMBER.findall(data):
                if _is_card_number(number.decode()):
                    yield f"I10: {number.decode()} in a payload may be a card number"


def _is_card_number(digits: str) -> bool:
    """Luhn's check: every card number passes it, and one in ten of others."""
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


def nothing_is_left(world: World) -> Iterator[str]:
    """I6: no hold, nothing pending, no live authorization, no disputed funds, nothing in doubt."""
    book = world.journal.book
    disputes_untold = any(record.kind is Kind.DISPUTE for _, record in world.untold)  # left to reconciliation
    for reference, held in book.holds.items():
        if held is not None and held.left and not disputes_untold:
            yield f"I6: the hold {reference} has {held.left} left"
    for (account, _), amount in chain(book.pending_debit.items(), book.pending_credit.items()):
        if amount and not disputes_untold:
            yield f"I6: {amount} is pending at {account}"
    if (disputed := book.posted[DISPUTED_FUNDS.code, CURRENCY]) and not disputes_untold:
        yield f"I6: {disputed} is still disputed"
    for bank in world.banks.values():
        if bank.underway:
            yield f"I6: {sorted(bank.underway)} is still on its way"
        for record in bank.books.effects():
            if record.kind is Kind.AUTHORISATION and (left := world.left_open(bank, record)):
                yield f"I6: {left} stands authorized under {record.merchant_ref}"
    for run in world.server.runs.values():
        if run.attributes.get("NeedsAttention") == b"true":
            yield f"I6: {run.id} has ended and still asks for a person"
        if run.attributes.get("UnknownSince"):
            yield f"I6: {run.id} has ended in doubt"
