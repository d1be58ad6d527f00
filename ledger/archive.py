"""Months of the journal that are over and sealed go out to files, and come back.

Months go oldest first, in steps that may each be repeated: check, write the files, read them back, record them with the
state at the month's end, detach. Nothing is recorded before the files, read by themselves, come to the digests that
were sealed; nothing is attached again before the database has come to them as well. The rules are the database's
(schema/0012_archive.sql); files and manifest are `archive_files`'. Knows nothing of when, and of who may.
"""

import asyncio
import hashlib
import random
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

import asyncpg

from domain.errors import HoldfastError
from ledger.archive_files import (
    FORMAT,
    ArchiveBroken,
    Batch,
    Contents,
    Count,
    Manifest,
    SealedPart,
    Store,
    digest_of_file,
    digest_of_parts,
    file_name,
    manifest_name,
    parquet_name,
    read_month,
    writing_month,
)
from ledger.archive_layout import ENTRY, FINGERPRINT, POSTING, SEALED_ENTRY, Row, Table, copied, leaf

DETACH_TRIES = 60  # of a second each, with as long a pause: longer than any read that is not a full verify
DETACH_PAUSE_SECONDS = 1.0
LOCK = 0x401DFA5C  # any number that is ours alone: one archive at work in a database

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

REFUSED = "HF011"  # of the functions in 0012: the month may not go, or come, now
BROKEN = "HF012"  # what was counted or digested is not what was recorded
WAITS = ("55P03", "40P01")  # a reader holds the journal; a deadlock with one


class ArchiveRefused(HoldfastError):
    """The month may not go out, or come back, now; the text says why. Nothing was changed."""


class ArchiveBusy(HoldfastError):
    """Another archive is at work, or readers never let go of the journal. What is done already stays: run it again."""


class MonthState(StrEnum):
    """Where a month is."""

    LIVE = "live"  # in the journal, and never archived
    ARCHIVED = "archived"  # files and state at its end are recorded; still in the journal
    DETACHED = "detached"  # out; its tables stand beside the journal
    DROPPED = "dropped"  # out; only its files are there
    RESTORED = "restored"  # in the journal again


OUT = (MonthState.DETACHED, MonthState.DROPPED)


@dataclass(frozen=True, slots=True)
class Month:
    """A month, and its archive where it has one. `manifest_digest` is hexadecimal SHA-256."""

    month: date
    state: MonthState
    entries: int | None = None
    postings: int | None = None
    archived_at: datetime | None = None
    archived_by: str | None = None
    manifest_digest: str | None = None
    changed_at: datetime | None = None


class Step(StrEnum):
    """What long work is at."""

    CHECK = "check"
    WRITE = "write"
    READ_BACK = "read back"
    RECORD = "record"
    DETACH = "detach"
    COPY = "copy"
    ATTACH = "attach"


Progress = Callable[[Step, int, int], None]  # the step, entries done, entries of it in all; (step, 1, 1): it is done


def silent(step: Step, done: int, of: int) -> None:
    """Tell nobody."""


class Archive:
    """The archive of a database in a store.

    `pool` connects as a `ledger_archivist`, `actor` is whom the events name. Months are given by their first day. All
    methods may be called again after a failure or a crash, and come to the same end. They raise `ArchiveRefused`,
    `ArchiveBroken` and `ArchiveBusy`.
    """

    def __init__(self, pool: asyncpg.Pool, store: Store, actor: str, progress: Progress = silent) -> None:
        self._pool = pool
        self._store = store
        self._actor = actor
        self._progress = progress

    async def months(self) -> list[Month]:
        """All months that there are or were, oldest first."""
        rows = await self._pool.fetch(MONTHS)
        return [Month(row["month"], MonthState(row["state"]), *list(row.values())[2:]) for row in rows]

    async def archive(self, month: date) -> Month:
        """Take a month out of the journal, once its files are proven. Nothing happens where it is out already."""
        async with self._at_work() as connection:
            known = await _known(connection, month)
            if known.state in OUT:
                return known
            await connection.execute("SELECT ledger.insist_on_archivable($1)", month)
            self._progress(Step.CHECK, 1, 1)
            if not self._store.exists(manifest_name(month)):
                await self._write(connection, month)
            self._progress(Step.WRITE, 1, 1)
            manifest, digest = await self._read_back(connection, month, known)
            contents = manifest.contents
            await connection.execute(RECORD, month, self._actor, digest, contents.entries, contents.postings)
            self._progress(Step.RECORD, 1, 1)
            await self._detach(connection, month)
            self._progress(Step.DETACH, 1, 1)
            return await _known(connection, month)

    async def read_back(self, month: date) -> Manifest:
        """Prove a month's files: each digest recomputed from them, and compared with manifest, seals and database."""
        async with self._at_work() as connection:
            manifest, _ = await self._read_back(connection, month, await _known(connection, month))
            return manifest

    async def restore(self, month: date) -> Month:
        """Put a month back into the journal: its tables where they are still there, or else its files' rows."""
        async with self._at_work() as connection:
            known = await _known(connection, month)
            if known.state in (MonthState.ARCHIVED, MonthState.RESTORED):
                return known
            if known.state is MonthState.DROPPED:
                await self._read_back(connection, month, known)
                await self._copy(connection, month, known)
            await connection.execute("SELECT ledger.attach_month($1, $2)", month, self._actor)
            self._progress(Step.ATTACH, 1, 1)
            return await _known(connection, month)

    async def drop(self, month: date, second_actor: str) -> Month:
        """Drop the tables of a month that is out, once its files are proven again. A second person agrees to it."""
        async with self._at_work() as connection:
            known = await _known(connection, month)
            if known.state is not MonthState.DROPPED:
                await self._read_back(connection, month, known)
                await connection.execute(DROP, month, self._actor, second_actor)
            return await _known(connection, month)

    @asynccontextmanager
    async def _at_work(self) -> AsyncGenerator[asyncpg.pool.PoolConnectionProxy]:
        """A connection that keeps every other archive from work as long as it is held."""
        async with self._pool.acquire() as connection:
            if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
                raise ArchiveBusy("another archive is at work in this database")
            try:
                with _in_our_words():
                    yield connection
            finally:
                if not connection.is_closed():  # a lost connection has given the lock back
                    await connection.execute("SELECT pg_advisory_unlock($1)", LOCK)

    async def _write(self, connection: asyncpg.pool.PoolConnectionProxy, month: date) -> None:
        """Write the files of a month, seal by seal, and last the manifest: where that is, all is."""
        parts = await _parts(connection, month)
        total = sum(part.entries for part in parts)
        done = 0
        with writing_month(self._store, month) as writer:
            for part in parts:
                window = part.from_xid, part.upto_xid
                entries = await connection.fetch(_entries_of_window(month), *window)
                postings = await connection.fetch(_postings_of_window(month), *window)
                await _in_thread(writer.write, _rows(entries), _rows(postings))
                done += part.entries
                self._progress(Step.WRITE, done, total)
        manifest = Manifest(
            format=FORMAT,
            month=f"{month:%Y-%m}",
            schema=max(path.name for path in (Path(__file__).parent / "schema").glob("[0-9]*.sql")),
            written_at=datetime.now(UTC).isoformat(timespec="seconds"),
            written_by=self._actor,
            contents=writer.count.contents,
            digest=digest_of_parts(parts),
            files={
                name: await _in_thread(digest_of_file, self._store, file_name(month, name)) for name in _files_of(month)
            },
            seals=tuple(parts),
        )
        with self._store.create(manifest_name(month)) as file:
            file.write(manifest.encoded())

    async def _read_back(
        self, connection: asyncpg.pool.PoolConnectionProxy, month: date, known: Month
    ) -> tuple[Manifest, bytes]:
        """Read manifest and files by themselves, and compare. Returns the manifest and its digest."""
        try:
            with self._store.open(manifest_name(month)) as file:
                content = file.read()
        except FileNotFoundError as failure:
            raise ArchiveBroken(f"{month:%Y-%m} has no manifest in the store") from failure
        digest = hashlib.sha256(content)
        manifest = Manifest.decoded(content)
        if known.manifest_digest not in (None, digest.hexdigest()):
            raise ArchiveBroken(f"{month:%Y-%m}: the manifest is not the one that was recorded")
        if (manifest.month, manifest.digest) != (f"{month:%Y-%m}", digest_of_parts(manifest.seals)):
            raise ArchiveBroken(f"{month:%Y-%m}: the manifest contradicts itself")
        if list(manifest.seals) != await _parts(connection, month):
            raise ArchiveBroken(f"{month:%Y-%m}: the manifest names other seals than the database has of the month")
        await self._prove_files(month, manifest)
        contents = await self._prove_rows(connection, month, manifest)
        if contents != manifest.contents:
            raise ArchiveBroken(f"{month:%Y-%m}: the files hold {contents}, the manifest says {manifest.contents}")
        self._progress(Step.READ_BACK, 1, 1)
        return manifest, digest.digest()

    async def _prove_files(self, month: date, manifest: Manifest) -> None:
        if set(manifest.files) != set(_files_of(month)):
            raise ArchiveBroken(f"{month:%Y-%m}: the manifest names other files")
        for name, expected in manifest.files.items():
            try:
                found = await _in_thread(digest_of_file, self._store, file_name(month, name))
            except FileNotFoundError as failure:
                raise ArchiveBroken(f"{month:%Y-%m}: {name} is not in the store") from failure
            if found != expected:
                raise ArchiveBroken(f"{month:%Y-%m}: {name} is not the file that was written")

    async def _prove_rows(
        self, connection: asyncpg.pool.PoolConnectionProxy, month: date, manifest: Manifest
    ) -> Contents:
        """Recompute each seal's part from the files; compare the keys with those in the database."""
        count = Count()
        seals = SealedDigests(manifest.seals)
        with closing(read_month(self._store, month)) as batches:
            done = 0
            while batch := await _in_thread(next, batches, None):
                await _in_thread(seals.add, batch)
                count.add(len(batch.entries), batch.all_postings)
                await _compare_keys(connection, month, batch)
                done += len(batch.entries)
                self._progress(Step.READ_BACK, done, manifest.contents.entries)
        seals.finish()
        return count.contents

    async def _detach(self, connection: asyncpg.pool.PoolConnectionProxy, month: date) -> None:
        """Detach between two reads of the journal. Each try makes posting wait for a second at most."""
        for _ in range(DETACH_TRIES):
            try:
                await connection.execute("SELECT ledger.detach_month($1, $2)", month, self._actor)
            except asyncpg.PostgresError as failure:
                if failure.sqlstate not in WAITS:
                    raise
                await asyncio.sleep(random.uniform(0, 2 * DETACH_PAUSE_SECONDS))  # noqa: S311  jitter
            else:
                return
        raise ArchiveBusy(f"{month:%Y-%m} is archived and not detached: somebody reads the journal all the time")

    async def _copy(self, connection: asyncpg.pool.PoolConnectionProxy, month: date, known: Month) -> None:
        """Fill new tables from the files. A batch has whole entries, so the guard finds each of them balanced."""
        await connection.execute("SELECT ledger.make_month_again($1)", month)
        done = 0
        async with connection.transaction():
            with closing(read_month(self._store, month)) as batches:
                while batch := await _in_thread(next, batches, None):
                    await _copy_rows(
                        connection, month, ENTRY, [row[:-1] for row in batch.entries]
                    )  # but the fingerprint
                    await _copy_rows(connection, month, POSTING, list(batch.all_postings))
                    done += len(batch.entries)
                    self._progress(Step.COPY, done, known.entries or 0)
        self._progress(Step.COPY, 1, 1)


class SealedDigests:
    """Comes to the digest of each part of a month, from entries in the order in which they were sealed."""

    def __init__(self, parts: tuple[SealedPart, ...]) -> None:
        self._parts: Iterator[SealedPart] = iter(parts)
        self._part: SealedPart | None = next(self._parts, None)
        self._digest = hashlib.sha256()
        self._entries = 0

    def add(self, batch: Batch) -> None:
        """Raises `ArchiveBroken` at the first part that is not what was sealed."""
        for entry, postings in zip(batch.entries, batch.postings, strict=True):
            xid = cast("int", entry[XID])
            while self._part and xid >= self._part.upto_xid:
                self._next()
            if not self._part or xid < self._part.from_xid:
                raise ArchiveBroken(f"entry {entry[0]} of the files is under no seal, or out of its order")
            self._digest.update(leaf(entry, postings))
            self._entries += 1

    def finish(self) -> None:
        """Raises `ArchiveBroken` where something that was sealed has not come."""
        while self._part:
            self._next()

    def _next(self) -> None:
        part = self._part
        if part and (self._entries, self._digest.hexdigest()) != (part.entries, part.digest):
            raise ArchiveBroken(f"the files' entries under seal {part.seal_id} are not those that were sealed")
        self._part = next(self._parts, None)
        self._digest = hashlib.sha256()
        self._entries = 0


@contextmanager
def _in_our_words() -> Generator[None]:
    """Say what the database refused, and why, as this module does."""
    try:
        yield
    except asyncpg.PostgresError as failure:
        if failure.sqlstate == REFUSED:
            raise ArchiveRefused(str(failure)) from failure
        if failure.sqlstate == BROKEN:
            raise ArchiveBroken(str(failure)) from failure
        if failure.sqlstate in WAITS:
            raise ArchiveBusy(f"somebody reads the journal all the time: {failure}") from failure
        raise


async def _in_thread(
    work: Callable[Arguments, Result], *arguments: Arguments.args, **named: Arguments.kwargs
) -> Result:
    """Work in a thread, so that the loop goes on. Where this is cancelled, the thread is awaited: it is at a file."""
    task = asyncio.create_task(asyncio.to_thread(work, *arguments, **named))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def _known(connection: asyncpg.pool.PoolConnectionProxy, month: date) -> Month:
    """What is recorded of a month; one that nothing is recorded of counts as live."""
    row = await connection.fetchrow(f"{ARCHIVED} WHERE month = $1", month)
    return Month(month, MonthState(row["state"]), *list(row.values())[2:]) if row else Month(month, MonthState.LIVE)


async def _parts(connection: asyncpg.pool.PoolConnectionProxy, month: date) -> list[SealedPart]:
    return [SealedPart(*row.values()) for row in await connection.fetch(PARTS, month)]


async def _compare_keys(connection: asyncpg.pool.PoolConnectionProxy, month: date, batch: Batch) -> None:
    """A key stays in the database for ever, and must be what the file has of it."""
    keys = {(entry[REFERENCE], entry[0], entry[-1]) for entry in batch.entries}
    found = await connection.fetch(KEYS, [entry[REFERENCE] for entry in batch.entries])
    if missing := keys.difference(tuple(row) for row in found):
        reference, entry_id, _ = min(missing, key=str)
        raise ArchiveBroken(
            f"{month:%Y-%m}: the key {reference} of entry {entry_id} is not in the database as in the file"
        )


async def _copy_rows(connection: asyncpg.pool.PoolConnectionProxy, month: date, table: Table, rows: list[Row]) -> None:
    async def content() -> AsyncGenerator[bytes]:
        yield await _in_thread(copied, table, rows)

    await connection.copy_to_table(
        f"{table.name}_{month:%Y%m}", schema_name="ledger", source=content(), columns=table.names, format="binary"
    )


def _rows(records: list[asyncpg.Record]) -> list[Row]:
    return [tuple(record.values()) for record in records]


def _files_of(month: date) -> list[str]:
    return [parquet_name(month, table).partition("/")[2] for table in (SEALED_ENTRY, POSTING)]


def _entries_of_window(month: date) -> str:
    """The month's entries between two transactions, with their fingerprints, in the order of the seal's digest."""
    return f"""
        SELECT {ENTRY.selected("e")}, k.{FINGERPRINT[0]}
        FROM ledger.entry_{month:%Y%m} e
        LEFT JOIN ledger.entry_key k ON k.reference = e.reference AND k.entry_id = e.entry_id
        WHERE e.xid >= $1 AND e.xid < $2
        ORDER BY e.entry_id
    """  # noqa: S608  a date and our own columns


def _postings_of_window(month: date) -> str:
    return f"""
        SELECT {POSTING.selected("p")}
        FROM ledger.entry_{month:%Y%m} e JOIN ledger.posting_{month:%Y%m} p USING (entry_id, posted_at)
        WHERE e.xid >= $1 AND e.xid < $2
        ORDER BY p.entry_id, p.account_id
    """  # noqa: S608  a date and our own columns


REFERENCE = SEALED_ENTRY.names.index("reference")
XID = SEALED_ENTRY.names.index("xid")

ARCHIVED = """
SELECT month, state, entries, postings, archived_at, archived_by, encode(manifest_digest, 'hex'), changed_at
FROM ledger.archived_month
"""
MONTHS = f"""
{ARCHIVED}
UNION ALL
SELECT month, 'live', NULL, NULL, NULL, NULL, NULL, NULL
FROM ledger.attached_months() AS month WHERE month NOT IN (SELECT month FROM ledger.archived_month)
ORDER BY month
"""  # noqa: S608  our own text
PARTS = """
SELECT seal_id, s.from_xid, s.upto_xid, encode(s.root, 'hex'), p.rows, encode(p.digest, 'hex')
FROM ledger.seal_part p JOIN ledger.seal s USING (seal_id) WHERE p.month = $1 ORDER BY seal_id
"""
KEYS = "SELECT reference, entry_id, fingerprint FROM ledger.entry_key WHERE reference = ANY ($1)"
RECORD = "SELECT ledger.record_archive($1, $2, $3, $4, $5)"
DROP = "SELECT ledger.drop_archived($1, $2, $3)"
