"""What it costs to ask for a balance of the past: of a busy account, of a quiet one, and by adding everything up."""

import random
import time
from datetime import datetime

from bench.figures import Figure, p50
from bench.ledger.book import Book
from bench.ledger.floors import SPREAD
from bench.ledger.load import BOOK, CURRENCY

ROUNDS = 9
ASKED = 40  # balances per round and kind
SUMMED = 2  # a sum over a busy account takes long
BUSY, QUIET = BOOK[SPREAD[0]].code, BOOK[SPREAD[-1]].code

SUM = """
SELECT sum(p.posted)::bigint, sum(p.pending_debit)::bigint, sum(p.pending_credit)::bigint
FROM ledger.account a JOIN ledger.posting p ON p.account_id = a.id
WHERE a.code = $1 AND a.currency = $2 AND p.posted_at <= $3
"""


async def read_past(book: Book) -> list[Figure]:
    """Measure reads of balances at random past instants, in milliseconds."""
    row = await book.admin.fetchrow("SELECT min(posted_at) AS first, max(posted_at) AS last FROM ledger.posting")
    assert row is not None
    first, last = row["first"], row["last"]
    postings = await book.number(
        "SELECT version FROM ledger.balance b JOIN ledger.account a ON a.id = account_id WHERE a.code = $1", BUSY
    )
    laps: dict[str, list[float]] = {"busy": [], "quiet": [], "sum": []}
    for _ in range(ROUNDS):
        laps["busy"].append(await _as_of(book, BUSY, first, last))
        laps["quiet"].append(await _as_of(book, QUIET, first, last))
        laps["sum"].append(await _by_sum(book, first, last))
    against_quiet = tuple(busy / quiet for busy, quiet in zip(laps["busy"], laps["quiet"], strict=True))
    against_sum = tuple(busy / added for busy, added in zip(laps["busy"], laps["sum"], strict=True))
    what = f"balance at a past instant, an account of {postings:,.0f} postings"
    return [
        Figure(
            "ledger.G10", p50(laps["busy"]), "ms", p50(laps["quiet"]), 1.5,
            what=f"{what}, against a quiet one", rounds=against_quiet,
        ),
        Figure(
            "ledger.G10.sum", p50(laps["busy"]), "ms", p50(laps["sum"]), 0.01,
            what="the same, against the sum of its postings", rounds=against_sum,
        ),
    ]  # fmt: skip


async def _as_of(book: Book, code: str, first: datetime, last: datetime) -> float:
    """The median over some instants."""
    laps: list[float] = []
    for _ in range(ASKED):
        at = first + (last - first) * random.random()
        began = time.perf_counter()
        balance = await book.journal.balance(code, CURRENCY, at)
        laps.append((time.perf_counter() - began) * 1000)
        assert balance is not None
    return p50(laps)


async def _by_sum(book: Book, first: datetime, last: datetime) -> float:
    laps: list[float] = []
    for _ in range(SUMMED):
        at = first + (last - first) * random.random()
        began = time.perf_counter()
        await book.pool.fetchrow(SUM, BUSY, CURRENCY, at)
        laps.append((time.perf_counter() - began) * 1000)
    return p50(laps)
