"""What the database refuses whoever asks, and what `verify` finds where somebody could write all the same."""

from datetime import UTC, date, datetime

import asyncpg
import pytest

from domain.ids import Prefix
from domain.money import Money
from ledger.accounts import Account, Normal
from ledger.journal import Journal, Status
from ledger.months import Months
from tests.support.ledger_flows import flows, operation

APPEND_ONLY = ("currency", "account", "entry_key", "entry", "posting", "rejection", "event")
PROJECTIONS = ("balance", "hold", "refundable")
THIS_MONTH = datetime.now(UTC).strftime("_%Y%m")
PARTITIONED = ("entry", "posting")
GUARDED = (*APPEND_ONLY, *(name + THIS_MONTH for name in PARTITIONED))

A_COLUMN = """
SELECT attname FROM pg_attribute
WHERE attrelid = $1::regclass AND attnum > 0 AND attidentity = '' ORDER BY attnum LIMIT 1
"""
# One entry that moves so much in each layer of the bank's and of one other account in euro.
POSTINGS = """
INSERT INTO ledger.{table}
    (entry_id, account_id, currency, posted, pending_debit, pending_credit,
     posted_after, pending_debit_after, pending_credit_after, version, posted_at)
SELECT 1, id, {currency}, given.posted, given.debit, given.credit, 0, 0, 0, 99, clock_timestamp()
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], ARRAY['holdfast:bank', 'merchant:acme:payable'])
     AS given (posted, debit, credit, code)
JOIN ledger.account USING (code) WHERE account.currency = 'EUR'
"""
LAYERS = {"posted": ([5, -4], [0, 0], [0, 0]), "pending": ([5, -5], [7, 0], [0, 6])}
SOUND = ([5, -5], [7, 0], [0, 7])


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
    assert len(rows) == len(PARTITIONED) * 13
    for row in rows:
        wanted = ["append_only", "zero_sum"] if row["name"].startswith("posting") else ["append_only"]
        assert row["triggers"] == wanted, row["name"]


@pytest.mark.usefixtures("journal")
@pytest.mark.parametrize("table", ["posting", f"posting{THIS_MONTH}"])
@pytest.mark.parametrize("layer", LAYERS)
async def test_postings_that_do_not_balance_are_refused(admin_pool: asyncpg.Pool, table: str, layer: str) -> None:
    statement = POSTINGS.format(table=table, currency="account.currency")
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="does not sum to zero"):
        await admin_pool.execute(statement, *LAYERS[layer])
    assert await admin_pool.execute(statement, *SOUND) == "INSERT 0 2"  # the statement itself is sound


@pytest.mark.usefixtures("journal")
@pytest.mark.parametrize("table", ["posting", f"posting{THIS_MONTH}"])
async def test_a_posting_in_another_currency_than_its_account_is_refused(admin_pool: asyncpg.Pool, table: str) -> None:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="is not its account's currency"):
        await admin_pool.execute(POSTINGS.format(table=table, currency="'JPY'"), *SOUND)


@pytest.mark.usefixtures("journal")
async def test_what_a_hold_and_a_balance_are_of_stays(admin_pool: asyncpg.Pool) -> None:
    for table, column in (
        *(("hold", name) for name in ("reference", "currency", "debit_account", "credit_account", "payment")),
        *(("hold", name) for name in ("amount", "expires_at")),
        *(("balance", name) for name in ("account_id", "currency")),
        *(("refundable", name) for name in ("payment", "currency")),
    ):
        with pytest.raises(asyncpg.RestrictViolationError, match="what is written stays"):
            await admin_pool.execute(f"UPDATE ledger.{table} SET {column} = {column}")


async def test_an_account_has_the_number_of_its_name(journal: Journal, admin_pool: asyncpg.Pool) -> None:
    rows = await admin_pool.fetch("SELECT id, code, currency FROM ledger.account")
    assert {row["id"] for row in rows} == {Account(row["code"], Normal.DEBIT).id_in(row["currency"]) for row in rows}
    with pytest.raises(asyncpg.CheckViolationError, match="number_of_its_name"):
        await admin_pool.execute("INSERT INTO ledger.account VALUES (7, 'holdfast:bank', 'JPY', 1)")
    assert await journal.verify() is None


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
    gate = """
        INSERT INTO ledger.entry
            (entry_id, posted_at, effective_at, reference, operation, kind, nature, actor, why,
             hold_amount, bounded_account, available_before, captured, refunded, disputed)
        SELECT 999, now(), now(), 'tests:one/hold', 'tests:one', 'payout_reserve', $1, 'ada', '', $2, id, 100, 0, 0, 0
        FROM ledger.account WHERE code = 'merchant:acme:payable'
    """
    for nature, amount in (("gate", 101), ("fact", 99)):  # and a fact has no bound
        with pytest.raises(asyncpg.CheckViolationError, match="within_bound"):
            await admin_pool.execute(gate, nature, amount)
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
    for query in ("SELECT ledger.add_month('2099-01-01')", "SELECT ledger.guard('event')", "SET ROLE ledger_owner"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.execute(query)


async def test_posting_under_another_isolation_than_read_committed_is_refused(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection:
        await connection.execute("SET default_transaction_isolation = 'repeatable read'")
        for call in ("ledger.post(NULL)", "ledger.post_batch('{}')"):
            with pytest.raises(asyncpg.RaiseError, match="READ COMMITTED"):
                await connection.execute(f"SELECT {call}")
        await connection.execute("RESET default_transaction_isolation")


async def test_a_month_without_a_partition_fails_loudly(pool: asyncpg.Pool, admin_pool: asyncpg.Pool) -> None:
    for parent in PARTITIONED:
        await admin_pool.execute(f"ALTER TABLE ledger.{parent} DETACH PARTITION ledger.{parent}{THIS_MONTH}")
    journal = Journal(pool)
    with pytest.raises(asyncpg.CheckViolationError, match="no partition"):
        await journal.post(flows.top_up("one", Money(5, "EUR")))
    assert await pool.fetchval("SELECT count(*) FROM ledger.entry_key") == 0


async def test_months_are_made_ahead_once(pool: asyncpg.Pool) -> None:
    months = Months(pool)
    await months.ensure(14)
    await months.ensure(14)
    names = await pool.fetch("""
        SELECT c.relname::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'ledger' AND c.relispartition AND c.relkind = 'r' AND c.relname LIKE 'entry%' ORDER BY 1
    """)
    today = datetime.now(UTC).date()
    last = date(today.year + (today.month + 13) // 12, (today.month + 13) % 12 + 1, 1)
    assert len(names) == 15
    assert names[-1]["name"] == f"entry_{last:%Y%m}"


async def test_the_worker_may_make_the_missing_months(pool: asyncpg.Pool, admin_pool: asyncpg.Pool) -> None:
    await Months(pool).ensure(20)
    owners = await admin_pool.fetch("SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname = 'ledger'")
    assert [row["tableowner"] for row in owners] == ["ledger_owner"]


THE_BANK = "account_id = ledger.account_number('holdfast:bank', 'EUR')"
BREAKAGES = [
    (f"UPDATE ledger.balance SET posted = posted + 1 WHERE {THE_BANK}", "a balance is not the sum"),
    (f"UPDATE ledger.balance SET pending_debit = pending_debit + 1 WHERE {THE_BANK}", "a balance is not the sum"),
    (f"UPDATE ledger.balance SET version = version + 1 WHERE {THE_BANK}", "a balance is not the sum"),
    (f"UPDATE ledger.posting SET posted = posted + 1 WHERE {THE_BANK}", "an entry does not balance"),
    (f"UPDATE ledger.posting SET pending_credit = 1 WHERE {THE_BANK}", "an entry does not balance"),
    (f"UPDATE ledger.posting SET posted_after = 7 WHERE {THE_BANK}", "a running balance breaks"),
    ("UPDATE ledger.posting SET pending_debit_after = 7 WHERE pending_debit_after = 100", "a running balance breaks"),
    (f"UPDATE ledger.posting SET posted_at = posted_at + interval '1 s' WHERE {THE_BANK}", "a posting is of no entry"),
    ("UPDATE ledger.hold SET remaining = remaining - 1 WHERE state = 'open'", "what a hold has left"),
    ("UPDATE ledger.refundable SET captured = captured + 1", "what became of a payment"),
    ("UPDATE ledger.refundable SET reserved = reserved + 1", "what a payment has reserved"),
    ("UPDATE ledger.entry SET available_before = available_before + 1 WHERE kind = 'payout_reserve'", "a gate was let"),
    ("DELETE FROM ledger.rejection", "a key has neither entry nor rejection"),
    ("UPDATE ledger.entry SET reference = 'tests:other/post' WHERE kind = 'top_up'", "a key has neither entry"),
    ("DELETE FROM ledger.entry WHERE kind = 'top_up'", "a key has neither entry nor rejection"),
    ("DELETE FROM ledger.entry_key WHERE reference LIKE 'bank:%'", "an entry or rejection has no key"),
    ("DELETE FROM ledger.hold WHERE state = 'open'", "a hold is missing"),
    ("DELETE FROM ledger.refundable", "what became of a payment"),
    (f"DELETE FROM ledger.balance WHERE {THE_BANK}", "an account has no balance"),
    ("UPDATE ledger.hold SET state = 'expired' WHERE state = 'captured'", "a hold did not end as"),
]


@pytest.mark.parametrize(("tampering", "found"), BREAKAGES)
async def test_verify_names_what_was_tampered_with_behind_the_guards(
    journal: Journal, admin_pool: asyncpg.Pool, tampering: str, found: str
) -> None:
    assert await journal.verify() is None
    async with admin_pool.acquire() as connection:
        await connection.execute("SET session_replication_role = replica")  # triggers are off
        assert await connection.execute(tampering) not in ("UPDATE 0", "DELETE 0")
        await connection.execute("RESET session_replication_role")
    broken = await journal.verify()
    assert broken is not None
    assert broken.what.startswith(found)
    assert broken.subject
