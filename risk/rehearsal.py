"""What a candidate set would have said: of decisions that were made, and of examples that its author gives.

A past decision is judged again by lists, scores, standings and counts as they were known at its time. Nothing is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import asyncpg
from pydantic import Field, ValidationError, field_validator

from domain.currencies import EXPONENTS
from domain.ids import MerchantId, OperationId
from domain.money import Money
from risk.decisions import Decisions, Kept
from risk.deny_lists import DenyLists
from risk.judgement import Finding, Judgement, find_velocity, judge
from risk.rules import (
    KINDS,
    AppliesTo,
    BadRules,
    Minor,
    Rules,
    RuleSet,
    Strict,
    Subject,
    Velocity,
    Verdict,
    require_own_names,
    said,
)
from risk.scores import Scores
from risk.sources import Sources, Standings

STRETCH = 100  # times as patient as the gate: nobody waits but whoever has asked


class Example(Strict):
    """A subject that the author of a set thinks of, and the verdict that it should come to. `amount` in minor units."""

    name: Annotated[str, Field(min_length=1)]
    operation: AppliesTo
    amount: Minor
    currency: str
    expect: Verdict
    client: str = "example"
    merchant: str = "m_example"
    instrument: str = ""
    country: str = ""
    cleared: bool = False

    @field_validator("currency")
    @classmethod
    def _is_known(cls, currency: str) -> str:
        if currency not in EXPONENTS:
            raise ValueError(f"{currency} is not a currency of ISO 4217 with a minor unit")
        return currency

    @property
    def subject(self) -> Subject:
        """The example as it is judged; no operation has its id, so nothing is known of it but what is given."""
        return Subject(
            operation=OperationId(f"example {self.name}"),
            kind=KINDS[self.operation],
            client=self.client,
            merchant=MerchantId(self.merchant),
            money=Money(self.amount, self.currency),
            instrument=self.instrument,
            country=self.country,
            cleared=self.cleared,
        )


class Candidate(Strict):
    """A set as its author writes it down: the rules, and examples of what they are to say."""

    rules: Rules
    examples: tuple[Example, ...] = ()


def read_candidate(document: str) -> Candidate:
    """Read a candidate from JSON. Raises `BadRules`."""
    try:
        candidate = Candidate.model_validate_json(document)
    except ValidationError as error:
        raise BadRules(said(error)) from None
    require_own_names(candidate.rules)
    return candidate


@dataclass(frozen=True, slots=True)
class Change:
    """A decision that the candidate would have made otherwise."""

    kept: Kept
    would: Judgement


class Rehearsal:
    """A candidate set, over what is known. Nothing is waited for that has not arrived yet."""

    def __init__(self, pool: asyncpg.Pool, standings: Standings, candidate: Candidate) -> None:
        self._decisions = Decisions(pool)
        self._sources = Sources(DenyLists(pool), Scores(pool), standings, stretch=STRETCH)
        self._candidate = candidate
        self._rules = RuleSet(0, candidate.rules)

    async def examples(self) -> list[tuple[Example, Judgement]]:
        """Judge each example by what is known now."""
        return [(each, await self._judge(each.subject)) for each in self._candidate.examples]

    async def changes(self, past: Sequence[Kept]) -> list[Change]:
        """Judge past decisions again; the ones whose verdicts would differ."""
        would = [(kept, await self._judge(kept.subject, kept)) for kept in past]
        return [Change(kept, each) for kept, each in would if each.verdict is not kept.decision.verdict]

    async def _judge(self, subject: Subject, kept: Kept | None = None) -> Judgement:
        rules = self._rules.judging(subject.kind)
        findings: dict[str, Finding] = {}
        until = kept.at if kept else datetime.now(UTC)
        await self._sources.find(rules, subject, findings, until)
        for rule in rules:
            if isinstance(rule, Velocity):
                counted = await self._decisions.count(rule, subject, until)
                if finding := find_velocity(rule, subject, counted):
                    findings[rule.name] = finding
        return judge(rules, subject, findings)
