"""Do the tests find faults in the ledger's SQL? Each fault breaks one rule, and the scenario beside it must see it.

A fault is put into the text of the migrations before they make a database. A scenario is a short life of one merchant
with promises in it; on the sound schema all of them hold, by the single path and by that of batches.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from domain.ids import MerchantId, OperationId, Prefix
from domain.money import Money
from ledger.entry import Entry
from ledger.journal import Journal, Posted, Status
from ledger.writer import POST, POST_BATCH
from tests.support.cluster import Database, TestCluster
from tests.support.ledger_calls import SeenPool, laid_out, open_accounts
from tests.support.ledger_flows import Flows, hold_of, operation
from workers.migrations import Migration, all_migrations, migrate

EUR = "EUR"
ROUNDS = 12  # of a race: each has a good chance to show, together they are sure to
RACERS = 8
NUMBERS = itertools.count(1)
POSTGRES_SAYS = asyncpg.PostgresError  # a CHECK or a trigger behind the functions has refused what they would write


def euro(minor: int) -> Money:
    return Money(minor, EUR)


@dataclass(frozen=True)
class Stage:
    """One merchant of a database, posting by one of the two paths."""

    pool: asyncpg.Pool
    admin: asyncpg.Pool
    by_batch: bool
    number: int

    @property
    def journal(self) -> Journal:
        return Journal(SeenPool(self.pool, by_batch=self.by_batch).as_pool)

    @property
    def flows(self) -> Flows:
        return Flows(MerchantId(f"merchant{self.number}"), f"provider{self.number}")

    @property
    def payable(self) -> str:
        return f"merchant:{self.flows.merchant}:payable"

    @property
    def receivable(self) -> str:
        return f"provider:{self.flows.provider}:receivable"

    def id(self, prefix: Prefix, key: object) -> OperationId:
        return operation(prefix, f"{self.number} {key}")

    async def post(self, *entries: Entry) -> list[Posted]:
        """Post one after the other."""
        return [await self.journal.post(entry) for entry in entries]

    async def race(self, entries: Sequence[Entry]) -> Counter[Status]:
        """Post at the same moment, each by a writer of its own."""
        await open_accounts(self.pool, entries)
        answers = await asyncio.gather(*(self.journal.post(entry) for entry in entries))
        return Counter(answer.status for answer in answers)

    async def layers(self, code: str) -> tuple[int, int, int]:
        balance = await self.journal.balance(code, EUR)
        assert balance is not None
        return balance.posted, balance.pending_debit, balance.pending_credit

    async def hold(self, of: OperationId) -> tuple[str, int]:
        row = await self.pool.fetchrow("SELECT state, remaining FROM ledger.hold WHERE reference = $1", hold_of(of))
        assert row is not None, "there is no such hold"
        return row["state"], row["remaining"]

    async def verified(self) -> None:
        broken = await self.journal.verify()
        assert broken is None, broken

    async def captured(self, key: str, minor: int) -> OperationId:
        """A payment of which so much is captured, without a hold."""
        payment = self.id(Prefix.PAYMENT, key)
        await self.post(self.flows.capture(self.id(Prefix.CAPTURE, key), payment, euro(minor)))
        return payment


# Scenarios


async def payouts_cannot_draw_more_than_there_is(stage: Stage) -> None:
    await stage.post(stage.flows.top_up(f"{stage.number}", euro(100)))
    gates = [stage.flows.payout_reserve(stage.id(Prefix.PAYOUT, number), euro(60)) for number in range(2)]
    assert [answer.status for answer in await stage.post(*gates)] == [Status.POSTED, Status.INSUFFICIENT_FUNDS]
    assert await stage.layers(stage.payable) == (-100, 60, 0)
    assert await stage.hold(stage.id(Prefix.PAYOUT, 1)) == ("voided", 0)
    await stage.verified()


async def racing_payouts_cannot_draw_more_than_there_is(stage: Stage) -> None:
    for turn in range(ROUNDS):
        here = Stage(stage.pool, stage.admin, stage.by_batch, next(NUMBERS))
        await here.post(here.flows.top_up(f"{here.number} {turn}", euro(100)))
        gates = [here.flows.payout_reserve(here.id(Prefix.PAYOUT, number), euro(60)) for number in range(RACERS)]
        assert await here.race(gates) == {Status.POSTED: 1, Status.INSUFFICIENT_FUNDS: RACERS - 1}
    await stage.verified()


async def a_refusal_is_final(stage: Stage) -> None:
    payout = stage.flows.payout_reserve(stage.id(Prefix.PAYOUT, "early"), euro(60))
    first, _, again = await stage.post(payout, stage.flows.top_up(f"{stage.number}", euro(100)), payout)
    assert (first.status, again.status) == (Status.INSUFFICIENT_FUNDS, Status.REJECTED_BEFORE)
    assert again.first is Status.INSUFFICIENT_FUNDS
    await stage.verified()


async def other_content_is_a_conflict(stage: Stage) -> None:
    answers = await stage.post(*(stage.flows.top_up(f"{stage.number}", euro(minor)) for minor in (10, 11, 10)))
    assert [answer.status for answer in answers] == [Status.POSTED, Status.CONFLICTING_CONTENT, Status.REPLAYED]


async def racing_refunds_cannot_give_back_more_than_was_captured(stage: Stage) -> None:
    """Through accounts of their own, so that nothing but the payment keeps them apart."""
    for turn in range(ROUNDS):
        payment = await stage.captured(str(turn), 100)
        others = [Flows(MerchantId(f"m{stage.number}_{turn}_{number}"), f"p{number}") for number in range(RACERS)]
        gates = [
            other.refund_reserve(stage.id(Prefix.REFUND, f"{turn} {number}"), payment, euro(60))
            for number, other in enumerate(others)
        ]
        assert await stage.race(gates) == {Status.POSTED: 1, Status.REFUNDABLE_EXCEEDED: RACERS - 1}
    await stage.verified()


async def captures_and_a_release_share_a_hold(stage: Stage) -> None:
    for turn in range(ROUNDS):
        payment = stage.id(Prefix.PAYMENT, turn)
        await stage.post(stage.flows.hold(payment, euro(100)))
        captures = [
            stage.flows.capture(stage.id(Prefix.CAPTURE, f"{turn} {number}"), payment, euro(30))
            for number in range(RACERS)
        ]
        assert await stage.race([*captures, stage.flows.release(payment)]) == {Status.POSTED: RACERS + 1}
        assert (await stage.hold(payment))[1] == 0
    assert await stage.layers(stage.receivable) == (30 * RACERS * ROUNDS, 0, 0)
    await stage.verified()


async def a_final_capture_leaves_nothing_held(stage: Stage) -> None:
    payment = stage.id(Prefix.PAYMENT, "one")
    capture = stage.flows.capture(stage.id(Prefix.CAPTURE, "one"), payment, euro(40), final=True)
    await stage.post(stage.flows.hold(payment, euro(100)), capture)
    assert await stage.hold(payment) == ("captured", 0)
    assert await stage.layers(stage.receivable) == (40, 0, 0)


async def facts_know_no_expiry_and_no_closed_account(stage: Stage) -> None:
    payment, payout = stage.id(Prefix.PAYMENT, "one"), stage.id(Prefix.PAYOUT, "one")
    await stage.post(stage.flows.hold(payment, euro(100), expires_seconds=0.001))
    await asyncio.sleep(0.005)
    (late,) = await stage.post(stage.flows.capture(stage.id(Prefix.CAPTURE, "one"), payment, euro(40)))
    assert (late.status, late.hold_left) == (Status.POSTED, 100)
    assert await stage.layers(stage.receivable) == (40, 60, 0)
    await stage.post(stage.flows.release(payment))
    (later,) = await stage.post(stage.flows.capture(stage.id(Prefix.CAPTURE, "two"), payment, euro(5)))
    assert later.status is Status.POSTED
    assert await stage.hold(payment) == ("expired", 0)

    await stage.post(stage.flows.top_up(f"{stage.number} one", euro(100)))
    await stage.admin.execute("SELECT ledger.set_closed($1, 'EUR', true, 'ada', 'it left')", stage.payable)
    gate, fact = await stage.post(
        stage.flows.payout_reserve(payout, euro(1)), stage.flows.top_up(f"{stage.number} two", euro(1))
    )
    assert (gate.status, fact.status) == (Status.ACCOUNT_CLOSED, Status.POSTED)


async def a_hold_that_comes_after_its_release_is_refused(stage: Stage) -> None:
    payment = stage.id(Prefix.PAYMENT, "one")
    answers = await stage.post(stage.flows.release(payment), stage.flows.hold(payment, euro(10)))
    assert [answer.status for answer in answers] == [Status.POSTED, Status.HOLD_NOT_OPEN]
    await stage.verified()


async def running_balances_and_versions_have_no_gap(stage: Stage) -> None:
    entries = [stage.flows.top_up(f"{stage.number} {number}", euro(number)) for number in range(1, 6)]
    await open_accounts(stage.pool, entries)
    if stage.by_batch:
        await stage.pool.fetch("SELECT * FROM ledger.post_batch($1)", await laid_out(entries))
    else:
        await stage.post(*entries)
    await stage.post(stage.flows.top_up(f"{stage.number} six", euro(6)))
    lines = await stage.journal.statement(stage.payable, EUR)
    assert [(line.version, line.posted_after) for line in lines] == [
        (1, -1),
        (2, -3),
        (3, -6),
        (4, -10),
        (5, -15),
        (6, -21),
    ]
    await stage.verified()


async def writers_in_any_order_never_wait_for_each_other(stage: Stage) -> None:
    """Both paths lock accounts by their numbers: who waits for the lowest has locked none above it."""
    entries = [stage.flows.top_up(f"{stage.number} {number}", euro(1)) for number in range(2)]
    await open_accounts(stage.pool, entries)
    low, high = sorted(account.id_in(currency) for account, currency in entries[0].accounts)
    alone, together = await laid_out(entries)
    for call, asked in ((POST, alone), (POST_BATCH, [together])):
        posting: asyncio.Task[list[asyncpg.Record]] | None = None
        try:
            async with stage.admin.acquire() as other, other.transaction():
                await other.execute("SELECT FROM ledger.balance WHERE account_id = $1 FOR UPDATE", low)
                posting = asyncio.create_task(stage.pool.fetch(call, asked))
                await somebody_waits(stage.pool)
                await other.execute("SELECT FROM ledger.balance WHERE account_id = $1 FOR UPDATE NOWAIT", high)
        finally:
            if posting is not None:
                await posting
    await stage.verified()


async def somebody_waits(pool: asyncpg.Pool) -> None:
    """Wait until a call waits for a lock."""
    async with asyncio.timeout(30):
        while not await pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ):
            await asyncio.sleep(0.01)


async def time_does_not_run_back_on_an_account(stage: Stage) -> None:
    await stage.post(stage.flows.top_up(f"{stage.number} one", euro(1)))
    ahead = datetime.now(UTC) + timedelta(seconds=30)  # of the clock, as after it was set back
    await stage.admin.execute(
        "UPDATE ledger.balance SET last_at = $2 WHERE account_id = ledger.account_number($1, 'EUR')",
        stage.payable,
        ahead,
    )
    await stage.post(stage.flows.top_up(f"{stage.number} two", euro(1)))
    lines = await stage.journal.statement(stage.payable, EUR)
    assert lines[-1].posted_at == ahead


async def rows_are_guarded_on_partitions_too(stage: Stage) -> None:
    await stage.post(stage.flows.top_up(f"{stage.number}", euro(5)))
    part = datetime.now(UTC).strftime("ledger.posting_%Y%m")
    columns = "entry_id, account_id, currency, posted, pending_debit, pending_credit"
    after = "posted_after, pending_debit_after, pending_credit_after, version, posted_at"
    for statement in (
        f"INSERT INTO {part} ({columns}, {after}) "
        f"SELECT -entry_id, account_id, currency, 7, 0, 0, 7, 0, 0, 99, posted_at FROM {part} LIMIT 1",
        f"UPDATE {part} SET posted = posted",
        f"DELETE FROM {part}",
    ):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await stage.admin.execute(statement)


async def other_isolation_is_refused(stage: Stage) -> None:
    await stage.post(stage.flows.top_up(f"{stage.number}", euro(5)))
    async with stage.pool.acquire() as connection:
        await connection.execute("SET default_transaction_isolation = 'serializable'")
        call = "post_batch('{}')" if stage.by_batch else "post(NULL)"
        try:
            with pytest.raises(asyncpg.RaiseError, match="READ COMMITTED"):
                await connection.execute(f"SELECT ledger.{call}")
        finally:
            await connection.execute("RESET default_transaction_isolation")


Scenario = Callable[[Stage], Awaitable[None]]
SCENARIOS: tuple[Scenario, ...] = (
    payouts_cannot_draw_more_than_there_is,
    racing_payouts_cannot_draw_more_than_there_is,
    a_refusal_is_final,
    other_content_is_a_conflict,
    racing_refunds_cannot_give_back_more_than_was_captured,
    captures_and_a_release_share_a_hold,
    a_final_capture_leaves_nothing_held,
    facts_know_no_expiry_and_no_closed_account,
    a_hold_that_comes_after_its_release_is_refused,
    running_balances_and_versions_have_no_gap,
    writers_in_any_order_never_wait_for_each_other,
    rows_are_guarded_on_partitions_too,
    other_isolation_is_refused,
    time_does_not_run_back_on_an_account,
)


# Faults


@dataclass(frozen=True)
class Fault:
    """A rule broken: the text that stands once in the file, what stands there instead, and who must see it."""

    name: str
    file: str
    text: str
    instead: str
    seen_by: Scenario

    @property
    def by_batch(self) -> bool:
        return self.file == BATCH


GUARDS, SHARED, SINGLE, BATCH = "0006_guards.sql", "0008_posting.sql", "0009_post.sql", "0010_post_batch.sql"
REFUSED = "INSERT INTO ledger.rejection (entry_id, reference, operation, kind, actor, status, amount, currency, at)\n"

FAULTS = (
    Fault(
        "accounts are not locked",
        SINGLE,
        "ORDER BY account_id FOR NO KEY UPDATE",
        "ORDER BY account_id",
        racing_payouts_cannot_draw_more_than_there_is,
    ),
    Fault(
        "accounts of a batch are not locked",
        BATCH,
        "ORDER BY account_id FOR NO KEY UPDATE",
        "ORDER BY account_id",
        racing_payouts_cannot_draw_more_than_there_is,
    ),
    Fault(
        "the bound is not judged",
        SINGLE,
        "WHEN item.hold_amount > locked.available THEN",
        "WHEN false THEN",
        payouts_cannot_draw_more_than_there_is,
    ),
    Fault(
        "the bound is not judged in a batch",
        BATCH,
        "WHEN hold_amount > -b.posted - b.pending_debit THEN",
        "WHEN false THEN",
        payouts_cannot_draw_more_than_there_is,
    ),
    Fault(
        "what is pending counts as available",
        SINGLE,
        "max(-posted - pending_debit)",
        "max(-posted)",
        payouts_cannot_draw_more_than_there_is,
    ),
    Fault(
        "what is pending counts as available in a batch",
        BATCH,
        "WHEN hold_amount > -b.posted - b.pending_debit THEN",
        "WHEN hold_amount > -b.posted THEN",
        payouts_cannot_draw_more_than_there_is,
    ),
    Fault(
        "batches lock accounts in another order",
        BATCH,
        "ORDER BY account_id FOR NO KEY UPDATE",
        "ORDER BY account_id DESC FOR NO KEY UPDATE",
        writers_in_any_order_never_wait_for_each_other,
    ),
    Fault(
        "the content is not compared",
        SINGLE,
        "IF known.fingerprint <> item.fingerprint THEN",
        "IF false THEN",
        other_content_is_a_conflict,
    ),
    Fault(
        "the content is not compared in a batch",
        BATCH,
        "WHEN k.fingerprint <> item.fingerprint THEN",
        "WHEN false THEN",
        other_content_is_a_conflict,
    ),
    Fault("a refusal is not kept", SINGLE, REFUSED + "    VALUES (this,", "PERFORM (this,", a_refusal_is_final),
    Fault(
        "refusals of a batch are not kept",
        BATCH,
        "FROM unnest(p_items, p_works) WHERE ledger.is_refusal(status);",
        "FROM unnest(p_items, p_works) WHERE false;",
        a_refusal_is_final,
    ),
    Fault(
        "a refused gate leaves its hold open",
        SINGLE,
        "IF item.hold_action = 'open' AND p_status <> 'hold_not_open' THEN",
        "IF false THEN",
        payouts_cannot_draw_more_than_there_is,
    ),
    Fault(
        "refused gates of a batch leave their holds open",
        BATCH,
        "WHERE h.reference = item.hold AND item.fresh AND ledger.is_refusal(item.status);",
        "WHERE false;",
        payouts_cannot_draw_more_than_there_is,
    ),
    Fault(
        "the payment is not locked",
        SINGLE,
        "WHERE payment = p_payment AND currency = p_currency FOR UPDATE;",
        "WHERE payment = p_payment AND currency = p_currency;",
        racing_refunds_cannot_give_back_more_than_was_captured,
    ),
    Fault(
        "payments are not locked in a batch",
        BATCH,
        "ORDER BY payment, currency FOR UPDATE;",
        "ORDER BY payment, currency;",
        racing_refunds_cannot_give_back_more_than_was_captured,
    ),
    Fault(
        "a running balance forgets the entries before it in its batch",
        BATCH,
        "(b.posted + sum(c.posted) OVER so_far)::bigint",
        "(b.posted + c.posted)::bigint",
        running_balances_and_versions_have_no_gap,
    ),
    Fault(
        "the version stays",
        SINGLE,
        "version = b.version + 1",
        "version = b.version",
        running_balances_and_versions_have_no_gap,
    ),
    Fault(
        "the version stays after a batch",
        BATCH,
        "version = a.version, last_at",
        "last_at",
        running_balances_and_versions_have_no_gap,
    ),
    Fault(
        "the hold is not locked",
        SINGLE,
        "WHERE reference = item.hold FOR UPDATE;\n    IF held",
        "WHERE reference = item.hold;\n    IF held",
        captures_and_a_release_share_a_hold,
    ),
    Fault(
        "holds of a batch are not locked",
        BATCH,
        "ORDER BY h.reference FOR UPDATE",
        "ORDER BY h.reference",
        captures_and_a_release_share_a_hold,
    ),
    Fault(
        "a final use keeps the rest held",
        SHARED,
        "WHEN p_final THEN held.remaining",
        "WHEN false THEN held.remaining",
        a_final_capture_leaves_nothing_held,
    ),
    Fault(
        "expiry binds facts",
        SHARED,
        "WHEN held.state IS DISTINCT FROM 'open' THEN 0",
        "WHEN held.state IS DISTINCT FROM 'open' OR held.expires_at <= clock_timestamp() THEN 0",
        facts_know_no_expiry_and_no_closed_account,
    ),
    Fault(
        "a fact is refused for its hold",
        SINGLE,
        "IF item.nature = 'gate' AND refusal IS NOT NULL THEN",
        "IF refusal IS NOT NULL THEN",
        facts_know_no_expiry_and_no_closed_account,
    ),
    Fault(
        "a closed account takes gates",
        SINGLE,
        "WHEN locked.closed THEN",
        "WHEN false THEN",
        facts_know_no_expiry_and_no_closed_account,
    ),
    Fault(
        "a release of what was never held leaves no trace",
        SINGLE,
        "IF held.reference IS NULL AND item.hold_action = 'release' THEN",
        "IF false THEN",
        a_hold_that_comes_after_its_release_is_refused,
    ),
    Fault(
        "a release of what was never held leaves no trace in a batch",
        BATCH,
        "OR (hold_action = 'release' AND NOT EXISTS",
        "OR (false AND NOT EXISTS",
        a_hold_that_comes_after_its_release_is_refused,
    ),
    Fault(
        "partitions may be written unbalanced",
        GUARDS,
        "IF name LIKE 'posting%' THEN",
        "IF name = 'posting' THEN",
        rows_are_guarded_on_partitions_too,
    ),
    Fault(
        "partitions have no guards", GUARDS, "PERFORM ledger.guard(part);", "NULL;", rows_are_guarded_on_partitions_too
    ),
    Fault(
        "any isolation will do",
        SINGLE,
        "IF current_setting('transaction_isolation') <> 'read committed' THEN",
        "IF false THEN",
        other_isolation_is_refused,
    ),
    Fault(
        "the clock alone tells the time",
        SINGLE,
        "greatest(clock_timestamp(), max(last_at)) AS at",
        "clock_timestamp() AS at",
        time_does_not_run_back_on_an_account,
    ),
)


def with_fault(fault: Fault) -> list[Migration]:
    """The ledger's migrations with one rule broken."""
    changed: list[Migration] = []
    found = 0
    for each in all_migrations():
        if each.domain == "ledger" and each.name == fault.file:
            found = each.sql.count(fault.text)
            each = Migration(each.domain, each.name, each.sql.replace(fault.text, fault.instead))  # noqa: PLW2901
        changed.append(each)
    assert found == 1, f"{fault.name}: its text stands {found} times in {fault.file}"
    return changed


async def play(database: Database, scenario: Scenario, *, by_batch: bool) -> None:
    async with (
        asyncpg.create_pool(database.url, min_size=RACERS, max_size=20) as pool,
        asyncpg.create_pool(database.admin_url, min_size=1, max_size=2) as admin,
    ):
        await scenario(Stage(pool, admin, by_batch, next(NUMBERS)))


@pytest.mark.parametrize("by_batch", [False, True], ids=["single", "batch"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_what_is_promised_holds(database: Database, scenario: Scenario, by_batch: bool) -> None:
    await play(database, scenario, by_batch=by_batch)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "_"))
async def test_a_fault_is_found(cluster: TestCluster, fault: Fault) -> None:
    database = await cluster.create(template=None)
    try:
        await migrate(database.admin_url, cluster.password, with_fault(fault))
        with pytest.raises((AssertionError, POSTGRES_SAYS, pytest.fail.Exception)) as found:
            await play(database, fault.seen_by, by_batch=fault.by_batch)
        said = str(found.value).strip().splitlines()[0] if str(found.value).strip() else type(found.value).__name__
        print(f"\n{fault.file}: {fault.name}\n    -> {fault.seen_by.__name__}: {said[:110]}")  # noqa: T201  shown by -s
    finally:
        await cluster.drop(database)


def test_every_scenario_has_a_fault_that_it_finds() -> None:
    assert {fault.seen_by for fault in FAULTS} == set(SCENARIOS)
