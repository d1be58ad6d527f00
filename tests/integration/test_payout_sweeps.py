"""The schedule of a sweep on a real server: made once, brought up to date, begun at once, removed."""

from collections.abc import AsyncGenerator

import pytest_asyncio
from temporalio.client import Client

from contracts.payloads import DATA_CONVERTER
from contracts.payouts import Sweep, sweep_id
from domain.ids import MerchantId
from domain.money import Money
from tests.support.stack import running_temporal
from tests.support.told import PROMISES
from workers import schedules

SWEEP = Sweep(
    client="operations", mode="test", merchant=MerchantId("m_bakery"), minimum=Money(100, "EUR"),
    destination="acct_ok", promises=PROMISES,
)  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server() -> AsyncGenerator[Client]:
    async with running_temporal() as running:
        yield await Client.connect(running.target, data_converter=DATA_CONVERTER)


async def test_a_sweep_is_scheduled_once_changed_begun_and_removed(server: Client) -> None:
    await schedules.ensure_sweep(server, SWEEP, 5)
    await schedules.ensure_sweep(server, SWEEP, 7)
    described = await server.get_schedule_handle(sweep_id(SWEEP)).describe()
    (hours,) = described.schedule.spec.calendars[0].hour
    assert hours.start == 7
    await schedules.sweep_now(server, SWEEP)
    begun = [each async for each in server.list_workflows("WorkflowType = 'PayoutSweep'")]
    while not begun:  # visibility follows a moment later
        begun = [each async for each in server.list_workflows("WorkflowType = 'PayoutSweep'")]
    assert begun[0].id.startswith("payout-sweep/m_bakery/EUR/run-")
    assert await schedules.remove_sweep(server, SWEEP)
    assert not await schedules.remove_sweep(server, SWEEP)
