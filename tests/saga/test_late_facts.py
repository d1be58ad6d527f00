"""Late facts over our real books: each is settled once, whoever tells of it and however often (money rule 14)."""

import itertools
from collections.abc import AsyncGenerator

import asyncpg
import pytest
import pytest_asyncio
from temporalio.client import Client

from contracts.provider import UNAVAILABLE, UNKNOWN
from domain.commands import Note
from domain.ids import OperationId, Prefix
from domain.outcomes import DONE, Answer, Found, Outcome, refused
from ledger.accounts import payable, unsettled
from tests.support.booked_shop import Shop, euro, open_shop
from tests.support.cluster import Database, TestCluster
from tests.support.told import Settling, decide, operation, parked, settling

pytestmark = pytest.mark.usefixtures("nobody_else_is_asked")
NUMBERS = itertools.count(1)
PENDING = Answer(outcome=Outcome.PENDING)


@pytest_asyncio.fixture
async def shop(pool: asyncpg.Pool, database: Database, cluster: TestCluster) -> AsyncGenerator[Shop]:
    async with open_shop(cluster, database, pool, f"late_{next(NUMBERS)}") as opened:
        yield opened


@pytest_asyncio.fixture
async def late(skipping: Client, shop: Shop) -> AsyncGenerator[Settling]:
    async with settling(skipping, shop) as running:
        yield running


async def lost_capture(shop: Shop, minor: int = 4_000) -> str:
    """A capture whose absence was proven, and wrongly so: it has failed in our rows, and nothing is booked."""
    capture = shop.id(Prefix.CAPTURE, "lost")
    await shop.books.note(Note(rows=(shop.row(capture, "failed", minor, 0),)))
    return f"{capture}.c1"


# Authorizations


@pytest.mark.parametrize("answer", [DONE, PENDING])
async def test_an_authorization_that_its_payment_ended_without_is_given_up(late: Settling, answer: Answer) -> None:
    await late.shop.ended("declined", authorized=False)
    for event in ("ev_1", "ev_2"):  # told again: given up again, under the same reference
        assert await late.settled(f"{late.shop.pay}.a1", answer, event) == "stands_open"
    assert late.provider.asked == [f"{late.shop.pay}.v91"] * 2
    assert late.provider.acted_on == [f"{late.shop.pay}.a1 100.00 EUR"] * 2


async def test_a_void_without_an_answer_is_asked_for_until_it_is_answered(late: Settling) -> None:
    await late.shop.ended("declined", authorized=False)
    late.provider.answers["void"] = [UNAVAILABLE, UNAVAILABLE, DONE]
    assert await late.settled(f"{late.shop.pay}.a1", DONE) == "stands_open"
    assert late.provider.asked == [f"{late.shop.pay}.v91"] * 3


async def test_a_void_that_is_refused_waits_for_a_person(late: Settling) -> None:
    await late.shop.ended("declined", authorized=False)
    late.provider.answers["void"] = [refused("not_now")]
    handle = await late.late(f"{late.shop.pay}.a1", DONE, "ev_1")
    view = await parked(handle)
    assert view.attention is not None
    assert view.attention.reference == f"{late.shop.pay}.v91"
    await handle.execute_update("retry", view.attention.reference)  # pyright: ignore[reportUnknownMemberType]
    assert await handle.result() == "settled"
    assert late.provider.asked == [f"{late.shop.pay}.v91", f"{late.shop.pay}.v92"]


async def test_what_a_late_void_meets_instead_is_booked_and_given_back(late: Settling) -> None:
    await late.shop.ended("declined", authorized=False)
    found = Found(kind="captured", money=euro(10_000), provider_id="psp_7")
    late.provider.answers["void"] = [Answer(outcome=Outcome.REFUSED, reason="captured", found=found)] * 2
    for event in ("ev_1", "ev_2"):
        assert await late.settled(f"{late.shop.pay}.a1", DONE, event) == "stands_open"
    assert late.provider.asked == [f"{late.shop.pay}.v91", f"{late.shop.pay}.r1", f"{late.shop.pay}.v91"]
    await nothing_is_owed(late.shop, captured=10_000)


async def test_an_authorization_that_its_payment_had_agrees_with_our_books(late: Settling) -> None:
    await late.shop.ended("voided")
    assert await late.settled(f"{late.shop.pay}.a1", DONE) == "agrees"
    assert late.provider.asked == []


async def test_an_increment_that_came_about_after_all_leaves_the_authorization_of_a_living_payment_alone(
    late: Settling,
) -> None:
    await late.shop.ended("authorized")
    increment = late.shop.id(Prefix.INCREMENT)
    await late.shop.books.note(Note(rows=(late.shop.row(increment, "failed", 1_000, 0),)))
    assert await late.settled(f"{increment}.i1", DONE, "ev_1") == "stands_open"
    assert late.provider.asked == []
    await late.shop.books.note(Note(rows=(late.shop.row(late.shop.pay, "voided", 10_000, 0),)))
    assert await late.settled(f"{increment}.i1", DONE, "ev_2") == "stands_open"
    assert late.provider.asked == [f"{late.shop.pay}.v91"]


# Captures


async def test_a_capture_after_its_payments_end_is_booked_and_given_back_once(late: Settling) -> None:
    await late.shop.ended("voided")
    effect = await lost_capture(late.shop)
    assert await late.settled(effect, DONE, "ev_1") == "captured"
    assert await late.settled(effect, DONE, "ev_2") == "agrees"
    assert late.provider.asked == [f"?{effect}", f"{operation(effect)}.r1", f"?{effect}"]
    assert late.provider.acted_on == [f"{late.shop.pay}.a1 40.00 EUR"]
    await nothing_is_owed(late.shop, captured=4_000)
    assert (await late.shop.events(operation(effect)))[-1] == "capture.given_back"
    assert await late.shop.stored(late.shop.pay) == ("voided", 0, "")


async def test_a_capture_that_was_taken_back_before_anybody_looked_moves_nothing(late: Settling) -> None:
    """Told done, then failed: of two words that come in any order the provider knows which is the newer."""
    await late.shop.ended("voided")
    effect = await lost_capture(late.shop)
    late.provider.answers["inquire"] = [refused("account_closed")]
    assert await late.settled(effect, DONE, "ev_1") == "agrees"
    assert (late.provider.asked, late.provider.acted_on) == ([f"?{effect}"], [])
    assert await late.shop.stored(operation(effect)) == ("failed", 0, "")


async def test_a_capture_told_twice_at_once_is_given_back_once(late: Settling) -> None:
    await late.shop.ended("voided")
    effect = await lost_capture(late.shop)
    handles = [await late.late(effect, DONE, event) for event in ("ev_1", "ev_2")]
    for handle in handles:
        assert await handle.result() == "settled"
    assert set(late.provider.asked) == {f"?{effect}", f"{operation(effect)}.r1"}
    await nothing_is_owed(late.shop, captured=4_000)


async def test_the_refund_of_a_late_capture_is_cleared_up_where_its_answer_is_lost(late: Settling) -> None:
    await late.shop.ended("voided")
    effect = await lost_capture(late.shop)
    late.provider.answers["refund"] = [UNKNOWN]
    late.provider.answers["inquire"] = [DONE, "none", DONE]
    assert await late.settled(effect, DONE) == "captured"
    assert late.provider.asked == [f"?{effect}", f"{operation(effect)}.r1", *[f"?{operation(effect)}.r1"] * 2]
    await nothing_is_owed(late.shop, captured=4_000)


async def test_a_late_capture_that_cannot_be_given_back_stays_only_when_two_people_say_so(late: Settling) -> None:
    await late.shop.ended("voided")
    effect = await lost_capture(late.shop)
    late.provider.answers["refund"] = [refused("too_late"), refused("too_late")]
    handle = await late.late(effect, DONE, "ev_1")
    view = await parked(handle)
    assert view.attention is not None
    assert view.attention.reference == f"{operation(effect)}.r1"
    await handle.execute_update("retry", view.attention.reference)  # pyright: ignore[reportUnknownMemberType]
    second = f"{operation(effect)}.r2"
    while view.attention is None or view.attention.reference != second:
        view = await parked(handle)
    await decide(late, handle, second, Outcome.REFUSED)
    assert await handle.result() == "settled"
    assert await late.shop.posted(unsettled(late.shop.merchant).code) == -4_000
    assert await late.shop.posted(payable(late.shop.merchant).code) == 0


async def test_a_late_capture_that_people_gave_back_by_hand_is_booked_so(late: Settling) -> None:
    await late.shop.ended("voided")
    effect = await lost_capture(late.shop)
    late.provider.answers["refund"] = [refused("too_late")]
    handle = await late.late(effect, DONE, "ev_1")
    await parked(handle)
    await decide(late, handle, f"{operation(effect)}.r1", Outcome.DONE)
    assert await handle.result() == "settled"
    await nothing_is_owed(late.shop, captured=4_000)


@pytest.mark.parametrize("ends", [DONE, refused("no")])
async def test_a_capture_that_the_provider_has_after_all_is_waited_for(late: Settling, ends: Answer) -> None:
    await late.shop.ended("voided")
    effect = await lost_capture(late.shop)
    late.provider.answers["inquire"] = [PENDING, "none", ends]
    assert await late.settled(effect, PENDING) == ("captured" if ends is DONE else "agrees")
    assert late.provider.asked[:3] == [f"?{effect}"] * 3


async def test_a_capture_that_failed_after_all_is_booked_as_taken_back(late: Settling) -> None:
    first, second = await late.shop.captured(6_000, 4_000)
    assert await late.settled(first, refused("bank_says_no"), "ev_1") == "uncaptured"
    assert await late.settled(first, refused("bank_says_no"), "ev_2") == "agrees"
    assert await late.shop.stored(late.shop.pay) == ("captured", 4_000, "")
    assert await late.shop.stored(operation(first)) == ("failed", 0, "bank_says_no")
    assert await late.shop.stored(operation(second)) == ("succeeded", 4_000, "")
    assert await late.shop.posted(unsettled(late.shop.merchant).code) == -3_960
    assert (await late.shop.events(operation(first)))[-1] == "capture.reversed"


async def test_captures_that_fail_at_once_are_all_taken_off_their_payment(late: Settling) -> None:
    effects = await late.shop.captured(5_000, 3_000, 2_000)
    handles = [await late.late(effect, refused("no"), effect) for effect in effects]
    for handle in handles:
        assert await handle.result() == "settled"
    assert await late.shop.stored(late.shop.pay) == ("captured", 0, "")
    assert await late.shop.posted(unsettled(late.shop.merchant).code) == 0


async def test_news_that_is_older_than_the_failure_changes_nothing(late: Settling) -> None:
    (effect,) = await late.shop.captured(6_000)
    await late.settled(effect, refused("no"), "ev_1")
    late.provider.answers["inquire"] = [refused("no")]
    assert await late.settled(effect, DONE, "ev_0") == "agrees"  # asked, the provider says that it is taken back
    assert await late.shop.posted(unsettled(late.shop.merchant).code) == 0


async def test_a_capture_that_stands_after_it_failed_waits_for_people(late: Settling) -> None:
    (effect,) = await late.shop.captured(6_000)
    await late.settled(effect, refused("no"), "ev_1")
    handle = await late.late(effect, DONE, "ev_2")
    view = await parked(handle)
    assert view.attention is not None
    assert view.attention.owner == "payments-operations"
    await decide(late, handle, effect, Outcome.DONE)
    assert await handle.result() == "settled"


# Refunds


async def test_a_refund_that_failed_after_all_is_owed_to_the_merchant_again(late: Settling) -> None:
    await late.shop.captured(10_000)
    effect = await late.shop.refunded(2_500)
    assert await late.settled(effect, refused("account_gone"), "ev_1") == "unrefunded"
    assert await late.settled(effect, refused("account_gone"), "ev_2") == "agrees"
    assert await late.shop.stored(operation(effect)) == ("reversed", 0, "account_gone")
    assert await late.shop.posted(payable(late.shop.merchant).code) == 0


async def test_a_refund_that_was_done_after_it_had_failed_is_booked(late: Settling) -> None:
    await late.shop.captured(10_000)
    gate = late.shop.prepare(Prefix.REFUND, 2_500, payment=late.shop.pay)
    await late.shop.books.prepare_refund(gate)
    await late.shop.release(gate)
    await late.shop.books.note(Note(rows=(late.shop.row(gate.operation, "failed", 2_500, 0),)))
    effect = f"{gate.operation}.r1"
    assert await late.settled(effect, DONE, "ev_1") == "refunded"
    assert await late.settled(effect, DONE, "ev_2") == "agrees"
    assert await late.shop.stored(gate.operation) == ("failed", 2_500, "")
    assert await late.shop.posted(payable(late.shop.merchant).code) == 2_500
    assert (await late.shop.events(gate.operation))[-1] == "refund.done_late"


# Payouts


async def test_a_payout_that_came_back_is_owed_again_once(late: Settling) -> None:
    await late.shop.topped_up(10_000)
    effect = await late.shop.paid_out(4_000)
    back = Answer(outcome=Outcome.REFUSED, reason="account_closed", provider_id=f"rt-{late.shop.merchant}")
    assert await late.settled(f"{effect}/arrival", back, "ev_1") == "came_back"
    assert await late.settled(f"{effect}/arrival", back, "ev_2") == "agrees"
    assert await late.shop.stored(operation(effect)) == ("returned", 0, "account_closed")
    assert await late.shop.posted(payable(late.shop.merchant).code) == -10_000


async def test_a_return_without_a_name_waits_for_people(late: Settling) -> None:
    await late.shop.topped_up(10_000)
    effect = await late.shop.paid_out(4_000)
    handle = await late.late(f"{effect}/arrival", refused("account_closed"), "ev_1")
    view = await parked(handle)
    assert view.attention is not None
    assert view.attention.owner == "treasury-operations"
    await decide(late, handle, f"{effect}/arrival", Outcome.REFUSED)
    assert await handle.result() == "settled"


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_payout_that_the_rail_has_after_it_had_failed_is_booked_and_followed(
    late: Settling, arrives: bool
) -> None:
    await late.shop.topped_up(10_000)
    payout = await failed_payout(late.shop)
    late.provider.answers["inquire"] = [DONE, PENDING, DONE if arrives else refused("unknown_account")]
    assert await late.settled(f"{payout}.p1", DONE) == "handed_over"
    assert await late.shop.posted(payable(late.shop.merchant).code) == (-6_000 if arrives else -10_000)
    assert await late.shop.stored(payout) == ("failed", 4_000 if arrives else 0, "unavailable")
    assert (await late.shop.events(payout))[-2:] == [
        "payout.accepted_late",
        "payout.paid_late" if arrives else "payout.failed_late",
    ]


async def test_an_arrival_after_the_failure_was_booked_waits_for_people(late: Settling) -> None:
    await late.shop.topped_up(10_000)
    payout = await failed_payout(late.shop)
    handle = await late.late(f"{payout}.p1/arrival", DONE, "ev_1")
    view = await parked(handle)
    assert view.attention is not None
    assert view.attention.owner == "treasury-operations"
    await decide(late, handle, f"{payout}.p1/arrival", Outcome.DONE)
    assert await handle.result() == "settled"


async def test_a_cancellation_does_not_stop_what_has_happened_from_being_settled(late: Settling) -> None:
    await late.shop.ended("voided")
    effect = await lost_capture(late.shop)
    late.provider.answers["refund"] = [refused("too_late")]
    handle = await late.late(effect, DONE, "ev_1")
    view = await parked(handle)
    await handle.cancel()
    assert view.attention is not None
    await handle.execute_update("retry", view.attention.reference)  # pyright: ignore[reportUnknownMemberType]
    assert await handle.result() == "settled"
    await nothing_is_owed(late.shop, captured=4_000)


async def failed_payout(shop: Shop) -> OperationId:
    """A payout of 40.00 that ended failed before the rail had it: what it reserved is released."""
    gate = shop.prepare(Prefix.PAYOUT, 4_000)
    assert (await shop.books.prepare_payout(gate)).outcome is Outcome.DONE
    await shop.release(gate)
    await shop.failed(gate.operation, 4_000, "unavailable")
    return gate.operation


async def nothing_is_owed(shop: Shop, captured: int) -> None:
    """What was captured late was given back: unsettled and payable cancel out, and nothing can be refunded."""
    assert await shop.posted(unsettled(shop.merchant).code) == -captured
    assert await shop.posted(payable(shop.merchant).code) == captured
    query = "SELECT captured - refunded AS left, captured FROM ledger.refundable WHERE payment = $1"
    row = await shop.pool.fetchrow(query, shop.pay)
    assert row is not None
    assert (row["left"], row["captured"]) == (0, captured)
