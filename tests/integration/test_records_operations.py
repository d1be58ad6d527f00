"""Rows, events and timelines on the real database: written once however often they are asked for, and in order."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import asyncpg
import pytest

from domain.commands import Prepare, Row
from domain.ids import UNWRITTEN, ClientId, MerchantId, OperationId, Prefix, Reference, Verb, derive, effect_reference
from domain.lifecycle import PAYMENT, PAYOUT, REFUND, Lifecycle
from domain.money import Money
from domain.outcomes import DONE, Answer, Outcome, Reason
from records import operations as module
from records.calls import CallJournal, Go
from records.operations import Admission, Operations

CLIENT = ClientId("shop")
TOMORROW, YESTERDAY = 86_400.0, -86_400.0  # seconds from now
RACERS = 16


def named(prefix: Prefix, key: str = "k") -> OperationId:
    return derive(prefix, client=CLIENT, mode="test", operation=prefix, key=key)


PAY, CAP, VD, RFD, PO = (
    named(prefix) for prefix in (Prefix.PAYMENT, Prefix.CAPTURE, Prefix.VOID, Prefix.REFUND, Prefix.PAYOUT)
)


def euro(minor: int) -> Money:
    return Money(minor, "EUR")


def prepare(of: OperationId = PAY, *, admit_in_seconds: float = TOMORROW) -> Prepare:
    return Prepare(
        operation=of,
        client=CLIENT,
        merchant=MerchantId("acme"),
        provider="simulator",
        money=euro(100),
        fingerprint="fp",
        admit_until=datetime.now(UTC).timestamp() + admit_in_seconds,
        merchant_reference="order 7",
        payment=PAY if of == RFD else None,
        automatic=of == PAY,
    )


def row(of: OperationId, state: str, total: int = 0, reason: str = "", payment: OperationId | None = None) -> Row:
    return Row(operation=of, state=state, amount=euro(100), total=euro(total), reason=reason, payment=payment)


@pytest.fixture
def operations(pool: asyncpg.Pool) -> Operations:
    return Operations(pool)


async def events(pool: asyncpg.Pool) -> list[str]:
    rows = await pool.fetch("SELECT name FROM records.event ORDER BY id")
    return [each["name"] for each in rows]


# Admission


async def test_an_operation_is_admitted_once_and_again_and_its_row_says_what_was_asked(
    operations: Operations, pool: asyncpg.Pool
) -> None:
    told = await asyncio.gather(*(operations.admit(prepare()) for _ in range(RACERS)))
    assert set(told) == {Admission.ADMITTED}
    assert await events(pool) == ["payment.requested"]
    stored = await operations.payment(PAY)
    assert stored is not None
    assert replace(stored, created_at=stored.updated_at) == module.StoredOperation(
        id=PAY,
        payment=None,
        client=CLIENT,
        merchant=MerchantId("acme"),
        provider="simulator",
        money=euro(100),
        total=euro(0),
        state="requested",
        reason="",
        provider_id="",
        reference=UNWRITTEN,
        merchant_reference="order 7",
        automatic=True,
        fingerprint="fp",
        created_at=stored.updated_at,
        updated_at=stored.updated_at,
    )


async def test_a_start_that_comes_when_nobody_waits_any_more_is_not_started_however_often_it_comes(
    operations: Operations, pool: asyncpg.Pool
) -> None:
    assert await operations.admit(prepare(admit_in_seconds=YESTERDAY)) is Admission.STALE
    assert await operations.admit(prepare(admit_in_seconds=TOMORROW)) is Admission.STALE
    await operations.write((row(PAY, "not_started", reason=Reason.STALE),))  # as the run says it at its end
    stored = await operations.payment(PAY)
    assert stored is not None
    assert (stored.state, stored.reason) == ("not_started", Reason.STALE)
    assert await events(pool) == ["payment.not_started"]


async def test_whoever_is_admitted_stays_admitted(operations: Operations) -> None:
    await operations.admit(prepare())
    assert await operations.admit(prepare(admit_in_seconds=YESTERDAY)) is Admission.ADMITTED
    await operations.write((row(PAY, "not_started", reason=Reason.CANCELED),))
    assert await operations.admit(prepare(admit_in_seconds=YESTERDAY)) is Admission.ADMITTED


async def test_an_id_that_belongs_to_another_command_is_a_conflict_and_changes_nothing(
    operations: Operations, pool: asyncpg.Pool
) -> None:
    await operations.admit(prepare())
    other = replace(prepare(), fingerprint="other", money=euro(999))
    assert await operations.admit(other) is Admission.CONFLICT
    stored = await operations.payment(PAY)
    assert stored is not None
    assert stored.money == euro(100)
    assert await events(pool) == ["payment.requested"]


# Writing


async def test_a_change_writes_its_row_and_one_event_and_the_same_change_again_writes_nothing(
    operations: Operations, pool: asyncpg.Pool
) -> None:
    await operations.admit(prepare())
    change = replace(
        row(PAY, "captured", total=100), provider_id="ch_1", reference=effect_reference(PAY, Verb.AUTHORIZE, 1)
    )
    await asyncio.gather(*(operations.write((change,)) for _ in range(RACERS)))
    assert await events(pool) == ["payment.requested", "payment.captured"]
    before = await operations.payment(PAY)
    await operations.write((change,))
    assert before is not None
    assert await operations.payment(PAY) == before
    assert (before.state, before.total, before.provider_id, before.reference) == (
        "captured",
        euro(100),
        "ch_1",
        change.reference,
    )
    assert before.updated_at > before.created_at


async def test_an_event_tells_who_when_what_was_and_what_is(operations: Operations, pool: asyncpg.Pool) -> None:
    await operations.admit(prepare())
    await operations.write((row(PAY, "declined", reason="do_not_honour"),))
    event = await pool.fetchrow("SELECT * FROM records.event ORDER BY id DESC LIMIT 1")
    assert event is not None
    assert (event["operation"], event["name"], event["actor"]) == (PAY, "payment.declined", "holdfast")
    assert json.loads(event["before"]) == {"state": "requested", "total": 0, "reason": ""}
    assert json.loads(event["after"]) == {"state": "declined", "total": 0, "reason": "do_not_honour", "currency": "EUR"}
    assert event["relayed_at"] is None


async def test_what_the_provider_calls_it_is_not_forgotten_by_a_row_that_does_not_say_it(
    operations: Operations,
) -> None:
    await operations.admit(prepare())
    await operations.write((replace(row(PAY, "authorized"), provider_id="ch_1", reference=Reference(f"{PAY}.a1")),))
    await operations.write((row(PAY, "capturing"),))
    stored = await operations.payment(PAY)
    assert stored is not None
    assert (stored.provider_id, stored.reference) == ("ch_1", f"{PAY}.a1")


async def test_a_child_is_written_when_it_is_first_told_of_and_belongs_to_its_payments_client(
    operations: Operations, pool: asyncpg.Pool
) -> None:
    await operations.admit(prepare())
    capture = replace(row(CAP, "succeeded", total=40, payment=PAY), amount=euro(40), fingerprint="of the capture")
    await operations.write((row(PAY, "partially_captured", total=40), capture))
    stored = await operations.capture(CAP)
    assert stored is not None
    assert (stored.payment, stored.client, stored.merchant, stored.provider) == (PAY, CLIENT, "acme", "simulator")
    assert (stored.money, stored.total, stored.fingerprint) == (euro(40), euro(40), "of the capture")
    assert await events(pool) == ["payment.requested", "capture.succeeded", "payment.partially_captured"]


async def test_rows_are_written_all_or_none(operations: Operations, pool: asyncpg.Pool) -> None:
    await operations.admit(prepare())
    broken = replace(row(OperationId("inc_1"), "succeeded", payment=PAY), amount=euro(1))
    with pytest.raises(asyncpg.CheckViolationError):
        await operations.write((row(PAY, "captured", total=100), broken))
    assert await events(pool) == ["payment.requested"]


@pytest.mark.parametrize("terminal", ["captured", "voided", "declined"])
async def test_a_late_duplicate_of_an_older_write_does_not_move_an_ended_payment(
    operations: Operations, pool: asyncpg.Pool, terminal: str
) -> None:
    await operations.admit(prepare())
    await operations.write((row(PAY, "authorized"),))
    await operations.write((row(PAY, terminal),))
    written = await events(pool)
    await operations.write((row(PAY, "authorized"),))
    stored = await operations.payment(PAY)
    assert stored is not None
    assert stored.state == terminal
    assert await events(pool) == written


@pytest.mark.parametrize(
    ("of", "end", "onward"), [(RFD, "succeeded", "reversed"), (PO, "paid", "returned")], ids=["refund", "payout"]
)
async def test_a_success_that_was_taken_back_stays_taken_back(
    operations: Operations, of: OperationId, end: str, onward: str
) -> None:
    await operations.admit(prepare(of))
    for state in (end, "submitting", onward, end, "failed"):
        await operations.write((row(of, state),))
    stored = await (operations.refund(of) if of == RFD else operations.payout(of))
    assert stored is not None
    assert stored.state == onward


async def test_an_ended_payments_sums_may_still_be_corrected(operations: Operations) -> None:
    await operations.admit(prepare())
    for total in (100, 60):
        await operations.write((row(PAY, "captured", total=total),))
    stored = await operations.payment(PAY)
    assert stored is not None
    assert stored.total == euro(60)


async def test_the_database_knows_the_same_ends_as_the_lifecycle_tables(pool: asyncpg.Pool) -> None:
    tables: Mapping[str, Lifecycle[module.Any]] = {"pay": PAYMENT, "rfd": REFUND, "po": PAYOUT}
    ends = {(kind, state.value, "") for kind, table in tables.items() for state, onward in table.items() if not onward}
    exceptions = {("rfd", "succeeded", "reversed"), ("po", "paid", "returned")}
    assert all(tuple(tables[kind][state]) == (onward,) for kind, state, onward in exceptions)
    of_one_step = {(kind, state, "") for kind in ("cap", "vd") for state in ("succeeded", "failed")}
    rows = await pool.fetch("SELECT kind, state, onward FROM records.terminal")
    assert {tuple(each) for each in rows} == ends | exceptions | of_one_step


async def test_nothing_that_was_written_is_rewritten_or_removed(
    operations: Operations, pool: asyncpg.Pool, admin_pool: asyncpg.Pool
) -> None:
    await operations.admit(prepare())
    for change in (
        "UPDATE records.event SET after = '{}'",
        "UPDATE records.event SET at = at - interval '1 day'",
        "DELETE FROM records.event",
        "TRUNCATE records.event",
        "DELETE FROM records.operation",
        "TRUNCATE records.operation",
    ):
        with pytest.raises(asyncpg.RestrictViolationError):
            await admin_pool.execute(change)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.execute(change)
    await pool.execute("UPDATE records.event SET relayed_at = clock_timestamp()")  # the outbox hands it on


# Reading


async def test_an_operation_is_found_under_its_own_kind_only(operations: Operations) -> None:
    reads = {
        PAY: operations.payment,
        CAP: operations.capture,
        VD: operations.void,
        RFD: operations.refund,
        PO: operations.payout,
    }
    for of in (PAY, RFD, PO):
        await operations.admit(prepare(of))
    await operations.write((row(CAP, "succeeded", payment=PAY), row(VD, "failed", payment=PAY)))
    for of in reads:
        found = [await read(of) for read in reads.values()]
        assert [each.id for each in found if each] == [of]
        assert await reads[of](named(Prefix(of.split("_")[0]), "another")) is None
    assert [each.id for each in await operations.children(PAY)] == [RFD, CAP, VD]


@pytest.mark.parametrize("kind", [Prefix.PAYMENT, Prefix.PAYOUT])
async def test_pages_follow_each_other_newest_first_even_among_rows_of_one_moment(
    operations: Operations, admin_pool: asyncpg.Pool, kind: Prefix
) -> None:
    ids = [named(kind, f"key {number}") for number in range(10)]
    for of in ids:
        await operations.admit(prepare(of))
    for of in (named(Prefix.PAYMENT, "other"), named(Prefix.PAYOUT, "other")):
        await operations.admit(replace(prepare(of), client=ClientId("other")))
    same = "UPDATE records.operation SET created_at = $1 WHERE id = ANY($2)"
    for hour, group in ((9, ids[:4]), (8, ids[4:8]), (7, ids[8:])):
        await admin_pool.execute(same, datetime(2026, 1, 1, hour, tzinfo=UTC), group)
    page_of = operations.payments if kind is Prefix.PAYMENT else operations.payouts
    seen: list[OperationId] = []
    before: module.Before | None = None
    while page := await page_of(CLIENT, 3, before):
        assert len(page) <= 3
        seen += [each.id for each in page]
        before = page[-1].created_at, page[-1].id
        await operations.admit(prepare(named(kind, f"came in between {len(seen)}")))  # newer: on no later page
    assert seen == [*sorted(ids[:4])[::-1], *sorted(ids[4:8])[::-1], *sorted(ids[8:])[::-1]]


async def test_a_page_deep_in_a_list_is_read_from_the_index_alone(operations: Operations, pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE page (text, text, timestamptz, text, int) AS {module.PAGE}")
        plan = await connection.fetch("EXPLAIN EXECUTE page ('shop', 'pay', '2026-01-01', 'pay_1', 10)")
    said = "\n".join(line[0] for line in plan)
    assert "Index Cond" in said
    assert "ROW(created_at, id) <" in said.partition("Index Cond")[2]
    assert "Sort" not in said
    assert "Filter" not in said


async def test_a_timeline_tells_what_happened_to_a_payment_its_children_and_its_provider_in_order(
    operations: Operations, pool: asyncpg.Pool
) -> None:
    calls = CallJournal(pool)
    other = named(Prefix.PAYMENT, "other")
    for of in (PAY, other):
        await operations.admit(prepare(of))
        reference = effect_reference(of, Verb.AUTHORIZE, 1)
        gate = await calls.begin("simulator", reference, Verb.AUTHORIZE, b"a" * 32, f"payment/{of}")
        assert isinstance(gate, Go)
        await calls.complete("simulator", reference, Verb.AUTHORIZE, gate.number, DONE, 0.0421)
        await operations.write((row(of, "authorized"),))
    capture = effect_reference(CAP, Verb.CAPTURE, 1)
    gone = Answer(outcome=Outcome.UNAVAILABLE, reason="connection refused")
    await calls.begin("simulator", capture, Verb.CAPTURE, b"a" * 32, f"payment/{PAY}")
    await calls.complete("simulator", capture, Verb.CAPTURE, 1, gone, 0.001)
    await calls.begin("simulator", capture, Verb.CAPTURE, b"a" * 32, f"payment/{PAY}")
    await operations.write((row(PAY, "captured", total=100), row(CAP, "succeeded", total=100, payment=PAY)))
    told = await operations.timeline(PAY)
    assert [(each.operation, each.what, each.detail) for each in told] == [
        (PAY, "payment.requested", "state requested, amount 100, currency EUR"),
        (PAY, "provider.authorize", f"ms 42, outcome done, reference {PAY}.a1"),
        (PAY, "payment.authorized", "state authorized, currency EUR"),
        (CAP, "provider.capture", f"ms 1, reason connection refused, outcome unavailable, reference {CAP}.c1"),
        (CAP, "provider.capture", f"outcome not answered yet, reference {CAP}.c1"),
        (CAP, "capture.succeeded", "state succeeded, total 100, currency EUR"),
        (PAY, "payment.captured", "state captured, total 100, currency EUR"),
    ]
    assert [each.at for each in told] == sorted(each.at for each in told)
    assert [each.what for each in await operations.timeline(CAP)] == [
        "provider.capture",
        "provider.capture",
        "capture.succeeded",
    ]


async def test_of_a_very_long_timeline_the_latest_moments_are_told(
    operations: Operations, pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOMENTS_MAX", 2)
    await operations.admit(prepare())
    for state in ("authorizing", "authorized", "voiding"):
        await operations.write((row(PAY, state),))
    assert [each.what for each in await operations.timeline(PAY)] == ["payment.authorized", "payment.voiding"]
