"""Months go out to files and come back: the whole drill, a crash between any two steps, and what is refused."""

import hashlib
import json
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from domain.errors import InstantArchived
from domain.ids import Prefix
from domain.money import Money
from ledger.accounts import payable
from ledger.archive import LOCK, Archive, ArchiveBusy, ArchiveRefused, MonthState, Progress, Step, silent
from ledger.archive_files import ArchiveBroken, Batch, FolderStore, Manifest, MonthWriter, manifest_name, read_month
from ledger.archive_layout import ENTRY, INFINITY, POSTING, SEALED_ENTRY, Row, leaf
from ledger.entry import Entry
from ledger.journal import Journal, Status
from ledger.seal_keys import SealKey
from ledger.seals import Sealer, SealFile
from tests.support.cluster import Database
from tests.support.ledger_flows import MERCHANT, flows, operation

EURO = "EUR"

# Every function of the ledger reads this clock instead of the server's, and is otherwise as it is in the product.
FAKE_CLOCK = """
CREATE TABLE public.fake_clock (ahead interval);
INSERT INTO public.fake_clock VALUES ('0');
CREATE FUNCTION public.fake_now() RETURNS timestamptz LANGUAGE sql VOLATILE SECURITY DEFINER AS $$
    SELECT clock_timestamp() + ahead FROM public.fake_clock
$$;
DO $do$
DECLARE
    definition text;
BEGIN
    FOR definition IN
        SELECT pg_get_functiondef(p.oid) FROM pg_proc p
        WHERE p.pronamespace = 'ledger'::regnamespace AND p.prosrc LIKE '%clock_timestamp()%'
    LOOP
        EXECUTE replace(definition, 'clock_timestamp()', 'public.fake_now()');
    END LOOP;
END
$do$;
"""
ROWS = """
SELECT 'entry', e::text FROM ledger.entry e UNION ALL SELECT 'posting', p::text FROM ledger.posting p ORDER BY 1, 2
"""


def months_before(count: int) -> date:
    """The month so many months before the present one."""
    number = (today := datetime.now(UTC)).year * 12 + today.month - 1 - count
    return date(number // 12, number % 12 + 1, 1)


MONTHS = [months_before(3), months_before(2), months_before(1)]
OLDEST, MIDDLE, NEWEST = MONTHS


def instant(month: date, day: int = 15) -> datetime:
    return datetime(month.year, month.month, day, 12, tzinfo=UTC)


@dataclass
class Book:
    """A book of three past months and the present one, its archive, and its clock."""

    admin: asyncpg.Pool
    journal: Journal
    archivist: asyncpg.Pool
    sealer: Sealer
    folder: Path

    def archive(self, progress: Progress = silent, actor: str = "ann") -> Archive:
        return Archive(self.archivist, FolderStore(self.folder), actor, progress)

    async def set_clock(self, at: datetime) -> None:
        await self.admin.execute("UPDATE public.fake_clock SET ahead = $1 - clock_timestamp()", at)

    async def stop_faking(self) -> None:
        await self.admin.execute("UPDATE public.fake_clock SET ahead = '0'")

    async def attached(self) -> set[date]:
        return {row[0] for row in await self.admin.fetch("SELECT ledger.attached_months()")}

    async def everything(self) -> str:
        """A digest of all that is in the journal."""
        rows = await self.admin.fetch(ROWS)
        return hashlib.sha256("\n".join(f"{row[0]} {row[1]}" for row in rows).encode()).hexdigest()

    async def balance_at(self, at: datetime) -> tuple[int, int, int, int]:
        account = payable(MERCHANT).id_in(EURO)
        row = await self.archivist.fetchrow("SELECT * FROM ledger.balance_at($1, $2)", account, at)
        assert row
        return row["posted"], row["pending_debit"], row["pending_credit"], row["version"]

    async def insist_that_all_agrees(self) -> None:
        assert await self.journal.verify() is None
        assert await self.admin.fetch("SELECT * FROM ledger.verify_archive()") == []

    async def restore_all(self, archive: Archive) -> None:
        for month in reversed(MONTHS):
            await archive.restore(month)


@pytest_asyncio.fixture
async def book(
    database: Database, pool: asyncpg.Pool, admin_pool: asyncpg.Pool, tmp_path: Path
) -> AsyncGenerator[Book]:
    await admin_pool.execute(FAKE_CLOCK)
    async with admin_pool.acquire() as owner, owner.transaction():
        await owner.execute("SET LOCAL ROLE ledger_owner")
        for month in MONTHS:
            await owner.execute("SELECT ledger.add_month($1)", month)
    async with (
        asyncpg.create_pool(database.admin_url, min_size=0, server_settings={"role": "ledger_archivist"}) as archivist,
        asyncpg.create_pool(database.admin_url, min_size=0, server_settings={"role": "ledger_sealer"}) as sealer,
    ):
        book = Book(
            admin_pool, Journal(pool), archivist,
            Sealer(sealer, SealKey.generate(), SealFile(tmp_path / "seals")), tmp_path / "archive",
        )  # fmt: skip
        await write_three_months(book)
        await book.sealer.seal()
        yield book


async def write_three_months(book: Book) -> None:
    """Holds and a refund that reach over the ends of months, a gate's refusal, an account that is silent for long."""
    payment, long_held = operation(Prefix.PAYMENT, "one"), operation(Prefix.PAYMENT, "two")
    refund = operation(Prefix.REFUND, "one")

    await book.set_clock(instant(OLDEST))
    await post(book, flows.top_up("one", Money(1000, EURO)), flows.hold(payment, Money(500, EURO)))
    await post(book, flows.hold(long_held, Money(70, EURO)), flows.top_up("yen", Money(9, "JPY")))
    await post(book, flows.capture(operation(Prefix.CAPTURE, "one"), payment, Money(200, EURO)))
    await book.sealer.seal()

    await book.set_clock(instant(MIDDLE))
    await post(book, flows.capture(operation(Prefix.CAPTURE, "two"), payment, Money(100, EURO), final=True))
    await post(book, flows.refund_reserve(refund, payment, Money(30, EURO)))
    answer = await book.journal.post(flows.payout_reserve(operation(Prefix.PAYOUT, "big"), Money(10**9, EURO)))
    assert answer.status is Status.INSUFFICIENT_FUNDS

    await book.set_clock(instant(NEWEST))
    await post(book, flows.refund_done(refund, payment, Money(30, EURO)))
    await post(book, flows.capture(operation(Prefix.CAPTURE, "three"), long_held, Money(20, EURO)))

    await book.stop_faking()
    await post(book, flows.top_up("two", Money(500, EURO)), flows.release(long_held))
    await post(book, *(flows.top_up(f"many-{number}", Money(number, EURO)) for number in range(1, 30)))


async def post(book: Book, *entries: Entry) -> None:
    for entry in entries:
        assert (await book.journal.post(entry)).status is Status.POSTED, entry


async def test_what_python_digests_of_a_row_is_what_the_database_digests(book: Book) -> None:
    rows = await book.admin.fetch(f"""
        SELECT {ENTRY.selected("e")}, k.fingerprint, l.leaf
        FROM ledger.entry_leaves_1('0', '9999999999', '-infinity', 'infinity') l
        JOIN ledger.entry e ON e.entry_id = l.number JOIN ledger.entry_key k USING (entry_id)
    """)
    for row in rows:
        *entry, expected = row.values()
        postings = await book.admin.fetch(
            f"SELECT {POSTING.selected('p')} FROM ledger.posting p WHERE entry_id = $1 ORDER BY account_id", entry[0]
        )
        assert leaf(tuple(entry), [tuple(each.values()) for each in postings]) == expected
    assert len({row["entry_id"] for row in rows}) == 5 + 2 + 2 + 2 + 29
    expiries = {row[ENTRY.names.index("hold_expires_at")] for row in rows}
    assert {INFINITY, None} <= expiries  # the two that are easily mistaken


async def test_the_drill_three_months_out_and_back_and_nothing_has_changed(book: Book) -> None:
    before = await book.everything()
    past = [await book.balance_at(instant(month, 28)) for month in MONTHS]
    statement = await book.journal.statement(payable(MERCHANT).code, EURO)
    trial_balance = await book.journal.trial_balance()
    archive = book.archive()

    for month in MONTHS:
        assert (await archive.archive(month)).state is MonthState.DETACHED
        assert month not in await book.attached()
        await book.insist_that_all_agrees()
        assert await book.journal.trial_balance() == trial_balance
    live = await book.journal.statement(payable(MERCHANT).code, EURO)
    assert live
    assert live == statement[-len(live) :]

    await drop_all(book, archive)
    await book.insist_that_all_agrees()
    for month in MONTHS:
        await archive.read_back(month)

    for month in reversed(MONTHS):
        assert (await archive.restore(month)).state is MonthState.RESTORED
        await book.insist_that_all_agrees()
    assert await book.everything() == before
    assert [await book.balance_at(instant(month, 28)) for month in MONTHS] == past
    assert await book.journal.statement(payable(MERCHANT).code, EURO) == statement


async def test_a_month_that_was_put_back_goes_out_again_with_the_same_files(book: Book) -> None:
    archive = book.archive()
    first = await archive.archive(OLDEST)
    manifest = (book.folder / manifest_name(OLDEST)).read_bytes()
    assert (await archive.restore(OLDEST)).state is MonthState.RESTORED
    again = await archive.archive(OLDEST)
    assert (again.state, again.manifest_digest) == (MonthState.DETACHED, first.manifest_digest)
    assert (book.folder / manifest_name(OLDEST)).read_bytes() == manifest
    await book.insist_that_all_agrees()


async def test_a_month_that_was_put_back_from_its_files_has_its_guards(book: Book) -> None:
    archive = book.archive()
    for month in MONTHS:
        await archive.archive(month)
    await drop_all(book, archive)
    await book.restore_all(archive)
    for name in ("entry", "posting"):
        for statement in ("UPDATE {} SET entry_id = entry_id", "DELETE FROM {}", "TRUNCATE {}"):
            with pytest.raises(asyncpg.RestrictViolationError, match="what is written stays"):
                await book.admin.execute(statement.format(f"ledger.{name}_{OLDEST:%Y%m}"))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await book.archivist.execute(f"INSERT INTO ledger.entry_{OLDEST:%Y%m} SELECT * FROM ledger.entry LIMIT 1")
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="does not sum to zero"):
        await book.admin.execute(f"""
            INSERT INTO ledger.posting_{OLDEST:%Y%m}
            SELECT entry_id + 1000000, account_id, currency, posted + 1, pending_debit, pending_credit,
                   posted_after, pending_debit_after, pending_credit_after, version + 1000, posted_at
            FROM ledger.posting_{OLDEST:%Y%m} LIMIT 1
        """)


async def test_balances_are_read_across_the_instant_up_to_which_months_are_out(book: Book) -> None:
    ends = [await book.balance_at(end_of(month)) for month in MONTHS]
    archive = book.archive()
    await archive.archive(OLDEST)
    await archive.archive(MIDDLE)
    assert await book.admin.fetchval("SELECT ledger.archived_until()") == end_of(MIDDLE) + timedelta(microseconds=1)
    with pytest.raises(asyncpg.PostgresError, match=f"archived: restore {MIDDLE:%Y-%m}"):
        await book.balance_at(end_of(MIDDLE))
    assert await book.balance_at(end_of(MIDDLE) + timedelta(microseconds=1)) == ends[1]  # nothing was posted since
    assert await book.balance_at(end_of(NEWEST)) == ends[2]
    with pytest.raises(ArchiveRefused, match=f"{MIDDLE:%Y-%m} comes before {OLDEST:%Y-%m}"):
        await archive.restore(OLDEST)
    await archive.restore(MIDDLE)
    assert await book.balance_at(end_of(OLDEST) + timedelta(microseconds=1)) == ends[0]
    assert await book.balance_at(end_of(MIDDLE)) == ends[1]


async def test_the_journal_says_that_an_instant_is_archived_instead_of_a_wrong_zero(book: Book) -> None:
    code, ended = payable(MERCHANT).code, end_of(MIDDLE)
    before = await book.journal.effective_balance(code, EURO, end_of(NEWEST))
    stood = await book.journal.balance(code, EURO, end_of(NEWEST))
    for month in (OLDEST, MIDDLE):
        await book.archive().archive(month)
    with pytest.raises(InstantArchived, match=f"restore {MIDDLE:%Y-%m}"):
        await book.journal.balance(code, EURO, ended)
    with pytest.raises(InstantArchived, match=f"restore {MIDDLE:%Y-%m}"):
        await book.journal.effective_balance(code, EURO, ended)
    assert await book.journal.effective_balance(code, EURO, end_of(NEWEST)) == before != 0
    assert await book.journal.balance(code, EURO, end_of(NEWEST)) == stood


async def test_posting_goes_on_from_what_is_out(book: Book) -> None:
    archive = book.archive()
    for month in MONTHS:
        await archive.archive(month)
    payment = operation(Prefix.PAYMENT, "one")
    refund = operation(Prefix.REFUND, "late")
    await post(book, flows.refund_reserve(refund, payment, Money(40, EURO)))
    await post(book, flows.refund_done(refund, payment, Money(40, EURO)))
    assert (await book.journal.post(flows.top_up("one", Money(1000, EURO)))).status is Status.REPLAYED
    altered = await book.journal.post(flows.top_up("one", Money(1001, EURO)))
    assert altered.status is Status.CONFLICTING_CONTENT
    await book.insist_that_all_agrees()


class Crash(Exception):
    """The process ends here."""


@pytest.mark.parametrize("step", [Step.CHECK, Step.WRITE, Step.READ_BACK, Step.RECORD, Step.DETACH])
async def test_an_archive_that_dies_after_any_step_is_run_again_to_the_same_end(book: Book, step: Step) -> None:
    with pytest.raises(Crash):
        await book.archive(dying_after(step)).archive(OLDEST)
    assert (await book.archive().archive(OLDEST)).state is MonthState.DETACHED
    await book.insist_that_all_agrees()
    files = {path.name for path in (book.folder / f"{OLDEST:%Y-%m}").iterdir()}
    assert files == {"entry.parquet", "posting.parquet", "manifest.json"}


@pytest.mark.parametrize("step", [Step.READ_BACK, Step.COPY, Step.ATTACH])
async def test_a_restore_that_dies_after_any_step_is_run_again_to_the_same_end(book: Book, step: Step) -> None:
    before = await book.everything()
    for month in MONTHS:
        await book.archive().archive(month)
    await drop_all(book, book.archive())
    with pytest.raises(Crash):
        await book.archive(dying_after(step)).restore(NEWEST)
    await book.restore_all(book.archive())
    assert await book.everything() == before
    await book.insist_that_all_agrees()


async def test_a_write_that_dies_in_the_middle_leaves_no_file_behind(book: Book) -> None:
    def die(step: Step, done: int, of: int) -> None:
        if step is Step.WRITE and (done, of) != (1, 1):
            raise Crash

    with pytest.raises(Crash):
        await book.archive(die).archive(OLDEST)
    assert list((book.folder / f"{OLDEST:%Y-%m}").iterdir()) == []


@pytest.mark.parametrize("name", ["entry.parquet", "posting.parquet"])
async def test_a_changed_file_is_found_and_not_restored(book: Book, name: str) -> None:
    archive = book.archive()
    for month in MONTHS:
        await archive.archive(month)
    await drop_all(book, archive)
    path = book.folder / f"{NEWEST:%Y-%m}" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    for prove in (archive.read_back, archive.restore):
        with pytest.raises(ArchiveBroken, match=f"{name} is not the file that was written"):
            await prove(NEWEST)
    path.unlink()
    with pytest.raises(ArchiveBroken, match=f"{name} is not in the store"):
        await archive.read_back(NEWEST)


async def test_a_changed_manifest_is_found(book: Book) -> None:
    archive = book.archive()
    await archive.archive(OLDEST)
    path = book.folder / manifest_name(OLDEST)
    content = json.loads(path.read_bytes())
    path.write_text(json.dumps({**content, "written_by": "somebody else"}))
    with pytest.raises(ArchiveBroken, match="the manifest is not the one that was recorded"):
        await archive.read_back(OLDEST)
    path.write_text("{}")
    with pytest.raises(ArchiveBroken, match="cannot be read"):
        await archive.read_back(OLDEST)
    path.unlink()
    with pytest.raises(ArchiveBroken, match="has no manifest"):
        await archive.read_back(OLDEST)


def another_amount(batch: Batch) -> None:
    posting = batch.postings[0][0]
    batch.postings[0][0] = (*posting[:3], 1, *posting[4:])


def another_actor(batch: Batch) -> None:
    entry = batch.entries[0]
    batch.entries[0] = (*entry[:7], "eve", *entry[8:])


def a_posting_less(batch: Batch) -> None:
    batch.postings[0].pop()


def an_entry_less(batch: Batch) -> None:
    batch.entries.pop()
    batch.postings.pop()


def another_order(batch: Batch) -> None:
    batch.entries.reverse()
    batch.postings.reverse()


FORGERIES = [another_amount, another_actor, a_posting_less, an_entry_less, another_order]


@pytest.mark.parametrize("forge", FORGERIES)
async def test_files_and_manifest_forged_together_are_found_by_the_seals(
    book: Book, forge: Callable[[Batch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever writes other rows, with a manifest that fits them, is found before anything is recorded."""
    write = MonthWriter.write

    def forged(self: MonthWriter, entries: list[Row], postings: list[Row]) -> None:
        of = {entry[0]: [each for each in postings if each[0] == entry[0]] for entry in entries}
        batch = Batch(list(entries), [of[entry[0]] for entry in entries])
        forge(batch)
        write(self, batch.entries, list(batch.all_postings))

    monkeypatch.setattr(MonthWriter, "write", forged)
    with pytest.raises(ArchiveBroken, match="not those that were sealed"):
        await book.archive().archive(OLDEST)
    assert OLDEST in await book.attached()
    assert await book.admin.fetchval("SELECT count(*) FROM ledger.archived_month") == 0


async def test_a_row_that_was_changed_in_the_database_after_its_seal_is_not_archived(book: Book) -> None:
    await tampered(book, f"UPDATE ledger.entry_{OLDEST:%Y%m} SET actor = 'eve' WHERE kind = 'top_up'")
    with pytest.raises(ArchiveBroken, match="are not those that were sealed"):
        await book.archive().archive(OLDEST)


async def test_the_database_itself_refuses_to_record_a_month_that_is_not_as_it_was_sealed(book: Book) -> None:
    """Whoever calls its functions without the files' proof comes no further."""
    postings = await book.admin.fetchval(f"SELECT count(*) FROM ledger.posting_{OLDEST:%Y%m}")
    record = "SELECT ledger.record_archive($1, 'eve', sha256('forged'), $2, $3)"
    with pytest.raises(asyncpg.PostgresError, match="but its archive has 4 with"):
        await book.archivist.execute(record, OLDEST, 4, postings)
    await tampered(book, f"UPDATE ledger.entry_{OLDEST:%Y%m} SET actor = 'eve' WHERE kind = 'top_up'")
    with pytest.raises(asyncpg.PostgresError, match="not those that were sealed"):
        await book.archivist.execute(record, OLDEST, 5, postings)


async def test_a_row_that_was_changed_while_its_month_was_out_is_not_attached(book: Book) -> None:
    await book.archive().archive(OLDEST)
    await tampered(book, f"UPDATE ledger.posting_{OLDEST:%Y%m} SET posted = 2 * posted")
    with pytest.raises(ArchiveBroken, match="are not those that were sealed"):
        await book.archive().restore(OLDEST)
    assert OLDEST not in await book.attached()


OPENINGS = [
    "opening_balance SET posted = posted + 1",
    "opening_hold SET remaining = 0",
    "opening_refundable SET captured = 0",
]


@pytest.mark.parametrize("change", OPENINGS)
async def test_an_opening_state_that_was_changed_is_found(book: Book, change: str) -> None:
    await book.archive().archive(OLDEST)
    await tampered(book, f"UPDATE ledger.{change}")
    found = await book.admin.fetch("SELECT broken, subject FROM ledger.verify_archive()")
    assert [tuple(row) for row in found] == [("an archived month is not as its event says", f"{OLDEST:%Y-%m}")]


async def test_a_month_that_disappeared_is_found(book: Book) -> None:
    await book.admin.execute(f"ALTER TABLE ledger.entry DETACH PARTITION ledger.entry_{MIDDLE:%Y%m}")
    found = await book.admin.fetch("SELECT broken, subject FROM ledger.verify_archive()")
    assert [tuple(row) for row in found] == [("a month is missing from the journal", f"{MIDDLE:%Y-%m}")]


async def test_a_month_with_a_row_under_no_seal_stays(book: Book) -> None:
    await book.set_clock(instant(NEWEST))
    await post(book, flows.payout_reserve(operation(Prefix.PAYOUT, "unsealed"), Money(1, EURO)))
    await book.stop_faking()
    archive = book.archive()
    last = await book.admin.fetchval("SELECT max(posted_at) FROM ledger.entry WHERE operation LIKE 'po%'")
    month = last.date().replace(day=1)
    for each in MONTHS:
        if each < month:
            await archive.archive(each)
    await book.set_clock(instant(month) + timedelta(days=60))
    with pytest.raises(ArchiveRefused, match="not all of its rows are under a seal"):
        await archive.archive(month)


async def test_the_present_month_and_one_that_ended_today_stay(book: Book) -> None:
    archive = book.archive()
    for month in MONTHS:
        await archive.archive(month)
    present = months_before(0)
    with pytest.raises(ArchiveRefused, match="is not over for a day yet"):
        await archive.archive(present)
    await book.set_clock(datetime(present.year, present.month, 1, tzinfo=UTC) + timedelta(days=32))
    await book.sealer.seal()
    following = datetime.combine(months_before(-1), datetime.min.time(), UTC)
    await book.set_clock(following + timedelta(hours=23))
    with pytest.raises(ArchiveRefused, match="is not over for a day yet"):
        await archive.archive(present)
    await book.set_clock(following + timedelta(hours=25))
    assert (await archive.archive(present)).state is MonthState.DETACHED


async def test_months_go_oldest_first(book: Book) -> None:
    with pytest.raises(ArchiveRefused, match=f"{OLDEST:%Y-%m} comes before {MIDDLE:%Y-%m}"):
        await book.archive().archive(MIDDLE)


async def test_a_month_that_there_is_not_is_refused(book: Book) -> None:
    with pytest.raises(ArchiveRefused, match="has no such month"):
        await book.archive().archive(date(1999, 1, 1))
    with pytest.raises(ArchiveRefused, match="has not been archived"):
        await book.archive().restore(date(1999, 1, 1))


async def test_a_month_is_dropped_by_two_persons_after_thirty_days(book: Book) -> None:
    archive = book.archive(actor="ann")
    await archive.archive(OLDEST)
    for same in ("ann", " ANN ", ""):
        with pytest.raises(ArchiveRefused, match="two persons"):
            await archive.drop(OLDEST, same)
    with pytest.raises(ArchiveRefused, match="stays for thirty days"):
        await archive.drop(OLDEST, "bob")
    await book.set_clock(datetime.now(UTC) + timedelta(days=31))
    assert (await archive.drop(OLDEST, "bob")).state is MonthState.DROPPED
    assert await book.admin.fetchval(f"SELECT to_regclass('ledger.entry_{OLDEST:%Y%m}')") is None
    told = await book.admin.fetch(
        "SELECT actor, action, detail ->> 'second_actor' FROM ledger.event WHERE subject = $1 ORDER BY id",
        f"{OLDEST:%Y-%m}",
    )
    assert [tuple(row) for row in told] == [
        ("ann", "month.archived", None), ("ann", "month.detached", None), ("ann", "month.dropped", "bob"),
    ]  # fmt: skip


async def test_a_month_in_the_journal_is_not_dropped(book: Book) -> None:
    archive = book.archive()
    await archive.archive(OLDEST)
    await archive.restore(OLDEST)
    with pytest.raises(ArchiveRefused, match="is not detached"):
        await archive.drop(OLDEST, "bob")


async def test_two_archives_do_not_work_at_once(book: Book) -> None:
    async with book.archivist.acquire() as other:
        await other.execute("SELECT pg_advisory_lock($1)", LOCK)
        with pytest.raises(ArchiveBusy):
            await book.archive().archive(OLDEST)
        await other.execute("SELECT pg_advisory_unlock($1)", LOCK)
    assert (await book.archive().archive(OLDEST)).state is MonthState.DETACHED


async def test_no_month_goes_out_under_a_readers_eyes(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.archive.DETACH_TRIES", 1)
    async with book.archivist.acquire() as reader, reader.transaction():
        await reader.execute("LOCK TABLE ledger.archived_month IN ACCESS SHARE MODE")
        with pytest.raises(ArchiveBusy, match="is archived and not detached"):
            await book.archive().archive(OLDEST)
        assert await reader.fetchval("SELECT count(*) FROM ledger.entry WHERE posted_at < $1", end_of(OLDEST)) == 5
    assert (await book.archive().archive(OLDEST)).state is MonthState.DETACHED


async def test_months_are_listed_with_where_they_are(book: Book) -> None:
    archive = book.archive()
    await archive.archive(OLDEST)
    listed = {each.month: each for each in await archive.months()}
    assert list(listed) == sorted(listed)
    assert [listed[month].state for month in MONTHS] == [MonthState.DETACHED, MonthState.LIVE, MonthState.LIVE]
    assert (listed[OLDEST].entries, listed[OLDEST].archived_by) == (5, "ann")


async def test_a_manifest_says_what_is_in_its_files(book: Book) -> None:
    await book.archive().archive(OLDEST)
    manifest = Manifest.decoded((book.folder / manifest_name(OLDEST)).read_bytes())
    batches = list(read_month(FolderStore(book.folder), OLDEST))
    assert manifest.contents.entries == sum(len(batch.entries) for batch in batches) == 5
    assert manifest.contents.sums[EURO].posted_debits == 1000 + 200
    assert manifest.contents.sums[EURO].pending_debit == 500 + 70 - 200
    assert [part.entries for part in manifest.seals] == [5]
    assert {len(row) for batch in batches for row in batch.entries} == {len(SEALED_ENTRY.columns)}
    assert manifest.encoded() == (book.folder / manifest_name(OLDEST)).read_bytes()


def end_of(month: date) -> datetime:
    """The last microsecond of a month."""
    following = (month.replace(day=28) + timedelta(days=4)).replace(day=1)
    return datetime(following.year, following.month, 1, tzinfo=UTC) - timedelta(microseconds=1)


def dying_after(step: Step) -> Progress:
    def die(told: Step, done: int, of: int) -> None:
        if told is step and (done, of) == (1, 1):
            raise Crash

    return die


async def drop_all(book: Book, archive: Archive) -> None:
    await book.set_clock(datetime.now(UTC) + timedelta(days=31))
    for month in MONTHS:
        assert (await archive.drop(month, "bob")).state is MonthState.DROPPED
    await book.stop_faking()


async def tampered(book: Book, statement: str) -> None:
    """Do what only a superuser can who turns the triggers off."""
    async with book.admin.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(statement)
