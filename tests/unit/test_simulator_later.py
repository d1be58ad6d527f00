"""The simulator's books: what payers, banks and beneficiaries do after the answer."""

import pytest

from simulator.books import CHALLENGE_FAILED, VALIDITY_SECONDS
from simulator.faults import Fault
from simulator.orders import Authorise, Value
from simulator.records import Phase, shown
from simulator.twists import Challenge, Deny, FailLater, Queue
from tests.support.northbank import BEGINNING, Bank


@pytest.fixture
def bank() -> Bank:
    return Bank()


# Challenges


def test_a_challenge_names_where_the_payer_goes_as_long_as_it_waits(bank: Bank) -> None:
    bank.books.challenges_at = "http://127.0.0.1:1/challenges"
    record = bank.authorise(token="tok_challenge")
    assert shown(record)["challenge"] == {"url": f"http://127.0.0.1:1/challenges/{record.id}"}
    assert bank.open_minor() == 0
    bank.books.end_challenge(record, passed=True)
    assert "challenge" not in shown(bank.books.known("pay_1.a1"))


def test_a_challenge_that_is_passed_ends_approved_and_stands_from_then_on(bank: Bank) -> None:
    record = bank.authorise(token="tok_challenge")
    bank.wait(60)
    passed = bank.books.end_challenge(record, passed=True)
    assert (passed.phase, passed.valid_until) == (Phase.APPROVED, BEGINNING + 60 + VALIDITY_SECONDS)
    assert bank.open_minor() == 10_000
    assert bank.told() == [("pay_1.a1", Phase.CHALLENGED), ("pay_1.a1", Phase.APPROVED)]


def test_a_challenge_that_is_failed_ends_denied(bank: Bank) -> None:
    record = bank.books.end_challenge(bank.authorise(token="tok_challenge"), passed=False)
    assert (record.phase, record.denial) == (Phase.DENIED, CHALLENGE_FAILED)


def test_an_abandoned_challenge_waits_until_it_is_released(bank: Bank) -> None:
    bank.authorise(token="tok_challenge")
    bank.wait(2 * VALIDITY_SECONDS)
    record = bank.books.known("pay_1.a1")
    assert record.phase is Phase.CHALLENGED
    assert bank.release().phase is Phase.RELEASED
    assert bank.books.known("pay_1.a1").denial == "released"
    with pytest.raises(Fault, match="not any more"):
        bank.books.end_challenge(bank.books.known("pay_1.a1"), passed=True)
    assert bank.open_minor() == 0


def test_nothing_is_collected_before_a_challenge_is_passed(bank: Bank) -> None:
    bank.authorise(token="tok_challenge")
    assert bank.collect("cap_1.c1", 1).denial == "exceeds_open"


def test_a_script_can_challenge_any_token(bank: Bank) -> None:
    order = Authorise("pay_1.a1", Value(1, "EUR"), "tok_visa")
    assert bank.books.place(order, Challenge()).phase is Phase.CHALLENGED


def test_the_same_key_shows_the_challenge_again(bank: Bank) -> None:
    first = bank.authorise(token="tok_challenge")
    bank.books.end_challenge(first, passed=True)
    assert bank.authorise(token="tok_challenge") == first


# Success that is taken back


def test_a_collection_that_fails_later_is_first_collected(bank: Bank) -> None:
    bank.authorise()
    assert bank.collect("cap_1.c1", 4_000, twist=FailLater(60, "no")).phase is Phase.COLLECTED
    assert bank.books.totals()["EUR"].collected == 4_000
    bank.wait(60)
    failed = bank.books.known("cap_1.c1")
    assert (failed.phase, failed.denial) == (Phase.FAILED, "no")
    assert bank.books.totals()["EUR"].collected == 0
    assert bank.told()[1:] == [("cap_1.c1", Phase.COLLECTED), ("cap_1.c1", Phase.FAILED)]


def test_a_collection_that_failed_has_used_up_its_part_and_cannot_be_paid_back(bank: Bank) -> None:
    bank.authorise()
    bank.collect("cap_1.c1", 4_000)
    bank.books.fail("cap_1.c1")
    assert bank.open_minor() == 6_000
    assert bank.pay_back("rfd_1.r1", 1).denial == "exceeds_collected"
    released = bank.release()
    assert (released.phase, released.minor, released.collected) == (Phase.RELEASED, 6_000, 0)


def test_a_payback_that_failed_can_be_asked_for_again(bank: Bank) -> None:
    bank.authorise()
    bank.collect("cap_1.c1", 4_000)
    bank.pay_back("rfd_1.r1", 4_000, twist=FailLater(60))
    assert bank.pay_back("rfd_2.r1", 1).phase is Phase.DENIED
    bank.wait(60)
    assert bank.phase("rfd_1.r1") is Phase.FAILED
    assert bank.books.totals()["EUR"].paid_back == 0
    assert bank.pay_back("rfd_3.r1", 4_000).phase is Phase.PAID_BACK


def test_each_collection_of_a_token_that_fails_later_does_so_after_a_second(bank: Bank) -> None:
    bank.authorise(token="tok_fails_later")
    assert bank.collect("cap_1.c1", 4_000).phase is Phase.COLLECTED
    bank.wait(1)
    assert bank.phase("cap_1.c1") is Phase.FAILED


@pytest.mark.parametrize("scripted", [True, False])
def test_a_transfer_that_is_returned_has_arrived_before_and_its_return_has_an_id_of_its_own(
    bank: Bank, scripted: bool
) -> None:
    transfer = bank.transfer(twist=FailLater(1)) if scripted else bank.transfer(beneficiary="acct_returns")
    bank.wait(1.2)
    assert bank.phase("po_1.p1") is Phase.ARRIVED
    bank.wait(0.2)
    returned = bank.books.known("po_1.p1")
    assert (returned.phase, returned.denial, returned.id) == (Phase.RETURNED, "beneficiary_refused", transfer.id)
    assert returned.returned_as.startswith("rt_")
    assert shown(returned)["returnedAs"] == returned.returned_as
    assert bank.books.totals()["EUR"].transferred == 0


def test_a_transfer_that_is_to_come_back_takes_the_time_of_its_account_first(bank: Bank) -> None:
    bank.transfer(beneficiary="acct_slow", twist=FailLater(60))
    bank.wait(86_400)
    assert bank.phase("po_1.p1") is Phase.ARRIVED
    bank.wait(60)
    assert bank.phase("po_1.p1") is Phase.RETURNED


def test_only_what_has_succeeded_can_be_taken_back_and_only_once(bank: Bank) -> None:
    bank.authorise()
    bank.collect("cap_1.c1", 1, twist=Deny("no"))
    bank.collect("cap_2.c1", 1, twist=FailLater(60))
    bank.transfer()
    bank.books.fail("cap_2.c1")
    for reference in ("pay_1.a1", "cap_1.c1", "cap_2.c1", "po_1.p1"):
        with pytest.raises(Fault, match="cannot fail any more"):
            bank.books.fail(reference)
    with pytest.raises(Fault, match="nothing is known"):
        bank.books.fail("cap_3.c1")
    bank.wait(60)  # the scripted failure finds nothing left
    assert [told for told in bank.told() if told[1] is Phase.FAILED] == [("cap_2.c1", Phase.FAILED)]


# Recalls


def test_a_recall_stops_a_transfer_that_has_not_arrived(bank: Bank) -> None:
    bank.transfer()
    recalled = bank.recall("po_1.r1")
    assert (recalled.phase, recalled.transfer_ref) == (Phase.RECALLED, "po_1.p1")
    bank.wait(60)
    stopped = bank.books.known("po_1.p1")
    assert (stopped.phase, stopped.denial) == (Phase.RECALLED, "recalled")
    assert bank.books.known("po_1.r1").phase is Phase.RECALLED
    assert bank.books.totals()["EUR"].transferred == 0
    assert bank.books.doubles() == []


@pytest.mark.parametrize(
    ("beneficiary", "seconds", "denial"),
    [("acct_ok", 1, "already_arrived"), ("acct_returns", 60, "already_arrived"), ("acct_bounces", 1, "not_on_its_way")],
)
def test_a_recall_that_is_too_late_is_denied(bank: Bank, beneficiary: str, seconds: float, denial: str) -> None:
    bank.transfer(beneficiary=beneficiary)
    bank.wait(seconds)
    before = bank.phase("po_1.p1")
    assert bank.recall("po_1.r1").denial == denial
    assert bank.phase("po_1.p1") is before


def test_a_slow_account_leaves_a_day_for_a_recall(bank: Bank) -> None:
    bank.transfer(beneficiary="acct_slow")
    bank.wait(86_399)
    assert bank.recall("po_1.r1").phase is Phase.RECALLED


def test_a_recall_of_what_is_recalled_already_says_so_again(bank: Bank) -> None:
    bank.transfer()
    bank.recall("po_1.r1")
    assert bank.recall("po_1.r2").phase is Phase.RECALLED
    assert [told for told in bank.told() if told[0] == "po_1.p1"] == [
        ("po_1.p1", Phase.ACCEPTED),
        ("po_1.p1", Phase.RECALLED),
    ]


@pytest.mark.parametrize(("arrives_first", "end"), [(True, Phase.DENIED), (False, Phase.RECALLED)])
def test_a_recall_that_is_decided_later_races_the_transfer(bank: Bank, arrives_first: bool, end: Phase) -> None:
    bank.transfer(beneficiary="acct_ok" if arrives_first else "acct_slow")
    assert bank.recall("po_1.r1", twist=Queue(5)).phase is Phase.QUEUED
    bank.wait(5)
    assert bank.phase("po_1.r1") is end
    assert bank.phase("po_1.p1") is (Phase.ARRIVED if arrives_first else Phase.RECALLED)


def test_a_recall_can_be_denied_by_the_script_and_the_transfer_goes_on(bank: Bank) -> None:
    bank.transfer()
    assert bank.recall("po_1.r1", twist=Deny("because")).denial == "because"
    bank.wait(1)
    assert bank.phase("po_1.p1") is Phase.ARRIVED


def test_a_recall_of_another_amount_is_denied(bank: Bank) -> None:
    bank.transfer()
    assert bank.recall("po_1.r1", minor=699).denial == "value_differs"


def test_a_recall_of_a_transfer_that_nobody_knows_is_a_fault(bank: Bank) -> None:
    bank.authorise()
    with pytest.raises(Fault, match="no transfer") as fault:
        bank.recall("po_1.r1", on="pay_1.a1")
    assert (fault.value.status, fault.value.code) == (404, "NO_SUCH_TRANSFER")
