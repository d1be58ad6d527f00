"""Many clients at once: no deadlock, one effect for each reference, one end for each hold, and a book that adds up."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import asyncpg
import pytest

from domain.ids import MerchantId, OperationId, Prefix, Reference
from domain.money import Money
from ledger.accounts import PAYOUTS_IN_TRANSIT, payable, receivable
from ledger.entry import Entry, HoldAction, HoldChange, Line, Nature
from ledger.journal import Journal, Posted, Status
from ledger.writer import POST, POST_BATCH
from tests.support.cluster import Database
from tests.support.ledger_calls import SeenPool, laid_out, open_accounts
from tests.support.ledger_flows import PROVIDER, Flows, flows, hold_of, operation

EUR = "EUR"
CLIENTS = 32
BUSY_SECONDS = 4.0
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
RECEIVABLE = receivable(PROVIDER).code

ONE_EFFECT = """
SELECT count(*) FROM (
    SELECT reference FROM ledger.entry GROUP BY reference HAVING count(*) > 1
    UNION ALL SELECT e.reference FROM ledger.entry e JOIN ledger.rejection r USING (reference)
) AS twice
"""


def euro(minor: int) -> Money:
    return Money(minor, EUR)


def payment(key: object) -> OperationId:
    return operation(Prefix.PAYMENT, str(key))


@asynccontextmanager
async def wide_pool(database: Database) -> AsyncGenerator[asyncpg.Pool]:
    """A connection for each client."""
    async with asyncpg.create_pool(database.url, min_size=4, max_size=CLIENTS) as pool:
        yield pool


async def no_deadlocks(admin: asyncpg.Pool) -> None:
    await admin.execute("SELECT pg_stat_force_next_flush()")
    assert await admin.fetchval(DEADLOCKS) == 0


def drawn(chance: random.Random) -> Entry:
    """Any of the flows on three merchants; few numbers, so that references come again, some with other content."""
    mine = Flows(MerchantId(f"merchant{chance.randrange(3)}"), f"provider{chance.randrange(2)}")
    key = f"{mine.merchant} {mine.provider} {chance.randrange(150)}"
    pay, cap = operation(Prefix.PAYMENT, key), operation(Prefix.CAPTURE, key)
    refund, payout = operation(Prefix.REFUND, key), operation(Prefix.PAYOUT, key)
    money = euro(chance.choice((10, 10, 10, 11)))
    case = key.replace(" ", "-")
    made = (
        lambda: mine.hold(pay, money),
        lambda: mine.capture(cap, pay, money, fee=euro(1), final=True),
        lambda: mine.release(pay),
        lambda: mine.refund_reserve(refund, pay, money),
        lambda: mine.refund_done(refund, pay, money),
        lambda: mine.release(refund),
        lambda: mine.payout_reserve(payout, euro(40)),
        lambda: mine.payout_accepted(payout, euro(40)),
        lambda: mine.release(payout),
        lambda: mine.top_up(case, money),
        lambda: mine.funds_withdrawn(case, pay, money),
        lambda: mine.dispute_lost(case, case, pay, money),
    )
    return chance.choice(made)()


def side_by_side(entries: Sequence[Entry]) -> list[Entry]:
    """Leave out what may not share a batch."""
    chosen: list[Entry] = []
    taken: set[str] = set()
    for entry in entries:
        names = {f"reference {entry.reference}", f"hold {entry.hold.reference if entry.hold else entry.reference}"}
        if entry.nature is Nature.GATE:
            names |= {f"bound {entry.bounded}"} if entry.bounded else set()
            names |= {f"refundable {entry.refundable.payment}"} if entry.refundable else set()
        if taken.isdisjoint(names):
            taken |= names
            chosen.append(entry)
    return chosen


async def test_single_and_batch_writers_mix_without_a_deadlock_and_the_book_adds_up(
    database: Database, admin_pool: asyncpg.Pool
) -> None:
    said = Counter[str]()
    until = asyncio.get_running_loop().time() + BUSY_SECONDS

    async def client(pool: asyncpg.Pool, seed: int) -> None:
        """Post alone, together, or through a writer of its own, as one of several processes."""
        chance = random.Random(seed)
        journal = Journal(pool)
        while asyncio.get_running_loop().time() < until:
            entries = [drawn(chance) for _ in range(chance.choice((1, 1, 8, 32)))]
            how = chance.choice(("alone", "together", "writer"))
            if how == "writer":
                said.update([answer.status for answer in await asyncio.gather(*map(journal.post, entries))])
                continue
            chosen = side_by_side(entries)[: 1 if how == "alone" else None]
            await open_accounts(pool, chosen)
            items = await laid_out(chosen)
            rows = await (pool.fetch(POST, items[0]) if how == "alone" else pool.fetch(POST_BATCH, items))
            said.update([row["status"] for row in rows])

    async with wide_pool(database) as pool:
        await asyncio.gather(*(client(pool, seed) for seed in range(CLIENTS)))
        journal = Journal(pool)
        await no_deadlocks(admin_pool)
        assert await journal.verify() is None
        assert await pool.fetchval(ONE_EFFECT) == 0
        for row in await pool.fetch("SELECT currency, sum(posted) AS posted FROM ledger.balance GROUP BY currency"):
            assert row["posted"] == 0, row["currency"]
    print(f"\n{CLIENTS} clients, {sum(said.values())} answers in {BUSY_SECONDS:.0f} s: {dict(said)}")  # noqa: T201  shown by -s
    wanted = set(Status) - {Status.ACCOUNT_CLOSED, Status.HOLD_EXCEEDED, Status.CURRENCY_DIFFERS}
    assert set(said) >= wanted, "too tame: something was never answered"


async def test_writers_that_open_the_same_accounts_at_once_do_not_disturb_each_other(database: Database) -> None:
    rounds, writers = 40, 16
    async with asyncpg.create_pool(database.url, min_size=writers, max_size=writers) as pool:
        for number in range(rounds):
            mine = Flows(MerchantId(f"merchant{number}"), f"provider{number}")
            each = payment(number)
            capture = mine.capture(operation(Prefix.CAPTURE, str(number)), each, euro(10), fee=euro(1))
            await asyncio.gather(*(open_accounts(pool, [capture]) for _ in range(writers)))
        opened = "SELECT count(*) FROM ledger.event WHERE action = 'account.opened'"
        assert (
            await pool.fetchval(opened) == await pool.fetchval("SELECT count(*) FROM ledger.account") == 2 * rounds + 1
        )
        assert await Journal(pool).verify() is None


@pytest.mark.parametrize("writers", [1, 8], ids=["one writer", "eight writers"])
async def test_a_thousand_duplicates_at_once_half_of_them_altered_have_one_effect(
    database: Database, admin_pool: asyncpg.Pool, writers: int
) -> None:
    chance = random.Random(writers)
    asked = [10] * 500 + [11] * 500
    chance.shuffle(asked)
    async with wide_pool(database) as pool:
        await open_accounts(pool, [flows.top_up("one", euro(1))])
        journals = [Journal(pool) for _ in range(writers)]
        entries = [flows.top_up("one", euro(minor)) for minor in asked]
        answers = await asyncio.gather(*(chance.choice(journals).post(entry) for entry in entries))
        balance = await journals[0].balance("holdfast:bank", EUR)
        assert await journals[0].verify() is None
        conflicts = await pool.fetchval("SELECT count(*) FROM ledger.event WHERE action = 'entry.conflict'")
    assert Counter(answer.status for answer in answers) == {
        Status.POSTED: 1,
        Status.REPLAYED: 499,
        Status.CONFLICTING_CONTENT: 500,
    }
    assert conflicts == 500
    assert len({answer.entry_id for answer in answers}) == 1
    winner = next(minor for minor, answer in zip(asked, answers, strict=True) if answer.status is Status.POSTED)
    assert balance is not None
    assert balance.posted == winner
    for minor, answer in zip(asked, answers, strict=True):
        assert (answer.status is Status.CONFLICTING_CONTENT) == (minor != winner)
    await no_deadlocks(admin_pool)


async def test_a_thousand_duplicates_of_a_refused_gate_are_refused_alike(database: Database) -> None:
    async with wide_pool(database) as pool:
        journals = [Journal(pool) for _ in range(4)]
        gate = flows.payout_reserve(operation(Prefix.PAYOUT, "one"), euro(5))
        answers: list[Posted] = await asyncio.gather(*(journals[n % 4].post(gate) for n in range(1000)))
        assert await journals[0].verify() is None
    assert Counter((answer.status, answer.first) for answer in answers) == {
        (Status.INSUFFICIENT_FUNDS, None): 1,
        (Status.REJECTED_BEFORE, Status.INSUFFICIENT_FUNDS): 999,
    }
    assert len({answer.entry_id for answer in answers}) == 1


@pytest.mark.parametrize("seed", range(6))
async def test_a_hold_has_one_end_whoever_races_for_it_and_all_its_facts_are_booked(
    database: Database, admin_pool: asyncpg.Pool, seed: int
) -> None:
    """Captures, a void and an expiry from eight processes, on holds that expire while they come."""
    chance = random.Random(seed)
    holds, captures = range(6), range(8)
    async with wide_pool(database) as pool:
        journals = [Journal(SeenPool(pool, by_batch=number % 2 == 0).as_pool) for number in range(8)]
        for number in holds:
            expires = 0.02 if number % 2 else 0
            await journals[0].post(flows.hold(payment(number), euro(100), expires_seconds=expires))
        entries = [flows.release(payment(number)) for number in holds for _ in range(3)]
        facts = [
            flows.capture(
                operation(Prefix.CAPTURE, f"{number} {capture}"), payment(number), euro(30), final=capture == 7
            )
            for number in holds
            for capture in captures
        ]
        entries += facts
        chance.shuffle(entries)
        answers = await asyncio.gather(*(chance.choice(journals).post(entry) for entry in entries))
        journal = Journal(pool)
        balance = await journal.balance(RECEIVABLE, EUR)
        states = await pool.fetch("SELECT state, remaining FROM ledger.hold")
        drawn_of = await pool.fetch(
            "SELECT e.hold, sum(-p.pending_debit)::bigint AS drawn FROM ledger.entry e JOIN ledger.posting p "
            "USING (entry_id, posted_at) WHERE p.pending_debit < 0 GROUP BY e.hold"
        )
        assert await journal.verify() is None
    booked = [answer for entry, answer in zip(entries, answers, strict=True) if entry in facts]
    assert {answer.status for answer in booked} == {Status.POSTED}
    assert balance is not None
    assert (balance.posted, balance.pending_debit) == (30 * len(facts), 0)
    assert len(states) == len(holds)
    assert {(row["state"], row["remaining"]) for row in states} <= {("captured", 0), ("voided", 0), ("expired", 0)}
    assert {row["hold"]: row["drawn"] for row in drawn_of} == {hold_of(payment(number)): 100 for number in holds}
    await no_deadlocks(admin_pool)


async def test_gates_race_for_one_hold_and_none_gets_what_another_has(database: Database) -> None:

    payout = operation(Prefix.PAYOUT, "one")

    def use(number: int) -> Entry:
        lines = Line(payable(flows.merchant), euro(30)), Line(PAYOUTS_IN_TRANSIT, euro(-30))
        change = HoldChange(reference=hold_of(payout), action=HoldAction.USE, money=euro(30))
        name = Reference(f"tests:{number}/use-of-it")
        return Entry(reference=name, kind="use_of_a_hold", nature=Nature.GATE, lines=lines, hold=change)

    async with wide_pool(database) as pool:
        journals = [Journal(SeenPool(pool, by_batch=number % 2 == 0).as_pool) for number in range(8)]
        await journals[0].post(flows.top_up("one", euro(1000)))
        await journals[0].post(flows.payout_reserve(payout, euro(100)))
        answers = await asyncio.gather(*(journals[number % 8].post(use(number)) for number in range(40)))
        assert await journals[0].verify() is None
        balance = await journals[0].balance(payable(flows.merchant).code, EUR)
    assert Counter(answer.status for answer in answers) == {Status.POSTED: 3, Status.HOLD_EXCEEDED: 37}
    assert balance is not None
    assert (balance.posted, balance.pending_debit) == (-910, 10)
