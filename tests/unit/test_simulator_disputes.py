"""The simulator's books: disputes, and the money that they take and give back."""

import pytest

from simulator.faults import Fault
from simulator.records import Phase, shown
from tests.support.northbank import BEGINNING, Bank

WEEK = 7 * 86_400.0


@pytest.fixture
def bank() -> Bank:
    """A payment of 10,000 of which 4,000 and 5,000 were collected."""
    made = Bank()
    made.authorise()
    made.collect("cap_1.c1", 4_000)
    made.collect("cap_2.c1", 5_000)
    made.announced.clear()
    return made


def opened(bank: Bank, reference: str = "cap_1.c1", minor: int | None = None) -> str:
    return bank.books.open_dispute(reference, minor, "not_received", WEEK).id


def moved(bank: Bank) -> tuple[int, int]:
    total = bank.books.totals()["EUR"]
    return total.withdrawn, total.given_back


def test_a_dispute_names_what_is_disputed_how_much_why_and_until_when_it_may_be_answered(bank: Bank) -> None:
    dispute = bank.books.open_dispute("cap_1.c1", 1_500, "not_received", WEEK)
    said = dict(shown(dispute))
    assert said | {"id": "", "movement": "", "authorisation": ""} == {
        "kind": "dispute",
        "id": "",
        "movement": "",
        "merchantRef": "cap_1.c1",
        "phase": "OPENED",
        "at": "2027-01-15T08:00:00.000Z",
        "value": {"amount": "15.00", "unit": "EUR"},
        "cause": {"reason": "not_received"},
        "evidenceBy": "2027-01-22T08:00:00.000Z",
        "authorisation": "",
        "authorisationRef": "pay_1.a1",
    }
    assert dispute.at == BEGINNING
    assert moved(bank) == (0, 0)


def test_each_step_has_a_key_of_its_own_and_is_announced_under_the_id_of_the_dispute(bank: Bank) -> None:
    dispute = opened(bank)
    for phase in (Phase.WITHDRAWN, Phase.WON, Phase.WITHDRAWN, Phase.LOST):
        bank.books.disputes.move(dispute, phase)
    assert [each.phase for each in bank.announced] == [
        Phase.OPENED,
        Phase.WITHDRAWN,
        Phase.WON,
        Phase.WITHDRAWN,
        Phase.LOST,
    ]
    assert {each.id for each in bank.announced} == {dispute}
    assert len({each.movement for each in bank.announced}) == 5
    assert tuple(bank.announced) == bank.books.disputes.movements()


def test_the_totals_count_each_withdrawal_and_each_return(bank: Bank) -> None:
    dispute = opened(bank)
    bank.books.disputes.move(dispute, Phase.WITHDRAWN)
    assert moved(bank) == (4_000, 0)
    bank.books.disputes.move(dispute, Phase.WON)
    assert moved(bank) == (4_000, 4_000)
    bank.books.disputes.move(dispute, Phase.WITHDRAWN)
    bank.books.disputes.move(dispute, Phase.LOST)
    assert moved(bank) == (8_000, 4_000)
    assert bank.books.totals()["EUR"].collected == 9_000


@pytest.mark.parametrize(
    ("way", "step"),
    [
        ((), Phase.OPENED),
        ((), Phase.WON),
        ((), Phase.LOST),
        ((Phase.WITHDRAWN,), Phase.WITHDRAWN),
        ((Phase.WITHDRAWN, Phase.WON), Phase.LOST),
        ((Phase.WITHDRAWN, Phase.LOST), Phase.WON),
        ((Phase.WITHDRAWN, Phase.LOST), Phase.WITHDRAWN),
    ],
)
def test_a_step_that_is_not_the_next_is_a_fault(bank: Bank, way: tuple[Phase, ...], step: Phase) -> None:
    dispute = opened(bank)
    for phase in way:
        bank.books.disputes.move(dispute, phase)
    with pytest.raises(Fault, match="cannot be"):
        bank.books.disputes.move(dispute, step)


def test_a_dispute_that_nobody_knows_takes_no_step(bank: Bank) -> None:
    with pytest.raises(Fault, match="not known"):
        bank.books.disputes.move("di_none", Phase.WITHDRAWN)


def test_an_authorisation_can_be_disputed_for_all_that_was_collected_of_it(bank: Bank) -> None:
    dispute = bank.books.open_dispute("pay_1.a1", None, "not_received", WEEK)
    assert (dispute.minor, dispute.merchant_ref) == (9_000, "pay_1.a1")


@pytest.mark.parametrize(("reference", "minor"), [("cap_1.c1", 4_001), ("pay_1.a1", 9_001)])
def test_no_more_is_disputed_than_was_collected(bank: Bank, reference: str, minor: int) -> None:
    with pytest.raises(Fault, match="no more can be disputed"):
        opened(bank, reference, minor)


def test_no_more_is_disputed_than_is_not_disputed_yet(bank: Bank) -> None:
    opened(bank, "pay_1.a1", 6_000)
    with pytest.raises(Fault, match="no more can be disputed"):
        opened(bank, "cap_1.c1", 3_001)
    opened(bank, "cap_1.c1", 3_000)


def test_only_what_was_collected_can_be_disputed(bank: Bank) -> None:
    bank.pay_back("rfd_1.r1", 1)
    bank.books.fail("cap_1.c1")
    for reference in ("rfd_1.r1", "cap_1.c1", "cap_9.c1"):
        with pytest.raises(Fault):
            opened(bank, reference)


def test_what_is_disputed_is_not_paid_back_and_what_was_won_is(bank: Bank) -> None:
    dispute = opened(bank)
    assert bank.pay_back("rfd_1.r1", 5_001).denial == "disputed"
    assert bank.pay_back("rfd_2.r1", 5_000).phase is Phase.PAID_BACK
    bank.books.disputes.move(dispute, Phase.WITHDRAWN)
    assert bank.pay_back("rfd_3.r1", 1).denial == "disputed"
    bank.books.disputes.move(dispute, Phase.WON)
    assert bank.pay_back("rfd_4.r1", 4_000).phase is Phase.PAID_BACK


def test_a_dispute_is_nothing_that_stands_under_the_reference_that_it_disputes(bank: Bank) -> None:
    opened(bank)
    assert bank.phase("cap_1.c1") is Phase.COLLECTED
    assert bank.books.doubles() == []
    assert all(each.kind != "dispute" for each in bank.books.effects())
