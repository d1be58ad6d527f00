"""Migrations: each file once, never changed, by any number of runners at once."""

import asyncio

import asyncpg
import pytest

from tests.support.cluster import TestCluster
from workers.migrations import ChangedMigration, Migration, migrate

ONE = Migration("records", "0001_one.sql", "CREATE SCHEMA one; CREATE TABLE one.thing (id int);")
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
