"""The one question that a preparation asks of risk: may this operation go on?

    look (decided already? which rules?) ─▶ ask the sources ─▶ count, judge and keep ─▶ answer

It answers within half a second, and outages are no errors of it. What it cannot find out is absent, and each rule says
what that means; where not even the rules can be read, payouts are reviewed, and so is all but small change.
Captures, voids and balance reads never come here.
"""

import asyncio
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import structlog

from domain.ids import Prefix
from domain.money import Money, exponent
from risk.decisions import Decisions
from risk.deny_lists import DenyLists
from risk.judgement import Counted, Finding, find_velocity, judge
from risk.rules import (
    UNREACHABLE,
    BadRules,
    Decision,
    Fired,
    RuleSet,
    Subject,
    Velocity,
    Verdict,
    read_rules,
    strictest,
)
from risk.scores import Scores
from risk.sources import SILENCE, Findings, Sources, Standings

JUDGE_SECONDS = 0.35  # an initiator waits: with the next, half a second; above the longest timeout of a rule
KEEP_SECONDS = 0.15  # a decision made without an answer is kept if that is quick; if not, it stands unkept
SMALL_CHANGE_MAJOR = 50  # major units: what card schemes let pass untried at a till, and less in weaker currencies

log = structlog.get_logger()


@dataclass(slots=True)
class _Judging:
    """What is known so far of a subject that is being judged; `rules` is None until those in force are known."""

    subject: Subject
    begun: float = field(default_factory=time.monotonic)
    rules: RuleSet | None = None
    findings: Findings = field(default_factory=dict[str, Finding])

    @property
    def milliseconds(self) -> int:
        return round((time.monotonic() - self.begun) * 1000)

    def decision(self, rules: RuleSet) -> Decision:
        """What a set says by what has been found."""
        judgement = judge(rules.judging(self.subject.kind), self.subject, self.findings)
        return Decision(
            verdict=judgement.verdict, version=rules.version, fired=judgement.fired, milliseconds=self.milliseconds
        )


class Gate:
    """Risk over a pool of connections, and over whoever knows the standing of merchants.

    `stretch` is a factor on every time here: above 1 for a machine too busy to keep them, as one under test is.
    """

    def __init__(self, pool: asyncpg.Pool, standings: Standings, *, stretch: float = 1) -> None:
        self._decisions = Decisions(pool, stretch=stretch)
        self._sources = Sources(DenyLists(pool), Scores(pool), standings, stretch=stretch)
        self._judge_seconds, self._keep_seconds = JUDGE_SECONDS * stretch, KEEP_SECONDS * stretch
        self._known: RuleSet | None = None  # the last that was read: still known when nothing answers
        self._running: set[asyncio.Task[Decision]] = set()

    async def decide(self, subject: Subject) -> Decision:
        """Judge an operation. Asked again, it is told the same, even if the rules have changed in between.

        An outage is no error: what is not known is absent. `Decision.rules` names what would not let it pass.
        """
        judging = _Judging(subject)
        decided = await self._within(self._judge_seconds, self._judge(judging), subject)
        if decided is not None:
            return decided
        decision = self._without_answer(judging)
        if subject.cleared and decision.verdict is Verdict.REVIEW:
            return decision  # people have had their say, and risk has not: asked again, it is judged again
        kept = await self._within(self._keep_seconds, self._decisions.keep(subject, decision), subject)
        if kept is None:
            log.warning("risk.not_kept", operation=subject.operation, verdict=decision.verdict, rules=decision.rules)
        return kept or decision

    async def _judge(self, judging: _Judging) -> Decision:
        subject = judging.subject
        look = await self._decisions.look(subject, self._known.version if self._known else 0)
        if look.decision is not None:
            return look.decision
        if look.rules is not None:
            self._known = RuleSet(look.version, read_rules(look.rules))
        rules = judging.rules = self._known
        assert rules is not None, "no version is 0, so the first look brings a set"
        asked = rules.judging(subject.kind)
        await self._sources.find(asked, subject, judging.findings)
        velocities = [rule for rule in asked if isinstance(rule, Velocity)]
        if velocities and (counted := await self._count(judging, rules, velocities)):
            return counted
        return await self._decisions.keep(subject, judging.decision(rules))

    async def _count(self, judging: _Judging, rules: RuleSet, velocities: list[Velocity]) -> Decision | None:
        """Count, judge and keep in one transaction; None where the counts did not come in time."""

        def judged(counted: Mapping[str, Counted]) -> Decision:
            for rule in velocities:
                if rule.name in counted and (finding := find_velocity(rule, judging.subject, counted[rule.name])):
                    judging.findings[rule.name] = finding
            return judging.decision(rules)

        try:
            return await self._decisions.count_and_keep(judging.subject, velocities, judged)
        except SILENCE as failure:
            log.warning("risk.no_answer", rules=[rule.name for rule in velocities], error=repr(failure))
            return None

    def _without_answer(self, judging: _Judging) -> Decision:
        """Decide by what is known: what was found, the rules of before, and, where there are none, the amount."""
        known = judging.rules or self._known
        decision = judging.decision(known or RuleSet(0))
        if judging.rules is not None:
            return decision
        silence = _of_silence(judging.subject, known)
        told = [decision.verdict] + [each.verdict for each in silence]
        return Decision(
            verdict=strictest(told),
            version=decision.version,
            fired=(*decision.fired, *silence),
            milliseconds=decision.milliseconds,
        )

    async def _within(self, seconds: float, doing: Coroutine[Any, Any, Decision], subject: Subject) -> Decision | None:
        """Do something, but wait for it no longer than this, not even for it to stop; None where it did not answer."""
        task = asyncio.create_task(doing)
        self._running.add(task)
        task.add_done_callback(self._forget)
        try:
            done, _ = await asyncio.wait({task}, timeout=seconds)
        finally:
            task.cancel()
        if not done:
            log.warning("risk.unreachable", operation=subject.operation, seconds=seconds)
            return None
        try:
            return task.result()
        except (*SILENCE, BadRules) as failure:
            log.warning("risk.unreachable", operation=subject.operation, error=repr(failure))
            return None

    def _forget(self, task: asyncio.Task[Decision]) -> None:
        """Take note of an end that nobody waits for; without it asyncio complains of an error never retrieved."""
        self._running.discard(task)
        if not task.cancelled():
            task.exception()


def _of_silence(subject: Subject, known: RuleSet | None) -> tuple[Fired, ...]:
    """What risk says while the rules in force cannot be read."""
    if subject.kind is Prefix.PAYOUT:  # not even people who cleared it could know who is paid
        why = "risk gives no answer: no payout leaves without its gates"
        return (Fired(rule=UNREACHABLE, verdict=Verdict.REVIEW, why=why, absent=True),)
    if known is not None or subject.cleared:  # the rules of before have said what silence means, or people have
        return ()
    limit = Money(SMALL_CHANGE_MAJOR * 10 ** exponent(subject.money.currency), subject.money.currency)
    if subject.money.minor < limit.minor:
        verdict, why = Verdict.ALLOW, f"risk gives no answer, and {subject.money} is below {limit}"
    else:
        verdict, why = Verdict.REVIEW, f"risk gives no answer, and {subject.money} is not below {limit}"
    return (Fired(rule=UNREACHABLE, verdict=verdict, why=why, absent=True),)
