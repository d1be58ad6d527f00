"""The calls of the posting functions, seen: which entries went together, in which order, and what was answered."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import asyncpg

from ledger.entry import Entry
from ledger.writer import POST, POST_BATCH, Writer

Item = tuple[Any, ...]  # ledger.item, field by field: reference and fingerprint come first
ACTOR = "tests"


@dataclass(frozen=True)
class Call:
    """One call that was answered: its items, and an answer to each."""

    items: list[Item]
    answers: list[asyncpg.Record]


@dataclass
class SeenPool:
    """A pool that remembers the calls of the posting functions. `by_batch` sends a lone entry as a batch of one."""

    pool: asyncpg.Pool
    by_batch: bool = False
    calls: list[Call] = field(default_factory=list[Call])

    @property
    def as_pool(self) -> asyncpg.Pool:
        return cast(asyncpg.Pool, self)

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        if query not in (POST, POST_BATCH):
            return await self.pool.fetch(query, *arguments)
        items: list[Item] = arguments[0] if query == POST_BATCH else [arguments[0]]
        if self.by_batch or query == POST_BATCH:
            answers = await self.pool.fetch(POST_BATCH, items)
        else:
            answers = await self.pool.fetch(POST, items[0])
        self.calls.append(Call(items, answers))
        return answers

    async def fetchrow(self, query: str, *arguments: Any) -> asyncpg.Record | None:
        return await self.pool.fetchrow(query, *arguments)

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        return await self.pool.fetchval(query, *arguments)

    async def execute(self, query: str, *arguments: Any) -> str:
        return await self.pool.execute(query, *arguments)


@dataclass
class _Laying:
    """A pool that keeps what it is asked to post, and posts nothing."""

    items: list[Item] = field(default_factory=list[Item])

    async def fetch(self, _query: str, asked: Item | list[Item]) -> list[None]:
        self.items += asked if isinstance(asked, list) else [asked]
        return [None]


async def laid_out(entries: Sequence[Entry]) -> list[Item]:
    """Lay entries out as the writer does, without posting them."""
    laying = _Laying()
    writer = Writer(cast(asyncpg.Pool, laying), ACTOR)
    for entry in entries:
        await writer.post(entry)
    return laying.items


async def open_accounts(pool: asyncpg.Pool, entries: Sequence[Entry]) -> None:
    """Open the accounts that entries name, as the writer does when they are missing."""
    named = list({(account, currency) for entry in entries for account, currency in entry.accounts})
    await pool.execute(
        "SELECT ledger.open_accounts($1, $2, $3, $4)",
        [account.code for account, _ in named],
        [currency for _, currency in named],
        [int(account.normal) for account, _ in named],
        ACTOR,
    )
