"""Upkeep on its schedules, with the real Temporal and the real database: each is triggered, and its effect is seen."""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from pydantic import SecretStr
from structlog.testing import capture_logs
from temporalio.client import Client, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.testing import ActivityEnvironment

import activities.upkeep
from contracts.payloads import DATA_CONVERTER
from contracts.upkeep import Acknowledgement
from domain.ids import ClientId, MerchantId, OperationId, Prefix
from domain.money import Money
from ledger.journal import Journal
from ledger.seal_keys import SealKey
from records.claims import Claimed, Claims
from tests.support.cluster import Database, TestCluster
from tests.support.ledger_flows import Flows, operation
from tests.support.stack import TemporalServer
from workers import schedules
from workers.ledger_upkeep import NoSealKey
from workers.settings import Settings
from workers.wiring import upkeep, upkeep_database, upkeep_worker

flows = Flows(merchant=MerchantId("m_bakery"))
SECONDS = 30.0  # measured: half a second on an idle machine


@dataclass(frozen=True)
class Upkept:
    """An upkeep process's parts over a database of its own."""

    client: Client
    settings: Settings
    pool: asyncpg.Pool  # as upkeep connects

    async def triggered(self, schedule: str) -> WorkflowHandle[Any, str]:
        """Trigger a schedule; the run that it starts."""
        handle = self.client.get_schedule_handle(schedule)
        before = {action.action.workflow_id for action in await self._actions(schedule)}
        if before:
            await asyncio.sleep(1.1)  # a run is named by the second of its start
        await handle.trigger()
        async with asyncio.timeout(SECONDS):
            while True:
                for action in await self._actions(schedule):
                    if action.action.workflow_id not in before:
                        return self.client.get_workflow_handle(action.action.workflow_id, result_type=str)
                await asyncio.sleep(0.1)

    async def result(self, schedule: str) -> str:
        async with asyncio.timeout(SECONDS):
            return await (await self.triggered(schedule)).result()

    async def _actions(self, schedule: str) -> list[Any]:
        described = await self.client.get_schedule_handle(schedule).describe()
        return list(described.info.recent_actions)


def settings_for(database: Database, cluster: TestCluster, folder: Path) -> Settings:
    """The settings of an upkeep process over a database."""
    key = SealKey.generate()
    url = cluster.cluster.url(database.name, user="holdfast_upkeep", password=cluster.password)
    return Settings(
        upkeep_database_url=SecretStr(url),
        seal_key=SecretStr(key.text),
        seal_public_keys=key.public.text,
        seal_file=folder / "seals.jsonl",
        archive_directory=folder / "archive",
        archive_after_months=24,
    )


@pytest_asyncio.fixture
async def upkept(
    temporal: TemporalServer, database: Database, cluster: TestCluster, pool: asyncpg.Pool, tmp_path: Path
) -> AsyncGenerator[Upkept]:
    """Upkeep at work on a book with a top-up in it."""
    assert (await Journal(pool).post(flows.top_up("one", Money(10_050, "EUR")))).stands
    settings = settings_for(database, cluster, tmp_path)
    client = await Client.connect(temporal.target, data_converter=DATA_CONVERTER)
    async with upkeep_database(settings) as ours, upkeep_worker(client, settings, upkeep(ours, settings)):
        await schedules.ensure(client)
        yield Upkept(client, settings, ours)
    for task in schedules.TASKS:
        await client.get_schedule_handle(task.id).delete()


async def acknowledged(run: WorkflowHandle[Any, str], acknowledgement: Acknowledgement) -> str:
    """Send the update as the page beside the run tells."""
    return await run.execute_update("acknowledge", acknowledgement, result_type=str)  # pyright: ignore[reportUnknownMemberType]


async def test_months_are_made_ahead(upkept: Upkept) -> None:
    assert await upkept.result("ledger-months") == "12 months ahead"


async def test_what_was_posted_is_sealed(upkept: Upkept) -> None:
    told = await upkept.result("ledger-seal")
    assert "under 1 new seals" in told
    assert await upkept.pool.fetchval("SELECT count(*) FROM ledger.seal") == 1
    assert len(upkept.settings.seal_file.read_text().splitlines()) == 1


async def test_a_sound_book_is_fine(upkept: Upkept) -> None:
    await upkept.result("ledger-seal")
    assert (await upkept.result("ledger-verify")).startswith("fine: ")


async def test_a_broken_book_waits_for_a_person_who_takes_it(upkept: Upkept, admin_pool: asyncpg.Pool) -> None:
    await admin_pool.execute("UPDATE ledger.balance SET posted = posted + 1 WHERE posted > 0")
    run = await upkept.triggered("ledger-verify")
    asks = f'WorkflowId="{run.id}" AND NeedsAttention=true AND Owner="ledger-operations"'
    async with asyncio.timeout(SECONDS):
        while not [each async for each in upkept.client.list_workflows(asks)]:
            await asyncio.sleep(0.1)
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await acknowledged(run, Acknowledgement(who=" ", why="?"))
    assert "say who has it in hand" in str(refused.value.cause)
    taken = Acknowledgement(who="ada", why="incident 12, restoring from the standby")
    assert await acknowledged(run, taken) == "taken by ada"
    told = await run.result()
    assert told.startswith("broken: a balance is not the sum of its postings, holdfast:bank EUR: ")
    assert told.endswith("; taken by ada: incident 12, restoring from the standby")


async def test_old_months_are_archived(upkept: Upkept, admin_pool: asyncpg.Pool) -> None:
    assert await upkept.result("ledger-archive") == "no month is due"
    await admin_pool.execute("SET ROLE ledger_owner; SELECT ledger.add_month(date '2020-01-01'); RESET ROLE")
    assert await upkept.result("ledger-archive") == "archived 2020-01"
    assert await upkept.result("ledger-archive") == "no month is due"
    assert [path.name for path in upkept.settings.archive_directory.rglob("*.json")]


async def test_claims_whose_time_is_over_are_removed(
    upkept: Upkept, pool: asyncpg.Pool, admin_pool: asyncpg.Pool
) -> None:
    claims, payment = Claims(pool), operation(Prefix.PAYMENT, "claimed")
    claimed = await claims.claim(ClientId("tests"), "test", "key", "authorize", b"f" * 32, OperationId(payment), 30)
    assert isinstance(claimed, Claimed)
    await claims.finish(ClientId("tests"), "test", "key", claimed.fence, 201, {}, b"{}")
    assert await upkept.result("claims-purge") == "0 claims removed"
    await admin_pool.execute("UPDATE records.claim SET expires_at = now() - interval '1 second'")
    assert await upkept.result("claims-purge") == "1 claims removed"


async def test_schedules_are_made_once_and_a_paused_one_stays_paused(upkept: Upkept) -> None:
    await upkept.client.get_schedule_handle("ledger-archive").pause()
    await schedules.ensure(upkept.client)
    described = await upkept.client.get_schedule_handle("ledger-archive").describe()
    assert described.schedule.state.paused
    assert described.schedule.spec.calendars == schedules.TASKS[3].spec.calendars


async def test_a_task_that_keeps_failing_calls_a_person(upkept: Upkept) -> None:
    part = upkeep(upkept.pool, upkept.settings)
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, attempt=8)
    with capture_logs() as said:
        await environment.run(part.purge_claims)
    assert [(line["event"], line["log_level"]) for line in said] == [("upkeep.keeps_failing", "error")]


async def test_missing_months_and_a_lagging_seal_raise_alarms(
    upkept: Upkept, admin_pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = upkeep(upkept.pool, upkept.settings)
    await admin_pool.execute(DROP_COMING_MONTHS)
    monkeypatch.setattr(activities.upkeep, "LAG_SECONDS_MAX", -1.0)
    with capture_logs() as said:
        assert (await ActivityEnvironment().run(part.ensure_months)).ahead == 12
        await ActivityEnvironment().run(part.seal)
    assert [line["event"] for line in said if line["log_level"] == "error"] == [
        "ledger.months_missing",
        "ledger.seal_lag",
    ]


def test_upkeep_does_not_start_without_a_key(pool: asyncpg.Pool) -> None:
    with pytest.raises(NoSealKey, match="new-seal-key"):
        upkeep(pool, Settings())


DROP_COMING_MONTHS = """
DO $$
DECLARE part text;
BEGIN
    FOR part IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent IN ('ledger.entry'::regclass, 'ledger.posting'::regclass)
          AND right(c.relname, 6) > to_char(now() AT TIME ZONE 'UTC', 'YYYYMM')
    LOOP
        EXECUTE format('DROP TABLE ledger.%I', part);
    END LOOP;
END
$$
"""
