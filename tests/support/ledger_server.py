"""A Postgres of its own for what kills it or fills its disk: durable, a direct child of the test, and started again."""

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from tests.support.cluster import Database, ready
from workers.embedded import postgres
from workers.embedded.processes import free_port
from workers.migrations import migrate

PASSWORD = "holdfast-of-this-test"
NAME = "ledger_under_test"
GONE_SECONDS = 10.0  # what the kernel may need to clear killed processes away
STARTS = 5  # the memory that a killed server shared may not be free at once


@dataclass
class Server:
    """One server. `log` collects what it says, over all its lives."""

    cluster: postgres.Cluster
    log: Path
    settings: tuple[str, ...]
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def database(self) -> Database:
        url = self.cluster.url(NAME, user="holdfast", password=PASSWORD)
        return Database(NAME, url, self.cluster.url(NAME))

    async def start(self) -> None:
        """Start it and wait until it takes connections, its recovery included."""
        for _ in range(STARTS):
            self._spawn()
            assert self.process is not None
            waiting = asyncio.create_task(ready(self.cluster.url()))
            while not waiting.done() and self.process.poll() is None:
                await asyncio.sleep(0.01)
            if waiting.done():
                return waiting.result()
            waiting.cancel()
            await asyncio.sleep(0.1)
        raise AssertionError(f"the server does not start: {self.log.read_text()[-2000:]}")

    def _spawn(self) -> None:
        with self.log.open("ab") as log:
            command = self.cluster.command(*self.settings)
            self.process = subprocess.Popen(command, stdout=log, stderr=log, **self.cluster.identity())

    @property
    def is_up(self) -> bool:
        return self.process is not None and self.process.poll() is None

    async def kill(self) -> int:
        """Kill the server and every process of it, with no chance to say a word; return how many there were."""
        assert self.process is not None
        children = children_of(self.process.pid)
        for pid in (self.process.pid, *children):
            with contextlib.suppress(ProcessLookupError):  # it may have ended before
                os.kill(pid, signal.SIGKILL)
        self.process.wait(GONE_SECONDS)
        async with asyncio.timeout(GONE_SECONDS):
            while any(Path(f"/proc/{pid}").exists() for pid in children):
                await asyncio.sleep(0.005)
        return 1 + len(children)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(GONE_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def children_of(pid: int) -> list[int]:
    """The direct children of a process, from the kernel: a server's backends and helpers are all direct children."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@asynccontextmanager
async def durable_server(
    *settings: str, wal: Path | None = None, tablespace: Path | None = None
) -> AsyncGenerator[Server]:
    """Run a durable server with a migrated database; its journal in `wal`, or the database in `tablespace`, if told."""
    with tempfile.TemporaryDirectory(prefix="holdfast-test-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        cluster = postgres.prepare(home, free_port())
        server = Server(cluster, home / "postgres.log", (*postgres.DURABLE, *settings))
        if wal is not None:
            _move_wal(cluster, wal)
        try:
            await server.start()
            connection = await asyncpg.connect(cluster.url())
            if tablespace is not None:
                await connection.execute(f"CREATE TABLESPACE small LOCATION '{tablespace}'")
            place = " TABLESPACE small" if tablespace is not None else ""
            await connection.execute(f"CREATE DATABASE {NAME}{place}")
            await connection.close()
            await migrate(server.database.admin_url, PASSWORD)
            yield server
        finally:
            server.stop()
            postgres.remove(home)


def _move_wal(cluster: postgres.Cluster, wal: Path) -> None:
    shutil.copytree(cluster.data / "pg_wal", wal / "pg_wal")
    shutil.rmtree(cluster.data / "pg_wal")
    (cluster.data / "pg_wal").symlink_to(wal / "pg_wal")
    if cluster.user:
        give_to_postgres(wal / "pg_wal")


def give_to_postgres(folder: Path) -> None:
    """Let root's Postgres, which is not root, have a folder and what is in it."""
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, "nobody")


@contextmanager
def small_disk(megabytes: int) -> Generator[Path]:
    """A disk of this size, in memory, for whoever runs Postgres. Skips the test where none may be mounted."""
    if os.geteuid() != 0:
        pytest.skip("a small disk is mounted by root only: run this test as root, in a container of its own")
    with tempfile.TemporaryDirectory(prefix="holdfast-disk-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        mounted = subprocess.run(
            [
                "mount",
                "-t",
                "tmpfs",
                "-o",
                f"size={megabytes}m,mode=0700,uid={pwd.getpwnam('nobody').pw_uid}",
                "none",
                folder,
            ],
            capture_output=True,
            check=False,
        )
        if mounted.returncode != 0:
            pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode().strip()}")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)
