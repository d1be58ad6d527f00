"""A private server that keeps what it acknowledges, for one bench; knows neither the product nor what is measured.

Every goal is a ratio to a floor on this same server. So it waits for the disk, as one that holds money does, and its
settings are the same for both sides.
"""

import asyncio
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from workers.embedded import postgres
from workers.embedded.processes import Nursery, free_port

READY_SECONDS = 30
FSYNC_SECONDS = 1  # thousands of writes
SETTINGS = (
    *postgres.DURABLE,
    "shared_buffers=1GB",  # everything but the grown book fits
    "max_wal_size=8GB",  # no checkpoint is forced by volume within a round; the timed ones stay
    "checkpoint_timeout=15min",
    "max_connections=400",  # the floor opens 256 of its own
    "jit=off",  # compiling costs more than any statement here takes
)


@dataclass(frozen=True)
class Server:
    """A running server; addresses are the superuser's unless told otherwise."""

    cluster: postgres.Cluster

    def url(self, database: str = "postgres") -> str:
        """The superuser's address of a database."""
        return self.cluster.url(database)

    def program(self, name: str) -> str:
        """Where one of the server's own programs is."""
        return str(self.cluster.binaries / name)

    @property
    def environment(self) -> dict[str, str]:
        """What the server's own programs need in order to connect as the superuser."""
        return {
            **os.environ,
            "PGHOST": postgres.HOST,
            "PGPORT": str(self.cluster.port),
            "PGUSER": postgres.SUPERUSER,
            "PGPASSWORD": self.cluster.password,
        }


@asynccontextmanager
async def running_server() -> AsyncGenerator[Server]:
    """Run a server of our own on a free port, and remove it without a trace."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
        home = Path(folder)
        home.chmod(0o755)  # the server may run as somebody else
        cluster = postgres.prepare(home, free_port())
        nursery = Nursery(home / "logs")
        try:
            nursery.start("postgres", cluster.command(*SETTINGS), stop=signal.SIGINT, user=cluster.user)
            await _ready(cluster.url())
            await _shorten_handshakes(cluster)
            yield Server(cluster)
        finally:
            nursery.close()
            postgres.remove(home)


def pool_of(url: str, connections: int) -> asyncpg.Pool:
    """Make a pool whose connections are all there from the beginning, and are not reset after each use: a worker's too
    saves that round trip.
    """
    return asyncpg.create_pool(url, min_size=connections, max_size=connections, reset=_nothing_to_reset)


async def _nothing_to_reset(_connection: object) -> None:
    """What is asked here leaves nothing behind in a session."""


async def _ready(url: str) -> None:
    async with asyncio.timeout(READY_SECONDS):
        while True:
            try:
                await (await asyncpg.connect(url)).close()
                return
            except (OSError, asyncpg.CannotConnectNowError):
                await asyncio.sleep(0.05)


async def _shorten_handshakes(cluster: postgres.Cluster) -> None:
    """Have a password checked by one hash and not 4,096: connecting must not take a good part of a cell."""
    connection = await asyncpg.connect(cluster.url())
    await connection.execute("ALTER SYSTEM SET scram_iterations = 1")
    await connection.execute("SET scram_iterations = 1")
    await connection.execute(
        f"ALTER ROLE {postgres.SUPERUSER} PASSWORD '{cluster.password}'"
    )  # its letters are harmless
    await connection.close()


def fsync_per_second(server: Server) -> float:
    """How often a second the server's disk confirms one 8 KiB write by fdatasync, which is what a commit waits for."""
    file = server.cluster.data.parent / "fsync"  # beside the data, on the same disk
    command = [server.program("pg_test_fsync"), "-s", str(FSYNC_SECONDS), "-f", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.match(r"\s*fdatasync\s+([\d.]+) ops/sec", line):
                process.terminate()  # the other methods take a quarter of a minute; it removes its file
                return float(found.group(1))
    raise AssertionError("pg_test_fsync did not speak of fdatasync")


async def settings_of(server: Server) -> str:
    """The settings that decide what the figures mean, as the server has them."""
    names = (
        "server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers",
        "commit_delay", "max_wal_size",
    )  # fmt: skip
    connection = await asyncpg.connect(server.url())
    try:
        return ", ".join([f"{name}={await connection.fetchval('SELECT current_setting($1)', name)}" for name in names])
    finally:
        await connection.close()
