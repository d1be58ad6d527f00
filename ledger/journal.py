"""The journal: post an entry in one round trip and one commit, and read what has been posted."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import asyncpg

from domain.errors import InstantArchived
from domain.ids import OperationId, Reference
from domain.money import Money
from ledger.accounts import Account
from ledger.checks import Broken
from ledger.entry import Entry
from ledger.writer import Writer

ACTOR = "holdfast"
ARCHIVED = "HF010"  # of the reading functions: the instant's month is out


class Status(StrEnum):
    """What became of an entry: every fact that the posting function can answer."""

    POSTED = "posted"
    REPLAYED = "replayed"  # it was posted before, with the same content
    CONFLICTING_CONTENT = "conflicting_content"
    REJECTED_BEFORE = "rejected_before"  # `first` says why
    INSUFFICIENT_FUNDS = "insufficient_funds"
    REFUNDABLE_EXCEEDED = "refundable_exceeded"
    HOLD_NOT_OPEN = "hold_not_open"  # it was released before it came, or is used up, or has expired
    HOLD_EXCEEDED = "hold_exceeded"
    CURRENCY_DIFFERS = "currency_differs"  # from that of the hold
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
class Moved:
    """What an entry moved, and how much of it was our fee."""

    money: Money
    fee: Money


@dataclass(frozen=True, slots=True)
class Booked:
    """One entry as a person reads it; `money` is the sum of its posted debits."""

    reference: Reference
    operation: str
    kind: str
    posted_at: datetime
    money: Money


@dataclass(frozen=True, slots=True)
class Position:
    """A place in an account's statement: after the line of this version, posted then."""

    posted_at: datetime
    version: int


@dataclass(frozen=True, slots=True)
class StatementLine:
    """What one entry did to an account, in minor units, and the account's balances after it.

    `posted` is debit positive; the pending amounts grow when something is held.
    """

    version: int
    posted_at: datetime
    effective_at: datetime
    reference: Reference
    kind: str
    posted: int
    pending_debit: int
    pending_credit: int
    posted_after: int
    pending_debit_after: int
    pending_credit_after: int

    @property
    def position(self) -> Position:
        return Position(self.posted_at, self.version)


class Journal:
    """The book behind a pool of connections. All its methods may be called again: the same reference, one entry."""

    def __init__(self, pool: asyncpg.Pool, actor: str = ACTOR) -> None:
        self._pool = pool
        self._writer = Writer(pool, actor)

    async def post(self, entry: Entry) -> Posted:
        """Post an entry; acknowledged is durable. Raises what `Writer.post` does."""
        row = await self._writer.post(entry)
        first = row["first"]
        return Posted(Status(row["status"]), row["entry_id"], Status(first) if first else None, row["hold_left"])

    # What whoever posts may ask; the login of a worker may read nothing else

    async def standing(self, prefix: str) -> frozenset[Reference]:
        """The references that begin with `prefix` and stand: posted, not refused."""
        return frozenset(row["standing"] for row in await self._pool.fetch(STANDING, prefix))

    async def moved(self, reference: Reference) -> Moved | None:
        """What the entry of a reference moved; None where there is none. Raises `InstantArchived`."""
        with _naming_what_is_archived():
            row = await self._pool.fetchrow(MOVED, reference)
        if row is None or row["amount"] is None:
            return None
        return Moved(Money(row["amount"], row["currency"]), Money(row["fee"], row["currency"]))

    async def captured(self, payment: OperationId, currency: str) -> Money:
        """What is captured of a payment, less what was taken back."""
        return Money(await self._pool.fetchval(CAPTURED, payment, currency), currency)

    async def available(self, account: Account, currency: str) -> Money:
        """What an account that grows on the credit side can be drawn for: its balance less what is held of it."""
        return Money(await self._pool.fetchval(AVAILABLE, account.code, currency), currency)

    # What the logins of people and of the API read

    async def balance(self, code: str, currency: str, as_of: datetime | None = None) -> Balance | None:
        """An account's balance now, or as it was at an instant; None where there is no such account.

        Raises `InstantArchived`.
        """
        query = BALANCE if as_of is None else BALANCE_AS_OF
        with _naming_what_is_archived():
            row = await self._pool.fetchrow(query, code, currency, *([as_of] if as_of else []))
        return Balance(**dict(row)) if row else None

    async def trial_balance(self, prefix: str = "", currency: str | None = None) -> list[Balance]:
        """The accounts whose code begins with `prefix`, by currency and code. All of a currency sum to zero."""
        return [Balance(**dict(row)) for row in await self._pool.fetch(TRIAL_BALANCE, prefix, currency)]

    async def effective_balance(self, code: str, currency: str, effective_until: datetime) -> int:
        """What had been posted to an account by what has happened until an instant, whenever it was written.

        Raises `InstantArchived`.
        """
        with _naming_what_is_archived():
            return await self._pool.fetchval(EFFECTIVE, code, currency, effective_until)

    async def refundable(self, payment: OperationId, currency: str) -> Refundable | None:
        """What of a payment can be refunded; None where nothing has been captured in that currency."""
        row = await self._pool.fetchrow(REFUNDABLE, payment, currency)
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
        self, code: str, currency: str, *, after: Position | None = None, limit: int = 100
    ) -> list[StatementLine]:
        """What was posted to an account, in its order, a page at a time; `after` is where the one before ended."""
        at, version = (after.posted_at, after.version) if after else (None, 0)
        rows = await self._pool.fetch(STATEMENT, code, currency, at, version, limit)
        return [StatementLine(**dict(row)) for row in rows]

    async def verify(self) -> Broken | None:
        """Recompute everything that is derived; None where it all agrees. `Verifier` also recomputes what is sealed."""
        row = await self._pool.fetchrow("SELECT broken, subject, detail FROM ledger.verify() LIMIT 1")
        return Broken(row["broken"], row["subject"], row["detail"] or "") if row else None


@contextmanager
def _naming_what_is_archived() -> Generator[None]:
    try:
        yield
    except asyncpg.PostgresError as failure:
        if failure.sqlstate != ARCHIVED:
            raise
        raise InstantArchived(str(failure)) from failure


STANDING = "SELECT standing FROM ledger.standing($1) AS standing"
MOVED = "SELECT amount, fee, currency FROM ledger.moved($1)"
CAPTURED = "SELECT ledger.captured_of($1, $2)"
AVAILABLE = "SELECT ledger.available_of($1, $2)"
BALANCE = """
SELECT a.code, a.currency, b.posted, b.pending_debit, b.pending_credit
FROM ledger.account a JOIN ledger.balance b ON b.account_id = a.id
WHERE a.code = $1 AND a.currency = $2
"""
TRIAL_BALANCE = """
SELECT a.code, a.currency, b.posted, b.pending_debit, b.pending_credit
FROM ledger.account a JOIN ledger.balance b ON b.account_id = a.id
WHERE starts_with(a.code, $1) AND ($2::text IS NULL OR a.currency = $2)
ORDER BY a.currency, a.code
"""
BALANCE_AS_OF = """
SELECT a.code, a.currency, at.posted, at.pending_debit, at.pending_credit
FROM ledger.account a CROSS JOIN LATERAL ledger.balance_at(a.id, $3) AS at
WHERE a.code = $1 AND a.currency = $2
"""
EFFECTIVE = "SELECT ledger.effective_balance($1, $2, $3)"
REFUNDABLE = """
SELECT currency, captured, reserved, refunded, disputed FROM ledger.refundable WHERE payment = $1 AND currency = $2
"""
ENTRIES_OF = """
SELECT e.reference, e.operation, e.kind, e.posted_at,
       coalesce(sum(p.posted) FILTER (WHERE p.posted > 0), 0)::bigint AS minor, min(p.currency) AS currency
FROM ledger.entry e JOIN ledger.posting p USING (entry_id, posted_at)
WHERE e.operation = $1
GROUP BY e.reference, e.operation, e.kind, e.posted_at, e.entry_id
ORDER BY e.posted_at, e.entry_id
"""
STATEMENT = "SELECT * FROM ledger.statement($1, $2, $3, $4, $5)"
