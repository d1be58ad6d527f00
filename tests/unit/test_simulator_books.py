"""The simulator's books: what is granted, what is denied, what is counted."""

from collections.abc import Callable

import pytest

from simulator.books import KEY_MEMORY_SECONDS, VALIDITY_SECONDS
from simulator.faults import Fault
from simulator.orders import Authorise, Collect, PayBack, Pointer, Transfer, Value
from simulator.records import Closed, Phase, Record, shown
from simulator.twists import Deny, Land, Queue
from tests.support.northbank import BEGINNING, Bank


@pytest.fixture
def bank() -> Bank:
    return Bank()


@pytest.mark.parametrize(
    ("token", "phase", "denial"),
    [
        ("tok_visa", Phase.APPROVED, ""),
        ("tok_that_nobody_named", Phase.APPROVED, ""),
        ("tok_denied", Phase.DENIED, "insufficient_credit"),
        ("tok_lost_card", Phase.DENIED, "card_reported_lost"),
        ("tok_soft", Phase.DENIED, "issuer_unreachable"),
        ("tok_challenge", Phase.CHALLENGED, ""),
        ("tok_review", Phase.IN_REVIEW, ""),
        ("tok_uncollectable", Phase.APPROVED, ""),
    ],
)
def test_a_token_decides_its_authorisation(bank: Bank, token: str, phase: Phase, denial: str) -> None:
    record = bank.authorise(token=token)
    assert (record.phase, record.denial) == (phase, denial)


def test_a_review_ends_after_a_second_and_grants_the_amount(bank: Bank) -> None:
    bank.authorise(token="tok_review")
    bank.wait(0.9)
    assert bank.phase("pay_1.a1") is Phase.IN_REVIEW
    assert bank.open_minor() == 0
    bank.wait(0.2)
    assert bank.phase("pay_1.a1") is Phase.APPROVED
    assert bank.open_minor() == 10_000


def test_each_collection_of_an_uncollectable_token_is_denied(bank: Bank) -> None:
    bank.authorise(token="tok_uncollectable")
    assert bank.collect("pay_1.c1", 1).denial == "collection_blocked"
    assert bank.open_minor() == 10_000


def test_collections_take_from_the_open_rest_and_never_more_than_it(bank: Bank) -> None:
    bank.authorise()
    assert bank.collect("cap_1.c1", 4_000).phase is Phase.COLLECTED
    assert bank.collect("cap_2.c1", 4_000).phase is Phase.COLLECTED
    assert bank.collect("cap_3.c1", 2_001).denial == "exceeds_open"
    assert bank.collect("cap_4.c1", 2_000).phase is Phase.COLLECTED
    assert bank.open_minor() == 0
    assert bank.books.totals()["EUR"].collected == 10_000


def test_a_last_collection_gives_the_rest_up(bank: Bank) -> None:
    bank.authorise()
    bank.collect("cap_1.c1", 4_000, last=True)
    assert bank.open_minor() == 0
    assert bank.collect("cap_2.c1", 1).denial == "exceeds_open"


def test_a_last_collection_that_is_denied_leaves_the_rest_open(bank: Bank) -> None:
    bank.authorise()
    bank.books.place(Collect("cap_1.c1", Value(4_000, "EUR"), Pointer("", "pay_1.a1"), last=True), Queue(1, "no"))
    assert bank.open_minor() == 6_000
    bank.wait(1)
    assert bank.phase("cap_1.c1") is Phase.DENIED
    assert bank.open_minor() == 10_000


def test_a_collection_in_another_currency_is_denied(bank: Bank) -> None:
    bank.authorise()
    record = bank.books.place(Collect("cap_1.c1", Value(1, "USD"), Pointer("", "pay_1.a1"), last=False))
    assert record.denial == "unit_differs"


@pytest.mark.parametrize("ask", [Bank.collect, Bank.pay_back])
def test_nothing_moves_on_an_authorisation_that_nobody_knows(bank: Bank, ask: Callable[..., Record]) -> None:
    with pytest.raises(Fault, match="no authorisation") as fault:
        ask(bank, "x_1.c1", 1, on="pay_other.a1")
    assert (fault.value.status, fault.value.code) == (404, "NO_SUCH_AUTHORISATION")
    assert bank.books.lookup("x_1.c1") is None


def test_an_authorisation_expires_and_keeps_its_phase(bank: Bank) -> None:
    assert bank.authorise().valid_until == BEGINNING + VALIDITY_SECONDS
    bank.wait(VALIDITY_SECONDS)
    assert bank.phase("pay_1.a1") is Phase.APPROVED
    assert bank.open_minor() == 0
    assert bank.collect("cap_1.c1", 1).denial == "authorisation_expired"
    assert bank.release().phase is Phase.RELEASED


def test_a_release_gives_up_what_stands(bank: Bank) -> None:
    bank.authorise()
    record = bank.release()
    assert (record.phase, record.minor, record.collected) == (Phase.RELEASED, 10_000, 0)
    assert bank.open_minor() == 0
    assert bank.books.totals()["EUR"].authorised_open == 0


def test_a_release_of_a_rest_tells_what_was_collected(bank: Bank) -> None:
    bank.authorise()
    collected = bank.collect("cap_1.c1", 4_000)
    record = bank.release()
    assert (record.phase, record.minor, record.collected) == (Phase.RELEASED, 6_000, 4_000)
    assert record.collections == (collected.id,)


def test_a_release_of_what_is_released_already_is_released(bank: Bank) -> None:
    bank.authorise()
    bank.collect("cap_1.c1", 4_000)
    bank.release("pay_1.v1")
    again = bank.release("vd_1.v1")
    assert (again.phase, again.minor, again.collected) == (Phase.RELEASED, 0, 4_000)


@pytest.mark.parametrize(("minor", "last"), [(10_000, False), (4_000, True)])
def test_a_release_is_refused_where_nothing_uncollected_is_left(bank: Bank, minor: int, last: bool) -> None:
    bank.authorise()
    collected = bank.collect("cap_1.c1", minor, last=last)
    record = bank.release()
    assert record.phase is Phase.NOT_RELEASED
    assert shown(record)["collected"] == {"amount": f"{minor // 100}.00", "unit": "EUR"}
    assert shown(record)["collections"] == [collected.id]


def test_a_release_of_a_denied_authorisation_is_released(bank: Bank) -> None:
    bank.authorise(token="tok_denied")
    assert bank.release().phase is Phase.RELEASED


def test_a_release_bars_an_authorisation_that_was_never_made(bank: Bank) -> None:
    record = bank.release()
    assert (record.phase, record.minor, record.unit) == (Phase.RELEASED, 0, "")
    assert "value" not in shown(record)
    assert bank.authorise().phase is Phase.DENIED
    assert bank.authorise("pay_2.a1").phase is Phase.APPROVED


def test_a_release_during_a_review_denies_it_for_good(bank: Bank) -> None:
    bank.authorise(token="tok_review")
    bank.release()
    bank.wait(5)
    assert bank.phase("pay_1.a1") is Phase.DENIED


def test_a_release_waits_for_the_decision_on_a_collection(bank: Bank) -> None:
    bank.authorise()
    bank.books.place(Collect("cap_1.c1", Value(10_000, "EUR"), Pointer("", "pay_1.a1"), last=False), Queue(1))
    with pytest.raises(Fault, match="not decided"):
        bank.release()
    bank.wait(1)
    assert bank.release().phase is Phase.NOT_RELEASED


def test_no_more_is_paid_back_than_was_collected(bank: Bank) -> None:
    bank.authorise()
    bank.collect("cap_1.c1", 4_000)
    assert bank.pay_back("rfd_1.r1", 1_500).phase is Phase.PAID_BACK
    assert bank.pay_back("rfd_2.r1", 2_501).denial == "exceeds_collected"
    assert bank.pay_back("rfd_3.r1", 2_500).phase is Phase.PAID_BACK
    assert bank.books.totals()["EUR"].paid_back == 4_000


def test_a_payback_under_way_counts_as_paid_back_and_a_collection_under_way_not_as_collected(bank: Bank) -> None:
    bank.authorise()
    pointer = Pointer("", "pay_1.a1")
    bank.collect("cap_1.c1", 1_000)
    bank.books.place(Collect("cap_2.c1", Value(500, "EUR"), pointer, last=False), Queue(1))
    bank.books.place(PayBack("rfd_1.r1", Value(600, "EUR"), pointer), Queue(5))
    assert bank.pay_back("rfd_2.r1", 401).phase is Phase.DENIED
    bank.wait(1)
    assert bank.pay_back("rfd_3.r1", 900).phase is Phase.PAID_BACK


@pytest.mark.parametrize(
    ("beneficiary", "first", "later", "denial"),
    [
        ("acct_ok", Phase.ACCEPTED, Phase.ARRIVED, ""),
        ("acct_bounces", Phase.ACCEPTED, Phase.BOUNCED, "beneficiary_unknown"),
        ("acct_closed", Phase.DENIED, Phase.DENIED, "account_closed"),
    ],
)
def test_a_beneficiary_decides_its_transfer(
    bank: Bank, beneficiary: str, first: Phase, later: Phase, denial: str
) -> None:
    assert bank.transfer(beneficiary=beneficiary).phase is first
    bank.wait(0.3)
    found = bank.books.lookup("po_1.p1")
    assert found is not None
    assert (found.phase, found.denial) == (later, denial)
    assert bank.books.totals()["EUR"].transferred == (700 if later is Phase.ARRIVED else 0)


def test_a_scripted_transfer_takes_its_own_time(bank: Bank) -> None:
    bank.books.place(Transfer("po_1.p1", Value(700, "EUR"), "acct_ok"), Land(60, "returned"))
    bank.wait(59)
    assert bank.phase("po_1.p1") is Phase.ACCEPTED
    bank.wait(1)
    assert bank.phase("po_1.p1") is Phase.BOUNCED


def test_a_twist_bends_a_yes_but_never_a_no(bank: Bank) -> None:
    bank.authorise()
    order = Collect("cap_1.c1", Value(10_001, "EUR"), Pointer("", "pay_1.a1"), last=False)
    assert bank.books.place(order, Queue(1)).denial == "exceeds_open"
    assert bank.books.place(Authorise("pay_2.a1", Value(1, "EUR"), "tok_visa"), Deny("because")).denial == "because"
    assert bank.books.place(Authorise("pay_3.a1", Value(1, "EUR"), "tok_soft"), Queue(1)).denial == "issuer_unreachable"
    assert bank.books.place(Transfer("po_1.p1", Value(1, "EUR"), "acct_closed"), Land(1)).denial == "account_closed"


def test_the_same_key_gets_the_first_answer_again(bank: Bank) -> None:
    first = bank.authorise(token="tok_review")
    bank.wait(2)
    assert bank.authorise(token="tok_review") == first
    assert bank.phase("pay_1.a1") is Phase.APPROVED
    assert bank.books.doubles() == []


def test_the_same_key_for_another_order_is_a_fault(bank: Bank) -> None:
    bank.authorise()
    with pytest.raises(Fault, match="another order") as fault:
        bank.authorise(minor=10_001)
    assert (fault.value.status, fault.value.code) == (409, "KEY_REUSED")


def test_a_key_is_forgotten_after_a_day_and_its_effect_doubled(bank: Bank) -> None:
    bank.authorise()
    bank.wait(KEY_MEMORY_SECONDS - 1)
    bank.authorise()
    assert bank.books.doubles() == []
    bank.wait(1)
    bank.authorise()
    assert bank.books.doubles() == ["pay_1.a1"]


def test_without_deduplication_a_second_send_is_a_second_effect(bank: Bank) -> None:
    bank.books.deduplicate = False
    bank.authorise()
    bank.collect("cap_1.c1", 4_000)
    bank.collect("cap_1.c1", 4_000)
    assert bank.books.doubles() == ["cap_1.c1"]
    assert bank.books.totals()["EUR"].collected == 8_000


def test_a_second_send_that_is_denied_is_no_double_and_does_not_hide_the_effect(bank: Bank) -> None:
    bank.books.deduplicate = False
    bank.authorise()
    bank.collect("cap_1.c1", 10_000)
    assert bank.collect("cap_1.c1", 10_000).phase is Phase.DENIED
    assert bank.books.doubles() == []
    assert bank.phase("cap_1.c1") is Phase.COLLECTED


def test_a_second_release_moves_nothing_and_is_no_double(bank: Bank) -> None:
    bank.books.deduplicate = False
    bank.authorise()
    bank.release()
    bank.release()
    assert bank.books.doubles() == []


def test_a_release_by_reference_closes_each_of_two_authorisations_under_it(bank: Bank) -> None:
    bank.books.deduplicate = False
    bank.authorise()
    bank.authorise()
    assert bank.release().minor == 20_000
    assert bank.books.totals()["EUR"].authorised_open == 0


def test_what_is_late_lands_at_its_time_and_what_it_brings_about_at_its_own(bank: Bank) -> None:
    bank.books.later(5, bank.transfer)
    bank.wait(60)
    assert [(record.phase, record.at - BEGINNING) for record in bank.announced] == [
        (Phase.ACCEPTED, 5),
        (Phase.ARRIVED, pytest.approx(5.3)),
    ]


def test_every_new_phase_is_announced_once(bank: Bank) -> None:
    bank.authorise(token="tok_review")
    bank.wait(1)
    bank.collect("cap_1.c1", 1, last=True)
    bank.collect("cap_2.c1", 1)
    phases = [record.phase for record in bank.announced]
    assert phases == [Phase.IN_REVIEW, Phase.APPROVED, Phase.COLLECTED, Phase.DENIED]
    assert bank.announced[1].closed is Closed.NOT
