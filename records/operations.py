"""Rows of payments, refunds, payouts, disputes and what is done with them, and one event per change: what GETs read.

Every method is one round trip and may be called again. How an outcome was reached is not known here.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import asyncpg

from domain.commands import Prepare, Row
from domain.ids import ClientId, MerchantId, OperationId, Prefix, Reference, Verb
from domain.money import Money
from domain.outcomes import Sent

ACTOR = "holdfast"
MOMENTS_MAX = 1000  # a doubt of days is inquired thousands of times; a person reads the latest
Before = tuple[datetime, OperationId]  # where a page ended; lists are ordered by (created_at, id), newest first


class Admission(StrEnum):
    """May this operation be carried out?"""

    ADMITTED = "admitted"
    STALE = "stale"  # nobody can be waiting any more: nothing is started
    CONFLICT = "conflict"  # the id belongs to another command


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredOperation:
    """One row. `total` is what is captured, refunded, paid out or in dispute.

    `payment` is that of a capture, a void, an increment, a refund or a dispute; `replaces` the payout tried again.
    """

    id: OperationId
    payment: OperationId | None
    client: ClientId
    merchant: MerchantId
    provider: str
    money: Money
    total: Money
    state: str
    reason: str
    provider_id: str
    reference: Reference
    merchant_reference: str
    automatic: bool
    fingerprint: str
    created_at: datetime
    updated_at: datetime
    replaces: OperationId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMoment:
    """One line of a timeline: an event of an operation, or a call to its provider."""

    at: datetime
    operation: OperationId
    what: str
    detail: str


class Operations:
    """The rows behind a pool of connections."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def admit(self, prepare: Prepare) -> Admission:
        """Write the row of an operation that starts a run, unless it is there already."""
        return Admission(
            await self._pool.fetchval(
                "SELECT records.admit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
                prepare.operation,
                prepare.payment,
                prepare.client,
                prepare.merchant,
                prepare.provider,
                prepare.money.currency,
                prepare.money.minor,
                prepare.merchant_reference,
                prepare.automatic,
                prepare.fingerprint,
                prepare.admit_until,
                ACTOR,
            )
        )

    async def replace(self, payout: OperationId, replaces: OperationId) -> bool:
        """Let an admitted payout take the place of one that failed or came back; False where it may not."""
        allowed: bool = await self._pool.fetchval("SELECT records.replace_payout($1, $2)", payout, replaces)
        return allowed

    async def disputed(self, payment: OperationId) -> bool:
        """Tell whether a dispute of the payment is open: the payer may get the money back another way."""
        found: bool = await self._pool.fetchval(DISPUTED, payment)
        return found

    async def write(self, rows: tuple[Row, ...]) -> None:
        """Write what changed, in one transaction; nothing where nothing changed."""
        if not rows:
            return
        columns = zip(
            *(
                (
                    row.operation,
                    row.payment,
                    row.state,
                    row.amount.currency,
                    row.amount.minor,
                    row.total.minor,
                    row.reason,
                    row.provider_id,
                    row.reference,
                    row.fingerprint,
                    row.provider,
                    row.event,
                )
                for row in rows
            ),
            strict=True,
        )
        await self._pool.execute(WRITE, *(list(column) for column in columns), ACTOR)

    async def payment(self, operation: OperationId) -> StoredOperation | None:
        """The row of a payment; None where there is none."""
        return await self._one(operation, Prefix.PAYMENT)

    async def capture(self, operation: OperationId) -> StoredOperation | None:
        """The row of a capture; None where there is none."""
        return await self._one(operation, Prefix.CAPTURE)

    async def void(self, operation: OperationId) -> StoredOperation | None:
        """The row of a void; None where there is none."""
        return await self._one(operation, Prefix.VOID)

    async def refund(self, operation: OperationId) -> StoredOperation | None:
        """The row of a refund; None where there is none."""
        return await self._one(operation, Prefix.REFUND)

    async def payout(self, operation: OperationId) -> StoredOperation | None:
        """The row of a payout; None where there is none."""
        return await self._one(operation, Prefix.PAYOUT)

    async def increment(self, operation: OperationId) -> StoredOperation | None:
        """The row of an increment; None where there is none."""
        return await self._one(operation, Prefix.INCREMENT)

    async def dispute(self, operation: OperationId) -> StoredOperation | None:
        """The row of a dispute; None where there is none."""
        return await self._one(operation, Prefix.DISPUTE)

    async def any(self, operation: OperationId) -> StoredOperation | None:
        """The row of an operation of whatever kind; None where there is none."""
        row = await self._pool.fetchrow("SELECT * FROM records.operation WHERE id = $1", operation)
        return _stored(row) if row else None

    async def payments(self, client: ClientId, limit: int, before: Before | None = None) -> list[StoredOperation]:
        """A client's payments, newest first."""
        return await self._page(client, Prefix.PAYMENT, limit, before)

    async def payouts(self, client: ClientId, limit: int, before: Before | None = None) -> list[StoredOperation]:
        """A client's payouts, newest first."""
        return await self._page(client, Prefix.PAYOUT, limit, before)

    async def disputes(self, client: ClientId, limit: int, before: Before | None = None) -> list[StoredOperation]:
        """The disputes of a client's payments, newest first."""
        return await self._page(client, Prefix.DISPUTE, limit, before)

    async def children(self, payment: OperationId) -> list[StoredOperation]:
        """The captures, voids, increments, refunds and disputes of a payment, oldest first."""
        rows = await self._pool.fetch(
            "SELECT * FROM records.operation WHERE payment = $1 ORDER BY created_at, id", payment
        )
        return [_stored(row) for row in rows]

    async def sent(self, payment: OperationId) -> tuple[Sent, ...]:
        """The authorizations of a payment that were sent and are not known to have had no effect, oldest first."""
        rows = await self._pool.fetch(SENT, payment, Verb.AUTHORIZE)
        return tuple(
            Sent(provider=row["provider"], reference=row["reference"], provider_id=row["provider_id"]) for row in rows
        )

    async def timeline(self, operation: OperationId) -> list[StoredMoment]:
        """What happened to an operation and its children, and what their provider was asked, oldest first.

        Of a very long one, the latest `MOMENTS_MAX`.
        """
        rows = await self._pool.fetch(TIMELINE, operation, MOMENTS_MAX)
        return [
            StoredMoment(
                at=row["at"],
                operation=OperationId(row["operation"]),
                what=row["what"],
                detail=_told(json.loads(row["detail"])),
            )
            for row in reversed(rows)
        ]

    async def _one(self, operation: OperationId, kind: Prefix) -> StoredOperation | None:
        row = await self._pool.fetchrow("SELECT * FROM records.operation WHERE id = $1 AND kind = $2", operation, kind)
        return _stored(row) if row else None

    async def _page(self, client: ClientId, kind: Prefix, limit: int, before: Before | None) -> list[StoredOperation]:
        at, last = before or (None, None)
        return [_stored(row) for row in await self._pool.fetch(PAGE, client, kind, at, last, limit)]


def _stored(row: asyncpg.Record) -> StoredOperation:
    currency = row["currency"]
    return StoredOperation(
        id=row["id"],
        payment=row["payment"],
        client=row["client"],
        merchant=row["merchant"],
        provider=row["provider"],
        money=Money(row["amount"], currency),
        total=Money(row["total"], currency),
        state=row["state"],
        reason=row["reason"],
        provider_id=row["provider_id"],
        reference=row["reference"],
        merchant_reference=row["merchant_reference"],
        automatic=row["automatic"],
        fingerprint=row["fingerprint"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        replaces=OperationId(row["replaces"]) if row["replaces"] else None,
    )


def _told(detail: dict[str, Any]) -> str:
    """Say an event's content in words, leaving out what is empty."""
    return ", ".join(f"{name} {value}" for name, value in detail.items() if value not in ("", None, 0))


WRITE = """
SELECT records.write(r.id, r.payment, r.state, r.currency, r.amount, r.total, r.reason, r.provider_id, r.reference,
                     r.fingerprint, r.provider, r.event, $13)
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[], $8::text[],
            $9::text[], $10::text[], $11::text[], $12::text[])
     AS r (id, payment, state, currency, amount, total, reason, provider_id, reference, fingerprint, provider, event)
ORDER BY r.id COLLATE "C"
"""

DISPUTED = """
SELECT EXISTS (
    SELECT FROM records.operation
    WHERE payment = $1 AND kind = 'dsp' AND state IN ('requested', 'opened', 'funds_withdrawn')
)
"""

PAGE = """
SELECT * FROM records.operation
WHERE client = $1 AND kind = $2 AND (created_at, id) < (coalesce($3::timestamptz, 'infinity'), coalesce($4, ''))
ORDER BY created_at DESC, id DESC LIMIT $5
"""

SENT = """
SELECT provider, reference, coalesce(answer ->> 'provider_id', '') AS provider_id FROM (
    SELECT DISTINCT ON (reference) provider, reference, answer, outcome, sent_at FROM records.call
    WHERE reference > $1 || '.' AND reference < $1 || '/' AND verb = $2 ORDER BY reference, number DESC
) AS latest
WHERE outcome IS NULL OR outcome NOT IN ('refused', 'unavailable') ORDER BY sent_at
"""

TIMELINE = """
WITH whose AS (
    SELECT id FROM records.operation WHERE id = $1 OR payment = $1
)
SELECT at, operation, what, detail FROM (
    SELECT e.at, e.operation, e.name AS what, e.after AS detail, 1 AS rank, e.id AS number
    FROM records.event e WHERE e.operation IN (SELECT id FROM whose)
    UNION ALL
    SELECT c.sent_at, split_part(c.reference, '.', 1), 'provider.' || c.verb,
           jsonb_build_object('reference', c.reference, 'outcome', coalesce(c.outcome, 'not answered yet'),
                              'reason', c.answer ->> 'reason', 'ms', round(c.seconds::numeric * 1000)),
           0, c.number
    FROM whose JOIN records.call c ON c.reference > whose.id || '.' AND c.reference < whose.id || '/'
) AS moments
ORDER BY at DESC, rank DESC, number DESC LIMIT $2
"""
