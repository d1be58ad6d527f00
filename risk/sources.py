"""Where the findings of rules come from: deny lists, scores and the merchant's standing, asked all at once.

Each rule has its own time; what comes later is absent. What has been found by then stays found, whatever else fails.
Velocity is not here: it is counted where the decision is kept (risk/decisions.py).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol

import asyncpg
import structlog

from domain.ids import MerchantId
from risk.deny_lists import DenyLists
from risk.judgement import Finding, Standing, find_denied, find_score, find_standing
from risk.rules import By, DenyList, Kyc, Rule, Sanctions, Score, Subject, key_of
from risk.scores import Scores

LOOK_AGAIN_SECONDS = 0.02  # a score on its way is met within a fraction of any timeout, and few queries are made for it
SILENCE = (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)  # what no answer looks like

log = structlog.get_logger()
Findings = dict[str, Finding]
Tell = Callable[[Rule, Finding | None], None]


class Standings(Protocol):
    """Whoever knows what checks of a merchant have answered. Raises `OSError` or `TimeoutError` where it cannot say."""

    async def of(self, merchant: MerchantId, until: datetime | None = None) -> tuple[Standing, ...]:
        """The latest answer of each check, as known at `until`."""
        ...


class Sources:
    """Everything that rules look up; `stretch` is a factor on the times of rules."""

    def __init__(self, lists: DenyLists, scores: Scores, standings: Standings, *, stretch: float = 1) -> None:
        self._lists = lists
        self._scores = scores
        self._standings = standings
        self._stretch = stretch

    async def find(
        self, rules: tuple[Rule, ...], subject: Subject, findings: Findings, until: datetime | None = None
    ) -> None:
        """Put what the rules find into `findings`, each in its time; `until` looks at how things stood then."""
        denying = tuple(rule for rule in rules if isinstance(rule, DenyList))
        scoring = tuple(rule for rule in rules if isinstance(rule, Score))
        checking = tuple(rule for rule in rules if isinstance(rule, Kyc | Sanctions))
        await asyncio.gather(
            self._in_time(denying, findings, lambda tell: self._find_denied(denying, subject, until, tell)),
            self._in_time(scoring, findings, lambda tell: self._find_scores(scoring, subject, until, tell)),
            self._in_time(checking, findings, lambda tell: self._find_standing(checking, subject, until, tell)),
        )

    async def _in_time(
        self, rules: tuple[Rule, ...], findings: Findings, ask: Callable[[Tell], Awaitable[None]]
    ) -> None:
        """Ask one source for several rules, as long as the most patient waits; who waits less hears less."""
        if not rules:
            return
        begun = time.monotonic()
        seconds = {rule.name: rule.timeout_ms * self._stretch / 1000 for rule in rules}

        def tell(rule: Rule, finding: Finding | None) -> None:
            if finding is not None and time.monotonic() - begun <= seconds[rule.name]:
                findings[rule.name] = finding

        try:
            async with asyncio.timeout(max(seconds.values())):
                await ask(tell)
        except SILENCE as failure:
            log.warning("risk.no_answer", rules=list(seconds), error=repr(failure))

    async def _find_denied(
        self, rules: tuple[DenyList, ...], subject: Subject, until: datetime | None, tell: Tell
    ) -> None:
        keys = {rule.name: key_of(subject, By(rule.by)) for rule in rules}
        found = await self._lists.find([(rule.list, keys[rule.name]) for rule in rules], until)
        denied = {(each.list, each.value): each for each in found}
        for rule in rules:
            tell(rule, find_denied(rule, subject, denied.get((rule.list, keys[rule.name]))))

    async def _find_scores(
        self, rules: tuple[Score, ...], subject: Subject, until: datetime | None, tell: Tell
    ) -> None:
        """A score of the operation itself may be on its way, and is waited for; others stand or do not."""
        missing = rules
        while missing:
            found = await self._scores.latest([(By(rule.by), key_of(subject, By(rule.by))) for rule in missing], until)
            scores = {each.by: each for each in found}
            for rule in missing:
                tell(rule, find_score(rule, scores.get(By(rule.by))))
            missing = tuple(
                rule for rule in missing if rule.by == By.OPERATION and By.OPERATION not in scores and until is None
            )
            if missing:
                await asyncio.sleep(LOOK_AGAIN_SECONDS)

    async def _find_standing(
        self, rules: tuple[Kyc | Sanctions, ...], subject: Subject, until: datetime | None, tell: Tell
    ) -> None:
        standings: Mapping[str, Standing] = {
            standing.check: standing for standing in await self._standings.of(subject.merchant, until)
        }
        for rule in rules:
            tell(rule, find_standing(rule, standings.get(rule.kind), until or datetime.now(UTC)))
