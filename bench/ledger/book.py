"""The product's own book on the bench's server: migrated, its accounts open, posted to as a worker does."""

import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg

from bench.ledger.floors import HERE
from bench.ledger.load import BOOK, CURRENCY
from bench.ledger.server import Server, pool_of
from domain.ids import Reference
from ledger.journal import Journal
from workers.migrations import APP_ROLE, migrate

PASSWORD = "bench"  # of a role on a server that nobody else reaches
CONNECTIONS = 4  # above the writer's lanes


@dataclass(frozen=True)
class Book:
    """A database of the product, and a journal whose connections are those of the product's own role."""

    name: str
    admin: asyncpg.Connection  # the superuser's, for what is measured and not posted
    pool: asyncpg.Pool
    journal: Journal
    acknowledged: list[Reference] = field(default_factory=list[Reference])

    async def number(self, query: str, *arguments: object) -> float:
        """Ask the server for one number."""
        return float(await self.admin.fetchval(query, *arguments))


@asynccontextmanager
async def new_book(server: Server, name: str, setting: str | None = None) -> AsyncGenerator[Book]:
    """Make a database of the product with the accounts of the load in it; `setting` is for all who connect to it."""
    connection = await asyncpg.connect(server.url())
    await connection.execute(f"CREATE DATABASE {name}")
    await migrate(server.url(name), PASSWORD)
    if setting:
        await connection.execute(f"ALTER DATABASE {name} SET {setting}")
    await connection.close()
    admin = await asyncpg.connect(server.url(name))
    await admin.execute(
        "SELECT ledger.open_accounts($1, $2, $3, 'bench')",
        [account.code for account in BOOK], [CURRENCY] * len(BOOK), [int(account.normal) for account in BOOK],
    )  # fmt: skip
    await admin.execute("VACUUM ANALYZE")
    url = server.cluster.url(name, user=APP_ROLE, password=PASSWORD)
    async with pool_of(url, CONNECTIONS) as pool:
        yield Book(name, admin, pool, Journal(pool))
    await admin.close()


def grow(server: Server, book: Book, entries: int) -> None:
    """Put so many entries of two postings into a fresh book, half of them debiting its first account."""
    subprocess.run(
        [server.program("psql"), "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", f"--set=entries={entries}",
         f"--file={HERE / 'grown.sql'}", book.name],
        env=server.environment, stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
