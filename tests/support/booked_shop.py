"""A shop over our own books on a real database: what happened before a test begins, said in a line.

It books by the activities that runs book by, with the login of a worker, and reads as a person would.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import asyncpg

from activities.books import OurBooks
from domain.commands import Booking, Note, Prepare, Row
from domain.ids import MerchantId, OperationId, Prefix, Reference, derive
from domain.money import Money
from domain.outcomes import Outcome
from identity.standing import Standings
from ledger.journal import Journal
from ledger.postings import top_up
from records.approvals import Approvals
from records.operations import Operations
from risk.gate import Gate
from tests.support.cluster import Database, TestCluster
from workers.migrations import WORKER_ROLE

FEE = 100  # basis points of what its payments capture
STRETCH = 20  # of risk's times: a machine under test is slow


def euro(minor: int) -> Money:
    return Money(minor, "EUR")


@dataclass(frozen=True)
class Shop:
    """One merchant and its operations, of which no other test knows."""

    books: OurBooks
    journal: Journal
    operations: Operations
    pool: asyncpg.Pool  # a person's
    own: asyncpg.Pool  # a worker's
    merchant: MerchantId

    @property
    def approvals(self) -> Approvals:
        """What people have approved, as a person's login gives it."""
        return Approvals(self.pool)

    def id(self, prefix: Prefix, key: str = "1") -> OperationId:
        return derive(prefix, client="books", mode="test", operation=self.merchant, key=key)

    def prepare(self, prefix: Prefix, minor: int, key: str = "1", payment: OperationId | None = None) -> Prepare:
        operation = self.id(prefix, key)
        return Prepare(
            reference=Reference(f"{operation}/hold"),
            operation=operation,
            client="books",
            merchant=self.merchant,
            provider="simulator",
            money=euro(minor),
            fingerprint="fp",
            admit_until=2e9,
            payment=payment,
        )

    def booking(self, effect: str, minor: int, step: str = "post", *rows: Row) -> Booking:
        operation = OperationId(effect.split(".", maxsplit=1)[0])
        return Booking(
            reference=Reference(f"{effect}/{step}"),
            on=Reference(effect),
            operation=operation,
            payment=self.pay,
            merchant=self.merchant,
            provider="simulator",
            money=euro(minor),
            rows=rows,
        )

    @property
    def pay(self) -> OperationId:
        return self.id(Prefix.PAYMENT)

    async def captured(self, *parts: int) -> list[str]:
        """Authorize 100.00 and capture parts of it; return the captures' effects."""
        gate = self.prepare(Prefix.PAYMENT, 10_000)
        assert (await self.books.prepare_payment(gate)).outcome is Outcome.DONE
        effects: list[str] = []
        for number, minor in enumerate(parts):
            capture = self.id(Prefix.CAPTURE, str(number))
            rows = (
                self.row(capture, "succeeded", minor, minor),
                self.row(self.pay, "partially_captured", 10_000, sum(parts[: number + 1])),
            )
            booking = replace(self.booking(f"{capture}.c1", minor, "post", *rows), hold=gate.reference)
            fee = euro(minor * FEE // 10_000)
            assert (await self.books.book_capture(replace(booking, fee=fee))).outcome is Outcome.DONE
            effects.append(f"{capture}.c1")
        ended = replace(self.row(self.pay, "captured", 10_000, sum(parts)), reference=Reference(f"{self.pay}.a1"))
        await self.books.note(Note(rows=(replace(ended, provider_id="psp_1"),)))
        return effects

    async def ended(self, state: str, minor: int = 10_000, *, authorized: bool = True) -> None:
        """Have a payment that came to its end with nothing captured; its hold is gone."""
        gate = self.prepare(Prefix.PAYMENT, minor)
        assert (await self.books.prepare_payment(gate)).outcome is Outcome.DONE
        await self.release(gate)
        row = self.row(self.pay, state, minor, 0)
        reference = Reference(f"{self.pay}.a1" if authorized else "")
        await self.books.note(Note(rows=(replace(row, reference=reference, provider_id="psp_1" * authorized),)))

    def row(self, operation: OperationId, state: str, amount: int, total: int, event: str = "") -> Row:
        payment = None if operation == self.pay else self.pay
        return Row(
            operation=operation,
            payment=payment,
            state=state,
            amount=euro(amount),
            total=euro(total),
            event=event,
        )

    async def release(self, gate: Prepare) -> None:
        """Give back what a gate has reserved."""
        release = replace(gate, reference=Reference(f"{gate.operation}/release"), on=gate.reference)
        assert (await self.books.release(release)).outcome is Outcome.DONE

    async def failed(self, payout: OperationId, minor: int, reason: str) -> None:
        """Have a payout whose row says that it has failed."""
        row = replace(self.row(payout, "failed", minor, 0), payment=None, reason=reason)
        await self.books.note(Note(rows=(row,)))

    async def topped_up(self, minor: int, key: str = "1") -> None:
        """Have money that can be paid out."""
        reference = Reference(f"seed:{self.merchant}:{key}/top-up")
        assert (await self.journal.post(top_up(reference, self.merchant, euro(minor)))).stands

    async def refunded(self, minor: int) -> str:
        """Give a part of the payment back; return the refund's effect."""
        gate = self.prepare(Prefix.REFUND, minor, payment=self.pay)
        assert (await self.books.prepare_refund(gate)).outcome is Outcome.DONE
        effect = f"{gate.operation}.r1"
        booking = self.booking(effect, minor, "post", self.row(gate.operation, "succeeded", minor, minor))
        booking = replace(booking, hold=gate.reference, final=True)
        assert (await self.books.book_refund(booking)).outcome is Outcome.DONE
        return effect

    async def paid_out(self, minor: int) -> str:
        """Pay out, to its arrival; return the payout's effect."""
        gate = self.prepare(Prefix.PAYOUT, minor)
        assert (await self.books.prepare_payout(gate)).outcome is Outcome.DONE
        effect = f"{gate.operation}.p1"
        booking = replace(self.booking(effect, minor), payment=None, hold=gate.reference, final=True)
        assert (await self.books.book_payout_accepted(booking)).outcome is Outcome.DONE
        paid = replace(self.row(gate.operation, "paid", minor, minor), payment=None)
        paid_booking = replace(booking, reference=Reference(f"{effect}/paid"), rows=(paid,))
        assert (await self.books.book_payout_paid(paid_booking)).outcome is Outcome.DONE
        return effect

    async def posted(self, account: str) -> int:
        """What is posted to an account, debit positive."""
        query = """
            SELECT coalesce(sum(b.posted), 0)::bigint FROM ledger.account a JOIN ledger.balance b ON b.account_id = a.id
            WHERE a.code = $1
        """
        return await self.pool.fetchval(query, account)

    async def holds(self, reference: Reference) -> int:
        query = "SELECT coalesce(sum(remaining), 0)::bigint FROM ledger.hold WHERE reference = $1"
        return await self.pool.fetchval(query, reference)

    async def stored(self, operation: OperationId) -> tuple[str, int, str]:
        row = await self.operations.any(operation)
        assert row is not None
        return row.state, row.total.minor, row.reason

    async def events(self, operation: OperationId) -> list[str]:
        rows = await self.pool.fetch("SELECT name FROM records.event WHERE operation = $1 ORDER BY id", operation)
        return [row["name"] for row in rows]


@asynccontextmanager
async def open_shop(cluster: TestCluster, database: Database, pool: asyncpg.Pool, name: str) -> AsyncGenerator[Shop]:
    """Open a shop of this name: its merchant is verified, and has no operations yet."""
    merchant = MerchantId(name)
    await Standings(pool).seed(merchant)
    url = cluster.cluster.url(database.name, user=WORKER_ROLE, password=cluster.password)
    async with asyncpg.create_pool(url, min_size=1, max_size=8) as own:
        journal, operations = Journal(own), Operations(own)
        books = OurBooks(journal, operations, Gate(own, Standings(own), stretch=STRETCH), Approvals(own))
        yield Shop(books, journal, operations, pool, own, merchant)
