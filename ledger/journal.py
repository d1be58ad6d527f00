"""The journal: post an entry in one round trip and one commit, and read what has been posted."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import asyncpg

from domain.ids import OperationId, Reference
from domain.money import Money
from ledger.postings import Entry, HoldAction, operation_named

ACTOR = "holdfast"

POST = """
SELECT status, entry_id, first, hold_left FROM ledger.post(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)
"""


class Status(StrEnum):
    """What became of an entry: every fact that the posting function can answer."""

    POSTED = "posted"
    REPLAYED = "replayed"  # it was posted before, with the same content
    CONFLICTING_CONTENT = "conflicting_content"
    REJECTED_BEFORE = "rejected_before"  # `first` says why
    INSUFFICIENT_FUNDS = "insufficient_funds"
    REFUNDABLE_EXCEEDED = "refundable_exceeded"
    HOLD_NOT_OPEN = "hold_not_open"  # it was released before it came
    ACCOUNT_CLOSED = "account_closed"


@dataclass(frozen=True, slots=True)
class Posted:
    """The answer to one entry. `hold_left` is what its hold had left before it, in minor units."""

    status: Status
    entry_id: int
    first: Status | None = None
    hold_left: int | None = None

    @property
    def stands(self) -> bool:
        """The entry is in the book."""
        return self.status in (Status.POSTED, Status.REPLAYED)


@dataclass(frozen=True, slots=True)
class Balance:
    """An account's layers in minor units, debit positive. `available` is what a credit account can be drawn for."""

    code: str
    currency: str
    posted: int
    pending_debit: int
    pending_credit: int

    @property
    def available(self) -> int:
        return -self.posted - self.pending_debit


@dataclass(frozen=True, slots=True)
class Refundable:
    """What of a payment has been captured, and where it went, in minor units."""

    currency: str
    captured: int
    reserved: int
    refunded: int
    disputed: int

    @property
    def left(self) -> int:
        return self.captured - self.reserved - self.refunded - self.disputed


@dataclass(frozen=True, slots=True)
class Booked:
    """One entry as a person reads it; `money` is the sum of its posted debits."""

    reference: Reference
    operation: str
    kind: str
    posted_at: datetime
    money: Money


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One posting of an account, with the balance of its layer after it."""

    version: int
    posted_at: datetime
    reference: Reference
    kind: str
    layer: int
    amount: int
    balance_after: int


@dataclass(frozen=True, slots=True)
class Broken:
    """The first row that a check found wrong."""

    what: str
    subject: str
    detail: str


class Journal:
    """The book behind a pool of connections. All its methods may be called again: the same reference, one entry."""

    def __init__(self, pool: asyncpg.Pool, actor: str = ACTOR) -> None:
        self._pool = pool
        self._actor = actor

    async def post(self, entry: Entry) -> Posted:
        """Post an entry; acknowledged is durable."""
        row = await self._pool.fetchrow(POST, *self._arguments(entry))
        assert row is not None
        first = row["first"]
        return Posted(Status(row["status"]), row["entry_id"], Status(first) if first else None, row["hold_left"])

    def _arguments(self, entry: Entry) -> tuple[Any, ...]:
        hold, refundable = entry.hold, entry.refundable
        return (
            entry.reference,
            entry.fingerprint,
            operation_named(entry),
            entry.kind,
            entry.nature,
            self._actor,
            entry.effective_at,
            entry.reverses,
            [line.account.code for line in entry.lines],
            [line.amount.currency for line in entry.lines],
            [int(line.account.normal) for line in entry.lines],
            [line.amount.minor for line in entry.lines],
            hold.reference if hold else None,
            hold.action if hold else HoldAction.NONE,
            hold.amount if hold else 0,
            hold.final if hold else False,
            hold.expires_seconds if hold else None,
            hold.debit + 1 if hold else 0,
            hold.credit + 1 if hold else 0,
            0 if entry.bound is None else entry.bound + 1,
            refundable.payment if refundable else None,
            refundable.captured if refundable else 0,
            refundable.refunded if refundable else 0,
            refundable.disputed if refundable else 0,
        )

    async def balance(self, code: str, currency: str, as_of: datetime | None = None) -> Balance | None:
        """An account's balance now, or as it was at an instant; None where there is no such account."""
        query = BALANCE if as_of is None else BALANCE_AS_OF
        row = await self._pool.fetchrow(query, code, currency, *([as_of] if as_of else []))
        return Balance(**dict(row)) if row else None

    async def trial_balance(self) -> list[Balance]:
        """Every account, by code and currency. Each currency's columns sum to zero."""
        return [Balance(**dict(row)) for row in await self._pool.fetch(TRIAL_BALANCE)]

    async def refundable(self, payment: OperationId) -> Refundable | None:
        """What of a payment can be refunded; None where nothing has been captured."""
        row = await self._pool.fetchrow(REFUNDABLE, payment)
        return Refundable(**dict(row)) if row else None

    async def entries_of(self, operation: str) -> list[Booked]:
        """The entries of an operation that moved or held something, oldest first."""
        rows = await self._pool.fetch(ENTRIES_OF, operation)
        return [
            Booked(
                row["reference"], row["operation"], row["kind"], row["posted_at"], Money(row["minor"], row["currency"])
            )
            for row in rows
        ]

    async def statement(
        self, code: str, currency: str, *, after_version: int = 0, limit: int = 100
    ) -> list[StatementLine]:
        """An account's postings in their order, a page at a time."""
        rows = await self._pool.fetch(STATEMENT, code, currency, after_version, limit)
        return [StatementLine(**dict(row)) for row in rows]

    async def verify(self) -> Broken | None:
        """Recompute everything that is derived; None where it all agrees."""
        row = await self._pool.fetchrow("SELECT broken, subject, detail FROM ledger.verify() LIMIT 1")
        return Broken(*row) if row else None

    async def ensure_months(self, ahead: int) -> None:
        """Make the partitions of the coming months."""
        await self._pool.execute("SELECT ledger.ensure_months($1)", ahead)


BALANCE = """
SELECT a.code, a.currency, b.posted, b.pending_debit, b.pending_credit
FROM ledger.account a JOIN ledger.balance b ON b.account_id = a.id
WHERE a.code = $1 AND a.currency = $2
"""
TRIAL_BALANCE = """
SELECT a.code, a.currency, b.posted, b.pending_debit, b.pending_credit
FROM ledger.account a JOIN ledger.balance b ON b.account_id = a.id
ORDER BY a.currency, a.code
"""
BALANCE_AS_OF = """
SELECT a.code, a.currency,
       coalesce(max(at.balance_after) FILTER (WHERE at.layer = 0), 0) AS posted,
       coalesce(max(at.balance_after) FILTER (WHERE at.layer = 1), 0) AS pending_debit,
       coalesce(max(-at.balance_after) FILTER (WHERE at.layer = 2), 0) AS pending_credit
FROM ledger.account a
CROSS JOIN generate_series(0, 2) AS wanted (layer)
LEFT JOIN LATERAL (
    SELECT p.layer, p.balance_after FROM ledger.posting p
    WHERE p.account_id = a.id AND p.layer = wanted.layer AND p.posted_at <= $3
    ORDER BY p.posted_at DESC, p.account_version DESC LIMIT 1
) AS at ON true
WHERE a.code = $1 AND a.currency = $2
GROUP BY a.code, a.currency
"""
REFUNDABLE = "SELECT currency, captured, reserved, refunded, disputed FROM ledger.refundable WHERE payment = $1"
ENTRIES_OF = """
SELECT e.reference, e.operation, e.kind, e.posted_at,
       coalesce(sum(p.amount) FILTER (WHERE p.layer = 0 AND p.amount > 0), 0)::bigint AS minor,
       min(p.currency) AS currency
FROM ledger.entry e JOIN ledger.posting p USING (entry_id, posted_at)
WHERE e.operation = $1
GROUP BY e.reference, e.operation, e.kind, e.posted_at, e.entry_id
ORDER BY e.posted_at, e.entry_id
"""
STATEMENT = """
SELECT p.account_version AS version, p.posted_at, e.reference, e.kind, p.layer, p.amount, p.balance_after
FROM ledger.account a
JOIN ledger.posting p ON p.account_id = a.id
JOIN ledger.entry e USING (entry_id, posted_at)
WHERE a.code = $1 AND a.currency = $2 AND p.account_version > $3
ORDER BY p.account_version
LIMIT $4
"""
