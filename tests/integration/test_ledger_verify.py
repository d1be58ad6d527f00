"""Verify: whoever changes a financial row with all triggers off is found, and the first broken row is named."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from domain.ids import MerchantId, Prefix
from domain.money import Money
from ledger.accounts import payable
from ledger.checks import DERIVED, Broken, Check, Verifier
from ledger.journal import Journal, Status
from ledger.seal_keys import SealKey
from ledger.seals import Sealer, SealFile
from tests.support.cluster import Database, TestCluster
from tests.support.ledger_flows import Flows, flows, operation

KEY = SealKey.generate()
OTHER = Flows(merchant=MerchantId("globex"))
SEALS = 4


def euro(minor: int) -> Money:
    return Money(minor, "EUR")


async def a_round(pool: asyncpg.Pool, key: str) -> None:
    """Something of everything: holds open, captured, voided, expired and refused; refunds, a dispute, a payout."""
    journal = Journal(pool)
    for each in (flows, OTHER):
        of = f"{each.merchant}:{key}"
        await journal.post(each.top_up(f"top{of}", euro(1000)))
        taken, left, void = (operation(Prefix.PAYMENT, f"{name}:{of}") for name in ("taken", "left", "void"))
        for payment in (taken, left, void):
            await journal.post(each.hold(payment, euro(100)))
        await journal.post(
            each.capture(operation(Prefix.CAPTURE, f"all:{of}"), taken, euro(90), fee=euro(2), final=True)
        )
        await journal.post(each.capture(operation(Prefix.CAPTURE, f"part:{of}"), left, euro(30)))
        await journal.post(each.release(void))
        await journal.post(each.refund_reserve(operation(Prefix.REFUND, f"open:{of}"), taken, euro(20)))
        await journal.post(each.refund_reserve(operation(Prefix.REFUND, f"done:{of}"), taken, euro(10)))
        await journal.post(each.refund_done(operation(Prefix.REFUND, f"done:{of}"), taken, euro(10)))
        await journal.post(each.funds_withdrawn(f"dispute{of}", taken, euro(15)))
        await journal.post(each.payout_reserve(operation(Prefix.PAYOUT, f"paid:{of}"), euro(50)))
        await journal.post(each.payout_accepted(operation(Prefix.PAYOUT, f"paid:{of}"), euro(50)))
        refused = await journal.post(each.payout_reserve(operation(Prefix.PAYOUT, f"much:{of}"), euro(999_999)))
        assert refused.status is Status.INSUFFICIENT_FUNDS
        conflict = await journal.post(each.top_up(f"top{of}", euro(1)))
        assert conflict.status is Status.CONFLICTING_CONTENT


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def made(cluster: TestCluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[Database, Path]:
    """A book with four seals of work of every kind, all of which is right, and its file of seals: to be copied."""
    database = await cluster.create()
    path = tmp_path_factory.mktemp("seals") / "seals.jsonl"
    async with (
        asyncpg.create_pool(database.url, min_size=1, max_size=4) as pool,
        asyncpg.create_pool(database.admin_url, min_size=1, max_size=4) as admin_pool,
    ):
        for each in range(SEALS):
            await a_round(pool, f"round{each}")
            await Sealer(admin_pool, KEY, SealFile(path)).seal()
        code = payable(OTHER.merchant).code
        await admin_pool.execute("SELECT ledger.set_closed($1, 'EUR', true, 'ann', 'they left')", code)
        assert await found(admin_pool, SealFile(path)) is None
    return database, path


@pytest_asyncio.fixture
async def sealed_database(cluster: TestCluster, made: tuple[Database, Path]) -> AsyncGenerator[Database]:
    copy = await cluster.create(template=made[0].name)
    yield copy
    await cluster.drop(copy)


@pytest_asyncio.fixture
async def sealed(sealed_database: Database) -> AsyncGenerator[asyncpg.Pool]:
    """A superuser's pool on a sealed book of its own."""
    async with asyncpg.create_pool(sealed_database.admin_url, min_size=1, max_size=8) as pool:
        yield pool


@pytest.fixture
def file(made: tuple[Database, Path], tmp_path: Path) -> SealFile:
    """The book's file of seals, for this test alone."""
    return SealFile(Path(shutil.copy(made[1], tmp_path)))


async def found(pool: asyncpg.Pool, file: SealFile | None = None, key: SealKey | None = KEY) -> Broken | None:
    return await Verifier(pool, [key.public] if key else [], file).first_broken()


async def tamper(pool: asyncpg.Pool, *statements: str) -> None:
    """Do what only a superuser can, with every trigger off."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        for statement in statements:
            done = await connection.execute(statement)
            assert not done.endswith(" 0"), f"{statement} changed nothing"


A_TOP_UP = "(SELECT entry_id FROM ledger.entry WHERE kind = 'top_up' ORDER BY entry_id LIMIT 1 OFFSET 3)"
A_CAPTURE = "(SELECT entry_id FROM ledger.entry WHERE kind = 'capture' ORDER BY entry_id LIMIT 1)"
A_HOLD = "(SELECT min(reference) FROM ledger.hold WHERE state = 'open')"
ENDED = "(SELECT min(reference) FROM ledger.hold WHERE state = 'captured')"
BANK = "(SELECT id FROM ledger.account WHERE code = 'holdfast:bank')"

# What is done, what verify says is broken, and what it names.
DERIVED_FINDS = {
    "an amount edited": (
        f"UPDATE ledger.posting SET posted = posted + 1 WHERE entry_id = {A_TOP_UP} AND posted > 0",
        "an entry does not balance",
        f"SELECT {A_TOP_UP}::text",
    ),
    "pending amounts edited": (
        f"UPDATE ledger.posting SET pending_debit = pending_debit + 1 WHERE entry_id = {A_CAPTURE} AND posted > 0",
        "an entry does not balance",
        f"SELECT {A_CAPTURE}::text",
    ),
    "both sides of an entry edited": (
        f"UPDATE ledger.posting SET posted = posted * 2 WHERE entry_id = {A_TOP_UP}",
        "a running balance breaks",
        "SELECT code || ' EUR' FROM ledger.account JOIN ledger.posting ON account_id = id "
        f"WHERE entry_id = {A_TOP_UP} ORDER BY id LIMIT 1",
    ),
    "a running balance edited": (
        "UPDATE ledger.posting SET posted_after = posted_after + 1 WHERE version = 3 AND account_id = " + BANK,
        "a running balance breaks",
        "SELECT 'holdfast:bank EUR'",
    ),
    "a posting in another currency": (
        f"UPDATE ledger.posting SET currency = 'USD' WHERE entry_id = {A_TOP_UP}",
        "a running balance breaks",
        "SELECT code || ' EUR' FROM ledger.account JOIN ledger.posting ON account_id = id "
        f"WHERE entry_id = {A_TOP_UP} ORDER BY id LIMIT 1",
    ),
    "the last version of an account deleted": (
        "DELETE FROM ledger.posting WHERE entry_id = (SELECT max(entry_id) FROM ledger.posting)",
        "a balance is not the sum of its postings",
        None,
    ),
    "a version left out": (
        f"UPDATE ledger.posting SET version = version + 1 WHERE version > 2 AND account_id = {BANK}",
        "a running balance breaks",
        "SELECT 'holdfast:bank EUR'",
    ),
    "a balance edited": (
        f"UPDATE ledger.balance SET posted = posted - 1 WHERE account_id = {BANK}",
        "a balance is not the sum of its postings",
        "SELECT 'holdfast:bank EUR'",
    ),
    "two postings reordered in time": (
        "UPDATE ledger.posting p SET posted_at = o.posted_at + interval '1 microsecond' FROM ledger.posting o "
        f"WHERE p.account_id = {BANK} AND o.account_id = p.account_id AND p.version = 1 AND o.version = 2",
        "an account's time runs backwards",
        "SELECT 'holdfast:bank EUR'",
    ),
    "an entry deleted": (
        f"DELETE FROM ledger.entry WHERE entry_id = {A_TOP_UP}",
        "a key has neither entry nor rejection",
        None,
    ),
    "an entry told twice": (
        "INSERT INTO ledger.entry SELECT (jsonb_populate_record(e, jsonb_build_object('posted_at', "
        f"posted_at + interval '1 s'))).* FROM ledger.entry e WHERE entry_id = {A_TOP_UP}",
        "a key has two entries or rejections",
        f"SELECT reference FROM ledger.entry WHERE entry_id = {A_TOP_UP} LIMIT 1",
    ),
    "a rejection deleted": ("DELETE FROM ledger.rejection", "a key has neither entry nor rejection", None),
    "a reference edited": (
        "UPDATE ledger.entry SET reference = 'tests:other/post' WHERE kind = 'top_up'",
        "a key has neither entry nor rejection",
        None,
    ),
    "a key deleted": (
        f"DELETE FROM ledger.entry_key WHERE entry_id = {A_TOP_UP}",
        "an entry or rejection has no key",
        f"SELECT reference FROM ledger.entry WHERE entry_id = {A_TOP_UP}",
    ),
    "a second key for an entry": (
        f"INSERT INTO ledger.entry_key SELECT 'tests:second/post', fingerprint, entry_id FROM ledger.entry_key "
        f"WHERE entry_id = {A_TOP_UP}",
        "a key has neither entry nor rejection",
        "SELECT 'tests:second/post'",
    ),
    "a posting moved to an instant that has no entry": (
        "UPDATE ledger.posting SET posted_at = posted_at + interval '1 microsecond' "
        f"WHERE version = (SELECT version FROM ledger.balance WHERE account_id = {BANK}) AND account_id = {BANK}",
        "a posting is of no entry",
        None,
    ),
    "a gate's bound edited": (
        "UPDATE ledger.entry SET available_before = available_before + 1 WHERE kind = 'payout_reserve'",
        "a gate was let through a bound that it exceeded",
        "SELECT reference FROM ledger.entry WHERE kind = 'payout_reserve' ORDER BY entry_id LIMIT 1",
    ),
    "what a hold has left": (
        f"UPDATE ledger.hold SET remaining = remaining - 1 WHERE reference = {A_HOLD}",
        "what a hold has left is not what its entries left",
        f"SELECT {A_HOLD}",
    ),
    "how a hold ended": (
        f"UPDATE ledger.hold SET state = 'voided' WHERE reference = {ENDED}",
        "a hold did not end as its state says",
        "SELECT min(reference) FROM ledger.hold WHERE state = 'voided' AND reference IN "
        "(SELECT hold FROM ledger.entry WHERE kind IN ('capture', 'refund', 'payout_accepted', 'refund_done'))",
    ),
    "a hold's expiry": (
        f"UPDATE ledger.hold SET expires_at = now() - interval '1 d' WHERE reference = {A_HOLD}",
        "a hold is not what was opened",
        f"SELECT {A_HOLD}",
    ),
    "a hold's amount": (
        f"UPDATE ledger.hold SET amount = amount + 5 WHERE reference = {A_HOLD}",
        "a hold is not what was opened",
        f"SELECT {A_HOLD}",
    ),
    "a hold's account": (
        f"UPDATE ledger.hold SET debit_account = {BANK} WHERE reference = {A_HOLD}",
        "a hold is not on the accounts that its entries moved",
        f"SELECT {A_HOLD}",
    ),
    "a hold deleted": (f"DELETE FROM ledger.hold WHERE reference = {A_HOLD}", "a hold is missing", None),
    "a hold made up": (
        "INSERT INTO ledger.hold (reference, currency, debit_account, credit_account, amount, remaining, state) "
        f"VALUES ('tests:made/hold', 'EUR', {BANK}, {BANK}, 5, 5, 'open')",
        "what a hold has left is not what its entries left",
        "SELECT 'tests:made/hold'",
    ),
    "what was captured of a payment": (
        "UPDATE ledger.refundable SET captured = captured + 1 "
        "WHERE payment = (SELECT min(payment) FROM ledger.refundable)",
        "what became of a payment is not what its entries say",
        "SELECT min(payment) FROM ledger.refundable",
    ),
    "a payment's row deleted": (
        "DELETE FROM ledger.refundable",
        "what became of a payment is not what its entries say",
        None,
    ),
    "what a payment has reserved": (
        "UPDATE ledger.refundable SET reserved = 0 WHERE reserved > 0",
        "what a payment has reserved is not what its holds have left",
        None,
    ),
    "an account's code": (
        f"UPDATE ledger.account SET code = 'holdfast:bonk' WHERE id = {BANK}",
        "an account was opened, and is not there",
        "SELECT 'holdfast:bank EUR'",
    ),
    "an account's side": (
        f"UPDATE ledger.account SET normal = -normal WHERE id = {BANK}",
        "an account was not opened as it is",
        "SELECT 'holdfast:bank EUR'",
    ),
    "an account reopened without its event": (
        "UPDATE ledger.balance SET closed = false WHERE closed",
        "an account was not closed or reopened by its last event",
        None,
    ),
    "an account's balance deleted": (
        f"DELETE FROM ledger.balance WHERE account_id = {BANK}",
        "an account has no balance in its currency",
        "SELECT 'holdfast:bank EUR'",
    ),
    "a row of a transaction to come": (
        f"UPDATE ledger.entry SET xid = '99999999' WHERE entry_id = {A_TOP_UP}",
        "a row claims a transaction that has not begun",
        f"SELECT 'entry ' || {A_TOP_UP}",
    ),
}


@pytest.mark.parametrize(("tampering", "what", "named"), DERIVED_FINDS.values(), ids=DERIVED_FINDS)
async def test_what_contradicts_itself_is_found_without_any_seal_and_named(
    made: tuple[Database, Path], tampering: str, what: str, named: str | None
) -> None:
    connection = await asyncpg.connect(made[0].admin_url)
    try:
        transaction = connection.transaction()
        await transaction.start()  # and never committed: the book is the other tests' too
        await connection.execute("ALTER TABLE ledger.account DROP CONSTRAINT number_of_its_name")  # a superuser can
        await connection.execute("SET LOCAL session_replication_role = replica")
        assert not (await connection.execute(tampering)).endswith(" 0")
        broken = await connection.fetchrow("SELECT * FROM ledger.verify() LIMIT 1")
        assert broken is not None
        assert broken["broken"] == what
        assert broken["subject"]
        if named:
            assert broken["subject"] == await connection.fetchval(named)
    finally:
        await connection.close()


async def test_the_verifier_tells_what_contradicts_itself_before_it_reads_the_seals(
    sealed: asyncpg.Pool, file: SealFile
) -> None:
    await tamper(sealed, f"UPDATE ledger.balance SET posted = posted - 1 WHERE account_id = {BANK}")
    broken = await found(sealed, file)
    assert broken == await Journal(sealed).verify()
    assert broken is not None
    assert (broken.what, broken.subject) == ("a balance is not the sum of its postings", "holdfast:bank EUR")


async def test_a_currency_s_exponent_is_that_of_iso_4217(sealed: asyncpg.Pool) -> None:
    await tamper(sealed, "UPDATE ledger.currency SET exponent = 0 WHERE code = 'EUR'")
    assert await found(sealed) == Broken("a currency has another exponent", "EUR", "0")


# Two top-ups of the same accounts change their amounts with each other; all that is derived is made to agree again.
SWAP = """
WITH pair AS (
    SELECT min(entry_id) AS one, max(entry_id) AS two
    FROM (SELECT entry_id FROM ledger.entry WHERE kind = 'top_up' ORDER BY entry_id LIMIT 2) AS first
)
UPDATE ledger.posting p SET posted = o.posted * 3 / 4
FROM pair, ledger.posting o WHERE p.entry_id IN (one, two) AND o.entry_id = p.entry_id AND o.account_id = p.account_id
"""
REDERIVE = (
    """
    WITH run AS (
        SELECT entry_id, account_id, sum(posted) OVER (PARTITION BY account_id ORDER BY version) AS after
        FROM ledger.posting
    )
    UPDATE ledger.posting p SET posted_after = run.after
    FROM run WHERE run.entry_id = p.entry_id AND run.account_id = p.account_id
    """,
    """
    UPDATE ledger.balance b SET posted = s.posted
    FROM (SELECT account_id, sum(posted) AS posted FROM ledger.posting GROUP BY account_id) AS s
    WHERE s.account_id = b.account_id
    """,
    """
    UPDATE ledger.entry e SET available_before = p.posted - p.posted_after + p.pending_debit - p.pending_debit_after
    FROM ledger.posting p WHERE p.entry_id = e.entry_id AND p.account_id = e.bounded_account
    """,
)
AN_EVENT = "(SELECT id FROM ledger.event WHERE action = 'entry.conflict' ORDER BY id LIMIT 1)"
NAMED_ENTRY = "SELECT 'entry ' || entry_id || ' (' || reference || ')' FROM ledger.entry"
A_REJECTION = "(SELECT entry_id FROM ledger.rejection ORDER BY entry_id LIMIT 1 OFFSET 2)"

# What agrees with itself again: only a seal finds it. What is done, what is found, and the row that is named.
SEALS_FIND = {
    "amounts changed consistently": (
        (SWAP, *REDERIVE),
        "a sealed row was changed",
        f"{NAMED_ENTRY} WHERE kind = 'top_up' ORDER BY entry_id LIMIT 1",
    ),
    "who did it": (
        (f"UPDATE ledger.entry SET actor = 'nobody' WHERE entry_id = {A_TOP_UP}",),
        "a sealed row was changed",
        f"{NAMED_ENTRY} WHERE entry_id = {A_TOP_UP}",
    ),
    "when it happened": (
        (f"UPDATE ledger.entry SET effective_at = effective_at - interval '1 d' WHERE entry_id = {A_CAPTURE}",),
        "a sealed row was changed",
        f"{NAMED_ENTRY} WHERE entry_id = {A_CAPTURE}",
    ),
    "a fingerprint": (
        (f"UPDATE ledger.entry_key SET fingerprint = sha256('x') WHERE entry_id = {A_TOP_UP}",),
        "a sealed row was changed",
        f"{NAMED_ENTRY} WHERE entry_id = {A_TOP_UP}",
    ),
    "a rejection": (
        (f"UPDATE ledger.rejection SET status = 'account_closed' WHERE entry_id = {A_REJECTION}",),
        "a sealed row was changed",
        "SELECT 'rejection ' || entry_id || ' (' || reference || ')' FROM ledger.rejection "
        f"WHERE entry_id = {A_REJECTION}",
    ),
    "a rejection deleted with its key": (
        (
            f"DELETE FROM ledger.entry_key WHERE entry_id = {A_REJECTION}",
            f"DELETE FROM ledger.rejection WHERE entry_id = {A_REJECTION}",
        ),
        "a sealed row is missing",
        None,
    ),
    "an event": (
        (f"UPDATE ledger.event SET actor = 'nobody' WHERE id = {AN_EVENT}",),
        "a sealed row was changed",
        f"SELECT 'event ' || id || ' (' || action || ' ' || subject || ')' FROM ledger.event WHERE id = {AN_EVENT}",
    ),
    "an event deleted": ((f"DELETE FROM ledger.event WHERE id = {AN_EVENT}",), "a sealed row is missing", None),
    "an event put among sealed ones": (
        (
            "INSERT INTO ledger.event (actor, action, subject, xid) "
            "SELECT 'eve', 'entry.conflict', 'tests:never', xid FROM ledger.event ORDER BY id LIMIT 1",
        ),
        "a row was put among sealed ones",
        "SELECT 'event ' || id || ' (entry.conflict tests:never)' FROM ledger.event WHERE actor = 'eve'",
    ),
    "two rows' transactions exchanged": (
        (
            "UPDATE ledger.event e SET xid = o.xid FROM ledger.event o WHERE e.id = (SELECT min(id) FROM ledger.event) "
            "AND o.id = (SELECT max(id) FROM ledger.event WHERE action = 'entry.conflict')",
        ),
        "a sealed row",
        None,
    ),
    "a part's digest": (
        ("UPDATE ledger.seal_part SET digest = sha256('x') WHERE seal_id = 2 AND source = 'entry'",),
        "a seal's root is not that of what it says",
        "SELECT 'seal 2'",
    ),
    "a seal's end": (
        ("UPDATE ledger.seal SET upto_xid = (upto_xid::text::bigint + 1)::text::xid8 WHERE seal_id = 4",),
        "a seal's root is not that of what it says",
        "SELECT 'seal 4'",
    ),
    "a seal's signature": (
        ("UPDATE ledger.seal SET signature = sha512('x') WHERE seal_id = 3",),
        "a seal's signature is wrong",
        "SELECT 'seal 3'",
    ),
    "a seal deleted": (
        ("DELETE FROM ledger.seal_part WHERE seal_id = 2", "DELETE FROM ledger.seal WHERE seal_id = 2"),
        "a seal is missing",
        "SELECT 'seal 2'",
    ),
    "all seals deleted": (
        ("DELETE FROM ledger.seal_part", "DELETE FROM ledger.seal"),
        "a seal was taken away",
        "SELECT 'seal 1'",
    ),
    "the tail of the seals and its rows' seals deleted": (
        ("DELETE FROM ledger.seal_part WHERE seal_id = 4", "DELETE FROM ledger.seal WHERE seal_id = 4"),
        "a seal was taken away",
        "SELECT 'seal 4'",
    ),
}


@pytest.mark.parametrize(("tampering", "what", "named"), SEALS_FIND.values(), ids=SEALS_FIND)
async def test_what_agrees_with_itself_again_is_found_by_the_seals_and_named(
    sealed: asyncpg.Pool, file: SealFile, tampering: tuple[str, ...], what: str, named: str | None
) -> None:
    await tamper(sealed, *tampering)
    assert await Journal(sealed).verify() is None, "this is no test of a seal: it contradicts itself"
    broken = await found(sealed, file)
    assert broken is not None
    assert broken.what.startswith(what), broken
    if named:
        assert broken.subject == await sealed.fetchval(named), broken


async def test_a_chain_that_was_made_again_with_another_key_is_found_by_the_key_and_by_the_file(
    sealed: asyncpg.Pool, file: SealFile, tmp_path: Path
) -> None:
    await tamper(sealed, SWAP, *REDERIVE, "DELETE FROM ledger.seal_part", "DELETE FROM ledger.seal")
    forger = SealKey.generate()
    await Sealer(sealed, forger, SealFile(tmp_path / "forged")).seal()
    assert await found(sealed, key=forger) is None, "the forged chain is whole"
    unknown = await found(sealed)
    assert unknown is not None
    assert unknown.what.startswith("a seal is signed by a key that is not known")
    other = await found(sealed, file, key=None)
    assert other is not None
    assert (other.what, other.subject) == ("a seal is another than in the file of seals", "seal 1")


async def test_the_file_may_be_tampered_with_as_little(sealed: asyncpg.Pool, file: SealFile, tmp_path: Path) -> None:
    path = tmp_path / "seals.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:1] + lines[2:]))
    gap = await found(sealed, SealFile(path))
    assert gap is not None
    assert (gap.what, gap.subject) == ("the file of seals lacks a seal", "seal 2")
    path.write_text("".join([*lines, lines[-1]]))
    assert await found(sealed, SealFile(path)) is None, "a line that was written twice is the same seal"


async def test_a_function_that_was_replaced_is_found(sealed: asyncpg.Pool) -> None:
    await sealed.execute("""
        CREATE OR REPLACE FUNCTION ledger.check_zero_sum() RETURNS TABLE (broken text, subject text, detail text)
        LANGUAGE sql AS 'SELECT NULL, NULL, NULL WHERE false'
    """)
    broken = await found(sealed)
    assert broken == Broken("a function is not the one that was released", "check_zero_sum", "")


@pytest.mark.parametrize("table", ["entry", "posting", "event", "seal", "balance"])
async def test_a_guard_that_was_taken_off_or_put_out_is_found(sealed: asyncpg.Pool, table: str) -> None:
    await sealed.execute(f"ALTER TABLE ledger.{table} DISABLE TRIGGER ALL")
    broken = await found(sealed)
    assert broken is not None
    assert (broken.what, broken.subject) == ("a table has lost its guard", table)


async def test_every_check_of_the_database_is_made(pool: asyncpg.Pool) -> None:
    names = await pool.fetch("""
        SELECT proname::text AS name FROM pg_proc
        WHERE pronamespace = 'ledger'::regnamespace AND (proname LIKE 'check\\_%' OR proname = 'verify_archive')
    """)
    made = {function for _, function, _ in DERIVED}
    assert {row["name"] for row in names} == made
    whole = await pool.fetchval("SELECT prosrc FROM pg_proc WHERE oid = 'ledger.verify'::regproc")
    assert all(function in whole for function in made)


async def test_progress_is_told_check_by_check_in_the_same_order_however_many_lanes(
    sealed: asyncpg.Pool, file: SealFile
) -> None:
    told: list[Check] = []
    verifier = Verifier(sealed, [KEY.public], file)
    assert await verifier.first_broken(told.append) is None
    for lanes in (1, 3):
        assert [check.name async for check in verifier.checks(lanes)] == [check.name for check in told]
    rows = {check.name: check.rows for check in told}
    assert rows["entries sum to zero"] == await sealed.fetchval("SELECT count(*) FROM ledger.posting")
    assert rows[f"rows of seals 1 to {SEALS}"] == await sealed.fetchval("SELECT sum(rows) FROM ledger.seal")


async def test_verify_goes_on_while_entries_are_posted_and_sealed(sealed: asyncpg.Pool, file: SealFile) -> None:
    async def post_and_seal() -> None:
        for each in range(1000):
            await Journal(sealed).post(flows.top_up(f"more{each}", euro(1)))
            await Sealer(sealed, KEY, file).seal()

    posting = asyncio.create_task(post_and_seal())
    for _ in range(5):
        assert await found(sealed, file) is None
    posting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await posting
    assert await found(sealed, file) is None


async def test_an_empty_ledger_is_whole(admin_pool: asyncpg.Pool) -> None:
    assert await found(admin_pool) is None
