"""What seals cost: a sealer at work beside the posting, far more often than needed, and how fast it catches up."""

import asyncio
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.figures import Figure
from bench.ledger.book import Book
from bench.ledger.floors import Cell, Spread
from bench.ledger.load import closed_loop, product
from bench.ledger.server import Server, pool_of
from ledger.seal_keys import SealKey
from ledger.seals import Sealer, SealFile

PAUSE_SECONDS = 0.5  # between two seals; production waits for minutes
BACKLOG = 20_000  # entries: the least that says how fast a sealer catches up


@asynccontextmanager
async def running_sealer(server: Server, book: Book) -> AsyncGenerator[Sealer]:
    """Give the book a sealer that has sealed all that is there."""
    with tempfile.TemporaryDirectory() as folder:
        async with pool_of(server.url(book.name), 1) as pool:
            sealer = Sealer(pool, SealKey.generate(), SealFile(Path(folder) / "seals.jsonl"))
            await sealer.seal()
            yield sealer


async def sealed_loop(book: Book, sealer: Sealer, at_once: int, seconds: float) -> Cell:
    """Run a closed loop of the product while the sealer seals, and then let it catch up."""
    done = asyncio.Event()

    async def seal() -> None:
        while not done.is_set():
            await sealer.seal()
            await asyncio.sleep(PAUSE_SECONDS)

    sealing = asyncio.create_task(seal())
    cell = await closed_loop(product(book.journal, Spread.UNIFORM, book.acknowledged), at_once, seconds)
    done.set()
    await sealing
    await sealer.seal()
    return cell


async def catch_up(server: Server, book: Book, posting_rate: float) -> Figure:
    """Entries per second of a sealer that has nothing else to do, against those that are posted."""
    async with pool_of(server.url(book.name), 1) as pool:
        with tempfile.TemporaryDirectory() as folder:
            sealer = Sealer(pool, SealKey.generate(), SealFile(Path(folder) / "seals.jsonl"))
            began = time.perf_counter()
            seals = await sealer.seal()
            seconds = time.perf_counter() - began
    rows = sum(seal.rows for seal in seals)
    assert rows > BACKLOG, f"{rows} rows say little"
    return Figure(
        "ledger.G9.rate",
        rows / seconds,
        "rows/s",
        posting_rate,
        5,
        at_most=False,
        what="sealing a backlog, against posting",
    )
