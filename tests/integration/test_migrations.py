"""Migrations: each file once, never changed, by any number of runners at once."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from domain.money import Money
from ledger.journal import Journal
from tests.support import released
from tests.support.cluster import TestCluster
from tests.support.ledger_flows import flows
from workers.migrations import LOGINS, ChangedMigration, Migration, all_migrations, migrate

ONE = Migration("records", "0001_one.sql", "CREATE SCHEMA one; CREATE TABLE one.thing (id int);")
STATES = "records.terminal"  # what a release says of its states: no row of anybody's, and a later one says more
ADDS = "ALTER TABLE ledger.entry ADD COLUMN next text NOT NULL DEFAULT ''"
REWRITES = "SET LOCAL session_replication_role = replica; UPDATE ledger.entry SET why = 'better'"
TWO = Migration("records", "0002_two.sql", "INSERT INTO one.thing VALUES (2);")


async def test_a_file_is_applied_once(cluster: TestCluster) -> None:
    database = await cluster.create(template=None)
    assert await migrate(database.admin_url, cluster.password, [ONE]) == ["records/0001_one.sql"]
    assert await migrate(database.admin_url, cluster.password, [ONE, TWO]) == ["records/0002_two.sql"]
    assert await migrate(database.admin_url, cluster.password, [ONE, TWO]) == []
    await cluster.drop(database)


async def test_a_changed_file_is_refused_before_anything_runs(cluster: TestCluster) -> None:
    database = await cluster.create(template=None)
    await migrate(database.admin_url, cluster.password, [ONE])
    changed = Migration(ONE.domain, ONE.name, ONE.sql + " ")
    with pytest.raises(ChangedMigration, match="0001_one"):
        await migrate(database.admin_url, cluster.password, [changed, TWO])
    connection = await asyncpg.connect(database.admin_url)
    assert await connection.fetchval("SELECT count(*) FROM one.thing") == 0
    await connection.close()
    await cluster.drop(database)


async def test_a_file_that_fails_leaves_nothing_behind(cluster: TestCluster) -> None:
    database = await cluster.create(template=None)
    broken = Migration("records", "0001_broken.sql", "CREATE SCHEMA one; SELECT 1 / 0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(database.admin_url, cluster.password, [broken])
    assert await migrate(database.admin_url, cluster.password, [ONE]) == ["records/0001_one.sql"]
    await cluster.drop(database)


async def test_runners_at_once_apply_each_file_once(cluster: TestCluster) -> None:
    databases = [await cluster.create(template=None) for _ in range(2)]
    runs = [migrate(database.admin_url, cluster.password, [ONE, TWO]) for database in databases for _ in range(5)]
    applied = await asyncio.gather(*runs)
    assert sum(len(names) for names in applied) == 2 * len(databases)
    for database in databases:
        await cluster.drop(database)


async def test_the_product_is_no_superuser(pool: asyncpg.Pool) -> None:
    assert await pool.fetchval("SELECT current_user::text") == "holdfast"
    assert (
        await pool.fetchval("SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = 'holdfast'")
        is False
    )


async def test_a_login_without_a_password_in_its_address_keeps_its_own(cluster: TestCluster) -> None:
    database = await cluster.create(template=None)
    await migrate(database.admin_url, {"holdfast_api": cluster.password}, [])
    for login in LOGINS:
        await (await asyncpg.connect(cluster.cluster.url(database.name, user=login, password=cluster.password))).close()
    await cluster.drop(database)


@pytest.mark.parametrize("dump", released.dumps(), ids=lambda dump: dump.name)
async def test_a_released_database_is_migrated_with_every_row_as_it_was(dump: Path, cluster: TestCluster) -> None:
    database = await cluster.create(template=None)
    await released.restore(dump, database, cluster)
    before = await released.contents(database.admin_url)
    assert before["ledger.entry"].rows > 0
    assert all(each.rows for name, each in before.items() if name not in released.EMPTY), "each table has something"
    assert before.pop(STATES).rows > 0
    await migrate(database.admin_url, cluster.password)
    assert await released.contents(database.admin_url, before) == before
    async with asyncpg.create_pool(database.url, min_size=1, max_size=1) as pool:
        journal = Journal(pool)
        assert await journal.verify() is None
        assert (await journal.post(flows.top_up("after", Money(5, "EUR")))).stands
        kept = await journal.post(flows.top_up(released.TOP_UP, Money(20_000, "EUR")))
        assert kept.status == "replayed"  # what was asked of the old release is known to the new one
    await cluster.drop(database)


@pytest.mark.parametrize(("sql", "kept"), [(ADDS, True), (REWRITES, False)], ids=["adds a column", "rewrites a row"])
async def test_a_later_migration_may_add_and_may_not_rewrite(sql: str, kept: bool, cluster: TestCluster) -> None:
    database = await cluster.create(template=None)
    await released.restore(released.dumps()[-1], database, cluster)
    before = await released.contents(database.admin_url)
    del before[STATES]
    await migrate(database.admin_url, cluster.password, [*all_migrations(), Migration("ledger", "9999_next.sql", sql)])
    assert (await released.contents(database.admin_url, before) == before) is kept
    await cluster.drop(database)


def test_there_is_a_released_database_to_migrate() -> None:
    assert released.dumps()
