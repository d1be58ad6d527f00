"""Disputes over our real books: whatever the order in which a provider tells, each movement is booked once.

A dispute lives for months: where only its end matters the server's clock skips (`told`); where something is to be seen
on the way it does not (`watched`), since it would have passed.
"""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
import pytest_asyncio
from temporalio.client import Client, WorkflowUpdateFailedError

from contracts.disputes import Evidence
from contracts.payloads import DATA_CONVERTER
from domain.ids import Prefix
from domain.outcomes import DisputeNews, DisputeStage, Outcome, View
from ledger.accounts import DISPUTED_FUNDS, payable
from tests.support.booked_shop import Shop, open_shop
from tests.support.cluster import Database, TestCluster
from tests.support.stack import running_temporal
from tests.support.told import Handle, Settling, decide, parked, settling

OPENED, WITHDRAWN, WON, LOST = DisputeStage
pytestmark = pytest.mark.usefixtures("nobody_else_is_asked")
NUMBERS = itertools.count(1)
A_DAY = timedelta(days=1)
LOOK_SECONDS = 0.05  # between two looks at what will be so


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def ticking() -> AsyncGenerator[Client]:
    async with running_temporal() as server:
        yield await Client.connect(server.target, data_converter=DATA_CONVERTER)


@pytest_asyncio.fixture
async def shop(pool: asyncpg.Pool, database: Database, cluster: TestCluster) -> AsyncGenerator[Shop]:
    async with open_shop(cluster, database, pool, f"disputes_{next(NUMBERS)}") as opened:
        await opened.captured(10_000)
        yield opened


@pytest_asyncio.fixture
async def told(skipping: Client, shop: Shop) -> AsyncGenerator[Settling]:
    async with settling(skipping, shop) as running:
        yield running


@pytest_asyncio.fixture
async def watched(ticking: Client, shop: Shop) -> AsyncGenerator[Settling]:
    async with settling(ticking, shop) as running:
        yield running


async def tell(told: Settling, *news: DisputeNews) -> Handle:
    """Tell all of it before a worker can take the first, as far as the server is concerned: one after another."""
    handle = await told.tell(news[0])
    for each in news[1:]:
        await told.tell(each)
    return handle


async def state_of(told: Settling) -> tuple[str, int, str]:
    return await told.shop.stored(told.shop.id(Prefix.DISPUTE))


async def merchants_loss(told: Settling) -> int:
    """What the merchant has lost for good, in minor units."""
    return await told.shop.posted(payable(told.shop.merchant).code)


async def held(told: Settling) -> int:
    """What of the merchant's is held until it is decided."""
    query = "SELECT coalesce(sum(remaining), 0)::bigint FROM ledger.hold WHERE reference LIKE $1"
    return await told.shop.pool.fetchval(query, f"simulator:{told.shop.merchant}-%")


async def is_in(told: Settling, state: str, total: int | None = None) -> None:
    """Wait until the dispute's row says so."""
    while True:
        row = await told.shop.operations.dispute(told.shop.id(Prefix.DISPUTE))
        if row and row.state == state and total in (None, row.total.minor):
            return
        await asyncio.sleep(LOOK_SECONDS)


@pytest.mark.parametrize("order", list(itertools.permutations((0, 1, 2))))
async def test_a_lost_dispute_is_the_merchants_loss_in_whatever_order_it_is_told(
    told: Settling, order: Sequence[int]
) -> None:
    all_news = (told.news(OPENED, "o"), told.news(WITHDRAWN, "w"), told.news(LOST, "l"))
    in_order = [all_news[at] for at in order]
    handle = await tell(told, *(each for each in in_order for _ in range(2)))  # each twice
    assert await handle.result() == "lost"
    assert (await merchants_loss(told), await held(told)) == (3_000, 0)
    assert await state_of(told) == ("lost", 3_000, "fraud")


@pytest.mark.parametrize("order", list(itertools.permutations((0, 1, 2))))
async def test_a_won_dispute_closes_when_nobody_takes_it_up_again(told: Settling, order: Sequence[int]) -> None:
    all_news = (told.news(OPENED, "o"), told.news(WITHDRAWN, "w"), told.news(WON, "d"))
    handle = await tell(told, *(all_news[at] for at in order))
    assert await handle.result() == "closed"
    assert (await merchants_loss(told), await held(told)) == (0, 0)
    assert await state_of(told) == ("closed", 0, "fraud")
    assert not await told.shop.operations.disputed(told.shop.pay)
    assert (await lasted(handle)) >= timedelta(days=120)


async def test_a_dispute_that_is_taken_up_again_withdraws_anew_under_a_key_of_its_own(watched: Settling) -> None:
    handle = await tell(watched, watched.news(WITHDRAWN, "w1"), watched.news(WON, "d1"))
    await is_in(watched, "won", 0)
    await tell(watched, watched.news(WITHDRAWN, "w2"))
    await is_in(watched, "funds_withdrawn", 3_000)
    assert await held(watched) == 3_000
    await tell(watched, watched.news(LOST, "d2"))
    assert await handle.result() == "lost"
    assert (await merchants_loss(watched), await held(watched)) == (3_000, 0)
    assert await watched.shop.posted(DISPUTED_FUNDS.code) == 0


async def test_the_second_turn_may_be_told_in_disorder_too(watched: Settling) -> None:
    handle = await tell(watched, watched.news(LOST, "d2", 2_000), watched.news(WON, "d1"))
    await tell(watched, watched.news(WITHDRAWN, "w1"))
    await is_in(watched, "won", 0)
    await tell(watched, watched.news(WITHDRAWN, "w2", 2_000))
    assert await handle.result() == "lost"
    assert (await merchants_loss(watched), await held(watched)) == (2_000, 0)


async def test_a_dispute_that_is_won_in_part_holds_the_rest_until_that_is_decided(watched: Settling) -> None:
    handle = await tell(watched, watched.news(WITHDRAWN, "w"), watched.news(WON, "d1", 1_000))
    await is_in(watched, "funds_withdrawn", 2_000)
    assert await held(watched) == 2_000
    await tell(watched, watched.news(LOST, "d2", 2_000))
    assert await handle.result() == "lost"
    assert (await merchants_loss(watched), await held(watched)) == (2_000, 0)


async def test_a_dispute_that_was_only_asked_about_is_won_without_money(told: Settling) -> None:
    handle = await tell(told, told.news(OPENED, "o"), told.news(WON, "d"))
    assert await handle.result() == "closed"
    assert (await merchants_loss(told), await held(told)) == (0, 0)
    assert (await told.shop.events(told.shop.id(Prefix.DISPUTE)))[-2:] == ["dispute.won", "dispute.closed"]


async def test_a_loss_without_a_withdrawal_waits_for_people_and_for_the_withdrawal(told: Settling) -> None:
    handle = await tell(told, told.news(LOST, "d"))
    view = await parked(handle)
    assert view.attention is not None
    assert view.attention.owner.startswith("disputes-operations")
    assert view.attention.reference == f"{told.shop.id(Prefix.DISPUTE)}/withdrawal"
    await tell(told, told.news(WITHDRAWN, "w"))
    assert await handle.result() == "lost"
    assert (await merchants_loss(told), await held(told)) == (3_000, 0)


async def test_a_loss_that_moved_no_money_ends_when_two_people_say_so(told: Settling) -> None:
    handle = await tell(told, told.news(LOST, "d"))
    view = await parked(handle)
    assert view.attention is not None
    await decide(told, handle, view.attention.reference, Outcome.DONE)
    assert await handle.result() == "lost"
    assert (await merchants_loss(told), await held(told)) == (0, 0)


async def test_a_decision_over_more_than_was_withdrawn_waits_for_people(told: Settling) -> None:
    handle = await tell(told, told.news(WITHDRAWN, "w", 1_000), told.news(WON, "d", 3_000))
    view = await parked(handle)
    assert view.attention is not None
    assert view.attention.reference == f"{told.shop.id(Prefix.DISPUTE)}/withdrawal"
    assert await held(told) == 1_000
    await tell(told, told.news(WITHDRAWN, "w2", 3_000))  # then it was about another one
    await tell(told, told.news(LOST, "d2", 1_000))
    assert await handle.result() == "lost"
    assert (await merchants_loss(told), await held(told)) == (1_000, 0)


@pytest.mark.parametrize(("outcome", "ends", "loss"), [(Outcome.REFUSED, "lost", 3_000), (Outcome.DONE, "closed", 0)])
async def test_a_dispute_of_which_nothing_is_told_any_more_is_decided_by_people(
    told: Settling, outcome: Outcome, ends: str, loss: int
) -> None:
    handle = await tell(told, told.news(WITHDRAWN, "w"))
    view = await parked(handle)
    assert view.attention is not None
    assert view.attention.reference == f"{told.shop.id(Prefix.DISPUTE)}/decision"
    await decide(told, handle, view.attention.reference, outcome)
    assert await handle.result() == ends
    assert (await merchants_loss(told), await held(told)) == (loss, 0)


async def test_a_day_before_evidence_is_due_a_person_is_asked_and_money_goes_on_meanwhile(watched: Settling) -> None:
    due = datetime.now(UTC) + A_DAY / 2
    handle = await tell(watched, watched.news(OPENED, "o", evidence_due=due.isoformat()))
    view = await parked(handle)
    wanted = view.attention
    assert wanted is not None
    assert (wanted.owner, wanted.update, wanted.deadline) == ("disputes-operations", "evidence", due.isoformat())
    await tell(watched, watched.news(WITHDRAWN, "w"))
    await is_in(watched, "funds_withdrawn")
    assert (await parked(handle)).attention is not None  # money that moves answers nothing
    answer = await handle.execute_update(  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        "evidence", Evidence(who="ann", what="the signed receipt")
    )
    assert answer == "handed in by ann"
    view = await handle.query("view", result_type=View)
    assert view.attention is None
    await tell(watched, watched.news(LOST, "d"))
    assert await handle.result() == "lost"
    assert "dispute.evidence_missed" not in await watched.shop.events(watched.shop.id(Prefix.DISPUTE))


async def test_nobody_is_asked_for_evidence_long_before_it_is_due(watched: Settling) -> None:
    due = datetime.now(UTC) + 10 * A_DAY
    handle = await tell(watched, watched.news(WITHDRAWN, "w", evidence_due=due.isoformat()))
    await is_in(watched, "funds_withdrawn")
    view: View = await handle.query("view", result_type=View)
    assert view.attention is None
    await tell(watched, watched.news(LOST, "d"))
    await handle.result()


async def test_evidence_that_nobody_hands_in_is_missed_and_the_dispute_goes_on(told: Settling) -> None:
    due = datetime.now(UTC) + 10 * A_DAY
    handle = await tell(told, told.news(WITHDRAWN, "w", evidence_due=due.isoformat()))
    dispute = told.shop.id(Prefix.DISPUTE)
    while "dispute.evidence_missed" not in await told.shop.events(dispute):
        await asyncio.sleep(LOOK_SECONDS)
    await tell(told, told.news(LOST, "d"))
    assert await handle.result() == "lost"


async def test_evidence_says_who_and_what(watched: Settling) -> None:
    handle = await tell(watched, watched.news(OPENED, "o"))
    for evidence in (Evidence(who="", what="a receipt"), Evidence(who="ann", what="…")):
        with pytest.raises(WorkflowUpdateFailedError):
            await handle.execute_update("evidence", evidence)  # pyright: ignore[reportUnknownMemberType]
    await tell(watched, watched.news(WITHDRAWN, "w"), watched.news(LOST, "d"))
    assert await handle.result() == "lost"


async def test_refunds_are_refused_from_the_first_news_until_it_is_decided(watched: Settling) -> None:
    handle = await tell(watched, watched.news(OPENED, "o"))
    await is_in(watched, "opened")
    books = watched.shop.books
    refund = watched.shop.prepare(Prefix.REFUND, 100, payment=watched.shop.pay)
    assert (await books.prepare_refund(refund)).reason == "payment_disputed"
    await tell(watched, watched.news(WITHDRAWN, "w"), watched.news(LOST, "d"))
    await handle.result()
    too_much = watched.shop.prepare(Prefix.REFUND, 7_001, "2", payment=watched.shop.pay)
    assert (await books.prepare_refund(too_much)).reason == "refund_exceeds_captured"
    rest = watched.shop.prepare(Prefix.REFUND, 7_000, "3", payment=watched.shop.pay)
    assert (await books.prepare_refund(rest)).outcome is Outcome.DONE


async def test_a_cancellation_does_not_end_a_dispute(watched: Settling) -> None:
    handle = await tell(watched, watched.news(WITHDRAWN, "w"))
    await is_in(watched, "funds_withdrawn")
    await handle.cancel()
    await tell(watched, watched.news(LOST, "d"))
    assert await handle.result() == "lost"


async def lasted(handle: Handle) -> timedelta:
    """How long the run has lived by its own clock."""
    described = await handle.describe()
    assert described.close_time is not None
    return described.close_time - described.start_time
