"""The whole stack as a shop and an operator see it: the public API, the simulator's control API, and both books."""

import asyncio
import itertools
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from temporalio.client import Client

from contracts.payloads import DATA_CONVERTER
from domain.ids import operation_of
from ledger.journal import Journal
from workers.embedded import postgres
from workers.embedded.stack import Stack
from workers.embedded.supervisor import running

Json = dict[str, Any]
Moved = tuple[str, str, int, str]  # reference of the effect, the provider's word for its kind, minor units, currency
TERMINAL = {"captured", "voided", "expired", "declined", "blocked", "not_started"}
BOOKED = {"capture": "collection", "refund_done": "payback", "payout_accepted": "transfer"}
ASK_AGAIN_SECONDS = 60


@dataclass
class Live:
    """One running stack, with the clients that the tests use."""

    stack: Stack
    http: httpx.AsyncClient
    simulator: httpx.AsyncClient
    pool: asyncpg.Pool
    temporal: Client
    home: Path
    made: list[str] = field(default_factory=list[str])
    _keys: "itertools.count[int]" = field(default_factory=itertools.count)
    _session: int = field(default_factory=time.time_ns)

    # As a shop

    def key(self) -> str:
        """A fresh idempotency key."""
        return f"test-{self._session}-{next(self._keys)}"

    async def ask(self, path: str, body: Json, *, key: str | None = None, wait: int | None = None) -> httpx.Response:
        """Ask once."""
        headers = {"Idempotency-Key": key or self.key()}
        if wait is not None:
            headers["Prefer"] = f"wait={wait}"
        return await self.http.post(path, json=body, headers=headers)

    async def insist(self, path: str, body: Json) -> Json:
        """Ask under one key until there is an answer, as an initiator does whose request is lost on the way."""
        key, until = self.key(), time.monotonic() + ASK_AGAIN_SECONDS
        while True:
            try:
                answer = await self.ask(path, body, key=key)
                if answer.status_code in (201, 202):
                    made: Json = answer.json()
                    self.made.append(made["id"])
                    return made
                if answer.status_code not in (409, 503):
                    raise AssertionError(f"POST {path}: {answer.status_code} {answer.text}")
                failure = answer.text
            except httpx.TransportError as lost:
                failure = repr(lost)
            assert time.monotonic() < until, failure
            await asyncio.sleep(0.2)

    async def pay(self, amount: int = 10_000, *, instrument: str = "tok_visa", capture: str = "manual") -> Json:
        """Make a payment."""
        body = {
            "amount": amount,
            "currency": "EUR",
            "merchant": "m_bakery",
            "instrument": instrument,
            "capture": capture,
        }
        return await self.insist("/v1/payments", body)

    async def get(self, path: str) -> Json:
        """Read, again if the API is not there for a moment."""
        until = time.monotonic() + ASK_AGAIN_SECONDS
        while True:
            try:
                answer = await self.http.get(path)
                if answer.status_code == 200:
                    read: Json = answer.json()
                    return read
                failure = answer.text
            except httpx.TransportError as lost:
                failure = repr(lost)
            assert time.monotonic() < until, failure
            await asyncio.sleep(0.2)

    async def until(self, path: str, true: Callable[[Json], object], seconds: float = 60) -> Json:
        """Read until it is as awaited."""
        end = time.monotonic() + seconds
        while not true(read := await self.get(path)):
            assert time.monotonic() < end, read
            await asyncio.sleep(0.1)
        return read

    # As the provider's puppeteer

    async def script(self, operation: str, behaviour: Json, *, times: int = 1, reference: str | None = None) -> None:
        """Have the next calls of an operation misbehave."""
        rule = {"operation": operation, "times": times, "merchantRef": reference, "behaviour": behaviour}
        (await self.simulator.post("/control/script", json=rule)).raise_for_status()

    async def webhooks(self, *, sent: bool) -> None:
        """Have the provider tell of its own accord, or not."""
        settings = {"webhooks": {"enabled": sent}}
        (await self.simulator.post("/control/settings", json=settings)).raise_for_status()

    async def calls(self, reference: str) -> list[Json]:
        """The calls that the provider has received about a reference, or all whose reference begins with it."""
        calls: list[Json] = (await self.simulator.get("/control/calls")).json()
        return [call for call in calls if (call["merchantRef"] or "").startswith(reference)]

    async def books(self) -> Json:
        """The provider's own books."""
        books: Json = (await self.simulator.get("/control/books")).json()
        return books

    # As an auditor

    async def is_sound(self) -> None:
        """Assert that both books agree about everything made here, and that the ledger agrees with itself."""
        broken = await Journal(self.pool).verify()
        assert broken is None, broken
        books = await self.books()
        assert books["doubles"] == []
        ours, theirs = await self.booked(), moved(books)
        assert not ours ^ theirs, {"only in the ledger": ours - theirs, "only at the provider": theirs - ours}
        assert await self.hanging(books) == []

    async def booked(self) -> set[Moved]:
        """What the ledger says has moved at the provider."""
        journal, booked = Journal(self.pool), set[Moved]()
        for row in await self.pool.fetch("SELECT DISTINCT operation FROM ledger.entry"):
            for entry in await journal.entries_of(row["operation"]):
                if entry.kind in BOOKED:
                    effect = entry.reference.removesuffix("/post")
                    booked.add((effect, BOOKED[entry.kind], entry.money.minor, entry.money.currency))
        return booked

    async def hanging(self, books: Json) -> list[str]:
        """The references under which what has ended still holds something, in the ledger or at the provider."""
        ended = {
            row["id"]
            for row in await self.pool.fetch("SELECT id, state FROM records.operation WHERE kind = 'pay'")
            if row["state"] in TERMINAL
        }
        holds = await self.pool.fetch("SELECT reference FROM ledger.hold WHERE remaining > 0")
        standing = [
            effect["reference"]
            for effect in books["effects"]
            if effect["kind"] == "authorisation" and effect["state"] == "APPROVED" and effect.get("openMinor")
        ]
        references = [*(row["reference"] for row in holds), *standing]
        return [reference for reference in references if operation_of(reference) in ended]


def moved(books: Json) -> set[Moved]:
    """What the provider's books say has moved there."""
    return {
        (each["reference"], each["kind"], each["amountMinor"], each["currency"])
        for each in books["effects"]
        if each["kind"] in BOOKED.values()
    }


@contextmanager
def running_stack(
    before: Callable[[Path], object] = lambda _: None, *, second_account: bool = False
) -> Generator[tuple[Stack, Path]]:
    """Run everything in a folder whose path has a space, started again by its supervisor where a test kills it.

    `before` is called with the stack's home before anything runs there.
    """
    with tempfile.TemporaryDirectory(prefix="holdfast test ") as folder:
        home = Path(folder) / "home"
        try:
            before(home)
            with running(home, fixed_ports=False, second_account=second_account) as supervisor:
                watching = threading.Thread(target=supervisor.watch)
                watching.start()
                try:
                    yield supervisor.stack, home
                finally:
                    supervisor.stop()
                    watching.join()
        finally:
            postgres.remove(home)


@asynccontextmanager
async def connected(stack: Stack, home: Path) -> AsyncGenerator[Live]:
    """Open the clients that the tests use."""
    headers = {"Authorization": f"Bearer {stack.token}"}
    async with (
        httpx.AsyncClient(
            base_url=stack.api, headers=headers, timeout=20, limits=httpx.Limits(max_connections=120)
        ) as http,
        httpx.AsyncClient(base_url=stack.simulator, timeout=20) as simulator,
        asyncpg.create_pool(stack.postgres, min_size=1, max_size=4) as pool,
    ):
        temporal = await Client.connect(stack.temporal, data_converter=DATA_CONVERTER)
        yield Live(stack, http, simulator, pool, temporal, home)
