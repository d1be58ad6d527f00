"""Seals: every committed row is in exactly one window, whatever runs meanwhile, and each seal can be proved."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from domain.ids import Prefix
from domain.money import Money
from ledger.checks import Broken, Verifier
from ledger.journal import Journal, Status
from ledger.seal_keys import BadSealKey, SealKey, SealPublicKey
from ledger.seals import ROWS_MAX, Seal, Sealer, SealFile, SealsDiffer, TransactionsRestarted
from tests.support.cluster import Database
from tests.support.ledger_flows import flows, operation

KEY = SealKey.generate()
ALL_ROWS = """
SELECT 'entry' AS source, entry_id AS number, xid::text::bigint AS xid FROM ledger.entry
UNION ALL SELECT 'rejection', entry_id, xid::text::bigint FROM ledger.rejection
UNION ALL SELECT 'event', id, xid::text::bigint FROM ledger.event
"""


def euro(minor: int) -> Money:
    return Money(minor, "EUR")


@pytest.fixture
def journal(pool: asyncpg.Pool) -> Journal:
    return Journal(pool)


@pytest_asyncio.fixture
async def sealing(database: Database) -> AsyncGenerator[asyncpg.Pool]:
    """A pool that may do what a sealer may, and nothing else."""

    async def become(connection: "asyncpg.pool.PoolConnectionProxy") -> None:
        await connection.execute("SET ROLE ledger_sealer")

    async with asyncpg.create_pool(database.admin_url, min_size=1, max_size=4, setup=become) as pool:
        yield pool


@pytest.fixture
def file(tmp_path: Path) -> SealFile:
    return SealFile(tmp_path / "seals.jsonl")


@pytest.fixture
def sealer(sealing: asyncpg.Pool, file: SealFile) -> Sealer:
    return Sealer(sealing, KEY, file)


async def broken(pool: asyncpg.Pool, file: SealFile | None = None, key: SealKey = KEY) -> Broken | None:
    return await Verifier(pool, [key.public], file).first_broken()


async def some_work(journal: Journal) -> None:
    """Entries, a rejection and events, of each kind at least one."""
    await journal.post(flows.top_up("one", euro(100)))
    refused = await journal.post(flows.payout_reserve(operation(Prefix.PAYOUT, "much"), euro(500)))
    assert refused.status is Status.INSUFFICIENT_FUNDS
    payment = operation(Prefix.PAYMENT, "one")
    await journal.post(flows.hold(payment, euro(70)))
    await journal.post(flows.capture(operation(Prefix.CAPTURE, "one"), payment, euro(50), fee=euro(1)))


async def rows_outside(pool: asyncpg.Pool) -> list[tuple[str, int]]:
    """Rows below the last seal's end that are not in exactly one window."""
    windows = [
        (int(row["f"]), int(row["u"]))
        for row in await pool.fetch("SELECT from_xid::text AS f, upto_xid::text AS u FROM ledger.seal")
    ]
    return [
        (row["source"], row["number"])
        for row in await pool.fetch(ALL_ROWS)
        if sum(begin <= row["xid"] < end for begin, end in windows) != 1
    ]


async def test_all_that_was_committed_comes_under_a_seal_and_is_proved(
    journal: Journal, sealer: Sealer, pool: asyncpg.Pool, file: SealFile
) -> None:
    await some_work(journal)
    assert (await sealer.lag()).total_seconds() > 0
    [seal] = await sealer.seal()
    assert {part.source: part.rows for part in seal.parts} == {
        "entry": await pool.fetchval("SELECT count(*) FROM ledger.entry"),
        "rejection": 1,
        "event": await pool.fetchval("SELECT count(*) FROM ledger.event"),
    }
    assert await rows_outside(pool) == []
    assert (await sealer.lag()).total_seconds() == 0
    assert list(file) == [seal]
    assert await broken(pool, file) is None


async def test_nothing_is_not_sealed(sealer: Sealer, journal: Journal) -> None:
    assert await sealer.seal() == []
    await some_work(journal)
    assert len(await sealer.seal()) == 1
    assert await sealer.seal() == []


async def test_each_seal_stands_on_the_one_before(
    journal: Journal, sealer: Sealer, pool: asyncpg.Pool, file: SealFile
) -> None:
    seals: list[Seal] = []
    for key in ("a", "b", "c"):
        await journal.post(flows.top_up(key, euro(1)))
        seals += await sealer.seal()
    assert [seal.seal_id for seal in seals] == [1, 2, 3]
    assert [seal.previous for seal in seals] == [b"", seals[0].root, seals[1].root]
    assert [seal.from_xid for seal in seals] == [0, seals[0].upto_xid, seals[1].upto_xid]
    assert await broken(pool, file) is None


async def test_a_backlog_is_sealed_in_several_windows_none_of_which_splits_a_transaction(
    journal: Journal, pool: asyncpg.Pool, sealing: asyncpg.Pool, file: SealFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.seals.ROWS_MAX", 4)
    for each in range(40):  # one by one: what is posted at once shares a transaction
        await journal.post(flows.top_up(f"key{each}", euro(1)))
    seals = await Sealer(sealing, KEY, file).seal()
    assert len(seals) > 1
    assert sum(seal.rows for seal in seals) == await pool.fetchval(f"SELECT count(*) FROM ({ALL_ROWS}) AS rows")
    assert await rows_outside(pool) == []
    assert await broken(pool, file) is None


async def test_a_row_of_a_transaction_left_open_comes_under_a_later_seal(
    journal: Journal, sealer: Sealer, pool: asyncpg.Pool, admin_pool: asyncpg.Pool, file: SealFile
) -> None:
    await journal.post(flows.top_up("before", euro(1)))
    async with admin_pool.acquire() as connection:
        late = connection.transaction()
        await late.start()
        await connection.execute("INSERT INTO ledger.event (actor, action, subject) VALUES ('t', 'test.late', 'x')")
        mine = int(await connection.fetchval("SELECT pg_current_xact_id()::text"))
        await journal.post(flows.top_up("meanwhile", euro(1)))  # a later transaction, committed earlier
        [first] = await sealer.seal()
        assert first.upto_xid <= mine
        assert await sealer.seal() == []  # what came meanwhile must wait for it
        assert (await sealer.lag()).total_seconds() > 0
        await late.commit()
    [second] = await sealer.seal()
    assert second.from_xid <= mine < second.upto_xid
    assert await rows_outside(pool) == []
    assert await broken(pool, file) is None


async def test_an_aborted_transaction_leaves_no_gap_behind(
    journal: Journal, sealer: Sealer, pool: asyncpg.Pool, admin_pool: asyncpg.Pool, file: SealFile
) -> None:
    async with admin_pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("INSERT INTO ledger.event (actor, action, subject) VALUES ('t', 'test.gone', 'x')")
        await journal.post(flows.top_up("one", euro(1)))
        await transaction.rollback()
    await sealer.seal()
    assert await rows_outside(pool) == []
    assert await broken(pool, file) is None


async def test_while_eight_clients_post_every_row_ends_in_exactly_one_window(
    sealer: Sealer, pool: asyncpg.Pool, file: SealFile
) -> None:
    async def post_many(client: int) -> None:
        journal = Journal(pool)  # a writer of its own
        for each in range(25):
            await journal.post(flows.top_up(f"client{client}:{each}", euro(1)))

    async def seal_on(posting: "asyncio.Future[list[None]]") -> int:
        made = 0
        while not posting.done():
            made += len(await sealer.seal())
            await asyncio.sleep(0.005)
        return made

    posting = asyncio.gather(*(post_many(client) for client in range(8)))
    made = await seal_on(posting)
    await posting
    await sealer.seal()
    assert made > 1, "sealing and posting did overlap"
    assert await pool.fetchval("SELECT count(*) FROM ledger.entry") == 200
    assert await rows_outside(pool) == []
    assert await pool.fetchval("SELECT sum(rows) FROM ledger.seal") == await pool.fetchval(
        f"SELECT count(*) FROM ({ALL_ROWS}) AS rows"
    )
    assert await broken(pool, file) is None


async def test_of_several_sealers_at_once_each_window_is_one_s(
    journal: Journal, sealing: asyncpg.Pool, pool: asyncpg.Pool, file: SealFile
) -> None:
    for round_number in range(5):
        await journal.post(flows.top_up(f"key{round_number}", euro(1)))
        made = await asyncio.gather(*(Sealer(sealing, KEY, file).seal() for _ in range(3)))
        assert sum(len(seals) for seals in made) == 1
    assert await broken(pool, file) is None


async def test_a_crash_between_database_and_file_is_made_good_by_the_next_sealing(
    journal: Journal, sealer: Sealer, pool: asyncpg.Pool, tmp_path: Path, file: SealFile
) -> None:
    await some_work(journal)
    [first] = await sealer.seal()
    torn = tmp_path / "seals.jsonl"
    torn.write_text(first.line[: len(first.line) // 2])  # the machine stopped while the line was written
    await journal.post(flows.top_up("two", euro(1)))
    [second] = await sealer.seal()
    assert list(file) == [first, second]
    assert await broken(pool, file) is None


async def test_a_sealer_refuses_where_the_database_has_lost_the_file_s_last_seal(
    journal: Journal, sealer: Sealer, admin_pool: asyncpg.Pool
) -> None:
    await some_work(journal)
    await sealer.seal()
    async with admin_pool.acquire() as connection:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute("DELETE FROM ledger.seal_part")
        await connection.execute("DELETE FROM ledger.seal")
        await connection.execute("RESET session_replication_role")
    with pytest.raises(SealsDiffer):
        await sealer.seal()


async def test_a_sealer_refuses_where_transactions_are_counted_from_the_beginning_again(
    journal: Journal, sealer: Sealer, sealing: asyncpg.Pool, admin_pool: asyncpg.Pool, tmp_path: Path
) -> None:
    await some_work(journal)
    await sealer.seal()
    async with admin_pool.acquire() as connection:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute("UPDATE ledger.seal SET upto_xid = '999999999'")  # as if of another cluster
        await connection.execute("RESET session_replication_role")
    with pytest.raises(TransactionsRestarted):
        await Sealer(sealing, KEY, SealFile(tmp_path / "other")).seal()


ADD = """
SELECT ledger.add_seal(
    ROW($1, 1, $2::text::xid8, $3::text::xid8, 1, $4, sha256('root'), now(), 'key', sha512('signature'))::ledger.seal,
    ARRAY[ROW($1, 'event', NULL, 1, sha256('part'), 'mark')::ledger.seal_part])
"""


async def test_the_database_refuses_a_seal_that_does_not_continue_the_last_or_is_not_safe(
    journal: Journal, sealer: Sealer, sealing: asyncpg.Pool
) -> None:
    await some_work(journal)
    [seal] = await sealer.seal()
    begin, end = str(seal.upto_xid), str(seal.upto_xid + 1)
    for wrong in (
        (1, begin, end, seal.root),  # another first one: a fork
        (3, begin, end, seal.root),  # leaves one out
        (2, end, str(seal.upto_xid + 2), seal.root),  # leaves rows out
        (2, "0", end, seal.root),  # takes rows twice
        (2, begin, end, b"other"),
    ):
        with pytest.raises(asyncpg.PostgresError, match="does not continue"):
            await sealing.execute(ADD, *wrong)
    with pytest.raises(asyncpg.PostgresError, match="may still commit"):
        await sealing.execute(ADD, 2, begin, str(seal.upto_xid + 1_000_000), seal.root)


async def test_a_sealer_may_seal_and_read_and_nothing_else(sealing: asyncpg.Pool) -> None:
    assert await sealing.fetchval("SELECT count(*) FROM ledger.entry") == 0
    for statement in (
        "DELETE FROM ledger.seal",
        "INSERT INTO ledger.seal_part VALUES (1, 'event', NULL, 1, '', '')",
        "UPDATE ledger.balance SET posted = 0",
        "SELECT ledger.post(NULL)",
        "SELECT ledger.add_month('2099-01-01')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await sealing.execute(statement)


async def test_a_seal_is_never_changed_or_removed(sealer: Sealer, journal: Journal, admin_pool: asyncpg.Pool) -> None:
    await some_work(journal)
    await sealer.seal()
    for table in ("seal", "seal_part"):
        for statement in (f"UPDATE ledger.{table} SET seal_id = 9", f"DELETE FROM ledger.{table}"):
            with pytest.raises(asyncpg.RestrictViolationError):
                await admin_pool.execute(statement)


async def test_a_digest_does_not_depend_on_a_session_s_settings_nor_on_a_column_that_is_added(
    journal: Journal, sealer: Sealer, admin_pool: asyncpg.Pool, pool: asyncpg.Pool, file: SealFile
) -> None:
    await some_work(journal)
    [seal] = await sealer.seal()
    query = "SELECT source, digest FROM ledger.window_parts_1('0', $1::text::xid8)"
    async with admin_pool.acquire() as connection:
        for setting in ("timezone = 'Asia/Tokyo'", "datestyle = 'German'", "bytea_output = 'escape'"):
            await connection.execute(f"SET {setting}")
            parts = {row["source"]: row["digest"] for row in await connection.fetch(query, str(seal.upto_xid))}
            assert parts == {part.source: part.digest for part in seal.parts}
    await admin_pool.execute("ALTER TABLE ledger.entry ADD COLUMN later text DEFAULT 'more'")
    assert await broken(pool, file) is None


async def test_a_month_is_sealed_once_all_its_rows_are(journal: Journal, sealer: Sealer, pool: asyncpg.Pool) -> None:
    month = datetime.now(UTC).date().replace(day=1)
    await some_work(journal)
    assert not await pool.fetchval("SELECT ledger.is_sealed($1)", month)
    [seal] = await sealer.seal()
    assert await pool.fetchval("SELECT ledger.is_sealed($1)", month)
    [row] = await pool.fetch("SELECT * FROM ledger.month_digests($1)", month)
    [part] = [part for part in seal.parts if part.source == "entry"]
    assert (row["seal_id"], row["rows"], row["digest"]) == (1, part.rows, part.digest)


def test_a_seal_survives_its_line_in_the_file() -> None:
    seal = Seal(
        seal_id=1, layout=1, from_xid=0, upto_xid=9, parts=(), previous=b"", sealed_at=datetime.now(UTC), key_id="k"
    )
    seal = replace(seal, root=seal.computed_root, signature=KEY.sign(seal.computed_root))
    assert Seal.parse(seal.line) == seal


def test_every_field_of_a_seal_is_in_its_root() -> None:
    seal = Seal(
        seal_id=1, layout=1, from_xid=0, upto_xid=9, parts=(), previous=b"", sealed_at=datetime.now(UTC), key_id="k"
    )
    for changed in (
        replace(seal, seal_id=2), replace(seal, layout=2), replace(seal, from_xid=1), replace(seal, upto_xid=8),
        replace(seal, previous=b"x"), replace(seal, sealed_at=datetime(2026, 1, 1, tzinfo=UTC)),
        replace(seal, key_id="other"),
    ):  # fmt: skip
        assert changed.computed_root != seal.computed_root


def test_a_key_is_read_as_it_was_written_and_only_its_own_signature_holds() -> None:
    assert SealKey.parse(KEY.text).public == KEY.public
    assert SealPublicKey.parse(KEY.public.text) == KEY.public
    signature = KEY.sign(b"root")
    assert KEY.public.signed(b"root", signature)
    assert not KEY.public.signed(b"other", signature)
    assert not SealKey.generate().public.signed(b"root", signature)


@pytest.mark.parametrize("text", ["", "not base64 !", "c2hvcnQ=", "-----BEGIN PRIVATE KEY-----\nx"])
def test_what_is_no_key_is_refused_without_being_told(text: str) -> None:
    for kind in (SealKey, SealPublicKey):
        with pytest.raises(BadSealKey) as refused:
            kind.parse(text)
        assert not text or text not in str(refused.value)


def test_a_private_key_does_not_show_in_its_representation() -> None:
    assert KEY.text not in repr(KEY)
    assert repr(KEY.seed) not in repr(KEY)


def test_a_window_is_small_enough_for_its_digests_to_be_gathered_in_one_value() -> None:
    assert ROWS_MAX * 32 < 2**30 // 100  # a value holds a gigabyte; a window may be larger by one transaction
