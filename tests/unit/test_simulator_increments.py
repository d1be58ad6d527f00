"""The simulator's books: an authorisation that is raised."""

import pytest

from simulator.books import VALIDITY_SECONDS
from simulator.faults import Fault
from simulator.orders import Increment, Pointer, Value
from simulator.records import Phase
from simulator.twists import Deny, Queue
from tests.support.northbank import Bank


@pytest.fixture
def bank() -> Bank:
    return Bank()


def test_an_increment_raises_what_can_be_collected_and_keeps_what_was_asked_for(bank: Bank) -> None:
    bank.authorise()
    assert bank.increase("inc_1.i1", 2_500).phase is Phase.RAISED
    assert bank.open_minor() == 12_500
    assert bank.books.known("pay_1.a1").minor == 10_000
    assert bank.books.totals()["EUR"].authorised_open == 12_500
    assert bank.collect("cap_1.c1", 12_501).denial == "exceeds_open"
    assert bank.collect("cap_2.c1", 12_500).phase is Phase.COLLECTED
    assert bank.open_minor() == 0


def test_an_increment_stands_under_its_own_reference_and_happens_once_by_its_key(bank: Bank) -> None:
    bank.authorise()
    first = bank.increase("inc_1.i1", 2_500)
    assert bank.increase("inc_1.i1", 2_500) == first == bank.books.known("inc_1.i1")
    assert bank.open_minor() == 12_500
    assert bank.books.doubles() == []


def test_a_release_gives_an_increment_up_with_its_authorisation(bank: Bank) -> None:
    bank.authorise()
    bank.increase("inc_1.i1", 2_500)
    assert bank.release().minor == 12_500
    assert bank.open_minor() == 0


def test_a_release_is_refused_only_where_the_increment_was_collected_too(bank: Bank) -> None:
    bank.authorise()
    bank.increase("inc_1.i1", 2_500)
    bank.collect("cap_1.c1", 10_000)
    released = bank.release()
    assert (released.phase, released.minor) == (Phase.RELEASED, 2_500)


@pytest.mark.parametrize("end", ["released", "denied", "last"])
def test_what_is_not_open_is_not_raised(bank: Bank, end: str) -> None:
    bank.authorise(token="tok_denied" if end == "denied" else "tok_visa")
    if end == "released":
        bank.release()
    if end == "last":
        bank.collect("cap_1.c1", 1, last=True)
    assert bank.increase("inc_1.i1", 1).denial == "authorisation_closed"
    assert bank.open_minor() == 0


def test_what_has_expired_is_not_raised_and_an_increment_prolongs_nothing(bank: Bank) -> None:
    bank.authorise()
    bank.wait(VALIDITY_SECONDS - 1)
    bank.increase("inc_1.i1", 1)
    bank.wait(1)
    assert bank.open_minor() == 0
    assert bank.increase("inc_2.i1", 1).denial == "authorisation_expired"


def test_an_increment_in_another_currency_is_denied(bank: Bank) -> None:
    bank.authorise()
    assert bank.books.place(Increment("inc_1.i1", Value(1, "USD"), Pointer("", "pay_1.a1"))).denial == "unit_differs"


def test_an_increment_of_what_nobody_knows_is_a_fault(bank: Bank) -> None:
    with pytest.raises(Fault, match="no authorisation"):
        bank.increase("inc_1.i1", 1)


def test_an_increment_can_be_denied_by_the_script_and_by_its_token(bank: Bank) -> None:
    bank.authorise()
    bank.authorise("pay_2.a1", token="tok_fixed")
    assert bank.increase("inc_1.i1", 1, twist=Deny("because")).denial == "because"
    assert bank.increase("inc_2.i1", 1, on="pay_2.a1").denial == "not_raisable"
    assert bank.open_minor() == bank.open_minor("pay_2.a1") == 10_000


def test_an_increment_that_is_decided_later_counts_from_then_on(bank: Bank) -> None:
    bank.authorise()
    assert bank.increase("inc_1.i1", 500, twist=Queue(5)).phase is Phase.QUEUED
    assert bank.open_minor() == 10_000
    bank.wait(5)
    assert bank.open_minor() == 10_500


def test_an_increment_under_way_is_denied_by_a_release(bank: Bank) -> None:
    bank.authorise()
    bank.increase("inc_1.i1", 500, twist=Queue(5))
    assert bank.release().minor == 10_000
    assert bank.books.known("inc_1.i1").denial == "released"
    bank.wait(5)
    assert bank.phase("inc_1.i1") is Phase.DENIED


def test_an_increment_under_way_is_denied_where_the_rest_is_given_up_meanwhile(bank: Bank) -> None:
    bank.authorise()
    bank.increase("inc_1.i1", 500, twist=Queue(5))
    bank.collect("cap_1.c1", 1, last=True)
    bank.wait(5)
    assert bank.books.known("inc_1.i1").denial == "authorisation_closed"
