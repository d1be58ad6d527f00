"""Scores of others: they arrive by event, and are read where they stand. Nobody is ever called for one.

A score is a whole number from 0, certainly good, to 1000, certainly bad.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from risk.rules import By


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A score of whatever `by` and `key` name. `event` is its source's own id of it, `scored_at` by its clock."""

    by: By
    key: str
    value: int
    source: str
    event: str
    scored_at: datetime


class Scores:
    """The scores behind a pool of connections."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def receive(self, scored: Scored) -> None:
        """Keep a score that has arrived; the same event again changes nothing."""
        await self._pool.execute(
            RECEIVE, scored.by, scored.key, scored.value, scored.source, scored.event, scored.scored_at
        )

    async def latest(self, asked: Sequence[tuple[By, str]], until: datetime | None = None) -> list[Scored]:
        """Of each that has one, the score that was made last, of those that had arrived at `until`."""
        rows = await self._pool.fetch(LATEST, [by for by, _ in asked], [key for _, key in asked], until)
        return [
            Scored(
                by=By(row["by"]),
                key=row["key"],
                value=row["value"],
                source=row["source"],
                event=row["event"],
                scored_at=row["scored_at"],
            )
            for row in rows
        ]


RECEIVE = """
INSERT INTO risk.score (by, key, value, source, event, scored_at) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (source, event) DO NOTHING
"""
LATEST = """
SELECT s.* FROM unnest($1::text[], $2::text[]) AS asked (by, key) CROSS JOIN LATERAL (
    SELECT by, key, value, source, event, scored_at FROM risk.score s
    WHERE s.by = asked.by AND s.key = asked.key AND s.at <= coalesce($3::timestamptz, 'infinity')
    ORDER BY s.scored_at DESC, s.id DESC LIMIT 1
) AS s
"""
