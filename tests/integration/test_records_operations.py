"""Rows, events and timelines on the real database: written once however often they are asked for, and in order."""

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from domain.commands import Prepare, Row
from domain.ids import UNWRITTEN, ClientId, MerchantId, OperationId, Prefix, Reference, Verb, derive, effect_reference
from domain.lifecycle import DISPUTE, PAYMENT, PAYOUT, REFUND, Lifecycle
from domain.money import Money
from domain.outcomes import DONE, Answer, Outcome, Reason
from records import operations as module
from records.calls import CallJournal, Go
from records.operations import Admission, Operations
from tests.support.cluster import Database, TestCluster

TOMORROW, YESTERDAY = 86_400.0, -86_400.0  # seconds from now
RACERS = 16  # below the pool's 20 connections
PATIENCE_SECONDS = 30  # a small machine under load
NUMBERS = itertools.count(1)
EVENTS = """
SELECT event.name FROM records.event JOIN records.operation ON operation.id = event.operation
WHERE client = $1 ORDER BY event.id
"""
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
LATEST = "SELECT * FROM records.event WHERE operation = $1 ORDER BY id DESC LIMIT 1"


def euro(minor: int) -> Money:
    return Money(minor, "EUR")


@dataclass(frozen=True)
class Shop:
    """One client and its operations, of which no other test knows."""

    operations: Operations
    pool: asyncpg.Pool
    client: ClientId

    def id(self, prefix: Prefix, key: str = "k") -> OperationId:
        return derive(prefix, client=self.client, mode="test", operation=prefix, key=key)

    @property
    def pay(self) -> OperationId:
        return self.id(Prefix.PAYMENT)

    @property
    def cap(self) -> OperationId:
        return self.id(Prefix.CAPTURE)

    @property
    def void(self) -> OperationId:
        return self.id(Prefix.VOID)

    def prepare(self, of: OperationId | None = None, *, admit_in_seconds: float = TOMORROW) -> Prepare:
        """What a run asks of the rows when it starts; that of the shop's payment unless told otherwise."""
        operation = of or self.pay
        return Prepare(
            operation=operation,
            client=self.client,
            merchant=MerchantId("acme"),
            provider="simulator",
            money=euro(100),
            fingerprint="fp",
            admit_until=datetime.now(UTC).timestamp() + admit_in_seconds,
            merchant_reference="order 7",
            payment=self.pay if operation.startswith("rfd") else None,
            automatic=operation == self.pay,
        )

    async def admit(self, of: OperationId | None = None, *, admit_in_seconds: float = TOMORROW) -> Admission:
        return await self.operations.admit(self.prepare(of, admit_in_seconds=admit_in_seconds))

    def row(self, of: OperationId, state: str, total: int = 0, reason: str = "") -> Row:
        payment = self.pay if of in (self.cap, self.void) else None
        return Row(operation=of, state=state, amount=euro(100), total=euro(total), reason=reason, payment=payment)

    async def write(self, *rows: Row) -> None:
        await self.operations.write(rows)

    async def payment(self) -> module.StoredOperation:
        stored = await self.operations.payment(self.pay)
        assert stored is not None
        return stored

    async def events(self) -> list[str]:
        """The names of all events so far."""
        return [each["name"] for each in await self.pool.fetch(EVENTS, self.client)]


@pytest_asyncio.fixture(scope="module")
async def database(cluster: TestCluster) -> AsyncGenerator[Database]:
    """One database for all tests here: each has a client of its own."""
    made = await cluster.create()
    yield made
    await cluster.drop(made)


@pytest.fixture
def shop(pool: asyncpg.Pool) -> Shop:
    return Shop(Operations(pool), pool, ClientId(f"shop-{next(NUMBERS)}"))


# Admission


async def test_an_operation_is_admitted_once_and_again_and_its_row_says_what_was_asked(shop: Shop) -> None:
    told = await asyncio.gather(*(shop.admit() for _ in range(RACERS)))
    assert set(told) == {Admission.ADMITTED}
    assert await shop.events() == ["payment.requested"]
    stored = await shop.payment()
    assert replace(stored, created_at=stored.updated_at) == module.StoredOperation(
        id=shop.pay,
        payment=None,
        client=shop.client,
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


async def test_a_start_that_comes_when_nobody_waits_any_more_is_not_started_however_often_it_comes(shop: Shop) -> None:
    assert await shop.admit(admit_in_seconds=YESTERDAY) is Admission.STALE
    assert await shop.admit(admit_in_seconds=TOMORROW) is Admission.STALE
    await shop.write(shop.row(shop.pay, "not_started", reason=Reason.STALE))  # as the run says it at its end
    stored = await shop.payment()
    assert (stored.state, stored.reason) == ("not_started", Reason.STALE)
    assert await shop.events() == ["payment.not_started"]


async def test_whoever_is_admitted_stays_admitted(shop: Shop) -> None:
    await shop.admit()
    assert await shop.admit(admit_in_seconds=YESTERDAY) is Admission.ADMITTED
    await shop.write(shop.row(shop.pay, "not_started", reason=Reason.CANCELED))
    assert await shop.admit(admit_in_seconds=YESTERDAY) is Admission.ADMITTED


async def test_an_id_that_belongs_to_another_command_is_a_conflict_and_changes_nothing(shop: Shop) -> None:
    await shop.admit()
    other = replace(shop.prepare(), fingerprint="other", money=euro(999))
    assert await shop.operations.admit(other) is Admission.CONFLICT
    stored = await shop.payment()
    assert stored.money == euro(100)
    assert await shop.events() == ["payment.requested"]


# Writing


async def test_a_change_writes_its_row_and_one_event_and_the_same_change_again_writes_nothing(shop: Shop) -> None:
    await shop.admit()
    change = replace(
        shop.row(shop.pay, "captured", total=100),
        provider_id="ch_1",
        reference=effect_reference(shop.pay, Verb.AUTHORIZE, 1),
    )
    await shop.write(change)
    assert await shop.events() == ["payment.requested", "payment.captured"]
    before = await shop.payment()
    await shop.write(change)
    assert await shop.payment() == before
    assert await shop.events() == ["payment.requested", "payment.captured"]
    assert (before.state, before.total, before.provider_id, before.reference) == (
        "captured",
        euro(100),
        "ch_1",
        change.reference,
    )
    assert before.updated_at > before.created_at


async def test_of_many_that_write_one_change_at_the_same_moment_one_writes_its_event(shop: Shop) -> None:
    await shop.admit()
    async with shop.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM records.operation WHERE id = $1 FOR UPDATE", shop.pay)
        racing = asyncio.gather(*(shop.write(shop.row(shop.pay, "authorized")) for _ in range(RACERS)))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await shop.pool.fetchval(WAITING) < RACERS:  # until each of them is as far as it can go
                await asyncio.sleep(0.01)
    await racing
    assert await shop.events() == ["payment.requested", "payment.authorized"]


async def test_an_event_tells_who_when_what_was_and_what_is(shop: Shop) -> None:
    await shop.admit()
    await shop.write(shop.row(shop.pay, "declined", reason="do_not_honour"))
    event = await shop.pool.fetchrow(LATEST, shop.pay)
    assert event is not None
    assert (event["operation"], event["name"], event["actor"]) == (shop.pay, "payment.declined", "holdfast")
    assert json.loads(event["before"]) == {"state": "requested", "total": 0, "reason": ""}
    assert json.loads(event["after"]) == {"state": "declined", "total": 0, "reason": "do_not_honour", "currency": "EUR"}
    assert event["relayed_at"] is None


async def test_what_the_provider_calls_it_is_not_forgotten_by_a_row_that_does_not_say_it(shop: Shop) -> None:
    await shop.admit()
    await shop.write(
        replace(shop.row(shop.pay, "authorized"), provider_id="ch_1", reference=Reference(f"{shop.pay}.a1"))
    )
    await shop.write(shop.row(shop.pay, "capturing"))
    stored = await shop.payment()
    assert (stored.provider_id, stored.reference) == ("ch_1", f"{shop.pay}.a1")


async def test_a_child_is_written_when_it_is_first_told_of_and_belongs_to_its_payments_client(shop: Shop) -> None:
    await shop.admit()
    capture = replace(shop.row(shop.cap, "succeeded", total=40), amount=euro(40), fingerprint="of the capture")
    await shop.write(shop.row(shop.pay, "partially_captured", total=40), capture)
    stored = await shop.operations.capture(shop.cap)
    assert stored is not None
    assert (stored.payment, stored.client, stored.merchant, stored.provider) == (
        shop.pay,
        shop.client,
        "acme",
        "simulator",
    )
    assert (stored.money, stored.total, stored.fingerprint) == (euro(40), euro(40), "of the capture")
    assert await shop.events() == ["payment.requested", "capture.succeeded", "payment.partially_captured"]


async def test_rows_are_written_all_or_none(shop: Shop) -> None:
    await shop.admit()
    broken = replace(shop.row(OperationId("fee_1"), "succeeded"), amount=euro(1))
    with pytest.raises(asyncpg.CheckViolationError):
        await shop.write(shop.row(shop.pay, "captured", total=100), broken)
    assert await shop.events() == ["payment.requested"]


@pytest.mark.parametrize("terminal", ["captured", "voided", "declined"])
async def test_a_late_duplicate_of_an_older_write_does_not_move_an_ended_payment(shop: Shop, terminal: str) -> None:
    await shop.admit()
    await shop.write(shop.row(shop.pay, "authorized"))
    await shop.write(shop.row(shop.pay, terminal))
    written = await shop.events()
    await shop.write(shop.row(shop.pay, "authorized"))
    stored = await shop.payment()
    assert stored.state == terminal
    assert await shop.events() == written


@pytest.mark.parametrize(
    ("kind", "end", "onward"), [(Prefix.REFUND, "succeeded", "reversed"), (Prefix.PAYOUT, "paid", "returned")]
)
async def test_a_success_that_was_taken_back_stays_taken_back(shop: Shop, kind: Prefix, end: str, onward: str) -> None:
    of = shop.id(kind)
    await shop.admit(of)
    read = shop.operations.refund if kind is Prefix.REFUND else shop.operations.payout
    seen: list[str] = []
    for state in (end, "submitting", onward, end, "failed"):
        await shop.write(shop.row(of, state))
        stored = await read(of)
        assert stored is not None
        seen.append(stored.state)
    assert seen == [end, end, onward, onward, onward]


async def test_an_ended_payments_sums_may_still_be_corrected(shop: Shop) -> None:
    await shop.admit()
    for total in (100, 60):
        await shop.write(shop.row(shop.pay, "captured", total=total))
    stored = await shop.payment()
    assert stored.total == euro(60)


async def test_the_database_knows_the_same_ends_as_the_lifecycle_tables(pool: asyncpg.Pool) -> None:
    tables: Mapping[str, Lifecycle[Any]] = {"pay": PAYMENT, "rfd": REFUND, "po": PAYOUT, "dsp": DISPUTE}
    edges = {
        (kind, state.value): [each.value for each in onward]
        for kind, table in tables.items()
        for state, onward in table.items()
    }
    exceptions = {("rfd", "succeeded", "reversed"), ("po", "paid", "returned")}
    assert all(edges[kind, state] == [onward] for kind, state, onward in exceptions)
    ends = {(kind, state, "") for (kind, state), onward in edges.items() if not onward}
    of_one_step = {(kind, state, "") for kind in ("vd", "inc") for state in ("succeeded", "failed")}
    of_one_step |= {("cap", "succeeded", "failed"), ("cap", "failed", "")}  # a provider may take a capture back
    rows = await pool.fetch("SELECT kind, state, onward FROM records.terminal")
    assert {tuple(each) for each in rows} == ends | exceptions | of_one_step


async def test_a_capture_taken_back_has_failed_and_its_payment_has_captured_less_for_good(shop: Shop) -> None:
    await shop.admit()
    done = (shop.row(shop.pay, "captured", total=100), shop.row(shop.cap, "succeeded", total=100))
    await shop.write(*done)
    failed = replace(shop.row(shop.cap, "failed", reason="bank_says_no"), event="capture.reversed")
    for _ in range(2):
        await shop.write(shop.row(shop.pay, "captured", total=40), failed)
    await shop.write(*done)  # of a worker that was thought dead
    assert (await shop.payment()).total == euro(40)
    capture = await shop.operations.capture(shop.cap)
    assert capture is not None
    assert (capture.state, capture.total, capture.reason) == ("failed", euro(0), "bank_says_no")
    events = await shop.events()
    assert sorted(events[3:]) == ["capture.reversed", "payment.captured"]


async def test_an_event_of_its_own_name_is_told_once_and_keeps_why_the_operation_ended(shop: Shop) -> None:
    refund = shop.id(Prefix.REFUND)
    await shop.admit()
    await shop.admit(refund)
    await shop.write(shop.row(refund, "failed", reason="account_gone"))
    for _ in range(2):
        await shop.write(replace(shop.row(refund, "failed", total=100), event="refund.done_late"))
    stored = await shop.operations.refund(refund)
    assert stored is not None
    assert (stored.state, stored.total, stored.reason) == ("failed", euro(100), "account_gone")
    assert (await shop.events())[2:] == ["refund.failed", "refund.done_late"]


async def test_a_payment_is_warned_of_without_a_change_and_once(shop: Shop) -> None:
    await shop.admit()
    await shop.write(shop.row(shop.pay, "authorized"))
    for _ in range(2):
        await shop.write(replace(shop.row(shop.pay, "authorized"), event="payment.expiring"))
    assert (await shop.events())[1:] == ["payment.authorized", "payment.expiring"]


async def test_a_payment_may_be_routed_to_another_provider_and_its_amount_raised(shop: Shop) -> None:
    await shop.admit()
    await shop.write(replace(shop.row(shop.pay, "authorized"), provider="simulator_b"))
    raised = replace(shop.row(shop.pay, "authorized"), amount=euro(150))
    await shop.write(raised, replace(shop.row(shop.id(Prefix.INCREMENT), "succeeded"), payment=shop.pay))
    stored, increment = await shop.payment(), await shop.operations.increment(shop.id(Prefix.INCREMENT))
    assert (stored.provider, stored.money) == ("simulator_b", euro(150))
    assert increment is not None
    assert (increment.provider, increment.payment) == ("simulator_b", shop.pay)


async def test_a_dispute_is_open_until_it_is_decided(shop: Shop) -> None:
    dispute = shop.id(Prefix.DISPUTE)
    await shop.admit()
    assert not await shop.operations.disputed(shop.pay)
    await shop.operations.admit(replace(shop.prepare(dispute), payment=shop.pay))
    seen: list[bool] = []
    for state in ("opened", "funds_withdrawn", "won", "funds_withdrawn", "lost"):
        await shop.write(replace(shop.row(dispute, state), payment=shop.pay))
        seen.append(await shop.operations.disputed(shop.pay))
    assert seen == [True, True, False, True, False]
    stored = await shop.operations.dispute(dispute)
    assert stored is not None
    assert (stored.payment, stored.client) == (shop.pay, shop.client)
    assert [each.id for each in await shop.operations.disputes(shop.client, 9)] == [dispute]


async def test_of_two_payouts_that_would_replace_one_at_the_same_moment_one_does(shop: Shop) -> None:
    failed, *others = (shop.id(Prefix.PAYOUT, str(number)) for number in range(RACERS))
    for of in (failed, *others):
        await shop.admit(of)
    await shop.write(replace(shop.row(failed, "failed"), payment=None))
    replaced = await asyncio.gather(*(shop.operations.replace(of, failed) for of in others))
    assert replaced.count(True) == 1
    assert await shop.operations.replace(others[replaced.index(True)], failed)  # asked again: the same answer
    assert not await shop.operations.replace(failed, shop.id(Prefix.PAYOUT, "unknown"))


async def test_nothing_that_was_written_is_rewritten_or_removed(shop: Shop, admin_pool: asyncpg.Pool) -> None:
    await shop.admit()
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
            await shop.pool.execute(change)
    await shop.pool.execute("UPDATE records.event SET relayed_at = clock_timestamp()")  # the outbox hands it on


# Reading


async def test_an_operation_is_found_under_its_own_kind_only(shop: Shop) -> None:
    refund, payout = shop.id(Prefix.REFUND), shop.id(Prefix.PAYOUT)
    reads = {
        shop.pay: shop.operations.payment,
        shop.cap: shop.operations.capture,
        shop.void: shop.operations.void,
        refund: shop.operations.refund,
        payout: shop.operations.payout,
    }
    for of in (shop.pay, refund, payout):
        await shop.admit(of)
    await shop.write(shop.row(shop.cap, "succeeded"), shop.row(shop.void, "failed"))
    for of, own in reads.items():
        found = [await read(of) for read in reads.values()]
        assert [each.id for each in found if each] == [of]
        assert await own(shop.id(Prefix(of.split("_")[0]), "another")) is None
    assert [each.id for each in await shop.operations.children(shop.pay)] == [refund, shop.cap, shop.void]


@pytest.mark.parametrize("kind", [Prefix.PAYMENT, Prefix.PAYOUT])
async def test_pages_follow_each_other_newest_first_even_among_rows_of_one_moment(
    shop: Shop, admin_pool: asyncpg.Pool, kind: Prefix
) -> None:
    ids = [shop.id(kind, f"key {number}") for number in range(10)]
    for of in ids:
        await shop.admit(of)
    for of in (shop.id(Prefix.PAYMENT, "other"), shop.id(Prefix.PAYOUT, "other")):
        await shop.operations.admit(replace(shop.prepare(of), client=ClientId("other")))
    same = "UPDATE records.operation SET created_at = $1 WHERE id = ANY($2)"
    for hour, group in ((9, ids[:4]), (8, ids[4:8]), (7, ids[8:])):
        await admin_pool.execute(same, datetime(2026, 1, 1, hour, tzinfo=UTC), group)
    page_of = shop.operations.payments if kind is Prefix.PAYMENT else shop.operations.payouts
    seen: list[OperationId] = []
    before: module.Before | None = None
    for length in (3, 3, 3, 1):
        page = await page_of(shop.client, 3, before)
        assert len(page) == length
        seen += [each.id for each in page]
        before = page[-1].created_at, page[-1].id
        await shop.admit(shop.id(kind, f"came in between {len(seen)}"))  # newer: on no later page
    assert await page_of(shop.client, 3, before) == []
    assert seen == [*sorted(ids[:4])[::-1], *sorted(ids[4:8])[::-1], *sorted(ids[8:])[::-1]]


async def test_a_page_deep_in_a_list_is_read_from_the_index_alone(shop: Shop) -> None:
    async with shop.pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE page (text, text, timestamptz, text, int) AS {module.PAGE}")
        plan = await connection.fetch("EXPLAIN EXECUTE page ('shop', 'pay', '2026-01-01', 'pay_1', 10)")
    said = "\n".join(line[0] for line in plan)
    assert "Index Cond" in said
    assert "ROW(created_at, id) <" in said.partition("Index Cond")[2]
    assert "Sort" not in said
    assert "Filter" not in said


async def test_a_timeline_tells_what_happened_to_a_payment_its_children_and_its_provider_in_order(shop: Shop) -> None:
    calls = CallJournal(shop.pool)
    other = shop.id(Prefix.PAYMENT, "other")
    for of in (shop.pay, other):
        await shop.admit(of)
        reference = effect_reference(of, Verb.AUTHORIZE, 1)
        gate = await calls.begin("simulator", reference, Verb.AUTHORIZE, b"a" * 32, f"payment/{of}")
        assert isinstance(gate, Go)
        await calls.complete("simulator", reference, Verb.AUTHORIZE, gate.number, DONE, 0.0421)
        await shop.write(shop.row(of, "authorized"))
    capture = effect_reference(shop.cap, Verb.CAPTURE, 1)
    gone = Answer(outcome=Outcome.UNAVAILABLE, reason="connection refused")
    await calls.begin("simulator", capture, Verb.CAPTURE, b"a" * 32, f"payment/{shop.pay}")
    await calls.complete("simulator", capture, Verb.CAPTURE, 1, gone, 0.001)
    await calls.begin("simulator", capture, Verb.CAPTURE, b"a" * 32, f"payment/{shop.pay}")
    await shop.write(shop.row(shop.pay, "captured", total=100), shop.row(shop.cap, "succeeded", total=100))
    told = await shop.operations.timeline(shop.pay)
    assert [(each.operation, each.what, each.detail) for each in told] == [
        (shop.pay, "payment.requested", "state requested, amount 100, currency EUR"),
        (shop.pay, "provider.authorize", f"ms 42, outcome done, reference {shop.pay}.a1"),
        (shop.pay, "payment.authorized", "state authorized, currency EUR"),
        (
            shop.cap,
            "provider.capture",
            f"ms 1, reason connection refused, outcome unavailable, reference {shop.cap}.c1",
        ),
        (shop.cap, "provider.capture", f"outcome not answered yet, reference {shop.cap}.c1"),
        (shop.cap, "capture.succeeded", "state succeeded, total 100, currency EUR"),
        (shop.pay, "payment.captured", "state captured, total 100, currency EUR"),
    ]
    assert [each.at for each in told] == sorted(each.at for each in told)
    assert [each.what for each in await shop.operations.timeline(shop.cap)] == [
        "provider.capture",
        "provider.capture",
        "capture.succeeded",
    ]


async def test_of_a_very_long_timeline_the_latest_moments_are_told(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOMENTS_MAX", 2)
    await shop.admit()
    for state in ("authorizing", "authorized", "voiding"):
        await shop.write(shop.row(shop.pay, state))
    assert [each.what for each in await shop.operations.timeline(shop.pay)] == ["payment.authorized", "payment.voiding"]


async def test_a_worker_of_the_release_before_still_writes_while_a_new_one_is_ramped(shop: Shop) -> None:
    await shop.admit()
    old = "SELECT records.write($1, NULL, $2, 'EUR', 100, $3, '', '', '', '', 'holdfast')"
    await shop.pool.execute(old, shop.pay, "captured", 100)
    stored = await shop.payment()
    assert (stored.state, stored.total) == ("captured", euro(100))
    assert await shop.events() == ["payment.requested", "payment.captured"]
