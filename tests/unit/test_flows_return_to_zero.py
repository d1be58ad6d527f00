"""Every path of money: what only passes through returns to zero once all of its lines are settled.

Facts come in any order, and the book ends the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ids import OperationId, Prefix
from domain.money import Money
from ledger.accounts import provider_balance, receivable, unsettled
from ledger.entry import Entry, Nature
from ledger.settlements import LineKind
from tests.support.ledger_flows import MERCHANT, PROVIDER, flows, operation
from tests.support.ledger_paths import (
    BANK,
    FEES,
    FIRST,
    OUR_FEES,
    PATHS,
    PAYABLE,
    PAYMENT,
    PAYOUT,
    POSITION,
    REFUND,
    SUSPENSE,
    WAYS,
    a_capture_fails_and_never_has_a_line,
    a_provider_exchanges_what_it_settles,
    a_refund_fails_after_it_was_done,
    euro,
    sold,
    to_bank,
)
from tests.support.memory_book import MemoryBook, Taken


def booked(entries: Iterator[Entry]) -> MemoryBook:
    book = MemoryBook()
    for entry in entries:
        assert book.post(entry) is Taken.POSTED, entry.reference
    return book


def assert_nothing_is_on_its_way(book: MemoryBook) -> None:
    currencies = {currency for _, currency in book.posted}
    stuck = {(way.code, of): book.of(way, of) for way in WAYS for of in currencies if book.of(way, of) != (0, 0, 0)}
    assert stuck == {}
    assert not any(book.pending_debit.values()), "nothing is held for ever"
    assert not any(payment.reserved for payment in book.payments.values())


@pytest.mark.parametrize("name", PATHS)
def test_every_path_returns_to_zero_and_leaves_what_it_says(name: str) -> None:
    path, expected = PATHS[name]
    book = booked(path())
    assert_nothing_is_on_its_way(book)
    places = (PAYABLE, BANK, FEES, OUR_FEES, SUSPENSE)
    assert {place: book.of(place)[0] for place in places} == dict.fromkeys(places, 0) | expected


@pytest.mark.parametrize("name", PATHS)
def test_a_path_told_twice_has_the_effects_of_one(name: str) -> None:
    path, _ = PATHS[name]
    once, twice = booked(path()), booked(path())
    assert {twice.post(entry) for entry in path()} == {Taken.REPLAYED}
    assert (twice.posted, twice.pending_debit, twice.payments) == (once.posted, once.pending_debit, once.payments)


def test_an_exchange_leaves_no_position_once_it_is_covered() -> None:
    book = booked(a_provider_exchanges_what_it_settles())
    assert (book.of(POSITION, "EUR"), book.of(POSITION, "USD")) == ((0, 0, 0), (0, 0, 0))
    assert book.of(PAYABLE, "USD") == (-5_400, 0, 0)


def test_disputed_funds_cannot_be_paid_out_while_the_dispute_is_open() -> None:
    book = booked(sold())
    book.post(flows.funds_withdrawn("wd-1", PAYMENT, euro(2_500)))
    assert book.post(flows.payout_reserve(PAYOUT, euro(7_401))) is Taken.REFUSED
    assert book.post(flows.payout_reserve(operation(Prefix.PAYOUT, "two"), euro(7_400))) is Taken.POSTED


def test_a_dispute_that_is_won_for_a_part_keeps_the_rest_held() -> None:
    book = booked(sold())
    book.post(flows.funds_withdrawn("wd-1", PAYMENT, euro(2_500)))
    book.post(flows.dispute_won("won-1", "wd-1", PAYMENT, euro(2_500), part=euro(1_500), final=False))
    assert book.post(flows.payout_reserve(PAYOUT, euro(8_901))) is Taken.REFUSED
    assert book.post(flows.payout_reserve(operation(Prefix.PAYOUT, "two"), euro(8_900))) is Taken.POSTED


@pytest.mark.parametrize(
    ("ending", "left"),
    [
        (flows.dispute_won("won-1", "wd-1", PAYMENT, euro(2_500)), 10_000),
        (flows.dispute_lost("lost-1", "wd-1", PAYMENT, euro(2_500)), 7_500),
    ],
    ids=["won", "lost"],
)
def test_what_a_payer_has_back_by_a_dispute_cannot_be_refunded_too(ending: Entry, left: int) -> None:
    book = booked(sold())
    book.post(flows.funds_withdrawn("wd-1", PAYMENT, euro(2_500)))
    assert book.left_of(PAYMENT) == 7_500
    book.post(ending)
    assert book.left_of(PAYMENT) == left
    assert book.post(flows.refund_reserve(REFUND, PAYMENT, euro(left + 1))) is Taken.REFUSED


def test_a_failed_refund_can_be_given_again_and_a_failed_capture_cannot() -> None:
    book = booked(a_refund_fails_after_it_was_done())
    assert book.left_of(PAYMENT) == 10_000
    book.post(flows.capture_failed(FIRST, PAYMENT, euro(10_000), settled=True, fee=euro(100)))
    assert book.left_of(PAYMENT) == 0


def test_a_refund_never_takes_from_what_is_unsettled() -> None:
    """Else the next settlement makes too much payable, and the payout's gate passes it."""
    book = booked(iter(list(sold())[:2]))
    book.post(flows.refund_reserve(REFUND, PAYMENT, euro(10_000)))
    book.post(flows.refund_done(REFUND, PAYMENT, euro(10_000)))
    assert (book.of(PAYABLE)[0], book.of(unsettled(MERCHANT))[0]) == (10_000, -9_900)
    book.post(flows.capture_line("line-1", euro(10_000), euro(100)))
    assert book.post(flows.payout_reserve(PAYOUT, euro(1))) is Taken.REFUSED


def test_the_line_of_a_capture_that_failed_makes_nothing_payable() -> None:
    book = booked(a_capture_fails_and_never_has_a_line())
    book.post(flows.line("line-1", LineKind.CAPTURE_FAILED, euro(10_000)))
    assert book.post(flows.payout_reserve(PAYOUT, euro(1))) is Taken.REFUSED
    assert book.of(receivable(PROVIDER))[0] == -10_000  # paid for nothing: seen until it is taken off again


# Whatever happens, in whatever order it is told


@dataclass(frozen=True)
class Captured:
    """A capture and what becomes of it, in cents. `failed`: None, or whether its line had been settled before."""

    amount: int
    fee: int
    refunded: int
    refund_fails: bool
    disputed: int
    dispute: str
    failed: bool | None


@st.composite
def captured(draw: st.DrawFn) -> Captured:
    amount = draw(st.integers(1, 10**9))
    return Captured(
        amount=amount,
        fee=draw(st.integers(0, amount)),
        refunded=draw(st.integers(0, amount)),
        refund_fails=draw(st.booleans()),
        disputed=draw(st.integers(0, amount)),
        dispute=draw(st.sampled_from(["won", "lost", "won, then lost", "partly won"])),
        failed=draw(st.sampled_from([None, True, False])),
    )


def facts_of(at: int, life: Captured) -> Iterator[Entry]:
    """All that a provider tells of one capture and of what follows, its lines included."""
    capture, amount, fee = operation(Prefix.CAPTURE, str(at)), euro(life.amount), euro(life.fee)
    yield flows.capture(capture, PAYMENT, amount, fee=fee)
    if life.failed is not None:
        yield flows.capture_failed(capture, PAYMENT, amount, settled=life.failed, fee=fee)
        yield flows.line(f"off-{at}", LineKind.CAPTURE_FAILED, euro(-life.amount))
    if life.failed is False:
        yield flows.line(f"paid-{at}", LineKind.CAPTURE_FAILED, amount)
    else:
        yield flows.capture_line(f"paid-{at}", amount, fee)
    if life.refunded:
        yield from refund_of(at, euro(life.refunded), fails=life.refund_fails)
    if life.disputed:
        yield from dispute_of(at, life.disputed, life.dispute)


def refund_of(at: int, money: Money, *, fails: bool) -> Iterator[Entry]:
    refund = operation(Prefix.REFUND, str(at))
    yield flows.refund_done(refund, PAYMENT, money)
    yield flows.line(f"refund-{at}", LineKind.REFUND, euro(-money.minor))
    if fails:
        yield flows.refund_failed(refund, PAYMENT, money)
        yield flows.line(f"refund-back-{at}", LineKind.REFUND, money)


def dispute_of(at: int, minor: int, how: str) -> Iterator[Entry]:
    money, first, second = euro(minor), f"wd-{at}", f"wd-{at}-again"
    won = minor // 2 if how == "partly won" else minor if "won" in how else 0
    yield flows.funds_withdrawn(first, PAYMENT, money)
    yield flows.line(f"{first}-line", LineKind.DISPUTE, euro(-minor))
    if won:
        yield flows.dispute_won(f"{first}-won", first, PAYMENT, money, part=euro(won), final=won == minor)
        yield flows.line(f"{first}-won-line", LineKind.DISPUTE, euro(won))
    if won < minor:
        yield flows.dispute_lost(f"{first}-lost", first, PAYMENT, money, part=euro(minor - won))
    if how == "won, then lost":
        yield flows.funds_withdrawn(second, PAYMENT, money)
        yield flows.line(f"{second}-line", LineKind.DISPUTE, euro(-minor))
        yield flows.dispute_lost(f"{second}-lost", second, PAYMENT, money)


@given(lives=st.lists(captured(), min_size=1, max_size=3), data=st.data())
def test_facts_in_any_order_end_the_same_and_nothing_stays_on_its_way(
    lives: list[Captured], data: st.DataObject
) -> None:
    payment: OperationId = PAYMENT
    facts = [fact for at, life in enumerate(lives) for fact in facts_of(at, life)]
    assert {fact.nature for fact in facts} == {Nature.FACT}
    told = data.draw(st.permutations(facts))
    book = booked(iter([flows.hold(payment, euro(1)), *told, flows.release(payment)]))
    straight = booked(iter([flows.hold(payment, euro(1)), *facts, flows.release(payment)]))
    for each in (book, straight):
        balance = each.of(provider_balance(PROVIDER))[0]
        if balance:
            each.post(to_bank(balance))
        assert_nothing_is_on_its_way(each)
    assert {k: v for k, v in book.posted.items() if v} == {k: v for k, v in straight.posted.items() if v}
    assert book.payments == straight.payments
