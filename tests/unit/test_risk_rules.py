"""The vocabulary of rules is closed: what is not said, not known or out of bounds is refused, and named."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from domain.ids import Prefix
from risk.rehearsal import read_candidate
from risk.rules import (
    RULE_KINDS,
    RULES_MAX,
    TIMEOUT_MS_MAX,
    AppliesTo,
    BadRules,
    By,
    RuleSet,
    Verdict,
    key_of,
    read_rules,
    strictest,
    write_rules,
)
from tests.support.risk_rules import KINDS, rule, rules, subject


@pytest.mark.parametrize("kind", KINDS)
def test_a_rule_of_each_kind_is_read_and_written_as_it_was(kind: str) -> None:
    written = rule(kind)
    assert json.loads(write_rules(rules(written))) == [written]
    assert rules(written)[0].says is Verdict.REVIEW


def test_every_kind_of_rule_is_tried_here() -> None:
    assert {kind.model_fields["kind"].annotation for kind in RULE_KINDS} == {
        type(rules(rule(kind))[0]).model_fields["kind"].annotation for kind in KINDS
    }


@pytest.mark.parametrize("field", ["name", "kind", "applies_to", "verdict", "timeout_ms", "if_absent"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_rule_that_leaves_out_what_every_rule_says_is_refused(kind: str, field: str) -> None:
    with pytest.raises(BadRules, match=f"rule 1.*{'kind' if field == 'kind' else field}"):
        rules(rule(kind, **{field: None}))


@pytest.mark.parametrize("kind", KINDS)
def test_a_rule_that_says_more_than_its_kind_knows_is_refused(kind: str) -> None:
    with pytest.raises(BadRules, match=f"rule 2, {kind}, mood: Extra inputs are not permitted"):
        rules(rule("amount_limit"), rule(kind, name="another", mood="bad"))


ABSENT_BELOW = {"allow_below": {"EUR": 100}}


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (rule("velocity", kind="speed"), "rule 1: Input tag 'speed'"),
        (rule("velocity", verdict="allow"), "verdict: Input should be 'review' or 'refuse'"),
        (rule("velocity", if_absent="allow"), "if_absent, verdict: Input should be 'review' or 'refuse'"),
        (rule("velocity", if_absent={"allow_below": {}}), "allow_below: Dictionary should have at least 1 item"),
        (rule("velocity", if_absent={"allow_below": {"XXX": 1}}), "XXX is not a currency"),
        (
            rule("velocity", if_absent={"allow_below": {"EUR": 1.5}}),
            "allow_below, EUR: Input should be a valid integer",
        ),
        (rule("velocity", timeout_ms=0), "timeout_ms: Input should be greater than or equal to 1"),
        (rule("velocity", timeout_ms=TIMEOUT_MS_MAX + 1), "timeout_ms: Input should be less than or equal to 300"),
        (rule("velocity", timeout_ms="50"), "timeout_ms: Input should be a valid integer"),
        (rule("velocity", timeout_ms=True), "timeout_ms: Input should be a valid integer"),
        (rule("velocity", applies_to=[]), "applies_to: Tuple should have at least 1 item"),
        (
            rule("velocity", applies_to=["refunds", "captures"]),
            "rule 1, velocity, applies_to, 1: Input should be 'payments'",
        ),
        (rule("velocity", by="operation"), "by: Input should be 'instrument'"),
        (rule("velocity", count_max=None), "say either count_max or amount_max"),
        (rule("velocity", count_max=1, amount_max={"EUR": 1}), "say either count_max or amount_max"),
        (rule("velocity", window_seconds=0), "window_seconds: Input should be greater"),
        (rule("velocity", window_seconds=32 * 86_400), "window_seconds: Input should be less"),
        (rule("amount_limit", amount_max={"EUR": -1}), "amount_max, EUR: Input should be greater"),
        (rule("amount_limit", amount_max={"eur": 1}), "eur is not a currency"),
        (rule("deny_list", list="Stolen Cards"), "list: String should match"),
        (rule("score", score_max=1001), "score_max: Input should be less"),
        (rule("kyc", age_seconds_max=0), "age_seconds_max: Input should be greater"),
        (rule("kyc", applies_to=["payments"], if_absent=ABSENT_BELOW), "a check of the merchant fails closed"),
        (rule("sanctions", if_absent=ABSENT_BELOW), "payouts fail closed: if_absent is review or refuse"),
        (rule("amount_limit", applies_to=["payments", "payouts"], if_absent=ABSENT_BELOW), "payouts fail closed"),
        (rule("velocity", name="unreachable"), "unreachable stands for risk itself"),
        (rule("velocity", name="Fast!"), "name: String should match"),
    ],
)
def test_what_cannot_be_is_refused_in_words(written: dict[str, Any], told: str) -> None:
    with pytest.raises(BadRules) as refused:
        rules(written)
    assert told in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1, "nothing else is wrong with it"


def test_two_rules_do_not_share_a_name() -> None:
    with pytest.raises(BadRules, match="two rules are called kyc"):
        rules(rule("kyc"), rule("velocity"), rule("sanctions", name="kyc"))


def test_a_set_has_no_more_rules_than_a_person_keeps_in_mind() -> None:
    most = [rule("velocity", name=f"rule-{number}") for number in range(RULES_MAX)]
    assert len(rules(*most)) == RULES_MAX
    with pytest.raises(BadRules, match="at most 100"):
        rules(*most, rule("kyc"))


@pytest.mark.parametrize("document", ["", "{}", "[1]", "null", '[{"kind": "kyc"', '"rules"'])
@pytest.mark.parametrize("read", [read_rules, read_candidate])
def test_what_is_no_rules_at_all_is_refused(document: str, read: Callable[[str], object]) -> None:
    with pytest.raises(BadRules):
        read(document)


def test_a_rule_cannot_be_changed_after_it_was_read() -> None:
    (read,) = rules(rule("velocity"))
    with pytest.raises(ValueError, match="frozen"):
        read.timeout_ms = 1


def test_a_rule_judges_the_kinds_that_it_names_and_no_other() -> None:
    read = RuleSet(1, rules(rule("velocity", applies_to=["payments", "increments"]), rule("kyc")))
    judging = {kind: [each.name for each in read.judging(kind)] for kind in Prefix}
    assert {kind: names for kind, names in judging.items() if names} == {
        Prefix.PAYMENT: ["velocity"], Prefix.INCREMENT: ["velocity"], Prefix.PAYOUT: ["kyc"],
    }  # fmt: skip


def test_no_rule_can_judge_a_capture_or_a_void() -> None:
    assert set(AppliesTo) == {"payments", "increments", "refunds", "payouts"}


def test_refuse_is_stricter_than_review_and_review_than_allow() -> None:
    assert strictest([Verdict.REVIEW, Verdict.ALLOW]) is Verdict.REVIEW
    assert strictest([Verdict.REFUSE, Verdict.REVIEW]) is Verdict.REFUSE
    assert strictest([]) is Verdict.ALLOW


def test_each_key_of_a_subject_is_its_own() -> None:
    asked = subject("one", merchant="m_one", client="client", country="DE", instrument="tok")
    assert [key_of(asked, by) for by in By] == [asked.operation, "tok", "m_one", "DE", "client"]


EXAMPLE = {"name": "large", "operation": "payments", "amount": 5, "currency": "EUR", "expect": "review"}


def test_a_candidate_has_rules_and_examples_of_what_they_are_to_say() -> None:
    candidate = read_candidate(json.dumps({"rules": [rule("velocity")], "examples": [EXAMPLE]}))
    assert [each.name for each in candidate.rules] == ["velocity"]
    assert candidate.examples[0].subject.kind is Prefix.PAYMENT
    assert read_candidate('{"rules": []}').rules == ()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"expect": "decline"}, "example 1, expect: Input should be 'allow', 'review' or 'refuse'"),
        ({"currency": "XXX"}, "XXX is not a currency"),
        ({"operation": "captures"}, "operation: Input should be"),
        ({"amounts": 3}, "amounts: Extra inputs are not permitted"),
    ],
)
def test_an_example_that_cannot_be_is_refused_in_words(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(BadRules) as refused:
        read_candidate(json.dumps({"rules": [], "examples": [EXAMPLE | wrong]}))
    assert told in str(refused.value)


def test_two_rules_of_a_candidate_do_not_share_a_name() -> None:
    with pytest.raises(BadRules, match="two rules are called kyc"):
        read_candidate(json.dumps({"rules": [rule("kyc"), rule("kyc")]}))
