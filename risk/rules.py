"""A rule set and how it decides. Until rules are configured the set is empty: everything is allowed, and it says so."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from domain.ids import MerchantId, OperationId
from domain.money import Money


class Verdict(StrEnum):
    """Ordered by strictness: the strictest rule that fires decides."""

    ALLOW = "allow"
    REVIEW = "review"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Subject:
    """What is judged."""

    operation: OperationId
    merchant: MerchantId
    money: Money


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: when it fires, and what it says then."""

    name: str
    fires: Callable[[Subject], bool]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules in force, under the version that decisions name."""

    version: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """What the rules say, and which of them fired."""

    verdict: Verdict
    rules: tuple[str, ...]
    version: str


EMPTY = RuleSet(version="empty-1", rules=())
_STRICTNESS = list(Verdict)


def decide(rule_set: RuleSet, subject: Subject) -> Decision:
    """Judge a subject: the strictest verdict of the rules that fire; without any, allow."""
    fired = [rule for rule in rule_set.rules if rule.fires(subject)]
    verdict = max((rule.verdict for rule in fired), key=_STRICTNESS.index, default=Verdict.ALLOW)
    return Decision(verdict, tuple(rule.name for rule in fired), rule_set.version)
