"""Every path of money through the real posting functions: answers and books are those of the book in memory."""

import asyncio
import random

import asyncpg
import pytest

from domain.ids import OperationId
from ledger.entry import Entry
from ledger.journal import Journal
from tests.support.ledger_paths import PATHS
from tests.support.memory_book import MemoryBook, Taken


async def assert_equal_books(journal: Journal, book: MemoryBook) -> None:
    for balance in await journal.trial_balance():
        key = balance.code, balance.currency
        ours = book.posted[key], book.pending_debit[key], book.pending_credit[key]
        assert (balance.posted, balance.pending_debit, balance.pending_credit) == ours, key
    for (payment, currency), ours in book.payments.items():
        theirs = await journal.refundable(OperationId(payment), currency)
        assert theirs is not None
        assert (theirs.captured, theirs.refunded, theirs.disputed, theirs.reserved) == (
            ours.captured,
            ours.refunded,
            ours.disputed,
            ours.reserved,
        )
    assert await journal.verify() is None


@pytest.mark.parametrize("name", PATHS)
async def test_a_path_in_the_ledger_is_the_path_in_memory(pool: asyncpg.Pool, name: str) -> None:
    journal, book = Journal(pool), MemoryBook()
    entries = list(PATHS[name][0]())
    for entry in entries + entries:
        answer = await journal.post(entry)
        assert answer.stands is (book.post(entry) in (Taken.POSTED, Taken.REPLAYED)), entry.reference
    await assert_equal_books(journal, book)


async def test_the_facts_of_all_paths_at_once_and_in_any_order_end_as_one_by_one(pool: asyncpg.Pool) -> None:
    journal, book = Journal(pool), MemoryBook()
    gates, facts = _apart()
    for gate in gates:
        await journal.post(gate)
        book.post(gate)
    random.Random(7).shuffle(facts)
    answers = await asyncio.gather(*(journal.post(fact) for fact in facts))
    assert all(answer.stands for answer in answers)
    for fact in facts:
        book.post(fact)
    for code in sorted({code for code, _ in book.posted}):
        posted = {row.code: row.posted for row in await journal.trial_balance(code, "EUR")}
        assert posted.get(code, 0) == book.posted[code, "EUR"], code
    assert await journal.verify() is None


def _apart() -> tuple[list[Entry], list[Entry]]:
    """The gates and the facts of all paths, each reference once: paths share their ids."""
    known: dict[str, Entry] = {}
    for path, _ in PATHS.values():
        for entry in path():
            known.setdefault(entry.reference, entry)
    gates = [entry for entry in known.values() if entry.nature == "gate"]
    return gates, [entry for entry in known.values() if entry.nature != "gate"]
