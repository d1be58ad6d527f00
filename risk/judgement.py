"""From figures to a verdict: what each rule finds in them, and what all of them say together. Pure.

A rule without a finding is absent: nobody said what it looks at, or its source gave no answer in time. Then its
`if_absent` speaks. Adding a rule never makes a judgement laxer.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from domain.money import Money
from risk.deny_lists import Denied
from risk.rules import (
    AllowBelow,
    AmountLimit,
    By,
    DenyList,
    Fired,
    Kyc,
    Rule,
    Sanctions,
    Score,
    Subject,
    Velocity,
    Verdict,
    key_of,
    strictest,
)
from risk.scores import Scored


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found: whether it fires, and why or why not, with the figures."""

    fires: bool
    why: str


@dataclass(frozen=True, slots=True)
class Counted:
    """What passed under a key within a window, the operation that is judged included; `minor` in its currency."""

    operations: int
    minor: int


class Standing(Protocol):
    """The latest answer of a check of a merchant, as identity keeps it. `passed` is None while it is not decided."""

    @property
    def check(self) -> str: ...
    @property
    def passed(self) -> bool | None: ...
    @property
    def answer(self) -> str: ...
    @property
    def at(self) -> datetime: ...


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict, and the rules that had something to say."""

    verdict: Verdict
    fired: tuple[Fired, ...]


def judge(rules: Iterable[Rule], subject: Subject, findings: Mapping[str, Finding]) -> Judgement:
    """Judge a subject by findings under the rules' names: the strictest verdict decides.

    Of a cleared subject only what refuses has a say; what asks for a review is told and passes.
    """
    fired = tuple(each for rule in rules if (each := _say(rule, subject.money, findings.get(rule.name))))
    told = [each.verdict for each in fired if not (subject.cleared and each.verdict is Verdict.REVIEW)]
    return Judgement(strictest(told), fired)


def _say(rule: Rule, money: Money, finding: Finding | None) -> Fired | None:
    if isinstance(rule, AmountLimit):
        finding = _find_amount(rule, money)  # from what is asked itself: no source to wait for
    if finding is None:
        verdict, meaning = _of_silence(rule, money)
        return Fired(rule=rule.name, verdict=verdict, why=f"no answer, {meaning}", absent=True)
    return Fired(rule=rule.name, verdict=rule.says, why=finding.why) if finding.fires else None


def _of_silence(rule: Rule, money: Money) -> tuple[Verdict, str]:
    """What a rule says without an answer."""
    if not isinstance(rule.if_absent, AllowBelow):
        return Verdict(rule.if_absent), f"which means {rule.if_absent}"
    limit = rule.if_absent.allow_below.get(money.currency)
    if limit is None:
        return Verdict.REVIEW, f"and {money.currency} is not among what may pass without one"
    if money.minor < limit:
        return Verdict.ALLOW, f"and {money} is below {Money(limit, money.currency)}"
    return Verdict.REVIEW, f"and {money} is not below {Money(limit, money.currency)}"


def _find_amount(rule: AmountLimit, money: Money) -> Finding | None:
    """Compare an amount with the limit of its currency; None where the rule names no such currency."""
    limit = rule.amount_max.get(money.currency)
    if limit is None:
        return None
    return Finding(money.minor > limit, f"{money}, where {Money(limit, money.currency)} may pass")


def find_velocity(rule: Velocity, subject: Subject, counted: Counted) -> Finding | None:
    """Compare what has passed with what may; None where nobody said the key, or the rule names no such currency."""
    if not key_of(subject, By(rule.by)):
        return None
    span = f"within {timedelta(seconds=rule.window_seconds)} by {rule.by}"
    if rule.count_max is not None:
        why = f"{counted.operations} operations {span}, where {rule.count_max} may pass"
        return Finding(counted.operations > rule.count_max, why)
    assert rule.amount_max is not None
    currency = subject.money.currency
    limit = rule.amount_max.get(currency)
    if limit is None:
        return None
    why = f"{counted.minor} minor units of {currency} {span}, where {limit} may pass"
    return Finding(counted.minor > limit, why)


def find_denied(rule: DenyList, subject: Subject, denied: Denied | None) -> Finding | None:
    """Tell what a deny list says of a subject; None where nobody said what it looks up."""
    if not key_of(subject, By(rule.by)):
        return None
    if denied is None:
        return Finding(fires=False, why=f"the {rule.by} is not on {rule.list}")
    return Finding(fires=True, why=f"the {rule.by} is on {rule.list} since {denied.at:%Y-%m-%d %H:%M}: {denied.why}")


def find_score(rule: Score, scored: Scored | None) -> Finding | None:
    """Compare a score with what may pass; None where there is none."""
    if scored is None:
        return None
    why = f"{scored.source} gives the {rule.by} {scored.value}, where {rule.score_max} may pass"
    return Finding(scored.value > rule.score_max, why)


def find_standing(rule: Kyc | Sanctions, standing: Standing | None, now: datetime) -> Finding | None:
    """Tell what a check of the merchant says; None where there is none, or it is undecided or older than it may be."""
    if standing is None or standing.passed is None:
        return None
    if rule.age_seconds_max is not None and standing.at < now - timedelta(seconds=rule.age_seconds_max):
        return None
    why = f"the merchant's {rule.kind} check says {standing.answer} since {standing.at:%Y-%m-%d %H:%M}"
    return Finding(not standing.passed, why)
