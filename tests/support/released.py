"""Databases of earlier releases, with data in them: `make released` dumps the present one, a test migrates all of them.

A dump is plain SQL of pg_dump, and before it what a dump of one database leaves out: the roles that it speaks of, which
are the cluster's. It is made once, by the release's own code, and never again.
"""

import asyncio
import gzip
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from domain.commands import Prepare, Row
from domain.ids import ClientId, Prefix, Reference, Verb, effect_reference
from domain.money import Money
from domain.outcomes import DONE, Outcome
from identity.standing import Standings
from ledger.account_changes import AccountChanges
from ledger.entry import Entry
from ledger.journal import Journal, Status
from ledger.seal_keys import SealKey
from ledger.seals import Sealer, SealFile
from ledger.settlements import LineKind
from records.approvals import Approvals
from records.calls import CallJournal, Go
from records.claims import Claimed, Claims
from records.inbox import Inbox
from records.operations import Operations
from risk.deny_lists import DenyLists
from risk.gate import Gate
from risk.rules import Subject
from risk.scores import By, Scored, Scores
from tests.support.cluster import Database, TestCluster, running_cluster
from tests.support.ledger_flows import PROVIDER, flows, operation
from workers.embedded import postgres

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "integration" / "released"
RELEASE = str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])
SUFFIX = ".sql.gz"

TOP_UP = "kept-5"  # the key of an entry that every dump has
# What a dump has no row of: it would take a month that is over.
EMPTY = {
    "ledger.archived_month",
    "ledger.opening_balance",
    "ledger.opening_hold",
    "ledger.opening_refundable",
}

ROLES = """
SELECT format('DO $do$ BEGIN CREATE ROLE %I NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $do$;', rolname)
FROM pg_roles WHERE rolname !~ '^pg_' AND NOT rolsuper ORDER BY rolname
"""
MEMBERS = """
SELECT format('GRANT %I TO %I WITH INHERIT %s, SET %s;', r.rolname, m.rolname, inherit_option::text, set_option::text)
FROM pg_auth_members g JOIN pg_roles r ON r.oid = g.roleid JOIN pg_roles m ON m.oid = g.member
WHERE r.rolname !~ '^pg_' ORDER BY r.rolname, m.rolname
"""
COLUMNS = """
SELECT n.nspname || '.' || c.relname AS name, array_agg(quote_ident(a.attname) ORDER BY a.attnum) AS columns
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
WHERE n.nspname IN ('identity', 'ledger', 'records', 'risk') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND a.attnum > 0 AND NOT a.attisdropped
GROUP BY 1 ORDER BY 1
"""


@dataclass(frozen=True)
class Contents:
    """A table's columns as a release had them, and the digest of its rows by these columns."""

    columns: tuple[str, ...]
    rows: int
    digest: str


async def contents(admin_url: str, known: dict[str, Contents] | None = None) -> dict[str, Contents]:
    """Digest each table of the domains; with `known` by the columns that are named there, whatever has been added."""
    connection = await asyncpg.connect(admin_url)
    try:
        await connection.execute("SET timezone TO 'UTC'")
        tables = {row["name"]: tuple(row["columns"]) for row in await connection.fetch(COLUMNS)}
        if known is not None:
            tables = {name: each.columns for name, each in known.items()}
        found: dict[str, Contents] = {}
        for name, columns in tables.items():
            row = await connection.fetchrow(
                f"SELECT count(*), md5(coalesce(string_agg(text, ' ' ORDER BY text), '')) FROM ("
                f'SELECT ROW({", ".join(columns)})::text COLLATE "C" AS text FROM {name}) AS rows'
            )
            assert row is not None
            found[name] = Contents(columns, *row)
        return found
    finally:
        await connection.close()


async def restore(dump: Path, database: Database, cluster: TestCluster) -> None:
    """Bring a release's dump into an empty database. Raises `CalledProcessError` at the first statement that fails."""
    _psql(cluster, database, gzip.decompress(dump.read_bytes()))


def dumps() -> list[Path]:
    """The kept dumps, oldest release first."""
    return sorted(
        FOLDER.glob(f"*{SUFFIX}"), key=lambda path: [int(n) for n in path.name.removesuffix(SUFFIX).split(".")]
    )


async def dump() -> Path:
    """Make a database with the present code, fill it, and keep its dump under the present release's name."""
    async with running_cluster(postgres.DURABLE) as cluster:
        database = await cluster.create()
        async with asyncpg.create_pool(database.url, min_size=1, max_size=4) as pool:
            await _fill_ledger(pool)
            await _fill_records(pool)
            await _fill_risk(pool)
        upkeep = cluster.cluster.url(database.name, user="holdfast_upkeep", password=cluster.password)
        with tempfile.TemporaryDirectory(prefix="holdfast-test-") as folder:
            async with asyncpg.create_pool(upkeep, min_size=1, max_size=1) as pool:
                assert await Sealer(pool, SealKey.generate(), SealFile(Path(folder) / "seals.jsonl")).seal()
        connection = await asyncpg.connect(database.admin_url)
        roles = [row[0] for query in (ROLES, MEMBERS) for row in await connection.fetch(query)]
        await connection.close()
        text = "\n".join([*roles, _pg_dump(cluster, database)])
    FOLDER.mkdir(exist_ok=True)
    target = FOLDER / f"{RELEASE}{SUFFIX}"
    target.write_bytes(gzip.compress(text.encode(), mtime=0))
    return target


def _life() -> list[Entry]:
    """Of each kind of entry one: a payment with all that can become of it, payouts, a top-up in another exponent."""
    payment, second = operation(Prefix.PAYMENT, "kept"), operation(Prefix.PAYMENT, "voided")
    capture, refund = operation(Prefix.CAPTURE, "kept"), operation(Prefix.REFUND, "kept")
    paid, given_up = operation(Prefix.PAYOUT, "kept"), operation(Prefix.PAYOUT, "given up")

    def euro(minor: int) -> Money:
        return Money(minor, "EUR")

    return [
        flows.hold(payment, euro(10_000), 3600),
        flows.capture(capture, payment, euro(6_000), fee=euro(60)),
        flows.capture_line("kept-1", euro(6_000), euro(60)),
        flows.line("kept-2", LineKind.FEE, euro(-25)),
        flows.refund_reserve(refund, payment, euro(1_000)),
        flows.refund_done(refund, payment, euro(1_000)),
        flows.funds_withdrawn("kept-3", payment, euro(500)),
        flows.dispute_lost("kept-4", "kept-3", payment, euro(500)),
        flows.hold(second, euro(2_000), 3600),
        flows.release(second),
        flows.top_up(TOP_UP, euro(20_000)),
        flows.top_up("kept-6", Money(12_345, "KWD")),
        flows.payout_reserve(paid, euro(5_000)),
        flows.payout_accepted(paid, euro(5_000)),
        flows.payout_paid(paid, euro(5_000)),
        flows.payout_reserve(given_up, euro(700)),
        flows.release(given_up),
        flows.exchanged("kept-7", euro(1_000), Money(160_000, "JPY")),
        flows.bank_line("kept-8", euro(333)),
    ]


async def _fill_ledger(pool: asyncpg.Pool) -> None:
    """A life of money; a hold that stands, a refusal, a conflict, a closed account."""
    journal = Journal(pool)
    for entry in _life():
        assert (await journal.post(entry)).status is Status.POSTED, entry.reference
    standing = flows.hold(operation(Prefix.PAYMENT, "open"), Money(700, "JPY"), 3600)
    assert (await journal.post(standing)).status is Status.POSTED
    refused = flows.payout_reserve(operation(Prefix.PAYOUT, "too much"), Money(10**12, "KWD"))
    assert (await journal.post(refused)).status is Status.INSUFFICIENT_FUNDS
    assert (await journal.post(replace(standing, why="another"))).status is Status.CONFLICTING_CONTENT
    assert await AccountChanges(pool, "ada").set_closed("merchant:acme:payable", "KWD", closed=True, why="a test")


async def _fill_records(pool: asyncpg.Pool) -> None:
    """A row of each table."""
    payment, money = operation(Prefix.PAYMENT, "rows"), Money(4_000, "EUR")
    operations, calls, claims = Operations(pool), CallJournal(pool), Claims(pool)
    await operations.admit(
        Prepare(
            operation=payment,
            client="tests",
            merchant=flows.merchant,
            provider=PROVIDER,
            money=money,
            fingerprint="asked",
            admit_until=4e9,
        )
    )
    await operations.write((Row(operation=payment, state="authorized", amount=money, total=Money(0, "EUR")),))
    sent = effect_reference(payment, Verb.AUTHORIZE, 1)
    begun = await calls.begin(PROVIDER, sent, Verb.AUTHORIZE, b"a" * 32, f"payment/{payment}")
    assert isinstance(begun, Go)
    await calls.complete(PROVIDER, sent, Verb.AUTHORIZE, begun.number, DONE, 0.1)
    claimed = await claims.claim(ClientId("tests"), "test", "key", "authorize", b"f" * 32, payment, 30)
    assert isinstance(claimed, Claimed)
    await claims.finish(ClientId("tests"), "test", "key", claimed.fence, 201, {}, b"{}")
    await Inbox(pool).receive(PROVIDER, "evt_1", b"{}")
    gate = Reference(f"{payment}/hold")
    await Approvals(pool).give(f"payment/{payment}", gate, Outcome.DONE, "called the payer", "ann")


async def _fill_risk(pool: asyncpg.Pool) -> None:
    """A row of each table, and a decision."""
    standings = Standings(pool)
    await standings.seed(flows.merchant)
    await DenyLists(pool).write("stolen", "tok_stolen", denied=True, author="ann", why="a test")
    await Scores(pool).receive(
        Scored(by=By.MERCHANT, key=flows.merchant, value=17, source="tests", event="1", scored_at=datetime.now(UTC))
    )
    subject = Subject(
        operation=operation(Prefix.PAYOUT, "judged"),
        kind=Prefix.PAYOUT,
        client="tests",
        merchant=flows.merchant,
        money=Money(100, "EUR"),
    )
    assert (await Gate(pool, standings).decide(subject)).version


def _psql(cluster: TestCluster, database: Database, text: bytes) -> None:
    command = [cluster.cluster.binaries / "psql", "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", database.admin_url]
    ran = subprocess.run(command, input=text, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()[-2000:]


def _pg_dump(cluster: TestCluster, database: Database) -> str:
    command = [cluster.cluster.binaries / "pg_dump", "--no-sync", database.admin_url]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


if __name__ == "__main__":
    sys.stdout.write(f"{asyncio.run(dump()).relative_to(ROOT)}\n")
