"""The files of an archived month: two in Parquet, and a manifest that says what is in them.

`entry.parquet` has the entries in the order in which they were sealed, `posting.parquet` their postings in the same
order, then by account; so both are read once, side by side, in bounded memory. Each file appears under its name only
when it is complete and on the disk. Knows nothing of the database.
"""

import hashlib
import json
import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from itertools import chain
from pathlib import Path
from typing import IO, Any, Protocol, Self

import pyarrow  # pyright: ignore[reportMissingTypeStubs]
import pyarrow.parquet  # pyright: ignore[reportMissingTypeStubs]

from domain.errors import HoldfastError
from ledger.archive_layout import POSTING, SEALED_ENTRY, Row, Table, Type

pa: Any = pyarrow  # it comes without types; nothing of it leaves this file
parquet: Any = pyarrow.parquet

FORMAT = 1  # of manifest and files together
GROUP_ROWS = 50_000  # rows that are compressed together: some megabytes, which is what a reader has in memory
READ_ROWS = 10_000
CHUNK_BYTES = 1 << 20

PARQUET_TYPES = {
    Type.BYTEA: pa.binary(),
    Type.BIGINT: pa.int64(),
    Type.TEXT: pa.string(),
    Type.TIMESTAMPTZ: pa.timestamp("us", tz="UTC"),
    Type.XID8: pa.uint64(),
}


class ArchiveBroken(HoldfastError):
    """Files, manifest and database do not agree. Nothing was changed; somebody must find out which of them is right."""


class Store(Protocol):
    """Where files are kept: a folder, or a bucket."""

    @contextmanager
    def create(self, name: str) -> Generator[IO[bytes]]:
        """Write a file. It is there under its name, durably, once this is left without an error; not before."""
        ...

    def open(self, name: str) -> IO[bytes]:
        """Read a file, from any position. Raises `FileNotFoundError`."""
        ...

    def exists(self, name: str) -> bool: ...


class FolderStore:
    """A folder of this machine, or one that is mounted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def create(self, name: str) -> Generator[IO[bytes]]:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
        try:
            with unfinished.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
            _sync_folder(path.parent)  # else a power cut may forget the name
        finally:
            unfinished.unlink(missing_ok=True)

    def open(self, name: str) -> IO[bytes]:
        return (self._folder / name).open("rb")

    def exists(self, name: str) -> bool:
        return (self._folder / name).exists()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class SealedPart:
    """What one seal holds of the month: the transactions of its window, how many entries, and their digest."""

    seal_id: int
    from_xid: int
    upto_xid: int  # itself not in the window
    root: str  # of the seal
    entries: int
    digest: str


@dataclass(frozen=True, slots=True)
class Sums:
    """Of one currency: the month's posted debits (its credits are as many), and what it did to the pending layers."""

    posted_debits: int
    pending_debit: int
    pending_credit: int


@dataclass(frozen=True, slots=True)
class FileDigest:
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Contents:
    """What two files hold, whoever counted it."""

    entries: int
    postings: int
    sums: dict[str, Sums]  # by currency


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive says of itself. Digests are hexadecimal SHA-256."""

    format: int
    month: str  # YYYY-MM
    schema: str  # the ledger's last migration when it was written
    written_at: str
    written_by: str
    contents: Contents
    digest: str  # of the parts' digests, in the order of the seals
    files: dict[str, FileDigest]
    seals: tuple[SealedPart, ...]

    def encoded(self) -> bytes:
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode()

    @classmethod
    def decoded(cls, content: bytes) -> Self:
        """Raises `ArchiveBroken` where this is no manifest."""
        try:
            read = json.loads(content)
            contents = read.pop("contents")
            sums = {currency: Sums(**each) for currency, each in contents.pop("sums").items()}
            files = {name: FileDigest(**each) for name, each in read.pop("files").items()}
            seals = tuple(SealedPart(**each) for each in read.pop("seals"))
            manifest = cls(**read, contents=Contents(**contents, sums=sums), files=files, seals=seals)
        except (ValueError, TypeError, KeyError, AttributeError) as failure:
            raise ArchiveBroken(f"the manifest cannot be read: {failure}") from failure
        if manifest.format != FORMAT:
            raise ArchiveBroken(f"the manifest is of format {manifest.format}; this release reads {FORMAT}")
        return manifest


def file_name(month: date, name: str) -> str:
    """The name of a file of a month in the store."""
    return f"{month:%Y-%m}/{name}"


def parquet_name(month: date, table: Table) -> str:
    return file_name(month, f"{table.name}.parquet")


def manifest_name(month: date) -> str:
    return file_name(month, "manifest.json")


def digest_of_parts(parts: Iterable[SealedPart]) -> str:
    return hashlib.sha256(b"".join(bytes.fromhex(part.digest) for part in parts)).hexdigest()


def digest_of_file(store: Store, name: str) -> FileDigest:
    digest = hashlib.sha256()
    size = 0
    with store.open(name) as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return FileDigest(size, digest.hexdigest())


class Count:
    """Counts rows as they pass."""

    def __init__(self) -> None:
        self._entries = 0
        self._postings = 0
        self._sums: dict[str, list[int]] = {}

    def add(self, entries: int, postings: Iterable[Row]) -> None:
        self._entries += entries
        rows: Iterable[Any] = postings
        for _, _, currency, posted, debit, credit, *_ in rows:
            sums = self._sums.setdefault(currency, [0, 0, 0])
            sums[0] += max(0, posted)
            sums[1] += debit
            sums[2] += credit
            self._postings += 1

    @property
    def contents(self) -> Contents:
        return Contents(self._entries, self._postings, {key: Sums(*each) for key, each in sorted(self._sums.items())})


@contextmanager
def writing_month(store: Store, month: date) -> Generator["MonthWriter"]:
    """Write the two files of a month. They are there once this is left without an error."""
    with (
        store.create(parquet_name(month, SEALED_ENTRY)) as entries,
        store.create(parquet_name(month, POSTING)) as postings,
        parquet.ParquetWriter(entries, _schema(SEALED_ENTRY), compression="zstd") as entry_writer,
        parquet.ParquetWriter(postings, _schema(POSTING), compression="zstd") as posting_writer,
    ):
        writer = MonthWriter(entry_writer, posting_writer)
        yield writer
        writer.flush()


class MonthWriter:
    """Gathers rows until there are enough to be compressed together."""

    def __init__(self, entry_writer: Any, posting_writer: Any) -> None:
        self._writers = ((SEALED_ENTRY, entry_writer), (POSTING, posting_writer))
        self._waiting: dict[str, list[Row]] = {SEALED_ENTRY.name: [], POSTING.name: []}
        self.count = Count()

    def write(self, entries: Sequence[Row], postings: Sequence[Row]) -> None:
        """Add whole entries, and their postings in the same order, then by account."""
        self.count.add(len(entries), postings)
        self._waiting[SEALED_ENTRY.name].extend(entries)
        self._waiting[POSTING.name].extend(postings)
        self.flush(at_least=GROUP_ROWS)

    def flush(self, at_least: int = 1) -> None:
        """Write what is waiting of a table, where that is so many rows."""
        for table, writer in self._writers:
            if len(rows := self._waiting[table.name]) >= at_least:
                writer.write_batch(_batch(table, rows))
                self._waiting[table.name] = []


def _schema(table: Table) -> Any:
    return pa.schema([(name, PARQUET_TYPES[kind]) for name, kind in table.columns])


def _batch(table: Table, rows: list[Row]) -> Any:
    columns = [
        pa.array(values, pa.int64()).cast(PARQUET_TYPES[kind])
        if kind is Type.TIMESTAMPTZ
        else pa.array(values, PARQUET_TYPES[kind])
        for (_, kind), values in zip(table.columns, zip(*rows, strict=True), strict=True)
    ]
    return pa.record_batch(columns, schema=_schema(table))


@dataclass(frozen=True, slots=True)
class Batch:
    """Some entries with the postings of each, in the order of the file."""

    entries: list[Row]
    postings: list[list[Row]]

    @property
    def all_postings(self) -> Iterable[Row]:
        return chain.from_iterable(self.postings)


def read_month(store: Store, month: date) -> Generator[Batch]:
    """Read the two files of a month side by side.

    Raises `ArchiveBroken` where they are no such files, or a posting stands at no entry.
    """
    with store.open(parquet_name(month, SEALED_ENTRY)) as entries, store.open(parquet_name(month, POSTING)) as postings:
        following = chain.from_iterable(_read(POSTING, postings))
        posting = next(following, None)
        for batch in _read(SEALED_ENTRY, entries):
            gathered: list[list[Row]] = []
            for entry in batch:
                own: list[Row] = []
                while posting and posting[0] == entry[0]:
                    own.append(posting)
                    posting = next(following, None)
                gathered.append(own)
            yield Batch(batch, gathered)
        if posting:
            raise ArchiveBroken(f"{month:%Y-%m}: a posting of entry {posting[0]} stands where no entry is")


def _read(table: Table, file: IO[bytes]) -> Generator[list[Row]]:
    try:
        source = parquet.ParquetFile(file)
        if not source.schema_arrow.equals(_schema(table)):
            raise ArchiveBroken(f"the file of {table.name} has other columns than this release reads")
        for batch in source.iter_batches(batch_size=READ_ROWS):
            yield list(zip(*_columns(table, batch), strict=True))
    except (pa.ArrowException, OSError) as failure:
        raise ArchiveBroken(f"the file of {table.name} cannot be read: {failure}") from failure


def _columns(table: Table, batch: Any) -> list[list[Any]]:
    return [
        (batch.column(number).cast(pa.int64()) if kind is Type.TIMESTAMPTZ else batch.column(number)).to_pylist()
        for number, (_, kind) in enumerate(table.columns)
    ]
