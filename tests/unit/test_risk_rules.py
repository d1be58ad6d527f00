"""Risk: the strictest rule that fires decides, and an empty rule set says that it is one."""

from domain.ids import MerchantId, Prefix
from domain.money import Money
from risk.rules import EMPTY, Decision, Rule, RuleSet, Subject, Verdict, decide
from tests.support.ledger_flows import operation

SUBJECT = Subject(operation(Prefix.PAYMENT, "one"), MerchantId("acme"), Money(1000, "EUR"))


def rule(name: str, verdict: Verdict, *, above: int = 0) -> Rule:
    return Rule(name, lambda subject: subject.money.minor > above, verdict)


def test_without_rules_everything_is_allowed_and_the_decision_says_so() -> None:
    assert decide(EMPTY, SUBJECT) == Decision(Verdict.ALLOW, (), "empty-1")


def test_the_strictest_rule_that_fires_decides_and_all_that_fired_are_named() -> None:
    rules = RuleSet(
        "limits-7",
        (rule("look", Verdict.REVIEW), rule("never", Verdict.REFUSE, above=999), rule("fine", Verdict.ALLOW)),
    )
    assert decide(rules, SUBJECT) == Decision(Verdict.REFUSE, ("look", "never", "fine"), "limits-7")


def test_a_rule_that_does_not_fire_has_no_say() -> None:
    rules = RuleSet("limits-7", (rule("never", Verdict.REFUSE, above=1000),))
    assert decide(rules, SUBJECT) == Decision(Verdict.ALLOW, (), "limits-7")
