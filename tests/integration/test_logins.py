"""What each process's login may do, and above all may not: the database says it, whatever the code does."""

from collections.abc import AsyncGenerator

import asyncpg
import pytest
import pytest_asyncio

from domain.ids import MerchantId, Reference
from domain.money import Money
from ledger.journal import Journal, Status
from ledger.postings import top_up
from tests.support.cluster import Database, TestCluster
from workers.migrations import API_ROLE, APP_ROLE, LOGINS, UPKEEP_ROLE, WORKER_ROLE

BAKERY = MerchantId("m_bakery")
TOP_UP = top_up(Reference("seed:logins/top-up"), BAKERY, Money(500, "EUR"))
TABLES = "SELECT relname FROM pg_class WHERE relnamespace = '{}'::regnamespace AND relkind IN ('r', 'p', 'v')"
FUNCTIONS = """
SELECT p.proname FROM pg_proc p
WHERE p.pronamespace = 'ledger'::regnamespace AND has_function_privilege($1, p.oid, 'EXECUTE')
"""
POSTS = {"post", "post_batch", "open_accounts", "ensure_months"}
ASKS = {"standing", "moved", "captured_of", "available_of"}  # one answer each, of what it is about to post upon

CAN = {
    "holdfast_worker": {"records_writer", "ledger_poster"},
    "holdfast_api": {"records_writer", "ledger_reader"},
    "holdfast_upkeep": {"ledger_sealer", "ledger_archivist"},
    "holdfast": {"records_writer", "ledger_poster", "ledger_reader"},
}


@pytest_asyncio.fixture
async def posted(pool: asyncpg.Pool) -> None:
    """A book with something in it."""
    assert (await Journal(pool).post(TOP_UP)).stands


async def _as(login: str, database: Database, cluster: TestCluster) -> asyncpg.Connection:
    return await asyncpg.connect(cluster.cluster.url(database.name, user=login, password=cluster.password))


@pytest_asyncio.fixture
async def worker(database: Database, cluster: TestCluster, posted: None) -> AsyncGenerator[asyncpg.Connection]:
    """A connection as the worker has it."""
    connection = await _as(WORKER_ROLE, database, cluster)
    yield connection
    await connection.close()


async def test_the_worker_cannot_read_one_table_of_the_ledger(worker: asyncpg.Connection) -> None:
    tables = [row["relname"] for row in await worker.fetch(TABLES.format("ledger"))]
    assert {"entry", "posting", "balance", "account", "hold", "event", "seal"} <= set(tables)
    for table in tables:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await worker.fetch(f"SELECT FROM ledger.{table}")


async def test_the_worker_writes_nothing_in_the_ledger_but_by_posting(
    worker: asyncpg.Connection, admin_pool: asyncpg.Pool
) -> None:
    for table in [row["relname"] for row in await worker.fetch(TABLES.format("ledger"))]:
        for right in ("INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"):
            assert not await worker.fetchval("SELECT has_table_privilege($1, $2)", f"ledger.{table}", right), table
    assert {row["proname"] for row in await admin_pool.fetch(FUNCTIONS, WORKER_ROLE)} == POSTS | ASKS
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await worker.execute("SET ROLE ledger_owner")


async def test_the_worker_posts(database: Database, cluster: TestCluster, posted: None) -> None:
    url = cluster.cluster.url(database.name, user=WORKER_ROLE, password=cluster.password)
    async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool:
        assert (await Journal(pool).post(TOP_UP)).status is Status.REPLAYED


async def test_the_api_reads_a_balance_and_cannot_post(
    database: Database,
    cluster: TestCluster,
    posted: None,
    admin_pool: asyncpg.Pool,
) -> None:
    url = cluster.cluster.url(database.name, user=API_ROLE, password=cluster.password)
    async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool:
        balance = await Journal(pool).balance("merchant:m_bakery:payable", "EUR")
        assert balance is not None
        assert balance.available == 500
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await Journal(pool).post(TOP_UP)
    assert not {row["proname"] for row in await admin_pool.fetch(FUNCTIONS, API_ROLE)} & POSTS


async def test_upkeep_cannot_post_nor_touch_a_payments_rows(
    database: Database,
    cluster: TestCluster,
    posted: None,
    admin_pool: asyncpg.Pool,
) -> None:
    upkeep = await _as(UPKEEP_ROLE, database, cluster)
    rows = await upkeep.fetch(TABLES.format("records"))
    rights = ("SELECT", "INSERT", "UPDATE", "DELETE")
    can = {
        row["relname"]
        for row in rows
        for right in rights
        if await upkeep.fetchval("SELECT has_table_privilege($1, $2)", f"records.{row['relname']}", right)
    }
    await upkeep.close()
    assert can == {"claim"}
    found = {row["proname"] for row in await admin_pool.fetch(FUNCTIONS, UPKEEP_ROLE)}
    assert found & POSTS == {"ensure_months"}


@pytest.mark.parametrize("login", LOGINS)
async def test_no_login_is_more_than_a_login(login: str, admin_pool: asyncpg.Pool) -> None:
    more = "rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls"
    assert await admin_pool.fetchval(f"SELECT {more} FROM pg_roles WHERE rolname = $1", login) is False


async def test_an_account_is_closed_by_a_person_alone(admin_pool: asyncpg.Pool) -> None:
    closers = [login for login in LOGINS if "set_closed" in
               {row["proname"] for row in await admin_pool.fetch(FUNCTIONS, login)}]  # fmt: skip
    assert closers == [APP_ROLE]


@pytest.mark.parametrize("login", CAN)
async def test_a_login_has_the_roles_of_its_process_and_no_other(login: str, admin_pool: asyncpg.Pool) -> None:
    roles = await admin_pool.fetch(
        "SELECT roleid::regrole::text FROM pg_auth_members WHERE member = $1::regrole", login
    )
    assert {row["roleid"] for row in roles} == CAN[login]
