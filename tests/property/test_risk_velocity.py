"""Velocity beside an independent count: whatever is asked at once and again, the decisions are those of some order.

Few instruments, small limits and repeated operations are drawn, so that limits are met and crossed in most examples.
"""

import asyncio
import itertools
from collections import defaultdict
from dataclasses import dataclass, field

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.ids import MerchantId, OperationId
from identity.standing import Standings
from risk.decisions import Decisions
from risk.gate import Gate
from risk.rules import Decision, Subject, Verdict
from tests.support.risk_rules import install, rule, subject

EXAMPLES = 40  # some seconds on a small machine; a count outside the lock is found within ten
NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Ask:
    """One operation, by its number, and what it is about. The same number twice is the same operation asked again."""

    number: int
    instrument: int
    minor: int


@dataclass
class Count:
    """What has passed, counted by hand."""

    count_max: int
    amount_max: int
    by_instrument: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    minor: int = 0

    def expected(self, asked: Subject) -> Verdict:
        """Judge the next operation, and count it if it passes or may."""
        too_often = self.by_instrument[asked.instrument] + 1 > self.count_max
        too_much = self.minor + asked.money.minor > self.amount_max
        if not too_often:
            self.by_instrument[asked.instrument] += 1
            self.minor += asked.money.minor
        if too_often:
            return Verdict.REFUSE
        return Verdict.REVIEW if too_much else Verdict.ALLOW


ROUNDS = st.lists(
    st.lists(st.builds(Ask, st.integers(1, 12), st.integers(1, 2), st.integers(1, 5)), min_size=1, max_size=6),
    min_size=1,
    max_size=4,
)


@pytest.fixture
def gates(pool: asyncpg.Pool) -> list[Gate]:
    """Two, as two workers have them."""
    return [Gate(pool, Standings(pool), stretch=50) for _ in range(2)]


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rounds=ROUNDS, count_max=st.integers(0, 3), amount_max=st.integers(0, 12))
async def test_decisions_at_once_are_those_of_some_order_and_stay(
    gates: list[Gate], pool: asyncpg.Pool, rounds: list[list[Ask]], count_max: int, amount_max: int
) -> None:
    example = next(NUMBERS)
    await install(
        pool,
        rule("velocity", name="often", count_max=count_max, verdict="refuse"),
        rule("velocity", name="much", by="merchant", amount_max={"EUR": amount_max}),
    )
    subjects: dict[int, Subject] = {}
    told: dict[OperationId, Decision] = {}
    for asks in rounds:
        for ask in asks:
            subjects.setdefault(ask.number, _subject(example, ask))
        asked = [subjects[ask.number] for ask in asks]
        decisions = await asyncio.gather(*(gates[at % 2].decide(each) for at, each in enumerate(asked)))
        for each, decision in zip(asked, decisions, strict=True):
            assert told.setdefault(each.operation, decision) == decision, "an operation is decided once"
    count = Count(count_max, amount_max)
    kept = [each for each in await Decisions(pool).latest(1000) if each.subject.operation in told]
    assert [each.decision for each in kept] == [told[each.subject.operation] for each in kept]
    assert [each.decision.verdict for each in kept] == [count.expected(each.subject) for each in kept]
    assert len(kept) == len(told)


def _subject(example: int, ask: Ask) -> Subject:
    """An operation of this example alone: neither its merchant nor its instrument was ever counted before."""
    return subject(
        f"{example}/{ask.number}",
        ask.minor,
        merchant=MerchantId(f"m_{example}"),
        instrument=f"tok_{example}_{ask.instrument}",
    )
