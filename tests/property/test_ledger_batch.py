"""Posting many at once against posting one by one: the same answers, and row for row the same books.

Two worlds live the same events, one through `ledger.post`, one through `ledger.post_batch`. What the rows say is
compared with everything that tells the worlds apart taken out: numbers, times and the names of merchant and provider.
"""

import itertools
from collections.abc import Sequence

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.ids import Prefix
from domain.money import Money
from ledger.entry import Entry, Nature
from ledger.journal import Journal, Status
from ledger.writer import POST, POST_BATCH
from tests.support.ledger_calls import laid_out, open_accounts
from tests.support.ledger_flows import flows, operation
from tests.support.ledger_world import EVENTS, OWN, Event, World

EXAMPLES = 40  # about ten seconds
NUMBERS = itertools.count(1)

ENTRIES = """
SELECT e.reference, e.operation, e.kind, e.nature, e.actor, e.why, e.reverses, e.currency, e.hold, e.hold_amount,
       e.hold_expires_at IS NULL, e.hold_expires_at = 'infinity', a.code, e.available_before,
       e.payment, e.captured, e.refunded, e.disputed, e.effective_at = e.posted_at
FROM ledger.entry e LEFT JOIN ledger.account a ON a.id = e.bounded_account
WHERE e.reference = ANY ($1) ORDER BY e.reference
"""
POSTINGS = """
SELECT e.reference, a.code, p.currency, p.posted, p.pending_debit, p.pending_credit,
       CASE WHEN a.code = ANY ($2) THEN p.posted_after END, CASE WHEN a.code = ANY ($2) THEN p.pending_debit_after END,
       CASE WHEN a.code = ANY ($2) THEN p.pending_credit_after END, CASE WHEN a.code = ANY ($2) THEN p.version END
FROM ledger.entry e JOIN ledger.posting p USING (entry_id, posted_at) JOIN ledger.account a ON a.id = p.account_id
WHERE e.reference = ANY ($1) ORDER BY e.reference, a.code, p.currency
"""
REJECTIONS = """
SELECT reference, operation, kind, actor, status, amount, currency FROM ledger.rejection
WHERE reference = ANY ($1) ORDER BY reference
"""
CONFLICTS = """
SELECT actor, action, subject, detail FROM ledger.event WHERE subject = ANY ($1) ORDER BY subject, detail
"""
HOLDS = """
SELECT h.reference, h.currency, d.code, c.code, h.payment, h.amount, h.expires_at = 'infinity', h.remaining, h.state
FROM ledger.hold h
LEFT JOIN ledger.account d ON d.id = h.debit_account LEFT JOIN ledger.account c ON c.id = h.credit_account
WHERE h.reference IN (SELECT hold FROM ledger.entry WHERE reference = ANY ($1)) OR h.reference = ANY ($1)
ORDER BY h.reference
"""
PAYMENTS = """
SELECT payment, currency, captured, reserved, refunded, disputed FROM ledger.refundable
WHERE payment = ANY ($1) ORDER BY payment, currency
"""

Answer = tuple[str, str | None, int | None]


def contends(entry: Entry) -> set[str]:
    """What no two entries of a batch may share."""
    names = {f"reference {entry.reference}"}
    if entry.hold:
        names.add(f"hold {entry.hold.reference}")
    if entry.nature is Nature.GATE and entry.bounded:
        names.add(f"bound {entry.bounded} {entry.currency}")
    if entry.nature is Nature.GATE and entry.refundable:
        names.add(f"refundable {entry.refundable.payment} {entry.currency}")
    return names


def side_by_side(world: World, events: Sequence[Event]) -> list[Event]:
    """Leave out what contends; gates first, those with a bound before all: as a batch judges them."""
    taken: set[str] = set()
    chosen: list[Event] = []
    for event in events:
        names = contends(world.entry(event))
        if taken.isdisjoint(names):
            taken |= names
            chosen.append(event)

    def rank(event: Event) -> tuple[bool, bool]:
        entry = world.entry(event)
        return entry.bounded is None, entry.nature is Nature.FACT

    return sorted(chosen, key=rank)


async def told(pool: asyncpg.Pool, entries: Sequence[Entry], *, together: bool) -> list[Answer]:
    """Post the entries together or one by one; what was answered."""
    items = await laid_out(entries)
    await open_accounts(pool, entries)
    rows: list[asyncpg.Record] = []
    if together:
        rows = await pool.fetch(POST_BATCH, items)
    else:
        for item in items:
            rows += await pool.fetch(POST, item)
    return [(row["status"], row["first"], row["hold_left"]) for row in rows]


async def books(pool: asyncpg.Pool, world: World, entries: Sequence[Entry]) -> dict[str, list[str]]:
    """All rows about these entries, in words that do not tell one world from another."""
    references = sorted({entry.reference for entry in entries})
    payments = [world.id(Prefix.PAYMENT, number) for number in range(3)]
    rows = {
        "entries": await pool.fetch(ENTRIES, references),
        "postings": await pool.fetch(POSTINGS, references, [world.codes[name] for name in OWN]),
        "rejections": await pool.fetch(REJECTIONS, references),
        "conflicts": await pool.fetch(CONFLICTS, references),
        "holds": await pool.fetch(HOLDS, references),
        "payments": await pool.fetch(PAYMENTS, payments),
    }
    return {name: sorted(nameless(world, str(tuple(row))) for row in found) for name, found in rows.items()}


def nameless(world: World, text: str) -> str:
    names = {f"merchant_{world.number}": "merchant", f"provider{world.number}": "provider"}
    for number in range(3):
        names[world.key(number)] = f"case {number}"
        for prefix in (Prefix.PAYMENT, Prefix.CAPTURE, Prefix.REFUND, Prefix.PAYOUT):
            names[world.id(prefix, number)] = f"{prefix} {number}"
    for name, instead in names.items():
        text = text.replace(name, instead)
    return text


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(turns=st.lists(st.lists(EVENTS, min_size=1, max_size=8), min_size=1, max_size=6))
async def test_a_batch_and_one_by_one_give_the_same_answers_and_the_same_books(
    pool: asyncpg.Pool, turns: list[list[Event]]
) -> None:
    alone, together = World(next(NUMBERS)), World(next(NUMBERS))
    written: dict[World, list[Entry]] = {alone: [], together: []}
    for turn in turns:
        events = side_by_side(alone, turn)
        answers: list[list[Answer]] = []
        for world in (alone, together):
            entries = [world.entry(event) for event in events]
            answers.append(await told(pool, entries, together=world is together))
            written[world] += entries
        assert answers[0] == answers[1], events
    one, other = await books(pool, alone, written[alone]), await books(pool, together, written[together])
    for what, rows in one.items():
        assert rows == other[what], what
    assert await Journal(pool).verify() is None


async def test_a_batch_of_nothing_is_answered_with_nothing(pool: asyncpg.Pool) -> None:
    assert await pool.fetch(POST_BATCH, []) == []


EURO = Money(10, "EUR")
ONE, TWO = (operation(Prefix.PAYMENT, name) for name in ("one", "two"))
CONTENDERS = {
    "reference": (flows.top_up("one", EURO), flows.top_up("one", EURO)),
    "hold": (flows.hold(ONE, EURO), flows.release(ONE)),
    "bound": tuple(flows.payout_reserve(operation(Prefix.PAYOUT, name), EURO) for name in ("one", "two")),
    "refundable": tuple(flows.refund_reserve(operation(Prefix.REFUND, name), ONE, EURO) for name in ("one", "two")),
}


@pytest.mark.parametrize("what", CONTENDERS)
async def test_entries_that_contend_are_not_taken_together_at_all(pool: asyncpg.Pool, what: str) -> None:
    entries = [flows.top_up("bystander", EURO), *CONTENDERS[what]]
    await open_accounts(pool, entries)
    with pytest.raises(asyncpg.PostgresError, match="contend for") as refused:
        await pool.fetch(POST_BATCH, await laid_out(entries))
    assert refused.value.sqlstate == "HF002"
    assert await pool.fetchval("SELECT count(*) FROM ledger.entry_key") == 0


async def test_an_account_that_is_not_open_keeps_the_whole_batch_out_and_both_paths_say_so_alike(
    pool: asyncpg.Pool,
) -> None:
    await open_accounts(pool, [flows.top_up("one", EURO)])
    entries = [flows.top_up("one", EURO), flows.hold(ONE, EURO)]
    for query, asked in ((POST_BATCH, await laid_out(entries)), (POST, (await laid_out(entries))[1])):
        with pytest.raises(asyncpg.PostgresError, match="not open") as refused:
            await pool.fetch(query, asked)
        assert refused.value.sqlstate == "HF001"
    assert await pool.fetchval("SELECT count(*) FROM ledger.entry_key") == 0


async def test_gates_of_a_batch_are_judged_by_what_stood_before_it(pool: asyncpg.Pool) -> None:
    payout, capture = operation(Prefix.PAYOUT, "one"), operation(Prefix.CAPTURE, "one")
    refund = operation(Prefix.REFUND, "one")
    entries = [
        flows.top_up("one", EURO),
        flows.capture(capture, ONE, EURO),
        flows.payout_reserve(payout, EURO),
        flows.refund_reserve(refund, ONE, EURO),
    ]
    answers = await told(pool, entries, together=True)
    assert [status for status, _, _ in answers] == [
        Status.POSTED,
        Status.POSTED,
        Status.INSUFFICIENT_FUNDS,
        Status.REFUNDABLE_EXCEEDED,
    ]
    assert await Journal(pool).verify() is None


async def test_a_gate_comes_before_the_facts_of_its_batch_however_many_they_are(pool: asyncpg.Pool) -> None:
    await told(pool, [flows.top_up("before", Money(100, "EUR"))], together=False)
    facts = [flows.top_up(f"line{number}", Money(1, "EUR")) for number in range(1200)]
    gate = flows.payout_reserve(operation(Prefix.PAYOUT, "one"), Money(100, "EUR"))
    answers = await told(pool, [*facts, gate], together=True)
    assert {status for status, _, _ in answers} == {Status.POSTED}
    assert await Journal(pool).verify() is None
