"""The versions of the rule set: the highest is in force, and none is ever changed."""

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from domain.errors import HoldfastError
from risk.rules import Rule, RuleSet, read_rules, write_rules


class RulesMovedOn(HoldfastError):
    """Somebody else installed a set in between. Nothing was installed: look at theirs, then decide again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A set as it was installed: its rules as JSON, who wrote it, why, and since when it stands."""

    number: int
    rules: str
    author: str
    why: str
    at: datetime

    def read(self) -> RuleSet:
        """Read its rules; raises `BadRules` where another release of Holdfast has written what this one cannot read."""
        return RuleSet(self.number, read_rules(self.rules))


class RuleSets:
    """The versions behind a pool of connections."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def in_force(self) -> Version:
        """The set by which operations are judged now."""
        return (await self.history(1))[0]  # there is one since the first migration, and none is ever removed

    async def history(self, most: int = 100) -> list[Version]:
        """The versions, newest first."""
        return [
            Version(number=row["version"], rules=row["rules"], author=row["author"], why=row["why"], at=row["at"])
            for row in await self._pool.fetch(HISTORY, most)
        ]

    async def install(self, rules: tuple[Rule, ...], *, author: str, why: str, after: int) -> int:
        """Put rules in force as the version that follows `after`, and return its number. Raises `RulesMovedOn`."""
        number = await self._pool.fetchval(INSTALL, write_rules(rules), author, why, after)
        if number is None:
            raise RulesMovedOn(f"version {after} is not in force any more")
        return number


HISTORY = "SELECT version, rules::text, author, why, at FROM risk.rule_set ORDER BY version DESC LIMIT $1"
INSTALL = "SELECT risk.install($1::text::jsonb, $2, $3, $4)"
