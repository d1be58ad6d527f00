"""Sweeps and batches over our real books: however often they are repeated, each payout happens once."""

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest
import pytest_asyncio
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import WorkflowIDReusePolicy

from contracts import queues
from contracts.payouts import BATCH_MAX, Batch, BatchReport, Sweep, Unpaid, batch_id
from domain.commands import Payout
from domain.ids import MerchantId, OperationId, Prefix
from domain.money import Money
from domain.outcomes import Moment, refused
from ledger.accounts import payable
from tests.support.booked_shop import Shop, euro, open_shop
from tests.support.cluster import Database, TestCluster
from tests.support.told import PROMISES, Settling, settling
from workflows.sweep import PayoutBatch, PayoutSweep

NUMBERS = itertools.count(1)


@pytest_asyncio.fixture
async def shop(pool: asyncpg.Pool, database: Database, cluster: TestCluster) -> AsyncGenerator[Shop]:
    async with open_shop(cluster, database, pool, f"sweeps_{next(NUMBERS)}") as opened:
        await opened.topped_up(10_000)
        yield opened


@pytest_asyncio.fixture
async def payouts(skipping: Client, shop: Shop) -> AsyncGenerator[Settling]:
    async with settling(skipping, shop) as running:
        yield running


def sweep_of(shop: Shop, minimum: int = 100, day: str = "2026-03-01") -> Sweep:
    return Sweep(
        client="books", mode="test", merchant=shop.merchant, minimum=euro(minimum), destination="acct_ok",
        promises=PROMISES, day=day,
    )  # fmt: skip


async def sweep(payouts: Settling, wanted: Sweep) -> str:
    run = f"sweep-{payouts.shop.merchant}-{next(NUMBERS)}"
    return await payouts.client.execute_workflow(PayoutSweep.run, wanted, id=run, task_queue=queues.PAYMENTS)


async def ended(payouts: Settling, said: str) -> str:
    """Wait for the payout that a sweep has started."""
    payout = OperationId(said.split()[1])
    return await payouts.client.get_workflow_handle(queues.workflow_id(payout), result_type=str).result()


async def owed(shop: Shop) -> int:
    return -await shop.posted(payable(shop.merchant).code)


async def test_a_sweep_pays_out_what_is_available_and_a_day_once(payouts: Settling) -> None:
    said = await sweep(payouts, sweep_of(payouts.shop))
    assert said.endswith("over 100.00 EUR")
    assert await ended(payouts, said) == "paid"
    assert await owed(payouts.shop) == 0
    await payouts.shop.topped_up(2_000, "2")
    assert (await sweep(payouts, sweep_of(payouts.shop))).startswith("swept before on 2026-03-01")
    assert await owed(payouts.shop) == 2_000
    said = await sweep(payouts, sweep_of(payouts.shop, day="2026-03-02"))
    assert await ended(payouts, said) == "paid"
    assert await owed(payouts.shop) == 0


async def test_a_sweep_leaves_what_is_held_and_what_is_below_the_minimum(payouts: Settling) -> None:
    await payouts.shop.books.prepare_payout(payouts.shop.prepare(Prefix.PAYOUT, 9_000))
    assert await sweep(payouts, sweep_of(payouts.shop, 1_001)) == (
        "nothing to pay out: 10.00 EUR is below the minimum of 10.01 EUR"
    )
    said = await sweep(payouts, sweep_of(payouts.shop, 1_000))
    assert said.endswith("over 10.00 EUR")
    await ended(payouts, said)


async def test_a_merchant_who_owes_is_not_swept(payouts: Settling) -> None:
    owing = replace(sweep_of(payouts.shop), minimum=Money(0, "USD"))
    assert (await sweep(payouts, owing)).startswith("nothing to pay out: 0.00 USD")


async def test_what_a_sweep_started_that_failed_is_swept_the_next_day(payouts: Settling) -> None:
    payouts.provider.answers["pay_out"] = [refused("account_closed")]
    assert await ended(payouts, await sweep(payouts, sweep_of(payouts.shop))) == "failed"
    assert await owed(payouts.shop) == 10_000
    assert await ended(payouts, await sweep(payouts, sweep_of(payouts.shop, day="2026-03-02"))) == "paid"


# Batches


def batch_of(shop: Shop, *amounts: int, key: str = "") -> Batch:
    """A batch of payouts; each is named by its place."""
    return Batch(
        id=key or f"{shop.merchant}-{next(NUMBERS)}",
        payouts=tuple(payout(shop, number, minor) for number, minor in enumerate(amounts)),
    )


def payout(shop: Shop, number: int, minor: int) -> Payout:
    return Payout(
        id=shop.id(Prefix.PAYOUT, f"batch {number}"), fingerprint=f"f{number}", client="books", merchant=shop.merchant,
        money=euro(minor), promises=PROMISES, admit_until=2e9, merchant_reference=f"no. {number}",
        destination="acct_ok",
    )  # fmt: skip


async def carry_out(payouts: Settling, batch: Batch) -> BatchReport:
    return await payouts.client.execute_workflow(
        PayoutBatch.run, batch, id=batch_id(batch.id), task_queue=queues.PAYMENTS,
        id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
    )  # fmt: skip


async def test_a_batch_tells_what_was_paid_and_what_was_not(payouts: Settling) -> None:
    batch = batch_of(payouts.shop, 1_000, 20_000, 3_000)
    report = await carry_out(payouts, batch)
    too_much = batch.payouts[1]
    unpaid = Unpaid(payout=too_much.id, merchant_reference="no. 1", money=euro(20_000), state="denied")
    assert report == BatchReport(payouts=3, started=3, known=0, paid=2, unpaid=(unpaid,))
    assert await owed(payouts.shop) == 6_000


async def test_a_payout_that_was_started_before_is_not_started_by_another_batch(payouts: Settling) -> None:
    await carry_out(payouts, batch_of(payouts.shop, 1_000, 2_000))
    report = await carry_out(payouts, batch_of(payouts.shop, 1_000, 2_000, 3_000))
    assert (report.started, report.known, report.paid) == (1, 2, 1)
    assert await owed(payouts.shop) == 4_000


async def test_a_batch_larger_than_what_is_started_at_once_is_carried_out_whole(payouts: Settling) -> None:
    report = await carry_out(payouts, batch_of(payouts.shop, *[100] * 45))
    assert (report.started, report.paid, report.unpaid) == (45, 45, ())
    assert await owed(payouts.shop) == 10_000 - 4_500


async def test_payouts_go_on_when_their_batch_is_canceled(payouts: Settling) -> None:
    batch = batch_of(payouts.shop, 1_000)
    payouts.provider.answers["inquire"] = ["none"] * 3
    handle = await payouts.client.start_workflow(
        PayoutBatch.run, batch, id=batch_id(batch.id), task_queue=queues.PAYMENTS, run_timeout=timedelta(days=30)
    )
    while (await handle.query(PayoutBatch.report)).started == 0:
        await asyncio.sleep(0.05)
    await handle.cancel()
    with suppress(WorkflowFailureError):  # it may have been quicker
        await handle.result()
    (one,) = batch.payouts
    run = payouts.client.get_workflow_handle(queues.workflow_id(one.id), result_type=str)
    assert await run.result() == "paid"
    moments: list[Moment] = await run.query("timeline", result_type=list[Moment])
    assert "cancel requested" not in {moment.what for moment in moments}
    assert await owed(payouts.shop) == 9_000


def test_a_batch_is_bounded_and_names_each_payout_once() -> None:
    one = Payout(
        id=OperationId("po_" + "0" * 26), fingerprint="f", client="c", merchant=MerchantId("m_1"), money=euro(1),
        promises=PROMISES, admit_until=0, destination="acct_ok",
    )  # fmt: skip
    with pytest.raises(ValueError, match="twice"):
        Batch(id="b", payouts=(one, one))
    for payouts in ((), (one,) * (BATCH_MAX + 1)):
        with pytest.raises(ValueError, match="1 to 500"):
            Batch(id="b", payouts=payouts)
