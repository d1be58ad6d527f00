"""The inbox: what providers tell us, kept as it came before anything is made of it (money rule 14)."""

from dataclasses import dataclass
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


class Inbox:
    """The inbox behind a pool of connections."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def receive(self, provider: str, event_id: str, raw: bytes) -> Received:
        """Keep an event; durable when this returns."""
        return Received(await self._pool.fetchval("SELECT records.receive($1, $2, $3)", provider, event_id, raw))

    async def waiting(self, limit: int) -> list[Waiting]:
        """The oldest events that wait."""
        rows = await self._pool.fetch(WAITING, limit)
        return [Waiting(row["id"], row["provider"], row["event_id"], row["raw"]) for row in rows]

    async def handled(self, event: int, note: str) -> None:
        """Note what was made of an event; the first note stays."""
        await self._pool.execute(HANDLED, event, note)


WAITING = "SELECT id, provider, event_id, raw FROM records.inbox WHERE handled_at IS NULL ORDER BY id LIMIT $1"
HANDLED = "UPDATE records.inbox SET handled_at = clock_timestamp(), note = $2 WHERE id = $1 AND handled_at IS NULL"
