"""The goals of the ledger, each a ratio that one run computes: product and floor are measured in turn, round by round.

A cell is one closed loop, such as "product uniform 64": who posts, to which accounts, how many at once. What drifts in
the machine meets both sides of a ratio alike, and what is left of it shows as the ratio's spread over the rounds.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg

from bench.figures import Figure, cpu_seconds, p50
from bench.ledger import floors, load
from bench.ledger.book import Book, grow, new_book
from bench.ledger.floors import DATABASE, Cell, Spread
from bench.ledger.reads import read_past
from bench.ledger.sealing import catch_up, running_sealer, sealed_loop
from bench.ledger.server import Server, fsync_per_second, pool_of, running_server, settings_of

ROUNDS = 5  # the fewest that have an 80 % interval worth the name
SECONDS = 2  # of a cell; two hundred batches, a thousand commits one by one
BRIEF_SECONDS = 1  # of a cell whose rate bounds nothing, or whose median alone counts
GROWN_ENTRIES = 5_000_000 if os.environ.get("GROWTH") else 500_000  # of two postings; the greater takes minutes to make
SLOW_DISK = {"commit_delay": "1000", "commit_siblings": "0"}  # microseconds before every flush, whoever else commits
WAL_ENTRIES = 1_280  # twenty batches of 64
WAL_WARM_ENTRIES = 25_600  # touch nearly every page once: the images of whole pages after a checkpoint drown the rest

Laps = dict[str, list[Cell]]
Run = Callable[[], Awaitable[Cell]]


async def measure() -> tuple[list[Figure], list[str]]:
    """Measure everything on a server of its own."""
    async with AsyncExitStack() as open_until_done:
        server = await open_until_done.enter_async_context(running_server())
        fsyncs = fsync_per_second(server)
        await floors.lay_out(server)
        base = await open_until_done.enter_async_context(pool_of(server.url(DATABASE), 64))
        book, sealed, grown = [
            await open_until_done.enter_async_context(new_book(server, name)) for name in ("book", "sealed", "grown")
        ]
        unguarded = await open_until_done.enter_async_context(
            new_book(server, "unguarded", "session_replication_role = replica")  # no trigger of ours fires
        )
        sealer = await open_until_done.enter_async_context(running_sealer(server, sealed))
        await asyncio.to_thread(grow, server, grown, GROWN_ENTRIES)
        beside = {
            "unguarded uniform 64": _product(unguarded, Spread.UNIFORM, 64),
            "sealed uniform 64": lambda: sealed_loop(sealed, sealer, 64, SECONDS),
            "grown uniform 64": _product(grown, Spread.UNIFORM, 64),
            "grown hot 64": _product(grown, Spread.HOT, 64),
        }
        laps: Laps = {}
        for _ in range(ROUNDS):
            await _round(laps, _cells(server, book, base, beside))
            async with _slow_disk(book):
                await _round(laps, _slow_cells(server, book))
        figures = [
            *_speed(laps),
            await catch_up(server, book, p50([each.rate for each in laps["product uniform 64"]])),
            await _wal(book),
            *await read_past(grown),
            await _verified(grown),
            *await _right([book, sealed, grown]),
        ]
        notes = [
            f"{os.cpu_count()} CPUs, shared by the client (Python, one process, asyncio) and the server; "
            f"fdatasync {fsyncs:,.0f}/s (pg_test_fsync)",
            await settings_of(server),
            f"medians of {ROUNDS} rounds of {SECONDS} s cells (one at once or eight: {BRIEF_SECONDS} s), in turn; the"
            " interval is of the ratio of each round; a goal is met when the interval reaches it",
            f"the grown book had {2 * GROWN_ENTRIES:,} postings in one month, half of the entries on one account"
            + ("" if os.environ.get("GROWTH") else " (GROWTH=1: 10,000,000)"),
            "a slow disk is played by commit_delay: one millisecond more before every flush",
        ]
        return figures, notes


def _cells(server: Server, book: Book, base: asyncpg.Pool, beside: dict[str, Run]) -> dict[str, Run]:
    """The cells of a round, each next to what it is compared with; `beside` is compared with the product at 64."""
    cells: dict[str, Run] = {}
    for spread in Spread:
        cells[f"function {spread} 1"] = _floor(server, "function", spread, 1)
        for at_once in (1, 8, 64):
            cells[f"floor {spread} {at_once}"] = _floor(server, "pipeline", spread, at_once)
            cells[f"product {spread} {at_once}"] = _product(book, spread, at_once)
        cells |= {name: run for name, run in beside.items() if name.split()[1] == spread}
        cells[f"product {spread} 256"] = _product(book, spread, 256)
        cells[f"naive {spread} 64"] = _closed_loop(load.naive(base, spread), 64, BRIEF_SECONDS)
    cells["client uniform 1"] = _closed_loop(load.function(base, Spread.UNIFORM), 1, BRIEF_SECONDS)
    cells["without event uniform 64"] = _floor(server, "pipeline_without_event", Spread.UNIFORM, 64)
    return cells


def _slow_cells(server: Server, book: Book) -> dict[str, Run]:
    cells: dict[str, Run] = {}
    for spread in Spread:
        cells[f"slow floor {spread} 64"] = _floor(server, "pipeline", spread, 64)
        cells[f"slow product {spread} 64"] = _product(book, spread, 64)
    return cells


async def _round(laps: Laps, cells: dict[str, Run]) -> None:
    for name, run in cells.items():
        laps.setdefault(name, []).append(await run())


def _floor(server: Server, script: str, spread: Spread, at_once: int) -> Run:
    return lambda: asyncio.to_thread(floors.run, server, script, spread, at_once, _seconds(at_once))


def _product(book: Book, spread: Spread, at_once: int) -> Run:
    return _closed_loop(load.product(book.journal, spread, book.acknowledged), at_once, _seconds(at_once))


def _closed_loop(post: load.Post, at_once: int, seconds: float) -> Run:
    return lambda: load.closed_loop(post, at_once, seconds)


def _seconds(at_once: int) -> int:
    return BRIEF_SECONDS if at_once < 64 else SECONDS


@asynccontextmanager
async def _slow_disk(book: Book) -> AsyncGenerator[None]:
    """Have every flush of the server wait a millisecond more."""
    for name, value in SLOW_DISK.items():
        await book.admin.execute(f"ALTER SYSTEM SET {name} = {value}")
    await book.admin.execute("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        for name in SLOW_DISK:
            await book.admin.execute(f"ALTER SYSTEM RESET {name}")
        await book.admin.execute("SELECT pg_reload_conf()")


def _speed(laps: Laps) -> list[Figure]:
    """What the closed loops say."""

    def compare(name: str, what: str, cell: str, floor: str, goal: float | None = None, *, by: str = "rate") -> Figure:
        values = [getattr(each, by) for each in laps[cell]]
        beside = [getattr(each, by) for each in laps[floor]]
        ratios = tuple(value / other for value, other in zip(values, beside, strict=True))
        return Figure(
            f"ledger.{name}", p50(values), "/s" if by == "rate" else "ms", p50(beside), goal, at_most=by != "rate",
            what=what, rounds=ratios,
        )  # fmt: skip

    best_hot = max(
        (f"floor hot {at_once}" for at_once in (1, 8, 64)), key=lambda cell: p50([x.rate for x in laps[cell]])
    )
    return [
        compare("G1", "uniform, 64 at once", "product uniform 64", "floor uniform 64", 0.95),
        compare("G1.256", "uniform, 256, against the floor's 64", "product uniform 256", "floor uniform 64", 1.5),
        compare("G2", "one hot account, 64", "product hot 64", "floor hot 64", 9),
        compare("G2.best", "hot, 64, against the floor's best", "product hot 64", best_hot, 4),
        compare("G2.256", "hot, 256, against the floor's 64", "product hot 256", "floor hot 64", 14),
        compare("G3", "hot against uniform, 64", "product hot 64", "product uniform 64", 0.85),
        compare(
            "G4", "p50, one at once, against the function", "product uniform 1", "function uniform 1", 1.2, by="p50"
        ),
        compare("G4.client", "the function from Python, the same", "client uniform 1", "function uniform 1", by="p50"),
        compare("G5", "p99, uniform, 64", "product uniform 64", "floor uniform 64", 1, by="p99"),
        compare("G5.hot", "p99, hot, 64", "product hot 64", "floor hot 64", 0.2, by="p99"),
        compare("G6", "grown against empty, uniform, 64", "grown uniform 64", "product uniform 64", 0.9),
        compare("G6.hot", "grown against empty, hot, 64", "grown hot 64", "product hot 64", 0.9),
        compare("G7", "a slow disk, hot, 64", "slow product hot 64", "slow floor hot 64", 20),
        compare("G7.uniform", "a slow disk, uniform, 64", "slow product uniform 64", "slow floor uniform 64", 0.8),
        compare("G8", "all guards against none, uniform, 64", "product uniform 64", "unguarded uniform 64", 0.9),
        compare("G9", "sealing twice a second against not, 64", "sealed uniform 64", "product uniform 64", 0.9),
        compare("uniform.1", "uniform, one at once", "product uniform 1", "floor uniform 1"),
        compare("uniform.8", "uniform, 8", "product uniform 8", "floor uniform 8"),
        compare("hot.1", "hot, one at once", "product hot 1", "floor hot 1"),
        compare("hot.8", "hot, 8", "product hot 8", "floor hot 8"),
        compare("naive.uniform", "a transaction of single statements, 64", "naive uniform 64", "floor uniform 64"),
        compare("naive.hot", "the same, hot", "naive hot 64", "floor hot 64"),
        compare("floor.event", "the floor without its event row", "without event uniform 64", "floor uniform 64"),
    ]


async def _wal(book: Book) -> Figure:
    """Bytes of WAL per entry, in batches and one by one, well after a checkpoint."""
    bytes_per_entry: dict[int, float] = {}
    post = load.product(book.journal, Spread.UNIFORM, book.acknowledged)
    await load.post_many(post, 256, WAL_WARM_ENTRIES)
    for at_once in (64, 1):
        began = await book.admin.fetchval("SELECT pg_current_wal_insert_lsn()")
        await load.post_many(post, at_once, WAL_ENTRIES)
        bytes_per_entry[at_once] = await book.number("SELECT pg_current_wal_insert_lsn() - $1", began) / WAL_ENTRIES
    return Figure(
        "ledger.G12", bytes_per_entry[64], "bytes", bytes_per_entry[1], 0.8, what="WAL per entry, batch against single"
    )


async def _verified(grown: Book) -> Figure:
    """Postings that a full recomputation gets through in a second of one core: one process, whose own time counts."""
    postings = await grown.number("SELECT count(*) FROM ledger.posting")
    await grown.admin.execute("SET max_parallel_workers_per_gather = 0")
    process = grown.admin.get_server_pid()
    rates: list[float] = []
    for _ in range(ROUNDS):
        used = cpu_seconds(process)
        assert await grown.number("SELECT count(*) FROM ledger.verify()") == 0
        rates.append(postings / (cpu_seconds(process) - used))
    return Figure(
        "ledger.verify", p50(rates), "postings/s", None, 2_000_000, at_most=False,
        what="full verify, a second of one core", rounds=tuple(rates),
    )  # fmt: skip


async def _right(books: list[Book]) -> list[Figure]:
    """What must be nothing after all of that: deadlocks, entries lost, rules broken."""
    deadlocks = lost = broken = 0.0
    for book in books:
        deadlocks += await book.number("SELECT deadlocks FROM pg_stat_database WHERE datname = $1", book.name)
        lost += await book.number(
            """
            SELECT count(*) FROM unnest($1::text[]) AS acknowledged (reference)
            WHERE NOT EXISTS (
                SELECT FROM ledger.entry_key JOIN ledger.entry USING (entry_id)
                WHERE entry_key.reference = acknowledged.reference
            )
            """,
            book.acknowledged,
        )
        broken += await book.journal.verify() is not None
    acknowledged = sum(len(book.acknowledged) for book in books)
    return [
        Figure("ledger.G13", deadlocks, "deadlocks", None, 0, what="in all cells"),
        Figure("ledger.G13.lost", lost, "entries", None, 0, what=f"of {acknowledged:,} acknowledged"),
        Figure("ledger.G13.broken", broken, "books", None, 0, what="that verify finds fault with"),
    ]
