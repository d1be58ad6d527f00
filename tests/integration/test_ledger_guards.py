"""What the database refuses whoever asks, and what `verify` finds where somebody could write all the same."""

from datetime import UTC, date, datetime

import asyncpg
import pytest

from domain.ids import Prefix
from domain.money import Money
from ledger.journal import Journal, Status
from tests.support.ledger_flows import flows, operation

APPEND_ONLY = ("currency", "account", "entry_key", "rejection", "entry", "posting", "gate", "hold", "event")
PROJECTIONS = ("balance", "hold_state", "refundable")
THIS_MONTH = datetime.now(UTC).strftime("_%Y%m")
PARTITIONED = ("entry", "posting", "event")
GUARDED = (*APPEND_ONLY, *(name + THIS_MONTH for name in PARTITIONED))

A_COLUMN = """
SELECT attname FROM pg_attribute
WHERE attrelid = $1::regclass AND attnum > 0 AND attidentity = '' ORDER BY attnum LIMIT 1
"""
LINE = """
INSERT INTO ledger.{table}
    (entry_id, line, layer, account_id, currency, amount, balance_after, account_version, posted_at)
SELECT 1, line, $2, id, {currency}, amount, amount, 99, clock_timestamp()
FROM ledger.account, unnest($1::bigint[]) WITH ORDINALITY AS given (amount, line)
WHERE code = 'holdfast:bank' AND currency = 'EUR'
"""


@pytest.fixture
async def journal(pool: asyncpg.Pool) -> Journal:
    """A book with a little of everything in it."""
    journal = Journal(pool)
    payment, refund = operation(Prefix.PAYMENT, "one"), operation(Prefix.REFUND, "one")
    euro = Money(100, "EUR")
    for entry in (
        flows.top_up("one", euro),
        flows.hold(payment, euro),
        flows.capture(operation(Prefix.CAPTURE, "one"), payment, euro),
        flows.refund_reserve(refund, payment, Money(30, "EUR")),
        flows.payout_reserve(operation(Prefix.PAYOUT, "one"), Money(20, "EUR")),
    ):
        assert (await journal.post(entry)).status is Status.POSTED
    refused = await journal.post(flows.payout_reserve(operation(Prefix.PAYOUT, "two"), Money(10_000, "EUR")))
    assert refused.status is Status.INSUFFICIENT_FUNDS
    return journal


@pytest.mark.usefixtures("journal")
async def test_not_even_a_superuser_changes_or_removes_what_is_written(admin_pool: asyncpg.Pool) -> None:
    for table in GUARDED:
        column = await admin_pool.fetchval(A_COLUMN, f"ledger.{table}")
        for statement in (
            f"UPDATE ledger.{table} SET {column} = {column}",
            f"DELETE FROM ledger.{table}",
            f"TRUNCATE ledger.{table} CASCADE",
        ):
            with pytest.raises(asyncpg.RestrictViolationError, match="what is written stays"):
                await admin_pool.execute(statement)


@pytest.mark.usefixtures("journal")
async def test_not_even_a_superuser_removes_a_row_of_a_projection(admin_pool: asyncpg.Pool) -> None:
    for table in PROJECTIONS:
        for statement in (f"DELETE FROM ledger.{table}", f"TRUNCATE ledger.{table} CASCADE"):
            with pytest.raises(asyncpg.RestrictViolationError):
                await admin_pool.execute(statement)


async def test_every_partition_has_its_guards(admin_pool: asyncpg.Pool) -> None:
    rows = await admin_pool.fetch("""
        SELECT c.relname::text AS name, array_agg(t.tgname::text ORDER BY t.tgname)
                   FILTER (WHERE NOT t.tgisinternal) AS triggers
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_trigger t ON t.tgrelid = c.oid
        WHERE n.nspname = 'ledger' AND c.relispartition AND c.relkind = 'r' GROUP BY c.relname
    """)
    assert len(rows) == 3 * 13
    for row in rows:
        wanted = ["append_only", "zero_sum"] if row["name"].startswith("posting") else ["append_only"]
        assert row["triggers"] == wanted, row["name"]


@pytest.mark.usefixtures("journal")
@pytest.mark.parametrize("table", ["posting", f"posting{THIS_MONTH}"])
@pytest.mark.parametrize("layer", [0, 1, 2])
async def test_lines_that_do_not_balance_are_refused(admin_pool: asyncpg.Pool, table: str, layer: int) -> None:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="does not sum to zero"):
        await admin_pool.execute(LINE.format(table=table, currency="currency"), [5, -4], layer)
    await admin_pool.execute(
        LINE.format(table=table, currency="currency"), [5, -5], layer
    )  # the statement itself is sound


@pytest.mark.usefixtures("journal")
async def test_a_line_in_another_currency_than_its_account_is_refused(admin_pool: asyncpg.Pool) -> None:
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await admin_pool.execute(LINE.format(table="posting", currency="'JPY'"), [5, -5], 0)


async def test_a_currency_that_is_not_listed_cannot_have_an_account(pool: asyncpg.Pool) -> None:
    journal = Journal(pool)
    entry = flows.top_up("one", Money(5, "EUR"))
    for line in entry.lines:
        object.__setattr__(line.amount, "currency", "XXX")  # `Money` would not let us
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await journal.post(entry)


async def test_a_gate_above_what_was_available_cannot_be_written_at_all(
    journal: Journal, admin_pool: asyncpg.Pool
) -> None:
    account = await admin_pool.fetchval("SELECT id FROM ledger.account WHERE code = 'merchant:acme:payable'")
    with pytest.raises(asyncpg.CheckViolationError, match="within_bound"):
        await admin_pool.execute("INSERT INTO ledger.gate VALUES (999, $1, 101, 100)", account)
    assert await journal.verify() is None


@pytest.mark.usefixtures("journal")
async def test_who_posts_can_do_nothing_but_post(pool: asyncpg.Pool) -> None:
    for table in (*APPEND_ONLY, *PROJECTIONS):
        column = await pool.fetchval(A_COLUMN, f"ledger.{table}")
        for statement in (
            f"INSERT INTO ledger.{table} DEFAULT VALUES",
            f"UPDATE ledger.{table} SET {column} = {column}",
            f"DELETE FROM ledger.{table}",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await pool.execute(statement)
    for step in ("account_id('a:b', 'EUR', 1::smallint)", "open_hold('a', 1)", "add_month('2099-01-01')"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.execute(f"SELECT ledger.{step}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pool.execute("SET ROLE ledger_owner")


async def test_only_the_doors_of_the_ledger_may_be_called(pool: asyncpg.Pool) -> None:
    rows = await pool.fetch("""
        SELECT p.proname::text, p.prosecdef, p.proconfig FROM pg_proc p
        JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'ledger' AND has_function_privilege(p.oid, 'EXECUTE')
    """)
    assert {row["proname"] for row in rows} == {"post", "ensure_months", "verify"}
    for row in rows:
        assert row["prosecdef"]
        assert "search_path=pg_catalog, pg_temp" in row["proconfig"]


async def test_posting_under_another_isolation_than_read_committed_is_refused(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection:
        await connection.execute("SET default_transaction_isolation = 'repeatable read'")
        with pytest.raises(asyncpg.RaiseError, match="READ COMMITTED"):
            await connection.execute("""
                SELECT ledger.post('bank:one/top-up', sha256('x'), 'bank:one', 'top_up', 'fact', 'test', NULL, NULL,
                    '{}', '{}', '{}', '{}', NULL, 'none', 0, false, NULL, 0::smallint, 0::smallint, 0::smallint,
                    NULL, 0, 0, 0)
            """)
        await connection.execute("RESET default_transaction_isolation")


async def test_a_month_without_a_partition_fails_loudly(pool: asyncpg.Pool, admin_pool: asyncpg.Pool) -> None:
    for parent in PARTITIONED:
        await admin_pool.execute(f"ALTER TABLE ledger.{parent} DETACH PARTITION ledger.{parent}{THIS_MONTH}")
    journal = Journal(pool)
    with pytest.raises(asyncpg.CheckViolationError, match="no partition"):
        await journal.post(flows.top_up("one", Money(5, "EUR")))
    assert await pool.fetchval("SELECT count(*) FROM ledger.entry_key") == 0


async def test_months_are_made_ahead_once(pool: asyncpg.Pool) -> None:
    journal = Journal(pool)
    await journal.ensure_months(14)
    await journal.ensure_months(14)
    names = await pool.fetch("""
        SELECT c.relname::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'ledger' AND c.relispartition AND c.relkind = 'r' AND c.relname LIKE 'entry%' ORDER BY 1
    """)
    today = datetime.now(UTC).date()
    last = date(today.year + (today.month + 13) // 12, (today.month + 13) % 12 + 1, 1)
    assert len(names) == 15
    assert names[-1]["name"] == f"entry_{last:%Y%m}"


async def test_the_worker_may_make_the_missing_months(pool: asyncpg.Pool, admin_pool: asyncpg.Pool) -> None:
    await Journal(pool).ensure_months(20)
    owners = await admin_pool.fetch("SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname = 'ledger'")
    assert [row["tableowner"] for row in owners] == ["ledger_owner"]


BREAKAGES = [
    ("UPDATE ledger.balance SET posted = posted + 1 WHERE account_id = 1", "a balance is not the sum"),
    ("UPDATE ledger.balance SET version = version + 1 WHERE account_id = 1", "a balance is not the sum"),
    ("UPDATE ledger.posting SET amount = amount + 1 WHERE line = 1", "an entry does not balance"),
    ("UPDATE ledger.posting SET balance_after = 7 WHERE account_version = 1", "a running balance breaks"),
    ("UPDATE ledger.hold_state SET remaining = remaining + 1 WHERE state = 'open'", "what a hold has left"),
    ("UPDATE ledger.refundable SET captured = captured + 1", "what became of a payment"),
    ("UPDATE ledger.refundable SET reserved = reserved + 1", "what a payment has reserved"),
    ("DELETE FROM ledger.rejection", "a key has neither entry nor rejection"),
    ("DELETE FROM ledger.event WHERE action = 'ledger.posted'", "an entry or a rejection has not exactly one event"),
]


@pytest.mark.parametrize(("tampering", "found"), BREAKAGES)
async def test_verify_names_what_was_tampered_with_behind_the_guards(
    journal: Journal, admin_pool: asyncpg.Pool, tampering: str, found: str
) -> None:
    assert await journal.verify() is None
    async with admin_pool.acquire() as connection:
        await connection.execute("SET session_replication_role = replica")  # triggers are off
        await connection.execute(tampering)
        await connection.execute("RESET session_replication_role")
    broken = await journal.verify()
    assert broken is not None
    assert broken.what.startswith(found)
    assert broken.subject
