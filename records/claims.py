"""Idempotency claims: whoever holds a key answers it, and every later request gets the same bytes.

The database's clock alone decides about leases; a fence tells a paused owner that somebody else has taken over.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from domain.ids import ClientId, OperationId


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """The key is ours until the lease ends (unix seconds). `created_at` is that of the first claim."""

    fence: int
    created_at: datetime
    lease_until: float
    taken_over: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """Somebody else is at it."""

    retry_after_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAnswer:
    """What was answered under the key."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """The key was used for another request."""


class Claims:
    """The claims behind a pool of connections."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def claim(
        self,
        client: ClientId,
        mode: str,
        key: str,
        operation: str,
        fingerprint: bytes,
        resource: OperationId,
        lease_seconds: float,
    ) -> Claimed | InFlight | StoredAnswer | Mismatch:
        """Claim a key, or take over a claim whose lease has ended and that nobody has answered."""
        row = await self._pool.fetchrow(
            "SELECT * FROM records.make_claim($1, $2, $3, $4, $5, $6, $7)",
            client,
            mode,
            key,
            operation,
            fingerprint,
            resource,
            lease_seconds,
        )
        assert row is not None
        match row["outcome"]:
            case "claimed" | "taken_over":
                return Claimed(
                    fence=row["fence"],
                    created_at=row["created_at"],
                    lease_until=row["lease_until"].timestamp(),
                    taken_over=row["outcome"] == "taken_over",
                )
            case "in_flight":
                return InFlight(retry_after_seconds=row["lease_left"])
            case "replay":
                return StoredAnswer(status=row["status"], headers=json.loads(row["headers"]), body=row["body"])
            case _:
                return Mismatch()

    async def finish(
        self, client: ClientId, mode: str, key: str, fence: int, status: int, headers: Mapping[str, str], body: bytes
    ) -> StoredAnswer | None:
        """Store the answer and return None; where somebody has taken over and answered, return what is sent instead.

        None as well where whoever took over is still at it, and then nothing is stored: the fence keeps us out.
        """
        stored = await self._pool.fetchval(FINISH, client, mode, key, fence, status, json.dumps(dict(headers)), body)
        if stored:
            return None
        row = await self._pool.fetchrow(ANSWERED, client, mode, key)
        if row is None:  # theirs will be about the same run as ours, so ours is true
            return None
        return StoredAnswer(status=row["status"], headers=json.loads(row["headers"]), body=row["body"])

    async def release(self, client: ClientId, mode: str, key: str, fence: int) -> None:
        """Free the key of a request that certainly had no effect."""
        await self._pool.execute(RELEASE, client, mode, key, fence)

    async def purge(self, most: int = 1000) -> int:
        """Remove claims that have expired, at most so many, and tell how many those were.

        One that is being worked on stays. A key used again later meets the same run: its id is made from the key.
        """
        return len(await self._pool.fetch(PURGE, most))

    async def unanswered(self, older_than: timedelta, most: int = 1000) -> list[OperationId]:
        """The resources of claims whose leases ended so long ago and that nobody has answered, longest ago first."""
        return [OperationId(row["resource"]) for row in await self._pool.fetch(UNANSWERED, older_than, most)]


# Its commit does not wait for the disk: an answer that a crash forgets is made again, the same, from the same run.
FINISH = """
UPDATE records.claim SET status = $5, headers = $6::jsonb, body = $7, lease_until = NULL
FROM (SELECT set_config('synchronous_commit', 'off', true)) AS not_waited_for
WHERE client = $1 AND mode = $2 AND key = $3 AND fence = $4 AND status IS NULL RETURNING true
"""
ANSWERED = """
SELECT status, headers, body FROM records.claim
WHERE client = $1 AND mode = $2 AND key = $3 AND status IS NOT NULL
"""
RELEASE = "DELETE FROM records.claim WHERE client = $1 AND mode = $2 AND key = $3 AND fence = $4 AND status IS NULL"
PURGE = """
DELETE FROM records.claim WHERE (client, mode, key) IN (
    SELECT client, mode, key FROM records.claim
    WHERE expires_at < clock_timestamp() AND (status IS NOT NULL OR lease_until < clock_timestamp())
    ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
) RETURNING true
"""
UNANSWERED = """
SELECT resource FROM records.claim
WHERE status IS NULL AND lease_until < clock_timestamp() - $1::interval ORDER BY lease_until LIMIT $2
"""
