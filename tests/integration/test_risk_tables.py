"""What is written of risk and of merchants stays as it was written, and each login writes only what is its own."""

import asyncpg
import pytest

from domain.ids import MerchantId
from identity.standing import RECORD, Check, Checked, Standings
from risk.decisions import KEEP
from risk.rule_sets import RuleSets
from risk.rules import By
from risk.scores import Scored, Scores
from tests.support.cluster import Database
from tests.support.risk_rules import BAKERY
from workers.migrations import API_ROLE, APP_ROLE, UPKEEP_ROLE, WORKER_ROLE
from workers.seed import MERCHANTS, seed

TABLES = ("risk.rule_set", "risk.decision", "risk.deny_list", "risk.score", "identity.standing")
WRITES = {
    WORKER_ROLE: {"risk.decision", "risk.score"},
    APP_ROLE: set(TABLES),
    API_ROLE: set[str](),
    UPKEEP_ROLE: set[str](),
}


@pytest.mark.parametrize("change", ["UPDATE {} SET at = now()", "DELETE FROM {}", "TRUNCATE {}"])
@pytest.mark.parametrize("table", TABLES)
async def test_what_has_been_written_is_changed_by_nobody(table: str, change: str, admin_pool: asyncpg.Pool) -> None:
    with pytest.raises(asyncpg.RestrictViolationError, match="what has been written stays"):
        await admin_pool.execute(change.format(table))


@pytest.mark.parametrize("login", WRITES)
async def test_a_login_writes_what_its_process_does_and_no_more(login: str, admin_pool: asyncpg.Pool) -> None:
    may = "SELECT has_any_column_privilege($1, $2, 'INSERT')"
    assert {each for each in TABLES if await admin_pool.fetchval(may, login, each)} == WRITES[login]
    for table in TABLES:
        for right in ("UPDATE", "DELETE", "TRUNCATE", "TRIGGER"):
            assert not await admin_pool.fetchval("SELECT has_table_privilege($1, $2, $3)", login, table, right)


@pytest.mark.parametrize("table", TABLES)
async def test_nobody_chooses_when_something_was_written(table: str, admin_pool: asyncpg.Pool) -> None:
    for login in WRITES:
        may = "SELECT has_column_privilege($1, $2, 'at', 'INSERT')"
        assert not await admin_pool.fetchval(may, login, table), login


async def test_only_a_person_installs_rules(admin_pool: asyncpg.Pool) -> None:
    may = "SELECT has_function_privilege($1, 'risk.install(jsonb, text, text, bigint)', 'EXECUTE')"
    assert [login for login in WRITES if await admin_pool.fetchval(may, login)] == [APP_ROLE]


@pytest.mark.parametrize(("author", "why"), [("", "a reason"), ("ann", "")])
async def test_rules_are_installed_by_somebody_for_a_reason(author: str, why: str, pool: asyncpg.Pool) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await RuleSets(pool).install((), author=author, why=why, after=1)


async def test_an_earlier_version_stays_as_it_was_installed(pool: asyncpg.Pool) -> None:
    sets = RuleSets(pool)
    first = await sets.in_force()
    await sets.install((), author="ann", why="a test", after=1)
    assert (await sets.history())[1] == first
    again = await sets.install(first.read().rules, author="ann", why="back to 1", after=2)
    assert (await sets.in_force()).read().rules == first.read().rules
    assert again == 3


async def test_a_check_takes_no_answer_that_it_cannot_give(pool: asyncpg.Pool) -> None:
    with pytest.raises(ValueError, match="kyc is answered by verified, rejected, pending, not by clear"):
        await Standings(pool).record(BAKERY, Check.KYC, Checked.CLEAR, actor="ann", why="a test")
    with pytest.raises(asyncpg.CheckViolationError):
        await pool.execute(RECORD, BAKERY, Check.KYC, Checked.HIT, "ann", "a test")


async def test_the_merchants_of_development_pass_their_checks_unless_somebody_has_said_otherwise(
    pool: asyncpg.Pool, database: Database
) -> None:
    standings = Standings(pool)
    await standings.record(MERCHANTS[0], Check.KYC, Checked.REJECTED, actor="ann", why="a test")
    for _ in range(2):
        await seed(database.url)
    passed = {(each.merchant, each.check): each.passed for one in MERCHANTS for each in await standings.of(one)}
    assert passed.pop((MERCHANTS[0], Check.KYC)) is False
    assert set(passed.values()) == {True}
    assert await pool.fetchval("SELECT count(*) FROM identity.standing") == 2 * len(MERCHANTS)
    assert await standings.of(MerchantId("m_other")) == ()


async def test_a_score_from_nowhere_is_refused(pool: asyncpg.Pool) -> None:
    at = (await RuleSets(pool).in_force()).at
    for value, source in ((1001, "scorer"), (-1, "scorer"), (5, "")):
        scored = Scored(by=By.CLIENT, key="k", value=value, source=source, event="1", scored_at=at)
        with pytest.raises(asyncpg.CheckViolationError):
            await Scores(pool).receive(scored)


@pytest.mark.parametrize(
    ("verdict", "waits_for"), [("allow", "off"), ("review", "remote_write"), ("refuse", "remote_write")]
)
async def test_only_a_decision_that_the_ledger_follows_up_leaves_the_disk_to_it(
    verdict: str, waits_for: str, pool: asyncpg.Pool
) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL synchronous_commit = remote_write")
        kept = ("pay_1", False, "pay", "shop", "m_bakery", "EUR", 5, "tok", "NL", None, verdict, "[]", 1, 3)
        assert await connection.fetchval(KEEP, *kept)
        assert await connection.fetchval("SHOW synchronous_commit") == waits_for
