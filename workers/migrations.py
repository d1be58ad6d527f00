"""The one migration runner: numbered plain SQL of every domain, forward only, each file once and never changed.

Each domain's files run in order, one transaction a file, under an advisory lock, so that several runners are safe.
The login roles exist before the first file; the files grant each what its process may do.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from domain.errors import HoldfastError

DOMAINS = ("records", "ledger", "risk", "identity")  # in this order: a later one may speak of an earlier one's roles
ROOT = Path(__file__).parents[1]
APP_ROLE = "holdfast"  # a person at a prompt; writes the rules of risk
WORKER_ROLE = "holdfast_worker"  # posts, judges, and writes rows; cannot read the ledger
API_ROLE = "holdfast_api"  # reads balances, and writes rows; cannot post
UPKEEP_ROLE = "holdfast_upkeep"  # seals, verifies, archives; can neither post nor touch a payment's rows
LOGINS = (APP_ROLE, WORKER_ROLE, API_ROLE, UPKEEP_ROLE)
ROLE_TRIES = 50  # two and a half seconds of runners that start at the same moment
LOCK = 0x401DFA57  # any number that is ours alone

HISTORY = """
CREATE SCHEMA IF NOT EXISTS holdfast;
CREATE TABLE IF NOT EXISTS holdfast.migration (
    domain     text        NOT NULL,
    name       text        NOT NULL,
    digest     text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (domain, name)
);
"""


class ChangedMigration(HoldfastError):
    """A file differs from what was applied. Nothing was changed; restore the file and write a new one instead."""


@dataclass(frozen=True)
class Migration:
    """One file of one domain."""

    domain: str
    name: str
    sql: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def all_migrations(root: Path = ROOT) -> list[Migration]:
    """List the files of all domains in the order in which they run."""
    return [
        Migration(domain, path.name, path.read_text())
        for domain in DOMAINS
        for path in sorted((root / domain / "schema").glob("[0-9]*.sql"))
    ]


async def migrate(
    admin_url: str, passwords: str | Mapping[str, str], migrations: list[Migration] | None = None
) -> list[str]:
    """Apply what is missing as a superuser; return the names of what was applied.

    `passwords` are those of the login roles, or one for all of them. A role without one keeps what it has; a new role
    without one cannot log in.

    Raises `ChangedMigration` where an applied file has changed, before anything is run.
    """
    connection = await asyncpg.connect(admin_url)
    try:
        for login in LOGINS:
            await _ensure_role(connection, login, passwords if isinstance(passwords, str) else passwords.get(login, ""))
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
        await connection.execute(HISTORY)
        rows = await connection.fetch("SELECT domain, name, digest FROM holdfast.migration")
        applied = {(row["domain"], row["name"]): row["digest"] for row in rows}
        wanted = all_migrations() if migrations is None else migrations
        for migration in wanted:
            known = applied.get((migration.domain, migration.name))
            if known not in (None, migration.digest):
                raise ChangedMigration(f"{migration.domain}/schema/{migration.name} differs from what was applied")
        missing = [each for each in wanted if (each.domain, each.name) not in applied]
        for migration in missing:
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute("RESET ROLE")  # a file may have become its schema's owner
                await connection.execute(
                    "INSERT INTO holdfast.migration (domain, name, digest) VALUES ($1, $2, $3)",
                    migration.domain, migration.name, migration.digest,
                )  # fmt: skip
        return [f"{each.domain}/{each.name}" for each in missing]
    finally:
        await connection.close()  # which gives the lock back


async def _ensure_role(connection: asyncpg.Connection, role: str, password: str) -> None:
    """Create a login role, or give it this password.

    Roles are the cluster's while advisory locks are a database's, so another database's runner may be at it: then
    Postgres says "tuple concurrently updated", and the next try finds its work done.
    """
    secret = f"PASSWORD {await connection.fetchval('SELECT quote_literal($1)', password)}" if password else ""
    for tries_left in reversed(range(ROLE_TRIES)):
        try:
            if await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role):
                if secret:
                    await connection.execute(f"ALTER ROLE {role} {secret}")
            else:
                await connection.execute(f"CREATE ROLE {role} LOGIN {secret}")
            return
        except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError, asyncpg.InternalServerError):
            if not tries_left:
                raise
            await asyncio.sleep(0.05)
