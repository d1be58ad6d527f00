"""What a late fact means beside our books: one table, asked by the relay and by the run alike."""

import pytest

from domain.ids import OperationId, Prefix, Reference, derive
from domain.money import Money
from domain.outcomes import Answer, Fact, Outcome, Stands
from workflows.late import Meaning, meaning

DONE, REFUSED, PENDING, UNKNOWN = Outcome.DONE, Outcome.REFUSED, Outcome.PENDING, Outcome.UNKNOWN
M = Meaning
HUNDRED, NOTHING = Money(100, "EUR"), Money(0, "EUR")


def operation(prefix: Prefix) -> OperationId:
    return derive(prefix, client="late", mode="test", operation="meaning", key="k")


PAY, CAP, INC, RFD, PO = map(
    operation, (Prefix.PAYMENT, Prefix.CAPTURE, Prefix.INCREMENT, Prefix.REFUND, Prefix.PAYOUT)
)

# what is told, of what, the row's state, posted, reversed, what it means
ROWS = [
    (DONE, f"{PAY}.a1", "declined", False, False, M.STANDS_OPEN),
    (PENDING, f"{PAY}.a1", "declined", False, False, M.STANDS_OPEN),
    (REFUSED, f"{PAY}.a1", "declined", False, False, M.AGREES),
    (DONE, f"{PAY}.a2", "captured", False, False, M.AGREES),  # the one that its row names
    (DONE, f"{PAY}.a1", "captured", False, False, M.STANDS_OPEN),  # another provider's, or another try's
    (REFUSED, f"{PAY}.a2", "captured", False, False, M.AGREES),  # they have closed what is used up
    (DONE, f"{INC}.i1", "succeeded", False, False, M.AGREES),
    (DONE, f"{INC}.i1", "failed", False, False, M.STANDS_OPEN),
    (REFUSED, f"{INC}.i1", "failed", False, False, M.AGREES),
    (DONE, f"{PAY}.v1", "voided", False, False, M.AGREES),
    (REFUSED, f"{PAY}.v1", "voided", False, False, M.STANDS_OPEN),
    (REFUSED, f"{PAY}.v1", "expired", False, False, M.STANDS_OPEN),
    (REFUSED, f"{PAY}.v1", "captured", False, False, M.AGREES),
    (DONE, f"{CAP}.c1", "succeeded", True, False, M.AGREES),
    (DONE, f"{CAP}.c1", "failed", False, False, M.CAPTURED),
    (DONE, f"{CAP}.c1", "failed", True, True, M.IN_QUESTION),
    (REFUSED, f"{CAP}.c1", "succeeded", True, False, M.UNCAPTURED),
    (REFUSED, f"{CAP}.c1", "failed", True, True, M.AGREES),
    (REFUSED, f"{CAP}.c1", "failed", False, False, M.AGREES),
    (PENDING, f"{CAP}.c1", "failed", False, False, M.UNDECIDED),
    (UNKNOWN, f"{CAP}.c1", "failed", False, False, M.UNDECIDED),
    (PENDING, f"{CAP}.c1", "succeeded", True, False, M.AGREES),  # older than what we know
    (DONE, f"{PAY}.c1", "voided", False, False, M.CAPTURED),
    (DONE, f"{RFD}.r1", "failed", False, False, M.REFUNDED),
    (DONE, f"{RFD}.r1", "succeeded", True, False, M.AGREES),
    (DONE, f"{RFD}.r1", "reversed", True, True, M.IN_QUESTION),
    (REFUSED, f"{RFD}.r1", "succeeded", True, False, M.UNREFUNDED),
    (REFUSED, f"{RFD}.r1", "failed", False, False, M.AGREES),
    (PENDING, f"{RFD}.r1", "failed", False, False, M.UNDECIDED),
    (REFUSED, f"{CAP}.r1", "failed", True, False, M.UNREFUNDED),  # of what was captured late and given back
    (DONE, f"{PO}.p1", "failed", False, False, M.HANDED_OVER),
    (DONE, f"{PO}.p1", "paid", True, False, M.AGREES),
    (PENDING, f"{PO}.p1", "failed", False, False, M.UNDECIDED),
    (PENDING, f"{PO}.p1", "paid", True, False, M.AGREES),
    (REFUSED, f"{PO}.p1", "failed", False, False, M.AGREES),
    (REFUSED, f"{PO}.p1", "failed", True, True, M.AGREES),
    (REFUSED, f"{PO}.p1", "paid", True, False, M.CONTRADICTS),
    (DONE, f"{PO}.p1/arrival", "paid", True, False, M.AGREES),
    (DONE, f"{PO}.p1/arrival", "returned", True, False, M.AGREES),
    (DONE, f"{PO}.p1/arrival", "failed", True, True, M.CONTRADICTS),
    (REFUSED, f"{PO}.p1/arrival", "paid", True, False, M.CAME_BACK),
    (REFUSED, f"{PO}.p1/arrival", "returned", True, False, M.AGREES),
    (REFUSED, f"{PO}.p1/arrival", "failed", True, True, M.AGREES),
    (DONE, f"{PO}.p1/arrival", "failed", True, False, M.AGREES),  # handed over late: a late run follows it
    (REFUSED, f"{PO}.p1/arrival", "failed", True, False, M.AGREES),
    (DONE, f"{PO}.p1/arrival", "failed", False, False, M.CONTRADICTS),
    (PENDING, f"{PO}.p1/arrival", "failed", True, True, M.AGREES),
    (DONE, f"{PO}.r1", "failed", True, True, M.AGREES),
    (DONE, f"{PO}.r1", "paid", True, False, M.CONTRADICTS),
    (REFUSED, f"{PO}.r1", "paid", True, False, M.AGREES),
]


@pytest.mark.parametrize(("outcome", "on", "state", "posted", "reversed_", "means"), ROWS)
def test_a_late_fact_means_one_thing(
    outcome: Outcome, on: str, state: str, posted: bool, reversed_: bool, means: Meaning
) -> None:
    named = Reference(f"{PAY}.a2" if state == "captured" else "")
    total = HUNDRED if state == "paid" else NOTHING
    stands = Stands(state=state, posted=posted, reversed=reversed_, reference=named, amount=HUNDRED, total=total)
    assert meaning(Fact(reference=Reference(on), answer=Answer(outcome=outcome), source="ev"), stands) is means


def test_a_payout_that_was_paid_late_can_come_back_too() -> None:
    fact = Fact(reference=Reference(f"{PO}.p1/arrival"), answer=Answer(outcome=REFUSED), source="ev")
    paid = Stands(state="failed", posted=True, reversed=False, amount=HUNDRED, total=HUNDRED)
    assert meaning(fact, paid) is Meaning.CAME_BACK


def test_every_meaning_is_in_the_table() -> None:
    assert {row[-1] for row in ROWS} == set(Meaning)


@pytest.mark.parametrize("outcome", [Outcome.UNAVAILABLE, Outcome.CONFLICT])
def test_what_tells_of_nothing_that_has_happened_means_nothing(outcome: Outcome) -> None:
    fact = Fact(reference=Reference(f"{PAY}.a1"), answer=Answer(outcome=outcome), source="ev")
    assert meaning(fact, Stands(state="declined", posted=False, reversed=False)) is Meaning.AGREES
