"""Seals: what has been committed is digested window by window, chained, signed, and told to a file off the database.

The database digests the rows (ledger/schema/0011); here a seal's root is made, signed and kept twice. What a seal
proves and what it does not: docs/ledger-seals.md. Verifying them is `checks.py`; this module never judges a row.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import asyncpg

from domain.errors import HoldfastError
from ledger.seal_keys import SealKey

LAYOUT = 1  # which columns are digested, and how: ledger/schema/0011
ROWS_MAX = 20_000  # of a window: digested in under a second, and few enough to search for the one that was changed
WINDOWS_MAX = 500  # of one call: ten million rows, some minutes; the next call goes on
TAIL_BYTES = 64 * 1024  # holds the last line of the file many times over

TAKEN = "HF003"  # of ledger.add_seal: another sealer was quicker

RESTARTED = "SELECT ledger.sealed_upto() > pg_snapshot_xmax(pg_current_snapshot())"
NEXT_WINDOW = "SELECT from_xid::text AS from_xid, upto_xid::text AS upto_xid FROM ledger.next_window($1)"
WINDOW_PARTS = """
SELECT source, month, rows, digest, marks FROM ledger.window_parts_1($1::text::xid8, $2::text::xid8)
"""
ADD_SEAL = """
SELECT ledger.add_seal(
    ROW($1, $2, $3::text::xid8, $4::text::xid8, $5, $6, $7, $8, $9, $10)::ledger.seal,
    (SELECT array_agg(ROW($1, source, month, rows, digest, marks)::ledger.seal_part)
     FROM unnest($11::text[], $12::date[], $13::bigint[], $14::bytea[], $15::bytea[])
       AS part (source, month, rows, digest, marks)))
"""
SEALS_AFTER = """
SELECT s.seal_id, s.layout, s.from_xid::text AS from_xid, s.upto_xid::text AS upto_xid, s.rows, s.previous, s.root,
       s.sealed_at, s.key_id, s.signature,
       array_agg(p.source ORDER BY p.source, p.month) AS sources,
       array_agg(p.month ORDER BY p.source, p.month) AS months,
       array_agg(p.rows ORDER BY p.source, p.month) AS part_rows,
       array_agg(p.digest ORDER BY p.source, p.month) AS digests
FROM ledger.seal s LEFT JOIN ledger.seal_part p USING (seal_id)
WHERE s.seal_id > $1 GROUP BY s.seal_id ORDER BY s.seal_id LIMIT $2
"""


class SealsDiffer(HoldfastError):
    """The database and the file of seals tell different stories. Nothing was sealed: see docs/ledger-seals.md."""


class TransactionsRestarted(HoldfastError):
    """The database counts its transactions from below its last seal: it came from a dump. Nothing can be sealed."""


@dataclass(frozen=True, slots=True)
class SealPart:
    """The digest of one kind of rows in a window: `source` is entry (of one month), rejection or event."""

    source: str
    month: date | None
    rows: int
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """A signed window of transaction ids, from `from_xid` to just before `upto_xid`, on top of the seal before it."""

    seal_id: int
    layout: int
    from_xid: int
    upto_xid: int
    parts: tuple[SealPart, ...]
    previous: bytes
    sealed_at: datetime
    key_id: str
    root: bytes = b""
    signature: bytes = b""

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    @property
    def computed_root(self) -> bytes:
        """The SHA-256 of all that the seal says: it is what must stand in `root`, and what is signed."""
        return hashlib.sha256(json.dumps(self._content, separators=(",", ":")).encode()).digest()

    @property
    def line(self) -> str:
        """The seal as a line of the file of seals: JSON, without its end of line."""
        return json.dumps({**self._content, "root": self.root.hex(), "signature": self.signature.hex()})

    @property
    def _content(self) -> dict[str, Any]:
        """What is digested, in this order, for ever."""
        return {
            "layout": self.layout,
            "seal_id": self.seal_id,
            "from_xid": self.from_xid,
            "upto_xid": self.upto_xid,
            "parts": [
                [part.source, part.month and part.month.isoformat(), part.rows, part.digest.hex()]
                for part in self.parts
            ],
            "previous": self.previous.hex(),
            "sealed_at": self.sealed_at.astimezone(UTC).isoformat(timespec="microseconds"),
            "key_id": self.key_id,
        }

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read a line of the file of seals. Raises `ValueError`, `KeyError` or `TypeError` where it is none."""
        content = json.loads(line)
        return cls(
            seal_id=content["seal_id"],
            layout=content["layout"],
            from_xid=content["from_xid"],
            upto_xid=content["upto_xid"],
            parts=tuple(
                SealPart(source, date.fromisoformat(month) if month else None, rows, bytes.fromhex(digest))
                for source, month, rows, digest in content["parts"]
            ),
            previous=bytes.fromhex(content["previous"]),
            sealed_at=datetime.fromisoformat(content["sealed_at"]),
            key_id=content["key_id"],
            root=bytes.fromhex(content["root"]),
            signature=bytes.fromhex(content["signature"]),
        )


class SealFile:
    """The seals off the database, one JSON line each, only ever added to. It is what proves that none was taken away.

    A line that a crash has torn is passed over: its seal stands in the database, and is added again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[Seal]:
        """All seals, oldest first, as they stand there: nothing is judged."""
        if not self._path.exists():
            return
        with self._path.open() as lines:
            for line in lines:
                if seal := _readable(line):
                    yield seal

    @property
    def last(self) -> Seal | None:
        """The newest seal; None in a file that is empty or not there."""
        if not self._path.exists():
            return None
        with self._path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
        return next((seal for line in reversed(lines) if (seal := _readable(line))), None)

    def add(self, seals: Sequence[Seal]) -> None:
        """Add seals at the end, on the disk when this returns."""
        new = not self._path.exists()
        with self._path.open("a+") as file:
            if file.tell() and not self._ends_a_line():
                file.write("\n")
            file.writelines(seal.line + "\n" for seal in seals)
            file.flush()
            os.fsync(file.fileno())
        if new:
            folder = os.open(self._path.parent, os.O_RDONLY)
            os.fsync(folder)  # the file's name
            os.close(folder)

    def _ends_a_line(self) -> bool:
        with self._path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read() == b"\n"


class Sealer:
    """Seals what has been committed, through a pool whose role may (`ledger_sealer`). Of several, one is quicker."""

    def __init__(self, pool: asyncpg.Pool, key: SealKey, file: SealFile) -> None:
        self._pool = pool
        self._key = key
        self._file = file

    async def seal(self, windows_max: int = WINDOWS_MAX) -> list[Seal]:
        """Seal every window that is due, `windows_max` at most; what was written meanwhile is the next call's.

        A seal is in the database first; a crash before it is in the file is made good by the next call. Raises
        `SealsDiffer` where the file has a seal that the database has not, and `TransactionsRestarted` after a dump and
        restore.
        """
        made: list[Seal] = []
        async with self._pool.acquire() as connection:
            last = await self._same_in_both(connection)
            while len(made) < windows_max:
                window = await connection.fetchrow(NEXT_WINDOW, ROWS_MAX)
                if window is None:
                    break
                seal = await self._seal_window(connection, last, int(window["from_xid"]), int(window["upto_xid"]))
                if seal is None:
                    last = await self._same_in_both(connection)
                    continue
                self._file.add([seal])
                made.append(seal)
                last = seal
                if seal.rows < ROWS_MAX:
                    break  # what comes now was not due when this began
        return made

    async def lag(self) -> timedelta:
        """How long the oldest row has been waiting for its seal; zero where none is."""
        return await self._pool.fetchval("SELECT ledger.seal_lag()")

    async def _seal_window(
        self, connection: "asyncpg.pool.PoolConnectionProxy", last: Seal | None, from_xid: int, upto_xid: int
    ) -> Seal | None:
        """Seal one window; None where another sealer was quicker."""
        parts = await connection.fetch(WINDOW_PARTS, str(from_xid), str(upto_xid))
        seal = Seal(
            seal_id=last.seal_id + 1 if last else 1,
            layout=LAYOUT,
            from_xid=from_xid,
            upto_xid=upto_xid,
            parts=tuple(SealPart(part["source"], part["month"], part["rows"], part["digest"]) for part in parts),
            previous=last.root if last else b"",
            sealed_at=datetime.now(UTC),
            key_id=self._key.public.id,
        )
        root = seal.computed_root
        seal = replace(seal, root=root, signature=self._key.sign(root))
        columns = [[part[name] for part in parts] for name in ("source", "month", "rows", "digest", "marks")]
        try:
            await connection.execute(
                ADD_SEAL, seal.seal_id, seal.layout, str(seal.from_xid), str(seal.upto_xid), seal.rows, seal.previous,
                seal.root, seal.sealed_at, seal.key_id, seal.signature, *columns,
            )  # fmt: skip
        except asyncpg.PostgresError as failure:
            if failure.sqlstate == TAKEN:
                return None
            raise
        return seal

    async def _same_in_both(self, connection: "asyncpg.pool.PoolConnectionProxy") -> Seal | None:
        """Bring the file up to the database, and return the last seal of both."""
        if await connection.fetchval(RESTARTED):
            raise TransactionsRestarted(
                "transaction ids are below the last seal's: docs/ledger-seals.md, after a restore"
            )
        told = self._file.last
        known = await seals_after(connection, told.seal_id - 1 if told else 0)
        if told and (not known or known[0] != told):
            raise SealsDiffer(
                f"seal {told.seal_id} of the file is not the database's: rows were taken away or put back"
            )
        missing = known[1:] if told else known
        self._file.add(missing)
        return missing[-1] if missing else told


async def seals_after(
    connection: "asyncpg.Connection | asyncpg.pool.PoolConnectionProxy", seal_id: int, limit: int | None = None
) -> list[Seal]:
    """Read the seals after one, oldest first, as they stand in the database: nothing is judged."""
    return [
        Seal(
            seal_id=row["seal_id"],
            layout=row["layout"],
            from_xid=int(row["from_xid"]),
            upto_xid=int(row["upto_xid"]),
            parts=tuple(
                SealPart(*part)
                for part in zip(row["sources"], row["months"], row["part_rows"], row["digests"], strict=True)
                if part[0] is not None
            ),
            previous=row["previous"],
            sealed_at=row["sealed_at"],
            key_id=row["key_id"],
            root=row["root"],
            signature=row["signature"],
        )
        for row in await connection.fetch(SEALS_AFTER, seal_id, limit)
    ]


def _readable(line: str) -> Seal | None:
    try:
        return Seal.parse(line)
    except (ValueError, KeyError, TypeError):
        return None
