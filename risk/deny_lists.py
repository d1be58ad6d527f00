"""Deny lists: which instruments, merchants, countries or clients are turned away. The latest line about one counts.

What a list means for an operation is said by the rules that name it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """A value that stands on a list, who put it there, why, and when."""

    list: str
    value: str
    author: str
    why: str
    at: datetime


class DenyLists:
    """The lists behind a pool of connections."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def find(self, asked: Sequence[tuple[str, str]], until: datetime | None = None) -> list[Denied]:
        """Of pairs of a list and a value, those that stand there, as known at `until`."""
        lists, values = [each for each, _ in asked], [each for _, each in asked]
        return [_denied(row) for row in await self._pool.fetch(FIND, lists, values, until)]

    async def of(self, name: str) -> list[Denied]:
        """Everything that stands on a list, in the order of the values."""
        return [_denied(row) for row in await self._pool.fetch(OF, name)]

    async def write(self, name: str, value: str, *, denied: bool, author: str, why: str) -> None:
        """Put a value on a list, or take it off."""
        await self._pool.execute(WRITE, name, value, denied, author, why)


def _denied(row: asyncpg.Record) -> Denied:
    return Denied(list=row["list"], value=row["value"], author=row["author"], why=row["why"], at=row["at"])


FIND = """
SELECT d.* FROM unnest($1::text[], $2::text[]) AS asked (list, value) CROSS JOIN LATERAL (
    SELECT list, value, denied, author, why, at FROM risk.deny_list d
    WHERE d.list = asked.list AND d.value = asked.value AND d.at <= coalesce($3::timestamptz, 'infinity')
    ORDER BY d.id DESC LIMIT 1
) AS d WHERE d.denied
"""
OF = """
SELECT * FROM (
    SELECT DISTINCT ON (value) list, value, denied, author, why, at FROM risk.deny_list
    WHERE list = $1 ORDER BY value, id DESC
) AS latest WHERE denied
"""
WRITE = "INSERT INTO risk.deny_list (list, value, denied, author, why) VALUES ($1, $2, $3, $4, $5)"
