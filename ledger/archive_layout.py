"""What of a month's rows is kept for ever, column by column, and how a row is digested and sent to the database.

One list says it all: what is read, what a file holds, what a seal's digest covers (`entry_leaves_1` in
schema/0011_seals.sql, whose order of columns this is), and what is written when a month comes back. Knows of no file
and no connection.

A row is a tuple in the order of its columns. An instant is in microseconds since 1970, UTC; `INFINITY` never comes.
"""

import hashlib
import operator
import struct
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Any

Value = int | str | bytes | None
Row = tuple[Value, ...]

INFINITY = 2**63 - 1  # as Postgres keeps it
POSTGRES_EPOCH = 946_684_800_000_000  # 2000-01-01, where Postgres begins to count: microseconds since 1970
COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # of Postgres's binary COPY: signature, no flags, no extension
COPY_TRAILER = struct.pack("!h", -1)
NULL = struct.pack("!i", -1)  # stands where a field's length would

_int32 = struct.Struct("!i")
_int64 = struct.Struct("!iq")  # its length, and itself
_uint64 = struct.Struct("!iQ")


class Type(IntEnum):
    """A column's type, by the number that Postgres has for it."""

    BYTEA = 17
    BIGINT = 20
    TEXT = 25
    TIMESTAMPTZ = 1184
    XID8 = 5069


def _text(value: str) -> bytes:
    text = value.encode()
    return _int32.pack(len(text)) + text


# A field as Postgres sends it: its length in bytes, and its bytes.
FIELDS: dict[Type, Callable[[Any], bytes]] = {
    Type.BYTEA: lambda value: _int32.pack(len(value)) + value,
    Type.BIGINT: lambda value: _int64.pack(8, value),
    Type.TEXT: _text,
    Type.TIMESTAMPTZ: lambda value: _int64.pack(8, value if value == INFINITY else value - POSTGRES_EPOCH),
    Type.XID8: lambda value: _uint64.pack(8, value),
}


class Table:
    """The columns of one of the two tables of a month."""

    def __init__(self, name: str, *columns: tuple[str, Type]) -> None:
        self.name = name
        self.columns = columns
        self.names = [name for name, _ in columns]
        self._fields = [FIELDS[kind] for _, kind in columns]
        self._types = [_int32.pack(kind) for _, kind in columns]

    def selected(self, alias: str) -> str:
        """The SQL that selects the columns as `Value`s from the table of that alias."""
        return ", ".join(_selected(f"{alias}.{name}", kind) for name, kind in self.columns)

    def fields(self, row: Row) -> list[bytes]:
        """The row's fields, as Postgres sends them."""
        return [NULL if value is None else field(value) for field, value in zip(self._fields, row, strict=True)]

    def record(self, row: Row) -> bytes:
        """The row as Postgres's `record_send` has it: how many fields, then the type of each before it."""
        typed = map(operator.add, self._types, self.fields(row))
        return _int32.pack(len(row)) + b"".join(typed)


ENTRY = Table(
    "entry",
    ("entry_id", Type.BIGINT),
    ("posted_at", Type.TIMESTAMPTZ),
    ("effective_at", Type.TIMESTAMPTZ),
    ("reference", Type.TEXT),
    ("operation", Type.TEXT),
    ("kind", Type.TEXT),
    ("nature", Type.TEXT),
    ("actor", Type.TEXT),
    ("why", Type.TEXT),
    ("reverses", Type.TEXT),
    ("currency", Type.TEXT),
    ("hold", Type.TEXT),
    ("hold_amount", Type.BIGINT),
    ("hold_expires_at", Type.TIMESTAMPTZ),
    ("bounded_account", Type.BIGINT),
    ("available_before", Type.BIGINT),
    ("payment", Type.TEXT),
    ("captured", Type.BIGINT),
    ("refunded", Type.BIGINT),
    ("disputed", Type.BIGINT),
    ("xid", Type.XID8),
)
FINGERPRINT = ("fingerprint", Type.BYTEA)
SEALED_ENTRY = Table("entry", *ENTRY.columns, FINGERPRINT)  # with its key's fingerprint, as seals and files have it
POSTING = Table(
    "posting",
    ("entry_id", Type.BIGINT),
    ("account_id", Type.BIGINT),
    ("currency", Type.TEXT),
    ("posted", Type.BIGINT),
    ("pending_debit", Type.BIGINT),
    ("pending_credit", Type.BIGINT),
    ("posted_after", Type.BIGINT),
    ("pending_debit_after", Type.BIGINT),
    ("pending_credit_after", Type.BIGINT),
    ("version", Type.BIGINT),
    ("posted_at", Type.TIMESTAMPTZ),
)


def leaf(entry: Row, postings: Iterable[Row]) -> bytes:
    """Digest a sealed entry with its postings, which come in the order of their accounts."""
    digest = hashlib.sha256(SEALED_ENTRY.record(entry))
    for posting in postings:
        digest.update(POSTING.record(posting))
    return digest.digest()


def copied(table: Table, rows: Iterable[Row]) -> bytes:
    """The rows as binary COPY takes them."""
    count = struct.pack("!h", len(table.columns))
    return COPY_HEADER + b"".join(count + b"".join(table.fields(row)) for row in rows) + COPY_TRAILER


def _selected(column: str, kind: Type) -> str:
    if kind is not Type.TIMESTAMPTZ:
        return column
    return (
        f"CASE WHEN isfinite({column}) THEN (extract(epoch FROM {column}) * 1000000)::bigint"
        f" WHEN {column} IS NOT NULL THEN {INFINITY} END"
    )
