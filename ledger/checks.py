"""Verify: recompute everything that the ledger derives, and everything that was sealed, and name what is wrong first.

All checks see one snapshot, so posting goes on meanwhile. Those of derived rows are SQL (ledger/schema/0014), one
function each; the seals' roots and signatures are recomputed here, by keys that the database does not hold. What a
finding means and what to do then: docs/ledger-seals.md.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from domain.currencies import EXPONENTS
from ledger.seal_keys import SealPublicKey
from ledger.seals import LAYOUT, Seal, SealFile, SealPart, seals_after

LANES = 2  # checks at once: each keeps a processor of the database busy
SEALS_AT_ONCE = 100  # seals whose rows are one check: some seconds of work, so that progress is seen
CHAIN_PAGE = 1000  # seals read at a time while the chain is walked

SCHEMA = Path(__file__).parent / "schema"

Connection = asyncpg.Connection


@dataclass(frozen=True, slots=True)
class Broken:
    """The first row that a check found wrong."""

    what: str
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class Check:
    """One check that was made. `rows` is how many it has read, where that says more than its time."""

    name: str
    seconds: float
    rows: int | None
    broken: Broken | None


@dataclass(frozen=True, slots=True)
class Result:
    broken: Broken | None
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    name: str
    run: Callable[[Connection], Awaitable[Result]]


# In the order in which they are reported: the first names the row most precisely.
DERIVED = (
    ("entries sum to zero", "check_zero_sum", "posting"),
    ("running balances", "check_running_balances", "posting"),
    ("time order", "check_time_order", "posting"),
    ("keys", "check_keys", "entry_key"),
    ("postings have their entry", "check_postings", "posting"),
    ("bounds of gates", "check_bounds", "entry"),
    ("holds", "check_holds", "hold"),
    ("refundable", "check_refundable", "refundable"),
    ("reserved", "check_reserved", "refundable"),
    ("accounts", "check_accounts", "account"),
    ("transactions", "check_transactions", None),
    ("archive", "verify_archive", "archived_month"),
)


class Verifier:
    """Verifies the ledger behind a pool whose role may read it.

    `keys` are the public keys of all who ever sealed: without any, signatures are not checked, and whoever can change
    the database can make seals that look right. `file` is the file of seals: without it, a missing tail is not found.
    """

    def __init__(self, pool: asyncpg.Pool, keys: Iterable[SealPublicKey] = (), file: SealFile | None = None) -> None:
        self._pool = pool
        self._keys = {key.id: key for key in keys}
        self._file = file

    async def first_broken(self, progress: Callable[[Check], None] = lambda check: None) -> Broken | None:
        """Make all checks, telling `progress` of each; stop at the first that finds a broken row, and return it."""
        async with contextlib.aclosing(self.checks()) as checks:
            async for check in checks:
                progress(check)
                if check.broken:
                    return check.broken
        return None

    async def checks(self, lanes: int = LANES) -> AsyncGenerator[Check]:
        """Make all checks, `lanes` at a time, and yield them in their order as they are done."""
        told = self._told()  # before the snapshot: a seal is in the database before it is in the file
        async with AsyncExitStack() as stack:
            idle: asyncio.Queue[Connection] = asyncio.Queue()
            snapshot: str | None = None
            for _ in range(lanes):
                connection = await stack.enter_async_context(self._pool.acquire())
                snapshot = await stack.enter_async_context(_one_snapshot(connection, snapshot))
                idle.put_nowait(connection)  # pyright: ignore[reportArgumentType]  a pool's proxy is one
            first = idle.get_nowait()
            jobs = await self._jobs(first, told)
            idle.put_nowait(first)
            tasks = [asyncio.create_task(_made(job, idle)) for job in jobs]
            try:
                for task in tasks:
                    yield await task
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _jobs(self, connection: Connection, told: "dict[int, bytes] | Broken") -> list[Job]:
        newest = await connection.fetchval("SELECT coalesce(max(seal_id), 0) FROM ledger.seal")
        chain = "chain and signatures of seals" if self._keys else "chain of seals (no key: signatures not checked)"
        return [
            Job("functions and guards", _check_released),
            Job("currencies", _check_currencies),
            *(Job(name, _derived(function, table)) for name, function, table in DERIVED),
            Job(chain, lambda connection: self._check_chain(connection, told)),
            *(Job(f"rows of seals {first} to {min(first + SEALS_AT_ONCE - 1, newest)}", _sealed_rows(first))
              for first in range(1, newest + 1, SEALS_AT_ONCE)),
        ]  # fmt: skip

    def _told(self) -> "dict[int, bytes] | Broken":
        """The roots of the file of seals, by seal; or what is wrong with the file."""
        told: dict[int, bytes] = {}
        for seal in self._file or ():
            known = told.get(seal.seal_id)
            if known is None and seal.seal_id != len(told) + 1:
                return Broken(
                    "the file of seals lacks a seal", f"seal {len(told) + 1}", f"found {seal.seal_id} instead"
                )
            if known not in (None, seal.root):  # the same again is a sealer's that was killed, or of two at once
                return Broken("the file of seals has two of one number", f"seal {seal.seal_id}", "")
            told[seal.seal_id] = seal.root
        return told

    async def _check_chain(self, connection: Connection, told: "dict[int, bytes] | Broken") -> Result:
        """Walk the chain: each seal continues the one before, is what its root says, is signed, and is in the file."""
        if isinstance(told, Broken):
            return Result(told)
        last: Seal | None = None
        while page := await seals_after(connection, last.seal_id if last else 0, CHAIN_PAGE):
            for seal in page:
                wrong = self._wrong_with(seal, last, told)
                if wrong:
                    number = last.seal_id + 1 if last else 1
                    return Result(Broken(wrong, f"seal {min(number, seal.seal_id)}", f"sealed at {seal.sealed_at}"))
                last = seal
        newest = last.seal_id if last else 0
        if told and max(told) > newest:
            return Result(Broken("a seal was taken away", f"seal {newest + 1}", f"the file has {max(told)}"))
        return Result(None, newest)

    def _wrong_with(self, seal: Seal, last: Seal | None, told: dict[int, bytes]) -> str | None:
        """What is wrong with one seal after the one before; None where nothing is."""
        if seal.seal_id != (last.seal_id + 1 if last else 1):
            return "a seal is missing"
        if (seal.from_xid, seal.previous) != ((last.upto_xid, last.root) if last else (0, b"")):
            return "a seal does not continue the one before it"
        if seal.layout != LAYOUT or seal.root != seal.computed_root:
            return "a seal's root is not that of what it says"
        if told.get(seal.seal_id, seal.root) != seal.root:
            return "a seal is another than in the file of seals"
        if self._keys and seal.key_id not in self._keys:
            return f"a seal is signed by a key that is not known, {seal.key_id}"
        if self._keys and not self._keys[seal.key_id].signed(seal.root, seal.signature):
            return "a seal's signature is wrong"
        return None


@contextlib.asynccontextmanager
async def _one_snapshot(connection: "asyncpg.pool.PoolConnectionProxy", snapshot: str | None) -> AsyncGenerator[str]:
    """Begin to read on the snapshot, or on a new one; yield its name. No month goes out or comes back meanwhile."""
    transaction = connection.transaction(isolation="repeatable_read", readonly=True)
    await transaction.start()
    try:
        if snapshot is None:
            await connection.execute("LOCK TABLE ledger.archived_month IN ACCESS SHARE MODE")
            snapshot = await connection.fetchval("SELECT pg_export_snapshot()")
        else:
            await connection.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
        await connection.execute("SET LOCAL jit = off")  # it compiles longer than it saves
        await connection.execute("SET LOCAL work_mem = '64MB'")  # joins of all entries; a lane has one or two at once
        assert snapshot is not None
        yield snapshot
    finally:
        await transaction.rollback()


async def _made(job: Job, idle: "asyncio.Queue[Connection]") -> Check:
    connection = await idle.get()
    try:
        begun = time.monotonic()
        result = await job.run(connection)
        return Check(job.name, time.monotonic() - begun, result.rows, result.broken)
    finally:
        idle.put_nowait(connection)


def _derived(function: str, table: str | None) -> Callable[[Connection], Awaitable[Result]]:
    async def run(connection: Connection) -> Result:
        row = await connection.fetchrow(f"SELECT broken, subject, detail FROM ledger.{function}() LIMIT 1")  # noqa: S608  names of ours
        if row:
            return Result(Broken(row["broken"], row["subject"], row["detail"] or ""))
        return Result(None, await connection.fetchval(f"SELECT count(*) FROM ledger.{table}") if table else None)  # noqa: S608

    return run


def _sealed_rows(first: int) -> Callable[[Connection], Awaitable[Result]]:
    """Recompute the parts of the seals from `first` on. Parts of months that are out are the archive's to prove."""

    async def run(connection: Connection) -> Result:
        rows = 0
        out = {row["month"] for row in await connection.fetch(MONTHS_OUT)}
        for seal in await seals_after(connection, first - 1, SEALS_AT_ONCE):
            kept = {(part.source, part.month): part for part in seal.parts if part.month not in out}
            found = {
                (row["source"], row["month"]): SealPart(row["source"], row["month"], row["rows"], row["digest"])
                for row in await connection.fetch(PARTS, str(seal.from_xid), str(seal.upto_xid))
            }
            if kept != found:
                differ = next(key for key in [*kept, *found] if kept.get(key) != found.get(key))
                return Result(await _first_changed(connection, seal, *differ))
            rows += sum(part.rows for part in found.values())
        return Result(None, rows)

    return run


async def _first_changed(connection: Connection, seal: Seal, source: str, month: object) -> Broken:
    """Find the first row of a part that is not the one that was sealed, by the marks that were kept of each."""
    marks = await connection.fetchval(MARKS, seal.seal_id, source, month) or b""
    rows = await connection.fetch(LEAVES, str(seal.from_xid), str(seal.upto_xid), source, month)
    kept = [marks[at : at + 4] for at in range(0, len(marks), 4)]
    same = 0
    while same < min(len(kept), len(rows)) and rows[same]["mark"] == kept[same]:
        same += 1
    detail = f"seal {seal.seal_id}, {len(kept)} rows sealed, {len(rows)} found"
    if len(rows) < len(kept):
        after = f"{source} after {await _name(connection, source, rows[same - 1])}" if same else f"the first {source}"
        return Broken("a sealed row is missing", after, detail)
    if same == len(rows):
        return Broken("sealed rows are not what was sealed", f"seal {seal.seal_id}, {source}", detail)
    what = "a row was put among sealed ones" if len(rows) > len(kept) else "a sealed row was changed"
    return Broken(what, f"{source} {await _name(connection, source, rows[same])}", detail)


async def _name(connection: Connection, source: str, row: asyncpg.Record) -> str:
    name = await connection.fetchval(NAMES[source], row["number"])
    return f"{row['number']} ({name})"


async def _check_released(connection: Connection) -> Result:
    """The ledger's functions are those of this release, and its guards stand on every table that they belong on."""
    released = "\n".join(path.read_text() for path in sorted(SCHEMA.glob("*.sql")))
    functions = await connection.fetch(FUNCTIONS)
    for function in functions:
        text = (
            function["source"] or f"CREATE FUNCTION ledger.{function['name']}("
        )  # a bare RETURN is kept without its text
        if text not in released:
            return Result(Broken("a function is not the one that was released", function["name"], ""))
    for guard in await connection.fetch(GUARDS):
        return Result(Broken("a table has lost its guard", guard["table"], guard["name"]))
    return Result(None, len(functions))


async def _check_currencies(connection: Connection) -> Result:
    """The currencies' exponents are those of ISO 4217."""
    rows = await connection.fetch("SELECT code, exponent FROM ledger.currency")
    found = {row["code"]: row["exponent"] for row in rows}
    for code in sorted(found.keys() | EXPONENTS.keys()):
        if found.get(code) != EXPONENTS.get(code):
            return Result(Broken("a currency has another exponent", code, str(found.get(code))))
    return Result(None, len(found))


PARTS = "SELECT source, month, rows, digest FROM ledger.window_parts_1($1::text::xid8, $2::text::xid8)"
MONTHS_OUT = "SELECT month FROM ledger.archived_month WHERE state IN ('detached', 'dropped')"
MARKS = "SELECT marks FROM ledger.seal_part WHERE seal_id = $1 AND source = $2 AND month IS NOT DISTINCT FROM $3"
LEAVES = """
SELECT number, substr(leaf, 1, 4) AS mark FROM ledger.window_leaves_1($1::text::xid8, $2::text::xid8)
WHERE source = $3 AND month IS NOT DISTINCT FROM $4 ORDER BY number
"""
NAMES = {
    "entry": "SELECT reference FROM ledger.entry WHERE entry_id = $1 LIMIT 1",
    "rejection": "SELECT reference FROM ledger.rejection WHERE entry_id = $1",
    "event": "SELECT action || ' ' || subject FROM ledger.event WHERE id = $1",
}
FUNCTIONS = """
SELECT proname::text AS name, CASE WHEN prosqlbody IS NULL THEN prosrc END AS source
FROM pg_catalog.pg_proc WHERE pronamespace = 'ledger'::regnamespace ORDER BY proname
"""
GUARDS = """
WITH wanted AS (
    SELECT c.oid, c.relname::text AS "table", g.name
    FROM pg_catalog.pg_class c
    CROSS JOIN LATERAL (VALUES
        ('append_only', c.relname ~ '^(currency|account|entry_key|rejection|event|seal|seal_part|opening_.*)$'
            OR c.relname ~ '^(entry|posting)(_[0-9]{6})?$'),
        ('zero_sum', c.relname ~ '^posting(_[0-9]{6})?$'),
        ('never_deleted', c.relname IN ('balance', 'hold', 'refundable', 'archived_month')),
        ('same_account', c.relname = 'balance'),
        ('same_hold', c.relname = 'hold'),
        ('same_payment', c.relname = 'refundable')
    ) AS g (name, belongs)
    WHERE c.relnamespace = 'ledger'::regnamespace AND c.relkind IN ('r', 'p') AND g.belongs
)
SELECT w."table", w.name FROM wanted w
LEFT JOIN pg_catalog.pg_trigger t ON t.tgrelid = w.oid AND t.tgname = w.name AND t.tgenabled IN ('O', 'A')
WHERE t.oid IS NULL ORDER BY 1, 2 LIMIT 1
"""  # fmt: skip
