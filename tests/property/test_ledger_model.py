"""The journal beside an independent book: whatever is posted, in whatever order, both say the same.

Hypothesis decides what happens: one entry by the single path, the same by the batch path, or many at once, so that the
writer makes batches of them; accounts are closed and opened again in between. Afterwards every balance, hold, payment,
refusal and conflict is compared, and the ledger verifies itself.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from domain.ids import Prefix
from ledger import writer
from ledger.journal import Journal
from tests.support.ledger_book import Book, Deed, Held, Said
from tests.support.ledger_calls import Call, SeenPool
from tests.support.ledger_world import EUR, EVENTS, HOLDS, OWN, USD, Event, World

EXAMPLES = 40  # about fifteen seconds; more are lived with HYPOTHESIS_MAX_EXAMPLES in a longer run
STEPS = 15
CALL_SECONDS = 20  # far above what any call takes

T = TypeVar("T")

NUMBERS = itertools.count(1)
CLOSING = "SELECT ledger.set_closed($1, $2, $3, 'ada', 'the test says so')"


class Beside(RuleBasedStateMachine):
    """A ledger and a book of one world. It runs in a thread; the ledger's calls run in the loop of the pools."""

    loop: asyncio.AbstractEventLoop
    pool: asyncpg.Pool
    admin: asyncpg.Pool

    def __init__(self) -> None:
        super().__init__()
        self.world, self.book = World(next(NUMBERS)), Book()
        self.single, self.batch = SeenPool(self.pool), SeenPool(self.pool, by_batch=True)
        self.journals = {False: Journal(self.single.as_pool), True: Journal(self.batch.as_pool)}
        self.deeds: dict[tuple[str, bytes], Deed] = {}
        self.numbers: dict[str, int] = {}
        self.before = self.wait(self.read_layers())

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(CALL_SECONDS)

    @rule(event=EVENTS, by_batch=st.booleans())
    def happens(self, event: Event, by_batch: bool) -> None:
        self.wait(self.post([event], by_batch=by_batch))

    @rule(events=st.lists(EVENTS, min_size=2, max_size=12))
    def happen_at_once(self, events: list[Event]) -> None:
        self.wait(self.post(events, by_batch=False))

    @rule(account=st.sampled_from(OWN), closed=st.booleans())
    def account_is_closed_or_opened(self, account: str, closed: bool) -> None:
        if self.wait(self.journals[False].balance(self.world.codes[account], EUR)) is None:
            return
        changed = self.wait(self.admin.fetchval(CLOSING, self.world.codes[account], EUR, closed))
        assert changed == (closed != ((account, EUR) in self.book.closed))
        (self.book.closed.add if closed else self.book.closed.discard)((account, EUR))

    async def post(self, events: Sequence[Event], *, by_batch: bool) -> None:
        """Post events at once, then tell the book the same in the order and the company in which they went."""
        seen = self.batch if by_batch else self.single
        entries = [self.world.entry(event) for event in events]
        for entry, event in zip(entries, events, strict=True):
            self.deeds[entry.reference, entry.fingerprint] = self.world.deed(event)
        seen.calls.clear()
        posted = await asyncio.gather(*(self.journals[by_batch].post(entry) for entry in entries))
        answered = Counter[tuple[str, str, int | None]]()
        for call in seen.calls:
            self.compare(call)
            answered.update(
                (item[0], row["status"], row["hold_left"]) for item, row in zip(call.items, call.answers, strict=True)
            )
        told = [
            (entry.reference, answer.status, answer.hold_left) for entry, answer in zip(entries, posted, strict=True)
        ]
        assert Counter(told) == answered, "a caller was told something else than the database said"

    def compare(self, call: Call) -> None:
        deeds = [self.deeds[item[0], item[1]] for item in call.items]
        firsts = [self.book.first.get(deed.name) for deed in deeds]
        for deed, said, first, row in zip(deeds, self.book.take(deeds), firsts, call.answers, strict=True):
            answer: Said = row["status"], row["hold_left"]
            assert answer == said, deed
            assert self.numbers.setdefault(deed.name, row["entry_id"]) == row["entry_id"], "one reference, one entry"
            if said[0] == "rejected_before":
                assert first is not None
                assert row["first"] == first[1]

    async def read_layers(self) -> dict[tuple[str, str], tuple[int, int, int]]:
        read: dict[tuple[str, str], tuple[int, int, int]] = {}
        for (account, code), currency in itertools.product(self.world.codes.items(), (EUR, USD)):
            row = await self.journals[False].balance(code, currency)
            read[account, currency] = (row.posted, row.pending_debit, row.pending_credit) if row else (0, 0, 0)
        return read

    def teardown(self) -> None:
        self.wait(self.compare_all())

    async def compare_all(self) -> None:
        for account, currency in self.book.closed:
            await self.admin.fetchval(CLOSING, self.world.codes[account], currency, False)
        for key, after in (await self.read_layers()).items():
            changed = tuple(new - old for new, old in zip(after, self.before[key], strict=True))
            assert changed == self.book.layers(*key), key
        await self.compare_holds()
        await self.compare_payments()
        await self.compare_refusals()
        assert await self.journals[False].verify() is None

    async def compare_holds(self) -> None:
        names = {self.world.hold(kind, at): f"{kind} {at}" for kind in HOLDS for at in range(3)}
        rows = await self.pool.fetch(
            "SELECT reference, state, remaining FROM ledger.hold WHERE reference = ANY ($1)", [*names]
        )
        read = {names[row["reference"]]: (row["state"], row["remaining"]) for row in rows}
        assert read == {name: (held.state, held.left) for name, held in self.book.holds.items()}

    async def compare_payments(self) -> None:
        for number, currency in itertools.product((0, 1), (EUR, USD)):
            left = await self.journals[False].refundable(self.world.id(Prefix.PAYMENT, number), currency)
            ours = self.book.payments.get((f"payment {number}", currency))
            read = (left.captured, left.reserved, left.refunded, left.disputed) if left else (0, 0, 0, 0)
            assert read == ((ours.captured, ours.reserved, ours.refunded, ours.disputed) if ours else (0, 0, 0, 0))

    async def compare_refusals(self) -> None:
        names = {reference: deed.name for (reference, _), deed in self.deeds.items()}
        rows = await self.pool.fetch(
            "SELECT reference, status FROM ledger.rejection WHERE reference = ANY ($1)", [*names]
        )
        ours = {name: status for name, (_, status) in self.book.first.items() if status != "posted"}
        assert {names[row["reference"]]: row["status"] for row in rows} == ours
        rows = await self.pool.fetch(
            "SELECT subject FROM ledger.event WHERE action = 'entry.conflict' AND subject = ANY ($1)", [*names]
        )
        assert Counter(names[row["subject"]] for row in rows) == +self.book.conflicts


@pytest.mark.timeout(600)
async def test_whatever_happens_the_journal_and_an_independent_book_agree(
    pool: asyncpg.Pool, admin_pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "LANES", 1)  # so that calls have one order, which the book can follow

    class Here(Beside):
        pass

    Here.loop, Here.pool, Here.admin = asyncio.get_running_loop(), pool, admin_pool
    how = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    await asyncio.to_thread(run_state_machine_as_test, Here, settings=how)


@given(events=st.lists(EVENTS, max_size=30), number=st.integers(1, 9))
def test_every_entry_of_every_flow_balances(events: list[Event], number: int) -> None:
    for event in events:
        entry, deed = World(number).entry(event), World(number).deed(event)
        for lines in (
            [(line.amount.currency, line.amount.minor) for line in entry.lines],
            [(currency, amount) for _, currency, amount in deed.lines],
        ):
            for currency in {currency for currency, _ in lines}:
                assert sum(amount for each, amount in lines if each == currency) == 0


def test_a_book_that_is_wrong_would_be_found() -> None:
    """The other book is a book, too: a refusal, a replay and a conflict, counted by hand."""
    book, world = Book(), World(1)
    payout = world.deed(Event("payout_reserve", 0, 25))
    assert book.take([payout]) == [("insufficient_funds", None)]
    assert book.take([world.deed(Event("top_up", 0, 60))]) == [("posted", None)]
    assert book.take([payout, world.deed(Event("payout_reserve", 1, 25))]) == [
        ("rejected_before", None),
        ("posted", None),
    ]
    assert book.take([world.deed(Event("payout_reserve", 1, 10))]) == [("conflicting_content", None)]
    assert book.layers("payable", EUR) == (-60, 25, 0)
    assert book.holds["payout_reserve 0"] == Held(EUR)
