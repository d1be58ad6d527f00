"""Closed loops of plain two-line entries: so many callers, each posting its next entry when its last is acknowledged.

Everything runs in this one process, as in a worker; the entries are built while the clock runs, as a flow builds them.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable

import asyncpg

from bench.figures import p50, p99
from bench.ledger.floors import ACCOUNTS, SPREAD, Cell, Spread
from domain.ids import Reference
from domain.money import Money
from ledger.accounts import Account, Normal
from ledger.entry import Entry, Line, Nature
from ledger.journal import Journal, Status

CURRENCY = "EUR"
BOOK = [Account(f"bench:{number:05}", Normal.DEBIT) for number in range(ACCOUNTS + 1)]  # as numbered in the floor
AMOUNT_MAX = 5_000  # minor units; as the floor's
WARM_SECONDS = 0.3  # connections are prepared, and the writer has found its pace

Post = Callable[[], Awaitable[None]]
_run, _numbers = f"{time.time_ns():016x}", itertools.count()


def reference() -> Reference:
    """Name a new entry; names grow with time, as those of the product do."""
    return Reference(f"cap_{_run}{next(_numbers):010x}.c1/post")


def accounts_for(spread: Spread) -> tuple[int, int]:
    """Choose a debited and a credited account as the floor's scripts do."""
    debit = SPREAD[0] if spread is Spread.HOT else random.choice(SPREAD)
    return debit, random.randint(SPREAD[-1] + 1, ACCOUNTS)


def entry_for(spread: Spread) -> Entry:
    """Build a fact of two lines."""
    debit, credit = accounts_for(spread)
    minor = random.randint(1, AMOUNT_MAX)
    return Entry(
        reference=reference(),
        kind="capture",
        nature=Nature.FACT,
        lines=(Line(BOOK[debit], Money(minor, CURRENCY)), Line(BOOK[credit], Money(-minor, CURRENCY))),
    )


def product(journal: Journal, spread: Spread, acknowledged: list[Reference]) -> Post:
    """Post through the journal, and remember what it has acknowledged."""

    async def post() -> None:
        entry = entry_for(spread)
        posted = await journal.post(entry)
        assert posted.status is Status.POSTED, posted
        acknowledged.append(entry.reference)

    return post


def naive(pool: asyncpg.Pool, spread: Spread) -> Post:
    """Post to the floor's tables as is commonly written: a transaction of one statement after the other."""

    async def post() -> None:
        debit, credit = accounts_for(spread)
        minor = random.randint(1, AMOUNT_MAX)
        async with pool.acquire() as connection, connection.transaction():
            entry = await connection.fetchval(NAIVE_KEY, reference())
            await connection.execute(NAIVE_ENTRY, entry)
            for account, amount in ((debit, minor), (credit, -minor)):
                after = await connection.fetchrow(NAIVE_BALANCE, amount, account)
                assert after is not None
                await connection.execute(NAIVE_POSTING, entry, account, amount, after["posted"], after["version"])
            await connection.execute(NAIVE_EVENT, entry)

    return post


NAIVE_KEY = "INSERT INTO base.key (reference, fingerprint) VALUES ($1, sha256('')) RETURNING entry_id"
NAIVE_BALANCE = """
UPDATE base.balance SET posted = posted + $1, version = version + 1 WHERE account_id = $2 RETURNING posted, version
"""
NAIVE_ENTRY = (
    "INSERT INTO base.entry (entry_id, operation, kind) VALUES ($1, 'cap_01jqexampleexampleexampl', 'capture')"
)
NAIVE_POSTING = (
    "INSERT INTO base.posting (entry_id, account_id, amount, balance_after, version) VALUES ($1, $2, $3, $4, $5)"
)
NAIVE_EVENT = "INSERT INTO base.event (actor, action, entry_id) VALUES ('holdfast', 'entry.posted', $1)"


def function(pool: asyncpg.Pool, spread: Spread) -> Post:
    """Call the floor's function, as its own script does: what is left of its figure is this client."""

    async def post() -> None:
        debit, credit = accounts_for(spread)
        await pool.fetchval(
            "SELECT base.post($1, $2, $3, $4)", reference(), debit, credit, random.randint(1, AMOUNT_MAX)
        )

    return post


async def closed_loop(post: Post, at_once: int, seconds: float) -> Cell:
    """Post from so many callers at once; count what is acknowledged within the time."""
    began = time.perf_counter() + WARM_SECONDS
    ends = began + seconds
    laps: list[float] = []

    async def caller() -> None:
        while (sent := time.perf_counter()) < ends:
            await post()
            if sent >= began:
                laps.append((time.perf_counter() - sent) * 1000)

    await asyncio.gather(*(caller() for _ in range(at_once)))
    return Cell(len(laps) / (time.perf_counter() - began), p50(laps), p99(laps))


async def post_many(post: Post, at_once: int, count: int) -> None:
    """Post so many entries, from so many callers."""

    async def caller() -> None:
        for _ in range(count // at_once):
            await post()

    await asyncio.gather(*(caller() for _ in range(at_once)))
