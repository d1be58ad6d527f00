"""The ledger's months: a partition of entries and one of postings each, made ahead. A missing one stops all posting.

Knows nothing of when a month is archived (`archive.py`), nor of who calls this when.
"""

from datetime import date, datetime

import asyncpg


class Months:
    """The months behind a pool of connections."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def ensure(self, ahead: int) -> None:
        """Make the partitions of this month and of so many ahead; those that stand already stay."""
        await self._pool.execute("SELECT ledger.ensure_months($1)", ahead)

    async def ahead(self) -> int:
        """Tell for how many months after the present one all partitions stand; -1 where the present one's miss."""
        return await self._pool.fetchval(AHEAD)

    async def archived_until(self) -> datetime | None:
        """The instant before which all of the journal is archived and out of the database; None: nothing is."""
        return await self._pool.fetchval("SELECT nullif(ledger.archived_until(), '-infinity')")

    async def due(self, after: int) -> list[date]:
        """The months in the journal that are at least so many months old, oldest first: the order of archiving."""
        return [row["month"] for row in await self._pool.fetch(DUE, after)]


AHEAD = """
SELECT coalesce(min(number), 121) - 1
FROM generate_series(0, 120) AS number, LATERAL (  -- ten years: more is never asked for
    SELECT to_char(date_trunc('month', now() AT TIME ZONE 'UTC') + number * interval '1 month', '_YYYYMM') AS month
) AS named
WHERE to_regclass('ledger.entry' || month) IS NULL OR to_regclass('ledger.posting' || month) IS NULL
"""
DUE = """
SELECT month FROM ledger.attached_months() AS month
WHERE month <= date_trunc('month', now() AT TIME ZONE 'UTC') - make_interval(months => $1)
ORDER BY month
"""
