"""The writer in front of the posting functions: whatever has arrived while a batch was on its way is the next batch.

No timer: a lone entry leaves at once, by the slim path, and a batch grows by itself when the database is busy. A few
lanes, so that one waits for the disk while another fills. What is judged by the same thing goes one after another, in
the order in which it came.
"""

import asyncio
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from domain.errors import LedgerBusy, LedgerUnavailable
from ledger.entry import Entry, Nature

LANES = 2  # two are enough to keep the disk busy; more only wait for each other's locks
BATCH_MAX = 128  # entries; above that a batch takes longer without the disk having less to do
WAITING_MAX = 4096  # entries; about a second of work: what comes on top is better asked again later
BUSY_SECONDS = 1.0  # when to ask again: what waits now is written by then
TRIES = 6  # of one call: deadlocks and lost connections pass, and a server restarts in some seconds
PAUSE_SECONDS = 0.05  # before the second try; it doubles, with full jitter

POST = "SELECT status, entry_id, first, hold_left FROM ledger.post($1)"
POST_BATCH = "SELECT status, entry_id, first, hold_left FROM ledger.post_batch($1)"
OPEN_ACCOUNTS = "SELECT ledger.open_accounts($1, $2, $3, $4)"

UNKNOWN_ACCOUNT = "HF001"  # of the posting functions
AGAIN = ("40001", "40P01", "55P03", "57014", "57P01", "57P02", "57P03", "08000", "08003", "08006")  # passes by itself
# The connection: the entry may be in the book or not. The second is what giving a lost one back to the pool may say.
LOST = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)

Answer = asyncpg.Record  # status, entry_id, first, hold_left
Item = tuple[Any, ...]  # ledger.item, field by field


@dataclass(slots=True, eq=False)
class Waiting:
    """An entry on its way, and whoever waits for it."""

    entry: Entry
    item: Item
    answer: asyncio.Future[Answer]
    judged: frozenset[str]  # what no two that are on their way may share


class Writer:
    """Posts entries through a pool. Of one event loop; it has no task of its own while nothing is waiting."""

    def __init__(self, pool: asyncpg.Pool, actor: str) -> None:
        self._pool = pool
        self._actor = actor
        self._waiting: list[Waiting] = []
        self._lanes: set[asyncio.Task[None]] = set()  # those that will look for more before they end
        self._busy = 0  # those of them with a batch on its way
        self._judged: set[str] = set()  # what is judged by the entries on their way

    async def post(self, entry: Entry) -> Answer:
        """Post an entry; acknowledged is durable.

        Raises `LedgerBusy` where too many wait, `LedgerUnavailable` where the database cannot be reached or cannot
        write, and what the database says of an entry that is wrong in itself.
        """
        if len(self._waiting) >= WAITING_MAX:
            raise LedgerBusy(
                "the ledger has more to write than it can soon; the entry was not taken", after_seconds=BUSY_SECONDS
            )
        waiting = Waiting(
            entry, _item(entry, self._actor), asyncio.get_running_loop().create_future(), frozenset(_judged(entry))
        )
        self._waiting.append(waiting)
        if len(self._lanes) < LANES:
            self._lanes.add(asyncio.create_task(self._run()))
        return await waiting.answer

    async def _run(self) -> None:
        """A lane: post what is waiting until nothing is."""
        lane = asyncio.current_task()
        assert lane is not None
        try:
            while batch := self._take():
                judged = frozenset[str]().union(*(each.judged for each in batch))
                self._judged |= judged
                self._busy += 1
                try:
                    await self._post_all(batch)
                finally:
                    self._busy -= 1
                    self._judged -= judged
        finally:
            self._lanes.discard(lane)  # at once: who posts next must start another

    def _take(self) -> list[Waiting]:
        """Take the longest waiting entries that may share a batch; the others stay in their order.

        No more than this lane's share: while one lane's batch is written, another's is packed, sent or on its way back.
        """
        share = min(BATCH_MAX, -(-len(self._waiting) // (LANES - self._busy)))
        batch: list[Waiting] = []
        stay: list[Waiting] = []
        judged = set(self._judged)
        for number, each in enumerate(self._waiting):
            if len(batch) == share:
                stay.extend(self._waiting[number:])
                break
            if each.answer.cancelled():
                continue
            if judged.isdisjoint(each.judged):
                batch.append(each)
            else:
                stay.append(each)
            judged |= each.judged  # also of what stays: the next of its kind must not overtake it
        self._waiting = stay
        return batch

    async def _post_all(self, batch: Sequence[Waiting]) -> None:
        """Post a batch and answer everybody in it. Where it fails as a whole, its halves are posted apart."""
        try:
            answers = await self._call(batch)
        except Exception as failure:  # noqa: BLE001  whoever waits gets it
            if len(batch) == 1 or isinstance(failure, LedgerUnavailable):
                for each in batch:
                    if not each.answer.done():
                        each.answer.set_exception(failure)
                return
            middle = len(batch) // 2
            await self._post_all(batch[:middle])
            await self._post_all(batch[middle:])
            return
        for each, answer in zip(batch, answers, strict=True):
            if not each.answer.done():  # nobody may be waiting any more
                each.answer.set_result(answer)

    async def _call(self, batch: Sequence[Waiting]) -> Sequence[Answer]:
        """Call the database, again under the same references where that helps; open the accounts that it misses."""
        missing = False
        pause = PAUSE_SECONDS
        for tries_left in reversed(range(TRIES)):
            try:
                if missing:
                    await self._open_accounts(each.entry for each in batch)
                    missing = False
                return await self._once(batch)
            except asyncpg.PostgresError as failure:
                if failure.sqlstate == UNKNOWN_ACCOUNT and tries_left:
                    missing = True
                    continue
                if failure.sqlstate not in AGAIN and not _cannot_write(failure):
                    raise
                if not tries_left:
                    raise LedgerUnavailable(_in_doubt(batch, failure)) from failure
            except LOST as failure:
                if not tries_left:
                    raise LedgerUnavailable(_in_doubt(batch, failure)) from failure
            await asyncio.sleep(random.uniform(0, pause))  # noqa: S311  jitter
            pause *= 2
        raise AssertionError("the last try returns or raises")

    async def _once(self, batch: Sequence[Waiting]) -> Sequence[Answer]:
        if len(batch) == 1:
            return await self._pool.fetch(POST, batch[0].item)
        return await self._pool.fetch(POST_BATCH, [each.item for each in batch])

    async def _open_accounts(self, entries: Iterable[Entry]) -> None:
        named = {(account, currency) for entry in entries for account, currency in entry.accounts}
        await self._pool.execute(
            OPEN_ACCOUNTS,
            [account.code for account, _ in named],
            [currency for _, currency in named],
            [int(account.normal) for account, _ in named],
            self._actor,
        )


def _cannot_write(failure: asyncpg.PostgresError) -> bool:
    """Disk full, out of memory, too many connections: class 53; and a server that cannot do input or output: 58."""
    return (failure.sqlstate or "").startswith(("53", "58"))


def _in_doubt(batch: Sequence[Waiting], failure: BaseException) -> str:
    names = ", ".join(each.entry.reference for each in batch[:3])
    more = f" and {len(batch) - 3} more" if len(batch) > 3 else ""
    return (
        f"the ledger's database does not answer or cannot write ({failure or type(failure).__name__}). "
        f"Whether {names}{more} is in the book is not known. Post the same again: it has one effect"
    )


def _judged(entry: Entry) -> Iterable[str]:
    """What an entry is judged by, or judges by: no two entries of a batch may share one (ledger/schema/0010)."""
    yield f"reference {entry.reference}"
    if entry.hold:
        yield f"hold {entry.hold.reference}"
    if entry.nature is Nature.GATE and entry.bounded:
        yield f"bound {entry.bounded.code} {entry.currency}"
    if entry.nature is Nature.GATE and entry.refundable:
        yield f"refundable {entry.refundable.payment} {entry.currency}"


def _item(entry: Entry, actor: str) -> Item:
    """Lay an entry out as the database's `ledger.item`, field by field."""
    hold, refundable, currency = entry.hold, entry.refundable, entry.currency
    amounts: dict[int, int] = {}
    for line in entry.lines:
        account = line.account.id_in(line.amount.currency)
        amounts[account] = amounts.get(account, 0) + line.amount.minor
    debit = credit = None
    if hold and hold.debit and hold.credit and currency:
        debit, credit = hold.debit.id_in(currency), hold.credit.id_in(currency)
        amounts.setdefault(debit, 0)
        amounts.setdefault(credit, 0)
    return (
        entry.reference,
        entry.fingerprint,
        entry.operation,
        entry.kind,
        entry.nature,
        actor,
        entry.why,
        entry.effective_at,
        entry.reverses,
        currency,
        list(amounts),
        list(amounts.values()),
        hold.reference if hold else None,
        hold.action if hold else None,
        hold.money.minor if hold and hold.money else None,
        hold.final if hold else False,
        hold.expires_seconds if hold else None,
        debit,
        credit,
        entry.bounded.id_in(currency) if entry.bounded and currency else None,
        refundable.payment if refundable else None,
        refundable.captured if refundable else 0,
        refundable.refunded if refundable else 0,
        refundable.disputed if refundable else 0,
    )
