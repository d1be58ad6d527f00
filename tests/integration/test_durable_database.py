"""A process with real money refuses a database that may lose what it acknowledges; a developer's process says so."""

from collections.abc import AsyncGenerator

import asyncpg
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from tests.support.cluster import TestCluster, running_cluster
from workers import durability
from workers.embedded import postgres
from workers.settings import Mode


@pytest_asyncio.fixture(scope="module")
async def durable() -> AsyncGenerator[TestCluster]:
    """A cluster that waits for the disk, as every cluster with money does."""
    async with running_cluster(postgres.DURABLE) as running:
        yield running


async def _required(cluster: TestCluster, session: dict[str, str] | None = None) -> None:
    async with asyncpg.create_pool(cluster.admin_url, min_size=1, max_size=1, server_settings=session) as pool:
        await durability.require(pool, Mode.LIVE)


async def test_a_durable_database_is_taken(durable: TestCluster) -> None:
    await _required(durable)
    await _required(durable, {"synchronous_commit": "remote_apply"})


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("synchronous_commit", "off"),
        ("synchronous_commit", "local"),
        ("default_transaction_isolation", "serializable"),
        ("default_transaction_isolation", "read uncommitted"),
    ],
)
async def test_a_session_that_promises_too_little_is_refused(setting: str, value: str, durable: TestCluster) -> None:
    with pytest.raises(durability.NotDurable, match=f"{setting} is {value}"):
        await _required(durable, {setting: value})


async def test_a_cluster_that_does_not_wait_for_the_disk_is_refused_in_live_mode(pool: asyncpg.Pool) -> None:
    with pytest.raises(durability.NotDurable, match="fsync is off, must be on, full_page_writes is off"):
        await durability.require(pool, Mode.LIVE)


async def test_in_development_it_is_said_once(pool: asyncpg.Pool) -> None:
    with capture_logs() as said:
        await durability.require(pool, Mode.DEVELOPMENT)
    assert [line["event"] for line in said] == ["database.not_durable"]
