"""The inbox: what providers tell us, kept as it came before anything is made of it (money rule 14)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import asyncpg


class Received(StrEnum):
    """What the inbox says of an event."""

    NEW = "new"
    DUPLICATE = "duplicate"
    ALTERED = "altered"  # the id is known with other content: an alarm


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event that nobody has made anything of yet."""

    id: int
    provider: str
    event_id: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Unexplained:
    """An event that fits nothing of ours: evidence for reconciliation. `note` says why it does not fit."""

    id: int
    provider: str
    event_id: str
    raw: bytes
    received_at: datetime
    note: str


class Inbox:
    """The inbox behind a pool of connections."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def receive(self, provider: str, event_id: str, raw: bytes) -> Received:
        """Keep an event; durable when this returns."""
        return Received(await self._pool.fetchval("SELECT records.receive($1, $2, $3)", provider, event_id, raw))

    async def waiting(self, limit: int) -> list[Waiting]:
        """The oldest events that wait, but for those postponed."""
        rows = await self._pool.fetch(WAITING, limit)
        return [Waiting(row["id"], row["provider"], row["event_id"], row["raw"]) for row in rows]

    async def handled(self, event: int, note: str, *, unexplained: bool = False) -> None:
        """Note what was made of an event; the first note stays."""
        await self._pool.execute(HANDLED, event, note, unexplained)

    async def postpone(self, event: int) -> timedelta:
        """Leave an event for later, the longer the oftener it was left, and tell how long; the others go on."""
        pause: timedelta | None = await self._pool.fetchval(POSTPONE, event, FIRST_PAUSE, LONGEST_PAUSE)
        return pause or timedelta()

    async def unexplained(self, limit: int = 100, after: int = 0) -> list[Unexplained]:
        """The events that fit nothing, oldest first, a page at a time; `after` is the last id of the page before."""
        rows = await self._pool.fetch(UNEXPLAINED, after, limit)
        return [
            Unexplained(row["id"], row["provider"], row["event_id"], row["raw"], row["received_at"], row["note"])
            for row in rows
        ]


FIRST_PAUSE = timedelta(seconds=1)  # what hindered it may be over at once
LONGEST_PAUSE = timedelta(minutes=5)  # an outage ends; nobody waits longer than that for the news after it

WAITING = """
SELECT id, provider, event_id, raw FROM records.inbox
WHERE handled_at IS NULL AND coalesce(next_at, '-infinity') <= clock_timestamp() ORDER BY id LIMIT $1
"""
HANDLED = """
UPDATE records.inbox SET handled_at = clock_timestamp(), note = $2, unexplained = $3
WHERE id = $1 AND handled_at IS NULL
"""
POSTPONE = """
UPDATE records.inbox
SET tries = tries + 1, next_at = clock_timestamp() + least($2::interval * 2 ^ least(tries, 20), $3::interval)
WHERE id = $1 AND handled_at IS NULL RETURNING next_at - clock_timestamp()
"""
UNEXPLAINED = """
SELECT id, provider, event_id, raw, received_at, note FROM records.inbox
WHERE unexplained AND id > $1 ORDER BY id LIMIT $2
"""
