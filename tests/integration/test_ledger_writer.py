"""The writer in front of the posting functions: it batches by itself, keeps contenders apart, and tries again safely.

Mostly on a real Postgres, through a connection that the tests can cut. What hangs on the order of two wake-ups is tried
on a pool that answers when it is told to.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import pytest_asyncio

from domain.errors import LedgerBusy, LedgerUnavailable
from domain.ids import OperationId, Prefix, Reference
from domain.money import Money
from ledger import writer
from ledger.accounts import payable
from ledger.entry import Entry
from ledger.journal import Journal, Status
from ledger.writer import BATCH_MAX, LANES, Answer, Writer
from tests.support.cluster import Database
from tests.support.ledger_flows import MERCHANT, flows, operation
from tests.support.ledger_proxy import Proxy, proxied

EUR = "EUR"
PAYABLE = payable(MERCHANT).code
HANG_SECONDS = 20  # far above what anything here takes


Asked = tuple[Any, ...] | list[tuple[Any, ...]]  # one item, or several


def references(asked: Asked) -> list[str]:
    """The entries that a call is about: the reference is the first field of an item."""
    items = asked if isinstance(asked, list) else [asked]
    return [str(item[0]) for item in items]


def euro(minor: int) -> Money:
    return Money(minor, EUR)


def payment(key: object) -> OperationId:
    return operation(Prefix.PAYMENT, str(key))


def top_ups(count: int, minor: int = 1) -> list[Entry]:
    return [flows.top_up(f"line{number}", euro(minor)) for number in range(count)]


async def all_of(journal: Journal, entries: Sequence[Entry]) -> Counter[Status]:
    """Post all at once; count the answers."""
    async with asyncio.timeout(HANG_SECONDS):
        answers = await asyncio.gather(*(journal.post(entry) for entry in entries))
    return Counter(answer.status for answer in answers)


async def booked(pool: asyncpg.Pool) -> int:
    return await pool.fetchval("SELECT count(*) FROM ledger.entry")


@dataclass
class Watched:
    """A pool that remembers which calls were made, and how many entries each had."""

    pool: asyncpg.Pool
    batches: list[list[str]] = field(default_factory=list[list[str]])

    async def fetch(self, query: str, asked: Asked) -> list[asyncpg.Record]:
        self.batches.append(references(asked))
        return await self.pool.fetch(query, asked)

    async def fetchrow(self, query: str, *arguments: object) -> asyncpg.Record | None:
        return await self.pool.fetchrow(query, *arguments)

    async def execute(self, query: str, *arguments: object) -> str:
        return await self.pool.execute(query, *arguments)

    @property
    def sizes(self) -> list[int]:
        return [len(batch) for batch in self.batches]


@pytest.fixture
def watched(pool: asyncpg.Pool) -> Watched:
    return Watched(pool)


@pytest.fixture
def journal(watched: Watched) -> Journal:
    return Journal(cast(asyncpg.Pool, watched))


@pytest_asyncio.fixture
async def proxy(database: Database) -> AsyncGenerator[Proxy]:
    """A way to the database that can be cut."""
    address = urlsplit(database.url)
    assert address.hostname is not None
    assert address.port is not None
    async with proxied(address.hostname, address.port) as proxy:
        yield proxy


@pytest_asyncio.fixture
async def cut_pool(database: Database, proxy: Proxy) -> AsyncGenerator[asyncpg.Pool]:
    """A pool on that way."""
    address = urlsplit(database.url)
    through = address._replace(netloc=f"{address.username}:{address.password}@127.0.0.1:{proxy.port}")
    async with asyncpg.create_pool(urlunsplit(through), min_size=1, max_size=4) as pool:
        yield pool
        pool.terminate()


async def test_a_lone_entry_goes_at_once_and_alone(journal: Journal, watched: Watched) -> None:
    for entry in top_ups(3):
        await journal.post(entry)
    assert watched.sizes[-2:] == [1, 1]


async def test_what_comes_while_a_batch_is_on_its_way_is_the_next_one(journal: Journal, watched: Watched) -> None:
    await journal.post(flows.top_up("first", euro(1)))
    watched.batches.clear()
    assert await all_of(journal, top_ups(500)) == {Status.POSTED: 500}
    assert sum(watched.sizes) == 500
    assert max(watched.sizes) <= BATCH_MAX
    assert len(watched.sizes) <= 12, "no batches to speak of"
    balance = await journal.balance(PAYABLE, EUR)
    assert balance is not None
    assert balance.posted == -501


async def test_entries_of_one_hold_never_share_a_batch_and_keep_their_order(journal: Journal, watched: Watched) -> None:
    ones = [payment(number) for number in range(10)]
    entries = [
        entry
        for one in ones
        for entry in (
            flows.hold(one, euro(100)),
            flows.capture(operation(Prefix.CAPTURE, f"{one}a"), one, euro(60)),
            flows.capture(operation(Prefix.CAPTURE, f"{one}b"), one, euro(60)),
            flows.release(one),
        )
    ]
    assert await all_of(journal, entries) == {Status.POSTED: 40}
    of = {entry.reference: entry.hold.reference for entry in entries if entry.hold}
    for batch in watched.batches:
        assert len({of[Reference(name)] for name in batch}) == len(batch)
    went = [name for batch in watched.batches for name in batch]
    for one in ones:
        asked = [entry.reference for entry in entries if entry.hold and entry.hold.reference == f"{one}/hold"]
        assert sorted(set(went) & set(asked), key=went.index) == asked
    assert await journal.verify() is None


async def test_gates_on_one_bound_are_judged_one_after_the_other(journal: Journal, watched: Watched) -> None:
    await journal.post(flows.top_up("one", euro(50)))
    gates = [flows.payout_reserve(operation(Prefix.PAYOUT, str(number)), euro(20)) for number in range(10)]
    others = top_ups(30, minor=0 + 1)
    answers = await all_of(journal, [entry for pair in zip(gates, others, strict=False) for entry in pair])
    assert answers[Status.POSTED] + answers[Status.INSUFFICIENT_FUNDS] == 20
    names = {gate.reference for gate in gates}
    assert max(len(names.intersection(batch)) for batch in watched.batches) == 1
    assert await journal.verify() is None


async def test_a_malformed_entry_hurts_nobody_else_in_its_batch(journal: Journal, pool: asyncpg.Pool) -> None:
    await journal.post(flows.top_up("first", euro(1)))
    unbalanced, unknown, nameless = (flows.top_up(name, euro(5)) for name in ("unbalanced", "unknown", "nameless"))
    object.__setattr__(unbalanced, "lines", unbalanced.lines[:1])  # `Entry` would not let us
    for line in unknown.lines:
        object.__setattr__(line.amount, "currency", "XXX")
    object.__setattr__(nameless, "kind", None)
    good = top_ups(60)
    entries = [*good[:10], unbalanced, *good[10:30], unknown, *good[30:50], nameless, *good[50:]]
    async with asyncio.timeout(HANG_SECONDS):
        answers = await asyncio.gather(*(journal.post(entry) for entry in entries), return_exceptions=True)
    failed = {entry.reference: answer for entry, answer in zip(entries, answers, strict=True) if entry not in good}
    assert isinstance(failed[unbalanced.reference], asyncpg.IntegrityConstraintViolationError)
    assert isinstance(failed[unknown.reference], asyncpg.ForeignKeyViolationError)
    assert isinstance(failed[nameless.reference], asyncpg.NotNullViolationError)
    assert await booked(pool) == 61
    assert await all_of(journal, good) == {Status.REPLAYED: 60}
    assert await journal.verify() is None


async def test_what_cannot_be_taken_soon_is_sent_away_and_not_written(
    journal: Journal, pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "WAITING_MAX", 50)
    entries = top_ups(400)
    async with asyncio.timeout(HANG_SECONDS):
        answers = await asyncio.gather(*(journal.post(entry) for entry in entries), return_exceptions=True)
    busy = [answer for answer in answers if isinstance(answer, LedgerBusy)]
    assert 0 < len(busy) < 400
    assert all(refused.after_seconds > 0 for refused in busy)
    assert "was not taken" in str(busy[0])
    assert await booked(pool) == 400 - len(busy)
    sent_away = [entry for entry, answer in zip(entries, answers, strict=True) if isinstance(answer, LedgerBusy)]
    for entry in sent_away:
        assert (await journal.post(entry)).status is Status.POSTED


async def test_a_caller_that_gives_up_leaves_the_others_alone(journal: Journal, pool: asyncpg.Pool) -> None:
    await journal.post(flows.top_up("first", euro(1)))
    entries = top_ups(60)
    tasks = [asyncio.create_task(journal.post(entry)) for entry in entries]
    await asyncio.sleep(0)  # all are waiting, the first batches on their way
    for task in tasks[::3]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(answer, asyncio.CancelledError) for answer in answers) == 20
    again = await all_of(journal, entries)  # whether they were on their way or not: one effect each
    assert set(again) <= {Status.POSTED, Status.REPLAYED}
    assert again[Status.REPLAYED] >= 40
    assert await booked(pool) == 61
    assert await journal.verify() is None


async def test_backends_that_are_ended_in_flight_lose_and_double_nothing(
    journal: Journal, pool: asyncpg.Pool, admin_pool: asyncpg.Pool
) -> None:
    await journal.post(flows.top_up("first", euro(1)))
    entries = top_ups(1000)

    async def end_backends() -> None:
        for _ in range(12):
            await asyncio.sleep(0.02)
            await admin_pool.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE usename = 'holdfast' AND datname = current_database() AND state = 'active'"
            )

    ending = asyncio.create_task(end_backends())
    answers = Counter[Status]()
    for start in range(0, len(entries), 100):
        answers += await all_of(journal, entries[start : start + 100])
    await ending
    assert set(answers) <= {Status.POSTED, Status.REPLAYED}, answers
    assert sum(answers.values()) == 1000
    assert await booked(pool) == 1001
    assert await journal.verify() is None


@pytest.mark.parametrize("count", [1, 40], ids=["alone", "a batch"])
async def test_an_answer_lost_after_the_commit_is_asked_for_again(
    cut_pool: asyncpg.Pool, pool: asyncpg.Pool, proxy: Proxy, count: int
) -> None:
    journal = Journal(cut_pool)
    await journal.post(flows.top_up("first", euro(1)))
    proxy.lose_answer(about="bank:line0/top-up")
    answers = await all_of(journal, top_ups(count))
    assert proxy.lost == 1
    assert answers[Status.REPLAYED] >= 1, "nothing was lost after all"
    assert sum(answers.values()) == count
    assert await booked(pool) == count + 1
    assert await journal.verify() is None


@pytest.mark.parametrize("count", [1, 40], ids=["alone", "a batch"])
async def test_a_connection_lost_before_the_question_arrives_is_no_harm(
    cut_pool: asyncpg.Pool, pool: asyncpg.Pool, proxy: Proxy, count: int
) -> None:
    journal = Journal(cut_pool)
    await journal.post(flows.top_up("first", euro(1)))
    proxy.lose_question(about="bank:line0/top-up")
    assert await all_of(journal, top_ups(count)) == {Status.POSTED: count}
    assert proxy.lost == 1
    assert await booked(pool) == count + 1


@pytest.mark.parametrize("lost", ["question", "answer"])
async def test_a_connection_lost_while_accounts_are_opened_is_no_harm(
    cut_pool: asyncpg.Pool, pool: asyncpg.Pool, proxy: Proxy, lost: str
) -> None:
    lose = proxy.lose_question if lost == "question" else proxy.lose_answer
    lose(about=PAYABLE)  # only who opens an account says its name
    assert await all_of(Journal(cut_pool), top_ups(40)) == {Status.POSTED: 40}
    assert proxy.lost == 1
    assert await booked(pool) == 40
    assert await pool.fetchval("SELECT count(*) FROM ledger.event WHERE action = 'account.opened'") == 2


async def test_a_database_that_is_gone_is_said_to_be_gone(
    cut_pool: asyncpg.Pool, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PAUSE_SECONDS", 0.001)
    journal = Journal(cut_pool)
    await journal.post(flows.top_up("first", euro(1)))
    await proxy.close()
    async with asyncio.timeout(HANG_SECONDS):
        answers = await asyncio.gather(*(journal.post(entry) for entry in top_ups(20)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {LedgerUnavailable}
    assert "bank:line0/top-up" in str(answers[0])
    assert "Post the same again" in str(answers[0])


@pytest.mark.parametrize(
    "failure",
    [
        asyncpg.DeadlockDetectedError("two waited for each other"),
        asyncpg.SerializationError("somebody was quicker"),
        asyncpg.LockNotAvailableError("it took too long"),
        asyncpg.CannotConnectNowError("the database system is starting up"),
        asyncpg.TooManyConnectionsError("sorry, too many clients already"),
        asyncpg.DiskFullError("No space left on device"),
        asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress"),  # seen: kill -9
        ConnectionRefusedError("nobody listens"),
        TimeoutError(),
    ],
    ids=lambda failure: type(failure).__name__,
)
@pytest.mark.parametrize("count", [1, 30], ids=["alone", "a batch"])
async def test_what_passes_by_itself_is_tried_again_under_the_same_reference(
    pool: asyncpg.Pool, failure: Exception, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PAUSE_SECONDS", 0.001)
    failing = Failing(pool, [failure, failure])
    answers = await all_of(Journal(cast(asyncpg.Pool, failing)), top_ups(count))
    assert answers == {Status.POSTED: count}
    assert failing.left == []
    assert await booked(pool) == count


async def test_what_does_not_pass_is_not_tried_again(pool: asyncpg.Pool) -> None:
    failing = Failing(pool, [asyncpg.InsufficientPrivilegeError("permission denied"), asyncpg.DivisionByZeroError()])
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await Journal(cast(asyncpg.Pool, failing)).post(flows.top_up("one", euro(1)))
    assert len(failing.left) == 1


@dataclass
class Failing:
    """A pool whose first calls of a posting function fail, each as told."""

    pool: asyncpg.Pool
    left: list[Exception]

    async def fetch(self, query: str, asked: Asked) -> list[asyncpg.Record]:
        if self.left:
            raise self.left.pop(0)
        return await self.pool.fetch(query, asked)

    async def execute(self, query: str, *arguments: object) -> str:
        return await self.pool.execute(query, *arguments)


@dataclass
class Held:
    """A pool that answers when it is told to, with the references that were asked about."""

    asked: list[tuple[list[str], asyncio.Future[None]]] = field(
        default_factory=list[tuple[list[str], asyncio.Future[None]]]
    )

    async def fetch(self, _query: str, asked: Asked) -> list[str]:
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.asked.append((references(asked), told))
        await told
        return references(asked)

    async def until_asked(self, calls: int) -> None:
        async with asyncio.timeout(HANG_SECONDS):
            while len(self.asked) < calls:
                await asyncio.sleep(0)

    def answer_all(self) -> None:
        for _, told in self.asked:
            told.set_result(None)
        self.asked.clear()


async def settled() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_what_one_hold_judges_waits_for_the_elder_that_is_on_its_way_and_nothing_else_does() -> None:
    held = Held()
    slow = Writer(cast(asyncpg.Pool, held), "tests")
    elder, younger, other = (
        flows.hold(payment("one"), euro(5)),
        flows.release(payment("one")),
        flows.top_up("o", euro(1)),
    )
    going = [asyncio.create_task(slow.post(elder))]
    await held.until_asked(1)
    going += [asyncio.create_task(slow.post(entry)) for entry in (younger, other)]
    await settled()
    assert [names for names, _ in held.asked] == [[elder.reference], [other.reference]]
    held.answer_all()
    await held.until_asked(1)
    assert [names for names, _ in held.asked] == [[younger.reference]]
    held.answer_all()
    async with asyncio.timeout(HANG_SECONDS):
        await asyncio.gather(*going)


async def test_no_entry_is_left_lying_when_all_lanes_end_at_the_same_moment() -> None:
    held = Held()
    slow = Writer(cast(asyncpg.Pool, held), "tests")

    async def twice(key: str, again: Callable[[], bool]) -> None:
        await slow.post(flows.top_up(key, euro(1)))
        if again():
            await slow.post(flows.top_up(f"{key}-again", euro(1)))

    tasks: list[asyncio.Task[None]] = []
    for number in range(LANES):
        tasks.append(asyncio.create_task(twice(f"line{number}", lambda number=number: number == 0)))
        await held.until_asked(number + 1)
    held.answer_all()  # every lane ends in one turn of the loop; who was answered first comes back with another entry
    await held.until_asked(1)
    held.answer_all()
    async with asyncio.timeout(HANG_SECONDS):
        await asyncio.gather(*tasks)


async def test_no_more_batches_are_on_their_way_than_there_are_lanes() -> None:
    held = Held()
    slow = Writer(cast(asyncpg.Pool, held), "tests")
    tasks: list[asyncio.Task[object]] = []
    for entry in top_ups(50):
        tasks.append(asyncio.create_task(slow.post(entry)))
        await settled()
    assert len(held.asked) == LANES
    assert [len(names) for names, _ in held.asked] == [1] * LANES
    held.answer_all()
    await settled()
    assert sum(len(names) for names, _ in held.asked) == 50 - LANES, "the rest goes next"
    held.answer_all()
    await asyncio.gather(*tasks)


async def test_what_contends_does_not_leave_before_its_elder() -> None:
    held = Held()
    slow = Writer(cast(asyncpg.Pool, held), "tests")
    one = payment("one")
    entries = [
        flows.hold(one, euro(10)),
        *(flows.capture(operation(Prefix.CAPTURE, str(number)), one, euro(1)) for number in range(5)),
        flows.release(one),
    ]
    tasks = [asyncio.create_task(slow.post(entry)) for entry in [*top_ups(10), *entries, *top_ups(10)]]
    left: list[str] = []
    while len(left) < len(tasks):
        await held.until_asked(1)
        await settled()
        for names, _ in held.asked:
            assert len({*names}.intersection(entry.reference for entry in entries)) <= 1
            left += names
        held.answer_all()
    await asyncio.gather(*tasks)
    assert [name for name in left if not name.startswith("bank:")] == [entry.reference for entry in entries]


async def test_a_caller_that_gave_up_before_its_batch_left_has_nothing_written() -> None:
    held = Held()
    slow = Writer(cast(asyncpg.Pool, held), "tests")
    first: list[asyncio.Task[Answer]] = []
    for entry in top_ups(LANES):  # each lane is on its way with one
        first.append(asyncio.create_task(slow.post(entry)))
        await settled()
    given_up = asyncio.create_task(slow.post(flows.top_up("given-up", euro(1))))
    await settled()
    given_up.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await given_up
    while held.asked:
        assert all("bank:given-up/top-up" not in names for names, _ in held.asked)
        held.answer_all()
        await settled()
    await asyncio.gather(*first)
