"""The gate over a real database: what it decides, that it decides once, and what silence means."""

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from domain.ids import MerchantId, Prefix
from identity.standing import Check, Checked, Standing, Standings
from risk.decisions import Decisions
from risk.deny_lists import DenyLists
from risk.gate import JUDGE_SECONDS, KEEP_SECONDS, Gate
from risk.rules import By, Fired, Verdict
from risk.scores import Scored, Scores
from tests.support.cluster import Database, TestCluster
from tests.support.risk_rules import BAKERY, install, payout, rule, subject

ALLOW, REVIEW, REFUSE = Verdict.ALLOW, Verdict.REVIEW, Verdict.REFUSE
PATIENT = 50  # times as patient as at work, so that what is to answer answers, however busy the machine is
HURRIED = 1  # millisecond, 50 in a patient gate: what is to be absent is soon
GRACE_SECONDS = 10.0  # for a machine that has other things to do


@pytest_asyncio.fixture
async def judges(database: Database, cluster: TestCluster) -> AsyncGenerator[asyncpg.Pool]:
    """A pool as the worker connects, which may judge and write no rules."""
    url = cluster.cluster.url(database.name, user="holdfast_worker", password=cluster.password)
    async with asyncpg.create_pool(url, min_size=1, max_size=10) as made:
        yield made


@pytest.fixture
def gate(judges: asyncpg.Pool) -> Gate:
    return Gate(judges, Standings(judges), stretch=PATIENT)


async def test_a_fresh_installation_says_nothing_of_payments(gate: Gate) -> None:
    for kind in (Prefix.PAYMENT, Prefix.INCREMENT, Prefix.REFUND):
        decision = await gate.decide(subject("one", 10**12, kind=kind))
        assert (decision.verdict, decision.version, decision.fired) == (ALLOW, 1, ())


async def test_a_payout_to_a_merchant_that_nobody_has_checked_is_reviewed(gate: Gate) -> None:
    decision = await gate.decide(payout("one"))
    assert (decision.verdict, decision.rules) == (REVIEW, ("merchant-known", "merchant-not-sanctioned"))
    assert all(fired.absent and fired.why == "no answer, which means review" for fired in decision.fired)


async def test_a_payout_to_a_merchant_that_passed_its_checks_goes_on(gate: Gate, pool: asyncpg.Pool) -> None:
    await Standings(pool).seed(BAKERY)
    assert (await gate.decide(payout("one"))).verdict is ALLOW


@pytest.mark.parametrize(
    ("check", "answer", "verdict"),
    [
        (Check.KYC, Checked.REJECTED, REFUSE),
        (Check.KYC, Checked.PENDING, REVIEW),
        (Check.SANCTIONS, Checked.HIT, REFUSE),
        (Check.SANCTIONS, Checked.PENDING, REVIEW),
    ],
)
async def test_the_latest_answer_of_a_check_counts(
    check: Check, answer: Checked, verdict: Verdict, gate: Gate, pool: asyncpg.Pool
) -> None:
    standings = Standings(pool)
    await standings.seed(BAKERY)
    await standings.record(BAKERY, check, answer, actor="ann", why="a test")
    assert (await gate.decide(payout("one"))).verdict is verdict
    assert (await gate.decide(payout("of another", merchant=MerchantId("m_other")))).verdict is REVIEW


async def test_a_check_that_is_older_than_it_may_be_is_none(gate: Gate, pool: asyncpg.Pool) -> None:
    await Standings(pool).seed(BAKERY)
    await install(pool, rule("sanctions", age_seconds_max=3600), rule("kyc"))
    assert (await gate.decide(payout("fresh"))).verdict is ALLOW

    class Yesterday:
        """Whoever checked yesterday."""

        async def of(self, merchant: MerchantId, until: datetime | None = None) -> tuple[Standing, ...]:
            then = datetime.now(UTC) - timedelta(days=1)
            return tuple(replace(each, at=then) for each in await Standings(pool).of(merchant, until))

    decision = await Gate(pool, Yesterday(), stretch=PATIENT).decide(payout("stale"))
    assert (decision.verdict, decision.rules) == (REVIEW, ("sanctions",))


async def test_the_same_operation_is_told_the_same_whatever_the_rules_say_by_then(
    gate: Gate, pool: asyncpg.Pool
) -> None:
    first = await gate.decide(subject("one"))
    await install(pool, rule("amount_limit", amount_max={"EUR": 1}, verdict="refuse"))
    assert await gate.decide(subject("one")) == first
    assert (await gate.decide(subject("two"))).verdict is REFUSE


async def test_of_many_that_ask_about_one_operation_at_once_all_are_told_the_same(
    gate: Gate, pool: asyncpg.Pool
) -> None:
    await install(pool, rule("velocity", count_max=1))
    decisions = await asyncio.gather(*(gate.decide(subject("one")) for _ in range(20)))
    assert len(set(decisions)) == 1
    assert decisions[0].verdict is ALLOW, "it is not counted against itself"


async def test_a_changed_set_is_in_force_at_once_in_every_process(pool: asyncpg.Pool) -> None:
    here, there = (Gate(pool, Standings(pool), stretch=PATIENT) for _ in range(2))
    assert (await there.decide(subject("one", 500))).verdict is ALLOW
    assert await install(pool, rule("amount_limit", amount_max={"EUR": 499})) == 2
    decisions = [await each.decide(subject(key, 500)) for each, key in ((here, "two"), (there, "three"))]
    assert [(each.verdict, each.version) for each in decisions] == [(REVIEW, 2), (REVIEW, 2)]


async def test_what_people_have_cleared_passes_what_asks_for_a_review_and_not_what_refuses(
    gate: Gate, pool: asyncpg.Pool
) -> None:
    await install(pool, rule("amount_limit", amount_max={"EUR": 100}))
    assert (await gate.decide(subject("one", 101))).verdict is REVIEW
    cleared = await gate.decide(subject("one", 101, cleared=True))
    assert (cleared.verdict, cleared.rules) == (ALLOW, ("amount-limit",)), "the rule is told, and passes"
    assert (await gate.decide(subject("two", 101))).verdict is REVIEW
    await install(pool, rule("amount_limit", amount_max={"EUR": 100}, verdict="refuse"))
    assert (await gate.decide(subject("two", 101, cleared=True))).verdict is REFUSE


async def test_a_deny_list_is_data(gate: Gate, pool: asyncpg.Pool) -> None:
    lists = DenyLists(pool)
    await install(pool, rule("deny_list", verdict="refuse"), rule("deny_list", name="where", by="country", list="sick"))
    await lists.write("stolen", "tok_bad", denied=True, author="ann", why="reported by its owner")
    await lists.write("sick", "tok_visa", denied=True, author="ann", why="a token on a list of countries")
    assert (await gate.decide(subject("one"))).verdict is ALLOW
    decision = await gate.decide(subject("two", instrument="tok_bad"))
    assert decision.verdict is REFUSE
    assert decision.fired[0].why.endswith(": reported by its owner")
    await lists.write("stolen", "tok_bad", denied=False, author="bob", why="found again")
    assert (await gate.decide(subject("three", instrument="tok_bad"))).verdict is ALLOW


async def test_what_nobody_has_said_is_absent(gate: Gate, pool: asyncpg.Pool) -> None:
    await install(
        pool, rule("deny_list", by="country"), rule("velocity", by="country", if_absent={"allow_below": {"EUR": 1_001}})
    )
    decision = await gate.decide(subject("one", 1_000, country=""))
    assert [(each.rule, each.verdict, each.absent) for each in decision.fired] == [
        ("deny-list", REVIEW, True),
        ("velocity", ALLOW, True),
    ]


@pytest.mark.parametrize(("minor", "verdict"), [(4_999, ALLOW), (5_000, REVIEW)])
async def test_without_a_score_a_payment_passes_below_the_limit(
    minor: int, verdict: Verdict, gate: Gate, pool: asyncpg.Pool
) -> None:
    await install(pool, rule("score", timeout_ms=HURRIED, if_absent={"allow_below": {"EUR": 5_000}}))
    assert (await gate.decide(subject("one", minor))).verdict is verdict
    assert (await gate.decide(subject("in yen", 1, "JPY"))).verdict is REVIEW


async def test_a_score_that_arrives_in_time_is_waited_for(gate: Gate, pool: asyncpg.Pool) -> None:
    await install(pool, rule("score", timeout_ms=300))
    asked = subject("one")
    deciding = asyncio.create_task(gate.decide(asked))
    await _receive(pool, By.OPERATION, asked.operation, 10)
    assert (await deciding).verdict is ALLOW


async def test_the_score_that_was_made_last_counts_whichever_came_last(gate: Gate, pool: asyncpg.Pool) -> None:
    await install(pool, rule("score", by="instrument", verdict="refuse"))
    await _receive(pool, By.INSTRUMENT, "tok_visa", 701, minute=2)
    await _receive(pool, By.INSTRUMENT, "tok_visa", 0, minute=1)
    await _receive(pool, By.INSTRUMENT, "tok_visa", 0, minute=2, event="2")  # the same event again
    decision = await gate.decide(subject("one"))
    assert (decision.verdict, decision.fired[0].why) == (
        REFUSE, "scorer gives the instrument 701, where 700 may pass",
    )  # fmt: skip


async def test_velocity_counts_what_passed_by_the_same_key(gate: Gate, pool: asyncpg.Pool) -> None:
    await install(pool, rule("velocity", count_max=2, verdict="refuse"))
    for key in ("one", "two"):
        assert (await gate.decide(subject(key))).verdict is ALLOW
    for key in ("three", "four"):  # what is refused moves nothing, and is not counted
        decision = await gate.decide(subject(key))
        assert decision.fired[0].why == "3 operations within 1:00:00 by instrument, where 2 may pass"
    assert (await gate.decide(subject("another's", instrument="tok_amex"))).verdict is ALLOW
    assert (await gate.decide(subject("one"))).verdict is ALLOW, "it has been decided"


async def test_velocity_of_amounts_sums_up_one_currency(gate: Gate, pool: asyncpg.Pool) -> None:
    await install(pool, rule("velocity", by="merchant", amount_max={"EUR": 1_500}))
    assert (await gate.decide(subject("one", 1_000))).verdict is ALLOW
    assert (await gate.decide(subject("two", 500))).verdict is ALLOW
    assert (await gate.decide(subject("three", 1))).verdict is REVIEW
    assert (await gate.decide(subject("in yen", 1, "JPY"))).verdict is REVIEW, "the rule names no such currency"


async def test_an_increment_raises_its_payment_and_is_not_summed_with_it(gate: Gate, pool: asyncpg.Pool) -> None:
    await install(pool, rule("velocity", applies_to=["payments", "increments"], amount_max={"EUR": 2_000}))
    paid = subject("one", 1_000)
    assert (await gate.decide(paid)).verdict is ALLOW
    raised = subject("raised", 1_900, kind=Prefix.INCREMENT, payment=paid.operation)
    assert (await gate.decide(raised)).verdict is ALLOW
    assert (await gate.decide(subject("two", 100))).verdict is ALLOW
    assert (await gate.decide(subject("three", 1))).verdict is REVIEW


async def test_an_operation_that_people_cleared_counts_once(gate: Gate, pool: asyncpg.Pool) -> None:
    await install(pool, rule("velocity", count_max=2, verdict="refuse"), rule("amount_limit", amount_max={"EUR": 99}))
    assert (await gate.decide(subject("one", 100))).verdict is REVIEW
    assert (await gate.decide(subject("one", 100, cleared=True))).verdict is ALLOW
    assert (await gate.decide(subject("two", 99))).verdict is ALLOW
    assert (await gate.decide(subject("three", 99))).verdict is REFUSE


async def test_a_window_is_left_again(gate: Gate, pool: asyncpg.Pool, admin_pool: asyncpg.Pool) -> None:
    await install(pool, rule("velocity", count_max=1, window_seconds=60, verdict="refuse"))
    assert (await gate.decide(subject("one"))).verdict is ALLOW
    assert (await gate.decide(subject("two"))).verdict is REFUSE
    await _age(admin_pool, timedelta(seconds=61))
    assert (await gate.decide(subject("three"))).verdict is ALLOW


@pytest.mark.parametrize("by", ["instrument", "merchant", "country", "client"])
async def test_of_many_at_once_no_more_slip_under_a_limit_than_may_pass(
    by: str, pool: asyncpg.Pool, judges: asyncpg.Pool
) -> None:
    await install(pool, rule("velocity", by=by, count_max=5, verdict="refuse"))
    gates = [Gate(each, Standings(each), stretch=PATIENT) for each in (pool, judges)]
    decisions = await asyncio.gather(*(gates[n % 2].decide(subject(f"{n}")) for n in range(16)))
    assert [each.verdict for each in decisions].count(ALLOW) == 5
    assert not any(fired.absent for each in decisions for fired in each.fired)


async def test_two_that_share_two_keys_do_not_wait_for_each_other_forever(gate: Gate, pool: asyncpg.Pool) -> None:
    await install(pool, rule("velocity", by="merchant", name="a1"), rule("velocity", by="instrument", name="b1"))
    decisions = await asyncio.gather(*(gate.decide(subject(f"{n}")) for n in range(8)))
    assert sum(each.verdict is ALLOW for each in decisions) == 3


async def test_a_decision_that_is_kept_is_what_was_told(gate: Gate, pool: asyncpg.Pool) -> None:
    await install(pool, rule("amount_limit", amount_max={"EUR": 1}))
    asked = subject("one", 2, payment=None)
    told = await gate.decide(asked)
    (kept,) = await Decisions(pool).of(asked.operation)
    assert (kept.subject, kept.decision) == (asked, told)


async def test_a_slow_source_costs_no_more_than_its_rule_says(pool: asyncpg.Pool) -> None:
    await install(pool, rule("kyc", timeout_ms=HURRIED), rule("sanctions", timeout_ms=HURRIED, verdict="refuse"))

    class Slow:
        """Whoever never answers."""

        async def of(self, merchant: MerchantId, until: datetime | None = None) -> tuple[Standing, ...]:
            await asyncio.sleep(60)
            return ()

    begun = time.monotonic()
    with capture_logs() as logs:
        decision = await Gate(pool, Slow(), stretch=PATIENT).decide(payout("one"))
    assert time.monotonic() - begun < GRACE_SECONDS
    assert (decision.verdict, decision.rules, decision.version) == (REVIEW, ("kyc", "sanctions"), 2)
    assert [each["rules"] for each in logs if each["event"] == "risk.no_answer"] == [["kyc", "sanctions"]]


async def test_a_source_that_cannot_even_be_stopped_holds_nobody_up(pool: asyncpg.Pool) -> None:
    await install(pool, rule("kyc"), rule("amount_limit", applies_to=["payouts"], verdict="refuse"))
    going = asyncio.Event()

    class Deaf:
        """Whoever neither answers nor stops."""

        async def of(self, merchant: MerchantId, until: datetime | None = None) -> tuple[Standing, ...]:
            while not going.is_set():
                try:
                    await going.wait()
                except asyncio.CancelledError:
                    continue
            return ()

    gate, begun = Gate(pool, Deaf(), stretch=5), time.monotonic()  # five times: two and a half seconds
    decision = await gate.decide(payout("one", 10_001))
    assert time.monotonic() - begun < (JUDGE_SECONDS + KEEP_SECONDS) * 5 + GRACE_SECONDS
    assert (decision.verdict, decision.rules) == (REFUSE, ("kyc", "amount-limit")), "what is known is said"
    going.set()
    assert await gate.decide(payout("one", 10_001)) == decision


async def test_a_lock_that_is_never_free_makes_velocity_absent(gate: Gate, pool: asyncpg.Pool) -> None:
    await install(pool, rule("velocity", timeout_ms=HURRIED, if_absent={"allow_below": {"EUR": 2_000}}))
    async with pool.acquire() as connection, connection.transaction():
        name = "risk.velocity:instrument:tok_visa"
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", name)
        low, high = await gate.decide(subject("one", 1_999)), await gate.decide(subject("two", 2_000))
    assert [(each.verdict, each.fired[0].absent) for each in (low, high)] == [(ALLOW, True), (REVIEW, True)]
    assert await gate.decide(subject("one", 1_999)) == low, "it was kept"


SMALL = ("risk gives no answer, and 49.99 EUR is below 50.00 EUR", ALLOW)
LARGE = ("risk gives no answer, and 50.00 EUR is not below 50.00 EUR", REVIEW)


@pytest.mark.parametrize("kind", [Prefix.PAYMENT, Prefix.INCREMENT, Prefix.REFUND])
@pytest.mark.parametrize(("minor", "says"), [(4_999, SMALL), (5_000, LARGE)])
async def test_without_risk_and_its_rules_small_change_passes(
    kind: Prefix, minor: int, says: tuple[str, Verdict], gate: Gate, admin_pool: asyncpg.Pool
) -> None:
    await admin_pool.execute("ALTER SCHEMA risk RENAME TO gone")
    decision = await gate.decide(subject("one", minor, kind=kind))
    why, verdict = says
    assert decision.fired == (Fired(rule="unreachable", verdict=verdict, why=why, absent=True),)
    assert (decision.verdict, decision.version) == (verdict, 0)


async def test_without_risk_the_rules_of_before_say_what_silence_means(
    gate: Gate, pool: asyncpg.Pool, admin_pool: asyncpg.Pool
) -> None:
    await install(
        pool, rule("score", timeout_ms=HURRIED, if_absent={"allow_below": {"EUR": 9_000}}), rule("amount_limit")
    )
    await gate.decide(subject("before"))
    await admin_pool.execute("ALTER SCHEMA risk RENAME TO gone")
    said = [(await gate.decide(subject(f"{minor}", minor))).verdict for minor in (8_999, 9_000, 10_001)]
    assert said == [ALLOW, REVIEW, REVIEW]


@pytest.mark.parametrize("cleared", [False, True])
async def test_without_risk_no_payout_leaves(cleared: bool, gate: Gate, admin_pool: asyncpg.Pool) -> None:
    await admin_pool.execute("ALTER SCHEMA risk RENAME TO gone")
    assert (await gate.decide(payout("one", 1, cleared=cleared))).verdict is REVIEW


async def test_what_was_decided_without_an_answer_is_told_if_it_could_not_be_kept(
    gate: Gate, admin_pool: asyncpg.Pool
) -> None:
    await admin_pool.execute("ALTER SCHEMA risk RENAME TO gone")
    with capture_logs() as logs:
        await gate.decide(subject("one"))
    assert [each["verdict"] for each in logs if each["event"] == "risk.not_kept"] == [ALLOW]


async def test_rules_that_another_release_wrote_are_no_rules(gate: Gate, admin_pool: asyncpg.Pool) -> None:
    await admin_pool.execute(
        "INSERT INTO risk.rule_set (version, rules, author, why) VALUES (2, '[{\"kind\": \"moon\"}]', 'x', 'x')"
    )
    decision = await gate.decide(subject("one", 10_000))
    assert (decision.verdict, decision.rules) == (REVIEW, ("unreachable",))
    assert await gate.decide(subject("one", 10_000)) == decision


async def test_a_cleared_payout_that_met_an_outage_is_judged_when_risk_is_back(
    gate: Gate, pool: asyncpg.Pool, admin_pool: asyncpg.Pool
) -> None:
    await Standings(pool).seed(BAKERY)
    await admin_pool.execute("ALTER TABLE risk.rule_set RENAME TO gone")
    assert (await gate.decide(payout("one", cleared=True))).verdict is REVIEW
    await admin_pool.execute("ALTER TABLE risk.gone RENAME TO rule_set")
    assert (await gate.decide(payout("one", cleared=True))).verdict is ALLOW


async def test_a_bug_is_no_outage(pool: asyncpg.Pool) -> None:
    await install(pool, rule("kyc"))

    class Broken:
        """A program that is wrong."""

        async def of(self, merchant: MerchantId, until: datetime | None = None) -> tuple[Standing, ...]:
            raise KeyError(merchant)

    with pytest.raises(KeyError):
        await Gate(pool, Broken(), stretch=PATIENT).decide(payout("one"))


async def test_whoever_stops_waiting_leaves_nothing_running(gate: Gate, pool: asyncpg.Pool) -> None:
    await install(pool, rule("score", timeout_ms=300))
    before = asyncio.all_tasks()
    deciding = asyncio.create_task(gate.decide(subject("one")))
    await asyncio.sleep(0)
    deciding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await deciding
    for task in asyncio.all_tasks() - before:
        await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), timeout=GRACE_SECONDS)
    assert asyncio.all_tasks() == before


async def _receive(pool: asyncpg.Pool, by: By, key: str, value: int, *, minute: int = 0, event: str = "") -> None:
    at = datetime(2026, 1, 1, 12, minute, tzinfo=UTC)
    scored = Scored(by=by, key=key, value=value, source="scorer", event=event or f"{minute}", scored_at=at)
    await Scores(pool).receive(scored)


async def _age(admin_pool: asyncpg.Pool, age: timedelta) -> None:
    """Let all decisions have been made so much earlier."""
    async with admin_pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute("UPDATE risk.decision SET at = at - $1::interval", age)
