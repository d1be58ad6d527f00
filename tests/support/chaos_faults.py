"""What can be done to a running stack: kill, freeze, cut off, lock, fill up, and have the provider misbehave.

Each fault waits until what it is meant to hit is really under way, strikes, and counts itself. Processes are found by
the ids that the stack's own supervisor has written down, and the supervisor starts again what was killed, as an
orchestrator would.
"""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx
from temporalio.service import RPCError, RPCStatusCode

from contracts import queues
from domain.ids import OperationId
from tests.support.chaos_shop import Shop
from tests.support.chaos_wire import Link, linked
from tests.support.ledger_server import children_of
from tests.support.live import Json, Live
from workers.embedded.processes import Nursery
from workers.embedded.stack import Stack, read_settings
from workers.embedded.supervisor import RESTART_WINDOW_SECONDS, RESTARTS_MAX

UNDER_WAY_SECONDS = 60.0  # until traffic brings what a fault waits for; a busy machine, and a restart before
BACK_SECONDS = 60.0
LOOK_SECONDS = 0.02
# Eight megabytes of Postgres's own journal, and nothing else.
BURN = "SELECT pg_logical_emit_message(true, 'chaos', repeat('x', 1000000)) FROM generate_series(1, 8)"
WAITING = """
SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND wait_event_type = 'Lock' AND strpos(query, $2) > 0
"""
LOGS = "chaos-logs"  # of what is started beside the stack, in its home
CHUNK = b"\0" * 65_536


@dataclass
class Faults:
    """One stack under attack. `struck` counts by kind; `killed_at` are the moments at which the worker was killed."""

    shop: Shop
    chance: random.Random
    nursery: Nursery
    struck: Counter[str] = field(default_factory=Counter[str])
    killed_at: list[float] = field(default_factory=list[float])
    disk: Path | None = None  # the small one that Postgres keeps its own journal on, where there is one
    _kills: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    @property
    def live(self) -> Live:
        return self.shop.live

    # Processes

    def pid(self, part: str) -> int:
        """The process of a part of the stack, as it is now."""
        return Stack.read(self.live.home).pids[part]

    async def kill(self, part: str) -> None:
        """Kill a part as the kernel would; return when its successor has been started."""
        await self._leave_time_to_restart(part)
        pid = self.pid(part)
        await self.strike(pid, *(children_of(pid) if part == "postgres" else ()))
        if part == "worker":
            self.killed_at.append(time.monotonic())
        await self.succeeded(part, pid)

    async def strike(self, *pids: int) -> None:
        """Kill processes."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def succeeded(self, part: str, pid: int) -> None:
        """Wait until another process has the place of a part."""
        async with asyncio.timeout(BACK_SECONDS):
            while self.pid(part) == pid:
                await asyncio.sleep(LOOK_SECONDS)

    async def _leave_time_to_restart(self, part: str) -> None:
        """The supervisor gives up on what ends again and again: stay below that, two deaths of its own included."""
        kills = self._kills.setdefault(part, [])
        while sum(at > time.monotonic() - RESTART_WINDOW_SECONDS for at in kills) >= RESTARTS_MAX - 2:
            await asyncio.sleep(0.5)
        kills.append(time.monotonic())

    @contextmanager
    def frozen(self, part: str) -> Generator[int]:
        """Stop a part's process for the block, without a word to anybody; then let it go on where it stood."""
        pid = self.pid(part)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    async def ready(self) -> None:
        """Wait until the API says that it reaches what it needs."""
        async with asyncio.timeout(BACK_SECONDS):
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if (await self.live.http.get("/readyz")).status_code == 200:
                        return
                await asyncio.sleep(0.1)

    @asynccontextmanager
    async def second_worker(self, **settings: object) -> AsyncGenerator[None]:
        """Run another worker beside the stack's own for the block, with some settings of its own."""
        own = {f"HOLDFAST_{name.upper()}": str(value) for name, value in settings.items()}
        environment = {**read_settings(self.live.home), **own}
        log = self.live.home / LOGS / "second-worker.log"
        seen = log.stat().st_size if log.exists() else 0
        self.nursery.start("second-worker", [sys.executable, "-m", "workers.worker"], environment=environment)
        try:
            async with asyncio.timeout(BACK_SECONDS):
                while b"worker.started" not in log.read_bytes()[seen:]:
                    await asyncio.sleep(0.05)
            yield
        finally:
            await asyncio.to_thread(self.nursery.stop, "second-worker")

    # Links

    @asynccontextmanager
    async def worker_on_links(self) -> AsyncGenerator[tuple[Link, Link]]:
        """Run a second worker that reaches Temporal and Postgres over links that can be cut; gives both."""
        url = read_settings(self.live.home)["HOLDFAST_WORKER_DATABASE_URL"]
        engine, books = int(self.live.stack.temporal.rpartition(":")[2]), urlsplit(url).port
        assert books is not None
        async with AsyncExitStack() as stack:
            to_engine = await stack.enter_async_context(linked(engine))
            to_books = await stack.enter_async_context(linked(books))
            over = url.replace(f":{books}/", f":{to_books.port}/")
            settings = {"temporal_target": f"127.0.0.1:{to_engine.port}", "worker_database_url": over}
            await stack.enter_async_context(self.second_worker(**settings))
            yield to_engine, to_books

    # The provider

    async def misbehave(self, operation: str, behaviour: Json, *, nth: int = 1, times: int | None = 1) -> int:
        """Have calls of an operation misbehave, from the nth on; gives the rule's id."""
        rule = {"operation": operation, "nth": nth, "times": times, "behaviour": behaviour}
        answer = await self.live.simulator.post("/control/script", json=rule)
        return int(answer.raise_for_status().json()["id"])

    async def on_the_wire(self, rule: int) -> None:
        """Wait until a call has met the rule."""
        async with asyncio.timeout(UNDER_WAY_SECONDS):
            while not await self.met([rule]):
                await asyncio.sleep(LOOK_SECONDS)

    async def met(self, rules: Iterable[int]) -> set[int]:
        """Those of the rules that a call has met."""
        script: list[Json] = (await self.live.simulator.get("/control/script")).json()
        return {each["id"] for each in script if each["used"]} & set(rules)

    async def behave(self) -> None:
        """Have the provider be as it should be: no rules, webhooks sent at once, those that were held included."""
        (await self.live.simulator.delete("/control/script")).raise_for_status()
        await self.webhooks(enabled=True, delaySeconds=0)
        for event in await self.events("held"):
            await self.tell(event, "send")

    async def webhooks(self, **settings: object) -> None:
        """Change how webhooks are sent."""
        (await self.live.simulator.post("/control/settings", json={"webhooks": settings})).raise_for_status()

    async def events(self, state: str) -> Sequence[str]:
        """The ids of the webhooks in a state, the oldest first."""
        events: list[Json] = (await self.live.simulator.get("/control/webhooks")).json()
        return [event["eventId"] for event in events if event["state"] == state]

    async def tell(self, event: str, how: str) -> None:
        """Have a webhook sent, repeated or dropped."""
        (await self.live.simulator.post(f"/control/webhooks/{event}/{how}", json={})).raise_for_status()

    # The API's claims

    async def unanswered(self) -> dict[str, bool]:
        """What was claimed and not answered: the operations that begin a run, and whether it has been started."""
        rows = await self.live.pool.fetch(
            "SELECT resource FROM records.claim WHERE status IS NULL AND split_part(resource, '_', 1) = ANY($1)",
            list(queues.WORKFLOW_OF),
        )
        return {row["resource"]: await self._has_started(row["resource"]) for row in rows}

    async def _has_started(self, operation: str) -> bool:
        try:
            await self.live.temporal.get_workflow_handle(queues.workflow_id(OperationId(operation))).describe()
        except RPCError as failure:
            if failure.status is RPCStatusCode.NOT_FOUND:
                return False
            raise
        return True

    # The disk

    async def fill_the_disk(self) -> None:
        """Take all the space that Postgres has for its own journal until it ends itself, and give it back."""
        assert self.disk is not None
        pid = self.pid("postgres")
        ballast = fill(self.disk)
        try:
            async with asyncio.timeout(UNDER_WAY_SECONDS):
                while self.pid("postgres") == pid:
                    with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                        await self.live.pool.execute(BURN)
                    await asyncio.sleep(LOOK_SECONDS)
        finally:
            ballast.unlink()


def fill(disk: Path) -> Path:
    """Take all the space that is left on a disk; gives the file that has it."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(CHUNK)
    assert shutil.disk_usage(disk).free < len(CHUNK)
    return ballast


@asynccontextmanager
async def held(
    live: Live, table: str, *, login: str = "holdfast_worker", asking: str = ""
) -> AsyncGenerator[Callable[[], Awaitable[None]]]:
    """Hold a table against writing for the block.

    Gives what waits until a process of that login waits for the table, with these words in its question.
    """
    connection = await live.pool.acquire()
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")

    async def somebody_waits() -> None:
        async with asyncio.timeout(UNDER_WAY_SECONDS):
            while not await live.pool.fetchval(WAITING, login, asking):
                await asyncio.sleep(LOOK_SECONDS)

    try:
        yield somebody_waits
    finally:
        with contextlib.suppress(Exception):
            await transaction.rollback()
        await live.pool.release(connection)


@contextmanager
def attacked(shop: Shop, seed: int, disk: Path | None = None) -> Generator[Faults]:
    """Prepare to attack the stack of a shop. Whatever was started for it ends with the block."""
    nursery = Nursery(shop.live.home / LOGS)
    try:
        yield Faults(shop, random.Random(seed), nursery, disk=disk)
    finally:
        nursery.close()
