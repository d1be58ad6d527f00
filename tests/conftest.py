"""Fixtures: the real things, each started once per session or made afresh per test."""

from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from tests.support.cluster import Database, TestCluster, running_cluster
from tests.support.live import Live, connected, running_stack
from tests.support.simulator import RunningSimulator, running_simulator
from tests.support.stack import TemporalServer, running_temporal
from workers.embedded.stack import Stack


@pytest_asyncio.fixture(scope="session")
async def cluster() -> AsyncGenerator[TestCluster]:
    """A Postgres cluster with a migrated template."""
    async with running_cluster() as running:
        yield running


@pytest_asyncio.fixture
async def database(cluster: TestCluster) -> AsyncGenerator[Database]:
    """A fresh migrated database."""
    made = await cluster.create()
    yield made
    await cluster.drop(made)


@pytest_asyncio.fixture
async def pool(database: Database) -> AsyncGenerator[asyncpg.Pool]:
    """A pool as the product connects."""
    async with asyncpg.create_pool(database.url, min_size=1, max_size=20) as made:
        yield made


@pytest_asyncio.fixture
async def admin_pool(database: Database) -> AsyncGenerator[asyncpg.Pool]:
    """A pool of a superuser."""
    async with asyncpg.create_pool(database.admin_url, min_size=1, max_size=5) as made:
        yield made


@pytest_asyncio.fixture(scope="session")
async def temporal() -> AsyncGenerator[TemporalServer]:
    """A Temporal server in memory, its namespace and search attributes ready."""
    async with running_temporal() as running:
        yield running


@pytest.fixture(scope="session")
def stack() -> Generator[tuple[Stack, Path]]:
    """The whole stack, as processes."""
    with running_stack() as running:
        yield running


@pytest_asyncio.fixture(scope="session")
async def live(stack: tuple[Stack, Path]) -> AsyncGenerator[Live]:
    """The whole stack, with clients of it."""
    async with connected(*stack) as live:
        yield live


@pytest_asyncio.fixture
async def simulator() -> AsyncGenerator[RunningSimulator]:
    """A provider simulator with empty books."""
    async with running_simulator() as running:
        yield running
