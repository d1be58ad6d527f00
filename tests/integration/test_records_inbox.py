"""The inbox on the real database: every event once, as it came (money rule 14)."""

import asyncio

import asyncpg
import pytest

from records.inbox import FIRST_PAUSE, LONGEST_PAUSE, Inbox, Received, Waiting

RAW = b'{"id" : "evt_1",  "amount": 12 }\n\x00\xff'
RACERS = 16


@pytest.fixture
def inbox(pool: asyncpg.Pool) -> Inbox:
    return Inbox(pool)


async def test_an_event_that_comes_again_is_kept_once_and_one_that_was_altered_is_told_apart(inbox: Inbox) -> None:
    assert await inbox.receive("simulator", "evt_1", RAW) is Received.NEW
    assert await inbox.receive("simulator", "evt_1", RAW) is Received.DUPLICATE
    assert await inbox.receive("simulator", "evt_1", RAW + b" ") is Received.ALTERED
    assert await inbox.receive("northbank", "evt_1", RAW + b" ") is Received.NEW  # their ids are their own
    assert [(each.provider, each.raw) for each in await inbox.waiting(9)] == [
        ("simulator", RAW),
        ("northbank", RAW + b" "),
    ]


async def test_of_many_deliveries_at_the_same_moment_one_is_new(inbox: Inbox) -> None:
    told = await asyncio.gather(*(inbox.receive("simulator", "evt_1", RAW) for _ in range(RACERS)))
    assert sorted(told) == [Received.DUPLICATE] * (RACERS - 1) + [Received.NEW]


async def test_events_wait_in_the_order_in_which_they_came_until_they_are_handled(
    inbox: Inbox, pool: asyncpg.Pool
) -> None:
    for name in ("evt_c", "evt_a", "evt_b"):
        await inbox.receive("simulator", name, name.encode())
    first, *_ = waiting = await inbox.waiting(2)
    assert [each.event_id for each in waiting] == ["evt_c", "evt_a"]
    assert first == Waiting(first.id, "simulator", "evt_c", b"evt_c")
    await inbox.handled(first.id, "signaled payment/pay_1")
    await inbox.handled(first.id, "a second relay's note")
    assert [each.event_id for each in await inbox.waiting(9)] == ["evt_a", "evt_b"]
    assert await pool.fetchval("SELECT note FROM records.inbox WHERE id = $1", first.id) == "signaled payment/pay_1"
    assert await inbox.receive("simulator", "evt_c", b"evt_c") is Received.DUPLICATE


async def test_nobody_removes_an_event_and_the_product_does_not_rewrite_one(
    inbox: Inbox, pool: asyncpg.Pool, admin_pool: asyncpg.Pool
) -> None:
    await inbox.receive("simulator", "evt_1", RAW)
    for change in ("DELETE FROM records.inbox", "TRUNCATE records.inbox"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await admin_pool.execute(change)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pool.execute("UPDATE records.inbox SET raw = 'x'")


async def test_an_event_that_cannot_be_handed_on_waits_and_the_others_go_on(
    inbox: Inbox, pool: asyncpg.Pool, admin_pool: asyncpg.Pool
) -> None:
    for name in ("evt_1", "evt_2"):
        await inbox.receive("simulator", name, RAW)
    first, second = await inbox.waiting(9)
    pauses = [await inbox.postpone(first.id) for _ in range(12)]
    assert pauses[0] <= FIRST_PAUSE < pauses[2] < LONGEST_PAUSE
    assert pauses[-1] > LONGEST_PAUSE / 2
    assert await inbox.waiting(9) == [second]
    await admin_pool.execute("UPDATE records.inbox SET next_at = clock_timestamp() WHERE id = $1", first.id)
    assert await inbox.waiting(9) == [first, second]


async def test_what_fits_nothing_is_listed_with_its_note_for_reconciliation(inbox: Inbox) -> None:
    for name in ("evt_1", "evt_2", "evt_3"):
        await inbox.receive("simulator", name, RAW)
    one, two, three = await inbox.waiting(9)
    await inbox.handled(one.id, "of a kind that is not known", unexplained=True)
    await inbox.handled(two.id, "signaled payment/pay_1")
    await inbox.handled(three.id, "about a reference that was never sent", unexplained=True)
    listed = await inbox.unexplained()
    assert [(each.event_id, each.raw, each.note) for each in listed] == [
        ("evt_1", RAW, "of a kind that is not known"),
        ("evt_3", RAW, "about a reference that was never sent"),
    ]
    assert [each.event_id for each in await inbox.unexplained(after=listed[0].id)] == ["evt_3"]
    assert [each.event_id for each in await inbox.unexplained(limit=1)] == ["evt_1"]
