"""Our own books as activities, on the real database: gates that are refused for good, facts taken back as booked."""

import itertools
from collections.abc import AsyncGenerator
from dataclasses import replace

import asyncpg
import pytest_asyncio

from domain.commands import Approval, Available, Note, Standing
from domain.ids import OperationId, Prefix, Reference
from domain.money import Money
from domain.outcomes import Answer, Decision, Outcome, Reason
from ledger.accounts import DISPUTED_FUNDS, FEE_INCOME, payable, unsettled
from ledger.journal import Status
from ledger.postings import refund_reserve
from records.approvals import Approvals
from tests.support.booked_shop import Shop, euro, open_shop
from tests.support.cluster import Database, TestCluster

NUMBERS = itertools.count(1)


@pytest_asyncio.fixture(scope="module")
async def database(cluster: TestCluster) -> AsyncGenerator[Database]:
    """One database for all tests here: each has a merchant of its own."""
    made = await cluster.create()
    yield made
    await cluster.drop(made)


@pytest_asyncio.fixture
async def shop(pool: asyncpg.Pool, database: Database, cluster: TestCluster) -> AsyncGenerator[Shop]:
    async with open_shop(cluster, database, pool, f"books_{next(NUMBERS)}") as opened:
        yield opened


async def test_an_open_dispute_refuses_a_refund_for_good(shop: Shop) -> None:
    await shop.captured(10_000)
    refund = shop.prepare(Prefix.REFUND, 1_000, payment=shop.pay)
    assert (await shop.books.prepare_dispute(shop.prepare(Prefix.DISPUTE, 500, payment=shop.pay))).outcome == "done"
    assert await shop.books.prepare_refund(refund) == Answer(outcome=Outcome.REFUSED, reason=Reason.PAYMENT_DISPUTED)
    assert await shop.holds(refund.reference) == 0
    await shop.books.note(Note(rows=(shop.row(shop.id(Prefix.DISPUTE), "lost", 500, 500),)))
    late = await shop.journal.post(refund_reserve(refund))
    assert late.status is Status.HOLD_NOT_OPEN  # an earlier call that was still on its way
    another = shop.prepare(Prefix.REFUND, 1_000, key="2", payment=shop.pay)
    assert (await shop.books.prepare_refund(another)).outcome is Outcome.DONE  # decided: the rest can be refunded


async def test_a_refund_that_is_reserved_stays_so_when_a_dispute_opens_before_its_answer_is_heard(shop: Shop) -> None:
    await shop.captured(10_000)
    refund = shop.prepare(Prefix.REFUND, 1_000, payment=shop.pay)
    assert (await shop.books.prepare_refund(refund)).outcome is Outcome.DONE
    await shop.books.prepare_dispute(shop.prepare(Prefix.DISPUTE, 500, payment=shop.pay))
    assert (await shop.books.prepare_refund(refund)).outcome is Outcome.DONE
    assert await shop.holds(refund.reference) == 1_000


async def test_a_capture_taken_back_is_booked_with_the_fee_it_had_and_the_payments_sum_is_the_ledgers(
    shop: Shop,
) -> None:
    first, second = await shop.captured(6_000, 4_000)
    for effect, minor in ((first, 6_000), (second, 4_000)):  # neither run knows of the other: both say what is left
        capture = OperationId(effect.split(".")[0])
        booking = shop.booking(
            effect,
            minor,
            "reversed",
            replace(shop.row(capture, "failed", minor, 0, "capture.reversed"), reason="bank_says_no"),
            shop.row(shop.pay, "captured", 10_000, 10_000 - minor),
        )
        for _ in range(2):
            assert (await shop.books.book_capture_failed(booking)).outcome is Outcome.DONE
    assert await shop.posted(unsettled(shop.merchant).code) == 0
    assert await shop.stored(shop.pay) == ("captured", 0, "")
    assert await shop.stored(OperationId(first.split(".")[0])) == ("failed", 0, "bank_says_no")
    assert (await shop.events(OperationId(first.split(".")[0])))[-1] == "capture.reversed"
    stands = await shop.books.stands(Standing(on=Reference(first), operation=OperationId(first.split(".")[0])))
    assert (stands.posted, stands.reversed, stands.payment, stands.amount) == (True, True, shop.pay, euro(6_000))


async def test_what_was_never_booked_is_not_taken_back(shop: Shop) -> None:
    await shop.captured(1_000)
    effect = f"{shop.id(Prefix.CAPTURE, 'unknown')}.c1"
    answer = await shop.books.book_capture_failed(shop.booking(effect, 500, "reversed"))
    assert answer.outcome is Outcome.CONFLICT


async def test_a_capture_that_a_void_has_found_counts_as_booked(shop: Shop) -> None:
    await shop.captured(1_000)
    found = replace(shop.booking(f"{shop.pay}.v1", 500), operation=shop.pay)
    assert (await shop.books.book_capture(found)).outcome is Outcome.DONE
    capture = shop.id(Prefix.CAPTURE, "lost")
    await shop.books.note(Note(rows=(shop.row(capture, "failed", 500, 0),)))
    stands = await shop.books.stands(Standing(on=Reference(f"{capture}.c1"), operation=capture))
    assert (stands.posted, stands.state) == (True, "failed")
    whole = await shop.books.stands(Standing(on=Reference(f"{shop.pay}.a1"), operation=shop.pay))
    assert whole.total == euro(1_500)


async def test_what_has_no_row_stands_nowhere(shop: Shop) -> None:
    stands = await shop.books.stands(Standing(on=Reference(f"{shop.pay}.a1"), operation=shop.pay))
    assert (stands.state, stands.posted, stands.reversed, stands.amount) == ("", False, False, None)


async def test_a_refund_taken_back_is_owed_to_the_merchant_again(shop: Shop) -> None:
    await shop.captured(10_000)
    effect = await shop.refunded(1_000)
    refund = OperationId(effect.split(".", maxsplit=1)[0])
    back = shop.booking(effect, 1_000, "reversed", shop.row(refund, "reversed", 1_000, 0))
    for _ in range(2):
        assert (await shop.books.book_refund_failed(back)).outcome is Outcome.DONE
    assert await shop.posted(payable(shop.merchant).code) == 0
    assert await shop.stored(refund) == ("reversed", 0, "")


async def test_a_payout_takes_the_place_of_one_that_failed_and_of_no_other(shop: Shop) -> None:
    await shop.topped_up(10_000)
    failed = shop.prepare(Prefix.PAYOUT, 1_000)
    assert (await shop.books.prepare_payout(failed)).outcome is Outcome.DONE
    not_yet = replace(shop.prepare(Prefix.PAYOUT, 1_000, "2"), replaces=failed.operation)
    refused = Answer(outcome=Outcome.REFUSED, reason=Reason.NOT_REPLACEABLE)
    assert await shop.books.prepare_payout(not_yet) == refused
    await shop.books.note(Note(rows=(replace(shop.row(failed.operation, "failed", 1_000, 0), payment=None),)))
    second = replace(shop.prepare(Prefix.PAYOUT, 1_000, "3"), replaces=failed.operation)
    for _ in range(2):  # the same again is answered the same
        assert (await shop.books.prepare_payout(second)).outcome is Outcome.DONE
    third = replace(shop.prepare(Prefix.PAYOUT, 1_000, "4"), replaces=failed.operation)
    assert await shop.books.prepare_payout(third) == refused
    await shop.books.note(Note(rows=(replace(shop.row(second.operation, "failed", 1_000, 0), payment=None),)))
    assert (await shop.books.prepare_payout(third)).outcome is Outcome.DONE
    row = await shop.operations.payout(third.operation)
    assert row is not None
    assert row.replaces == failed.operation


async def test_a_payout_that_came_back_is_in_our_bank_and_owed_again_however_often_it_is_told(shop: Shop) -> None:
    await shop.topped_up(10_000)
    effect = await shop.paid_out(4_000)
    payout = OperationId(effect.split(".", maxsplit=1)[0])
    assert await shop.books.available(Available(merchant=shop.merchant, currency="EUR")) == euro(6_000)
    returned = replace(shop.row(payout, "returned", 4_000, 0), payment=None)
    for step in ("returned", "returned-again"):
        back = replace(shop.booking(effect, 4_000, step, returned), payment=None, key="rt_1")
        assert (await shop.books.book_payout_returned(back)).outcome is Outcome.DONE
    assert await shop.books.available(Available(merchant=shop.merchant, currency="EUR")) == euro(10_000)
    assert await shop.stored(payout) == ("returned", 0, "")
    assert await shop.journal.standing("simulator:rt_1/") == {Reference("simulator:rt_1/returned")}


async def test_available_is_what_is_payable_and_not_held(shop: Shop) -> None:
    nothing = await shop.books.available(Available(merchant=shop.merchant, currency="EUR"))
    assert nothing == euro(0)
    await shop.topped_up(500)
    await shop.books.prepare_payout(shop.prepare(Prefix.PAYOUT, 200))
    assert await shop.books.available(Available(merchant=shop.merchant, currency="EUR")) == euro(300)
    assert await shop.books.available(Available(merchant=shop.merchant, currency="USD")) == Money(0, "USD")


async def test_a_dispute_moves_money_under_the_providers_keys_alone(shop: Shop) -> None:
    await shop.captured(10_000)
    dispute = shop.id(Prefix.DISPUTE)
    withdrawn = replace(shop.booking(f"{dispute}.x", 3_000, "withdrawn"), operation=dispute, key=f"w-{dispute}")
    for reference in ("withdrawn", "told-again"):
        again = replace(withdrawn, reference=Reference(f"{dispute}/{reference}"))
        assert (await shop.books.book_withdrawn(again)).outcome is Outcome.DONE
    before = await shop.posted(DISPUTED_FUNDS.code)
    assert await shop.books.available(Available(merchant=shop.merchant, currency="EUR")) == euro(-3_000)
    won = replace(withdrawn, key=f"d-{dispute}", withdrawal=f"w-{dispute}", final=True)
    assert (await shop.books.book_dispute_won(won)).outcome is Outcome.DONE
    assert before - await shop.posted(DISPUTED_FUNDS.code) == 3_000
    assert await shop.books.available(Available(merchant=shop.merchant, currency="EUR")) == euro(0)


async def test_an_increments_hold_stands_beside_the_first_one_until_that_is_released(shop: Shop) -> None:
    gate = shop.prepare(Prefix.PAYMENT, 10_000)
    await shop.books.prepare_payment(gate)
    increment = shop.prepare(Prefix.INCREMENT, 12_000, payment=shop.pay)
    assert (await shop.books.prepare_increment(increment)).outcome is Outcome.DONE
    release = replace(increment, reference=Reference(f"{increment.operation}/release"), on=increment.reference)
    assert (await shop.books.release(release)).outcome is Outcome.DONE
    assert await shop.holds(increment.reference) == 0
    assert await shop.holds(gate.reference) == 10_000


async def test_a_decision_is_taken_with_two_approvals_and_not_without(shop: Shop, pool: asyncpg.Pool) -> None:
    run, reference, evidence = f"payment/{shop.pay}", Reference(f"{shop.pay}.v1"), "seen in their books"
    approvals = Approvals(pool)
    ids = [await approvals.give(run, reference, Outcome.DONE, evidence, actor) for actor in ("ann", "bob")]
    said = Decision(reference=reference, outcome=Outcome.DONE, evidence=evidence, approvals=(ids[0], ids[1]))
    approval = Approval(reference=reference, run=run, decision=said)
    forged = replace(approval, decision=replace(said, evidence="something else"))
    assert (await shop.books.check_approvals(forged)).outcome is Outcome.REFUSED
    for _ in range(2):
        assert (await shop.books.check_approvals(approval)).outcome is Outcome.DONE


async def test_our_fee_goes_back_with_a_capture_that_is_taken_back(shop: Shop) -> None:
    before = await shop.posted(FEE_INCOME.code)
    (effect,) = await shop.captured(10_000)
    assert await shop.posted(FEE_INCOME.code) == before - 100
    await shop.books.book_capture_failed(shop.booking(effect, 1, "reversed"))
    assert await shop.posted(FEE_INCOME.code) == before
