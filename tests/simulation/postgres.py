"""The real ledger and the real rows beside those in memory: each schedule's every answer must be the same from both.

So it is shown at once that the database keeps the invariants, and that the books in memory, over which most schedules
are played, are like it. The database's clock is the real one: what depends on time is left to its own tests.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from domain.commands import Prepare, Row
from domain.ids import OperationId, Reference
from domain.outcomes import Answer, Sent
from ledger.entry import Entry
from ledger.journal import Balance, Journal, Posted
from records.calls import CallJournal, Differs, Go, Known, Withheld
from records.operations import Admission, Operations
from tests.simulation.books import Executing, MemoryCallJournal, MemoryJournal, MemoryOperations
from tests.simulation.clock import Clock
from tests.simulation.world import Kinds, World

T = TypeVar("T")
COMPARED = ("state", "total", "reason", "money", "provider", "provider_id", "reference", "payment", "fingerprint")


class Differ(AssertionError):
    """Our books in memory and those in the database do not say the same."""


class Database:
    """A database, and the loop on which it is asked; the simulation itself knows no loop."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._pool = self.ask(asyncpg.create_pool(url, min_size=1, max_size=2, loop=self._loop))
        self.journal, self.operations, self.calls = Journal(self._pool), Operations(self._pool), CallJournal(self._pool)

    def ask(self, question: Awaitable[T]) -> T:
        """Wait for an answer, in real time."""
        return self._loop.run_until_complete(_awaited(question))

    def close(self) -> None:
        """Give the connections back."""
        self.ask(self._pool.close())
        self._loop.close()

    @property
    def kinds(self) -> Kinds:
        """Our own books, beside this database."""
        return Kinds(
            journal=lambda clock, world, watch: BesideJournal(self, clock, world, watch),
            operations=lambda clock, world: BesideOperations(self, clock, world),
            calls=lambda clock, world: BesideCalls(self, clock, world),
        )

    def differences(self, world: World, merchant: str) -> list[str]:
        """What the database says otherwise than the books in memory, when a schedule has ended."""
        balances = self.ask(self.journal.trial_balance(f"merchant:{merchant}:"))
        differ = [
            f"{balance.code} has {_of(balance)} in the database, {_layers(world, balance)} in memory"
            for balance in balances
            if _layers(world, balance) != _of(balance)
        ]
        for operation, row in world.operations.rows.items():
            stored = self.ask(self.operations.any(operation))
            wrong = [name for name in COMPARED if getattr(stored, name, None) != getattr(row, name)]
            differ += [
                f"{operation}: {name} is {getattr(stored, name, None)!r}, not {getattr(row, name)!r}" for name in wrong
            ]
        return differ


class BesideJournal(MemoryJournal):
    """Posts to both, and compares what they say."""

    def __init__(
        self, database: Database, clock: Clock, world: Executing, watch: Callable[[Entry, Posted], None]
    ) -> None:
        super().__init__(clock, world, watch)
        self._database = database

    def take(self, entry: Entry) -> Posted:
        ours, theirs = super().take(entry), self._database.ask(self._database.journal.post(entry))
        if (ours.status, ours.first) != (theirs.status, theirs.first):
            raise Differ(f"{entry.reference} is {theirs.status} in the database, {ours.status} in memory")
        return ours


class BesideOperations(MemoryOperations):
    """Writes both."""

    def __init__(self, database: Database, clock: Clock, world: Executing) -> None:
        super().__init__(clock, world)
        self._database = database

    async def admit(self, prepare: Prepare) -> Admission:
        ours = await super().admit(prepare)
        theirs = self._database.ask(self._database.operations.admit(prepare))
        if ours is not theirs:
            raise Differ(f"{prepare.operation} is {theirs} in the database, {ours} in memory")
        return ours

    async def sent(self, payment: OperationId) -> tuple[Sent, ...]:
        ours, theirs = await super().sent(payment), self._database.ask(self._database.operations.sent(payment))
        if ours != theirs:
            raise Differ(f"{theirs} were sent by the database, {ours} in memory")
        return ours

    def stands(self, prepare: Prepare, row: Row) -> None:
        super().stands(prepare, row)
        self._database.ask(self._database.operations.admit(prepare))
        self._database.ask(self._database.operations.write((row,)))

    def _commit(self, rows: tuple[Row, ...]) -> None:
        super()._commit(rows)
        self._database.ask(self._database.operations.write(rows))


class BesideCalls(MemoryCallJournal):
    """Notes in both, and compares what they let pass."""

    def __init__(self, database: Database, clock: Clock, world: Executing) -> None:
        super().__init__(clock, world)
        self._database = database

    async def begin(
        self, provider: str, reference: Reference, verb: str, content: bytes, run: str
    ) -> Go | Known | Withheld | Differs:
        ours = await super().begin(provider, reference, verb, content, run)
        theirs = self._database.ask(self._database.calls.begin(provider, reference, verb, content, run))
        if type(ours) is not type(theirs) or (isinstance(ours, Go | Known) and ours != theirs):
            raise Differ(f"{reference} may be called: {theirs} in the database, {ours} in memory")
        return ours

    async def complete(
        self, provider: str, reference: Reference, verb: str, number: int, answer: Answer, seconds: float
    ) -> None:
        await super().complete(provider, reference, verb, number, answer, seconds)
        self._database.ask(self._database.calls.complete(provider, reference, verb, number, answer, seconds))


async def _awaited(question: Awaitable[T]) -> T:
    return await question


def _of(balance: Balance) -> tuple[int, int, int]:
    return balance.posted, balance.pending_debit, balance.pending_credit


def _layers(world: World, balance: Balance) -> tuple[int, int, int]:
    book, key = world.journal.book, (balance.code, balance.currency)
    return book.posted[key], book.pending_debit[key], book.pending_credit[key]
