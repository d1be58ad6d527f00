"""Clients that post without end, and remember what they were told: for what happens to a ledger under load."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg

from domain.errors import LedgerUnavailable
from domain.ids import MerchantId, Prefix
from domain.money import Money
from ledger.entry import Entry
from ledger.journal import Journal, Status
from tests.support.ledger_flows import Flows, operation

MERCHANTS = 3
EUR = "EUR"

KEPT = """
SELECT count(*) FROM unnest($1::text[], $2::bigint[], $3::boolean[]) AS told (reference, entry_id, stands)
JOIN ledger.entry_key k USING (reference, entry_id)
LEFT JOIN ledger.entry e USING (entry_id)
LEFT JOIN ledger.rejection r USING (entry_id)
WHERE (e.entry_id IS NOT NULL) = told.stands AND (r.entry_id IS NOT NULL) = NOT told.stands
"""


@dataclass
class Load:
    """What clients have been told. `acknowledged`: the number of each reference's entry, and whether it stands."""

    acknowledged: dict[str, tuple[int, bool]] = field(default_factory=dict[str, tuple[int, bool]])
    unavailable: list[str] = field(default_factory=list[str])
    said: Counter[Status] = field(default_factory=Counter[Status])
    contradictions: list[str] = field(default_factory=list[str])
    stopping: bool = False

    async def client(self, journal: Journal, name: str, *, patient: bool = True) -> None:
        """Post one entry after the other; what is not acknowledged again, unless impatient."""
        chance = random.Random(name)
        for number in range(10**9):
            if self.stopping:
                return
            for entry in journey(chance, f"{name} {number}"):
                await self._insist(journal, entry, patient=patient)

    async def _insist(self, journal: Journal, entry: Entry, *, patient: bool) -> None:
        while True:
            try:
                answer = await journal.post(entry)
            except LedgerUnavailable as unavailable:
                self.unavailable.append(str(unavailable))
                if not patient:
                    return
                await asyncio.sleep(0.05)
                continue
            self.said[answer.status] += 1
            told = answer.entry_id, answer.stands
            if self.acknowledged.setdefault(entry.reference, told) != told:
                self.contradictions.append(entry.reference)
            return

    async def lost(self, pool: asyncpg.Pool) -> int:
        """How much of what was acknowledged is not in the book as it was told."""
        told = dict(self.acknowledged)
        numbers, stands = [number for number, _ in told.values()], [stands for _, stands in told.values()]
        return len(told) - await pool.fetchval(KEPT, list(told), numbers, stands)


def journey(chance: random.Random, key: str) -> list[Entry]:
    """What becomes of one payment and a payout, whose gate is refused now and then."""
    flows = Flows(MerchantId(f"merchant{chance.randrange(MERCHANTS)}"))
    payment, capture = operation(Prefix.PAYMENT, key), operation(Prefix.CAPTURE, key)
    refund, payout = operation(Prefix.REFUND, key), operation(Prefix.PAYOUT, key)
    money = Money(chance.randrange(10, 1000), EUR)
    return [
        flows.hold(payment, money),
        flows.capture(capture, payment, money, fee=Money(1, EUR), final=True),
        flows.refund_reserve(refund, payment, money),
        flows.refund_done(refund, payment, money) if chance.random() < 0.5 else flows.release(refund),
        flows.top_up(key.replace(" ", "-"), money),
        flows.payout_reserve(payout, Money(chance.randrange(10, 2000), EUR)),
        flows.release(payout),
    ]


@asynccontextmanager
async def under_load(pool: asyncpg.Pool, *, clients: int, patient: bool = True) -> AsyncGenerator[Load]:
    """Run clients of two writers, as two processes would; at the end each finishes what it has begun."""
    load = Load()
    journals = [Journal(pool) for _ in range(2)]
    tasks = [
        asyncio.create_task(load.client(journals[number % 2], f"client {number}", patient=patient))
        for number in range(clients)
    ]
    try:
        yield load
        load.stopping = True
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
