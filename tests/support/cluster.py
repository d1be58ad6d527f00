"""A Postgres cluster for a test session, and a fresh migrated database for each test that asks for one."""

import asyncio
import itertools
import secrets
import signal
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from workers.embedded import postgres
from workers.embedded.processes import Nursery, free_port
from workers.migrations import migrate

TEMPLATE = "template_holdfast"
READY_SECONDS = 30


@dataclass(frozen=True)
class Database:
    """One database: `url` as the product connects, `admin_url` as a superuser."""

    name: str
    url: str
    admin_url: str


class TestCluster:
    """A private cluster. Nothing in it outlives the session, so it need not wait for the disk."""

    __test__ = False

    def __init__(self, cluster: postgres.Cluster) -> None:
        self.cluster = cluster
        self.password = secrets.token_urlsafe(12)
        self._numbers = itertools.count(1)

    @property
    def admin_url(self) -> str:
        return self.cluster.url()

    async def create(self, template: str | None = TEMPLATE) -> Database:
        """Create a database, as a copy of the migrated template unless told otherwise."""
        name = f"test_{next(self._numbers)}"
        connection = await asyncpg.connect(self.admin_url)
        await connection.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
        await connection.close()
        return self.database(name)

    async def drop(self, database: Database) -> None:
        """Drop a database, whoever is still connected."""
        connection = await asyncpg.connect(self.admin_url)
        await connection.execute(f"DROP DATABASE IF EXISTS {database.name} WITH (FORCE)")
        await connection.close()

    def database(self, name: str) -> Database:
        """The addresses of a database of this cluster."""
        url = self.cluster.url(name, user="holdfast", password=self.password)
        return Database(name, url, self.cluster.url(name))


async def ready(url: str) -> None:
    """Wait until the server takes connections."""
    async with asyncio.timeout(READY_SECONDS):
        while True:
            try:
                await (await asyncpg.connect(url)).close()
                return
            except (OSError, asyncpg.CannotConnectNowError):
                await asyncio.sleep(0.05)


@asynccontextmanager
async def running_cluster(settings: tuple[str, ...] = postgres.FAST) -> AsyncGenerator[TestCluster]:
    """Run a cluster with a migrated template database, and remove it without a trace."""
    with tempfile.TemporaryDirectory(prefix="holdfast-test-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        cluster = postgres.prepare(home, free_port())
        nursery = Nursery(home / "logs")
        try:
            nursery.start("postgres", cluster.command(*settings), stop=signal.SIGINT, user=cluster.user)
            await ready(cluster.url())
            made = TestCluster(cluster)
            connection = await asyncpg.connect(made.admin_url)
            await connection.execute(f"CREATE DATABASE {TEMPLATE}")
            await connection.close()
            await migrate(cluster.url(TEMPLATE), made.password)
            yield made
        finally:
            nursery.close()
            postgres.remove(home)
