"""Who may do what with the ledger, read from the catalogue of a migrated database and tried out.

The lists below are complete: a function or a table that a later file adds is for nobody until it stands here.
"""

import asyncpg
import pytest

from domain.ids import Prefix
from domain.money import Money
from ledger.journal import Journal
from tests.support.ledger_flows import flows, operation

ROLES = (
    "ledger_owner",
    "ledger_migrator",
    "ledger_poster",
    "ledger_reader",
    "ledger_sealer",
    "ledger_archivist",
)
POSTING = {"post", "post_batch", "open_accounts", "ensure_months"}
ASKING = {"standing", "moved", "captured_of", "available_of"}  # of what is about to be posted upon; only read
SEALING = {"add_seal"}
ARCHIVING = {
    "ensure_months",
    "insist_on_archivable",
    "record_archive",
    "detach_month",
    "drop_archived",
    "make_month_again",
    "attach_month",
}
LOCKED_READING = {"effective_balance"}  # writes nothing, but must see what has come while it waited for its lock
# What can write: it is neither only read (STABLE, which Postgres enforces) nor done with the caller's own rights.
DOORS = {
    "public": set[str](),
    "ledger_poster": POSTING,
    "ledger_reader": LOCKED_READING,
    "ledger_sealer": LOCKED_READING | SEALING,
    "ledger_archivist": LOCKED_READING | ARCHIVING,
    "ledger_migrator": set[str](),
    "holdfast": LOCKED_READING | POSTING | {"set_closed"},
}
READERS = ("ledger_reader", "ledger_sealer", "ledger_archivist")
INSIDE = {"refuse", "take_hold", "take_holds", "judge", "claim", "move_refundable", "add_month", "guard"}
RIGHTS = "SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN"
TABLES = ("account", "balance", "entry_key", "entry", "posting", "rejection", "event", "hold", "refundable", "currency")


async def granted(admin: asyncpg.Pool, role: str) -> set[str]:
    """The functions of the ledger that a role may call, and that could write."""
    rows = await admin.fetch(
        """
        SELECT p.proname::text AS name FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'ledger' AND has_function_privilege($1::text, p.oid, 'EXECUTE')
            AND p.prosecdef AND p.provolatile = 'v'
        """,
        role,
    )
    return {row["name"] for row in rows}


@pytest.mark.parametrize("role", DOORS)
async def test_a_role_may_call_its_doors_and_nothing_else(admin_pool: asyncpg.Pool, role: str) -> None:
    assert await granted(admin_pool, role) == DOORS[role]


async def test_nobody_but_the_owner_may_call_what_is_inside(admin_pool: asyncpg.Pool) -> None:
    rows = await admin_pool.fetch(
        """
        SELECT p.proname::text AS name, r.role
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace CROSS JOIN unnest($1::text[]) AS r (role)
        WHERE n.nspname = 'ledger' AND has_function_privilege(r.role, p.oid, 'EXECUTE')
        """,
        ["ledger_owner", *DOORS],
    )
    may = {role: {row["name"] for row in rows if row["role"] == role} for role in ("ledger_owner", *DOORS)}
    assert may["ledger_owner"] >= INSIDE, "one of them has another name now"
    assert not may["public"], "what is made without a word about it is everybody's"
    assert may["ledger_poster"] == POSTING | ASKING
    for role in DOORS:
        assert INSIDE.isdisjoint(may[role]), role


async def test_a_function_that_acts_for_others_looks_names_up_where_nobody_else_can_write(
    admin_pool: asyncpg.Pool,
) -> None:
    rows = await admin_pool.fetch("""
        SELECT p.proname::text AS name, p.proconfig, p.proowner::regrole::text AS owner
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'ledger' AND p.prosecdef
    """)
    assert {"post", "post_batch", "open_accounts"} <= {row["name"] for row in rows}
    for row in rows:
        assert row["owner"] == "ledger_owner", row["name"]
        assert "search_path=pg_catalog, pg_temp" in row["proconfig"], row["name"]


async def test_everything_belongs_to_the_owner_whom_nobody_can_be(admin_pool: asyncpg.Pool) -> None:
    owners = await admin_pool.fetch("""
        SELECT DISTINCT relowner::regrole::text AS owner
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'ledger'
        UNION SELECT proowner::regrole::text
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'ledger'
    """)
    assert [row["owner"] for row in owners] == ["ledger_owner"]
    members = await admin_pool.fetch("""
        SELECT member::regrole::text AS member, inherit_option FROM pg_auth_members
        WHERE roleid = 'ledger_owner'::regrole
    """)
    assert [tuple(row) for row in members] == [("ledger_migrator", False)]
    assert not await admin_pool.fetch("SELECT FROM pg_auth_members WHERE roleid = 'ledger_migrator'::regrole")


async def test_no_role_of_the_ledger_logs_in_or_stands_above_the_rules(admin_pool: asyncpg.Pool) -> None:
    rows = await admin_pool.fetch("""
        SELECT rolname::text AS name, rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls
        FROM pg_roles WHERE rolname LIKE 'ledger%' OR rolname LIKE 'holdfast%'
    """)
    assert {row["name"] for row in rows} >= {*ROLES, "holdfast"}
    for name, can_log_in, *above in (tuple(row) for row in rows):
        assert can_log_in == name.startswith("holdfast"), name
        assert not any(above), name


@pytest.mark.parametrize("role", [*ROLES[1:], "public"])
async def test_a_role_reads_the_tables_or_nothing(admin_pool: asyncpg.Pool, role: str) -> None:
    rows = await admin_pool.fetch(
        """
        SELECT c.relname::text AS name, array(
            SELECT a.privilege FROM unnest($2::text[]) AS a (privilege)
            WHERE has_table_privilege($1::text, c.oid, a.privilege)
        ) AS rights
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'ledger' AND c.relkind IN ('r', 'p', 'v', 'm')
        """,
        role,
        list(RIGHTS),
    )
    assert len(rows) > len(TABLES)
    for row in rows:
        assert row["rights"] == (["SELECT"] if role in READERS else []), row["name"]
    sequences = await admin_pool.fetch(
        """
        WITH sequence AS MATERIALIZED (
            SELECT oid FROM pg_class WHERE relnamespace = 'ledger'::regnamespace AND relkind = 'S'
        )
        SELECT oid::regclass::text FROM sequence WHERE has_sequence_privilege($1::text, oid, 'USAGE, UPDATE')
        """,
        role,
    )
    assert not sequences


async def test_whoever_only_posts_can_post_and_cannot_even_read(admin_pool: asyncpg.Pool) -> None:
    async with admin_pool.acquire() as connection:
        await connection.execute("SET SESSION AUTHORIZATION ledger_poster")
        for table in TABLES:
            for statement in (f"SELECT FROM ledger.{table}", f"DELETE FROM ledger.{table}"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)
        await connection.execute("SELECT ledger.open_accounts('{a:one}', '{EUR}', '{1}', 'tests')")
        assert await connection.fetchval("SELECT count(*) FROM ledger.post_batch('{}')") == 0
        await connection.execute("RESET SESSION AUTHORIZATION")


@pytest.mark.parametrize("role", READERS)
async def test_whoever_reads_writes_nothing(pool: asyncpg.Pool, admin_pool: asyncpg.Pool, role: str) -> None:
    await Journal(pool).post(flows.payout_reserve(operation(Prefix.PAYOUT, "one"), Money(1, "EUR")))
    async with admin_pool.acquire() as connection:
        await connection.execute(f"SET SESSION AUTHORIZATION {role}")
        for table in TABLES:
            await connection.execute(f"SELECT FROM ledger.{table}")
            for statement in (f"DELETE FROM ledger.{table}", f"INSERT INTO ledger.{table} DEFAULT VALUES"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)
        for call in ("post(NULL)", "post_batch('{}')", "set_closed('a:b', 'EUR', true, 'ada', 'no')"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"SELECT ledger.{call}")
        await connection.execute("RESET SESSION AUTHORIZATION")


async def test_the_owner_changes_nothing_that_is_written(pool: asyncpg.Pool, admin_pool: asyncpg.Pool) -> None:
    await Journal(pool).post(flows.top_up("one", Money(1, "EUR")))
    async with admin_pool.acquire() as connection:
        await connection.execute("SET SESSION AUTHORIZATION ledger_owner")
        for statement in (
            "UPDATE ledger.entry SET why = 'because'",
            "UPDATE ledger.posting SET posted = 0",
            "DELETE FROM ledger.entry_key",
            "TRUNCATE ledger.event",
        ):
            with pytest.raises(asyncpg.RestrictViolationError):
                await connection.execute(statement)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("SET session_replication_role = replica")
        await connection.execute("RESET SESSION AUTHORIZATION")


async def test_a_deployment_may_become_the_owner_and_owns_nothing_until_then(admin_pool: asyncpg.Pool) -> None:
    async with admin_pool.acquire() as connection:
        await connection.execute("SET SESSION AUTHORIZATION ledger_migrator")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("SELECT FROM ledger.entry")
        await connection.execute("SET ROLE ledger_owner")
        await connection.execute("SELECT FROM ledger.entry")
        await connection.execute("RESET SESSION AUTHORIZATION")
