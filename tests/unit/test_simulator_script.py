"""The simulator's script: which rule takes which call."""

from collections.abc import Mapping

import pytest

from simulator.fields import Fields, Malformed
from simulator.orders import Operation
from simulator.script import BEHAVIOURS, Damage, Decide, Fail, Late, Mangle, Script, Silence, Slow
from simulator.twists import Challenge, Deny, FailLater, Land, Queue


@pytest.fixture
def script() -> Script:
    return Script()


def _add(script: Script, operation: str, do: str = "unavailable", **rule: object) -> int:
    return script.add(Fields({"operation": operation, "behaviour": {"do": do}, **rule})).id


def _played(script: Script, operation: Operation, reference: str = "pay_1.a1", token: str = "") -> int | None:
    rule = script.match(operation, reference, lambda: token)
    return rule.id if rule else None


def test_a_rule_is_used_once_if_nothing_is_said(script: Script) -> None:
    rule = _add(script, "collect")
    assert [_played(script, Operation.COLLECT) for _ in range(3)] == [rule, None, None]


def test_a_rule_is_used_as_often_as_it_says_or_for_ever(script: Script) -> None:
    twice, ever = _add(script, "collect", times=2), _add(script, "collect", times=None)
    assert [_played(script, Operation.COLLECT) for _ in range(4)] == [twice, twice, ever, ever]


def test_a_rule_can_wait_for_the_nth_call(script: Script) -> None:
    rule = _add(script, "collect", nth=3, times=2)
    assert [_played(script, Operation.COLLECT) for _ in range(5)] == [None, None, rule, rule, None]


def test_a_rule_counts_the_calls_that_another_rule_takes(script: Script) -> None:
    first, third = _add(script, "collect"), _add(script, "collect", nth=3)
    assert [_played(script, Operation.COLLECT) for _ in range(3)] == [first, None, third]


def test_the_first_rule_that_fires_wins(script: Script) -> None:
    first = _add(script, "*", times=None)
    _add(script, "collect", times=None)
    assert _played(script, Operation.COLLECT) == first


def test_a_rule_matches_by_operation_reference_prefix_and_token(script: Script) -> None:
    exact = _add(script, "*", merchantRef="pay_1.a1", times=None)
    prefix = _add(script, "*", merchantRef="pay_2*", times=None)
    token = _add(script, "*", token="tok_x", times=None)
    assert _played(script, Operation.LOOKUP, "pay_1.a1") == exact
    assert _played(script, Operation.LOOKUP, "pay_1.a12") is None
    assert _played(script, Operation.AUTHORISE, "pay_22.a1") == prefix
    assert _played(script, Operation.AUTHORISE, "pay_3.a1", "tok_x") == token
    assert _played(script, Operation.AUTHORISE, "pay_3.a1", "tok_y") is None


def test_a_rule_for_all_operations_passes_over_those_that_cannot_do_it(script: Script) -> None:
    rule = _add(script, "*", "deny")
    assert _played(script, Operation.LOOKUP) is None
    assert _played(script, Operation.RELEASE) is None
    assert _played(script, Operation.COLLECT) == rule


@pytest.mark.parametrize(
    "rule",
    [
        {"operation": "capture", "behaviour": {"do": "slow", "seconds": 1}},
        {"operation": "lookup", "behaviour": {"do": "late", "seconds": 1}},
        {"operation": "transfer", "behaviour": {"do": "pending"}},
        {"operation": "collect", "behaviour": {"do": "bounce"}},
        {"operation": "collect", "behaviour": {"do": "challenge"}},
        {"operation": "authorise", "behaviour": {"do": "fail_later"}},
        {"operation": "recall", "behaviour": {"do": "arrive"}},
        {"operation": "collect", "behaviour": {"do": "explode"}},
        {"operation": "collect", "behaviour": {"do": "slow"}},
        {"operation": "collect", "behaviour": {"do": "slow", "seconds": -1}},
        {"operation": "collect", "behaviour": {"do": "status", "status": 100}},
        {"operation": "collect", "behaviour": {"do": "status", "status": 503, "effect": True}},
        {"operation": "collect", "behaviour": {"do": "error", "effects": True}},
        {"operation": "collect", "behavior": {"do": "error"}},
        {"operation": "collect", "nth": 0, "behaviour": {"do": "error"}},
        {"operation": "collect"},
    ],
)
def test_a_rule_that_cannot_be_played_is_refused(script: Script, rule: Mapping[str, object]) -> None:
    with pytest.raises(Malformed):
        script.add(Fields(dict(rule)))
    assert script.rules() == ()


READ = [
    ({"do": "deny", "reason": "no"}, Decide(Deny("no"))),
    ({"do": "pending", "seconds": 2}, Decide(Queue(2))),
    ({"do": "pending", "then": "denied"}, Decide(Queue(1, "denied_after_review"))),
    ({"do": "challenge"}, Decide(Challenge())),
    ({"do": "fail_later"}, Decide(FailLater(1))),
    ({"do": "fail_later", "seconds": 60, "reason": "no"}, Decide(FailLater(60, "no"))),
    ({"do": "arrive", "seconds": 9}, Decide(Land(9))),
    ({"do": "bounce"}, Decide(Land(0, "beneficiary_unknown"))),
    ({"do": "throttle", "retryAfter": 3}, Fail(429, "TOO_MANY_CALLS", 3, effect=False)),
    ({"do": "unavailable"}, Fail(503, "UNAVAILABLE", None, effect=False)),
    ({"do": "error", "effect": True}, Fail(500, "INTERNAL", None, effect=True)),
    ({"do": "status", "status": 418, "code": "TEAPOT"}, Fail(418, "TEAPOT", None, effect=False)),
    ({"do": "slow", "seconds": 0.5}, Slow(0.5)),
    ({"do": "lost_before"}, Silence(0, effect=False)),
    ({"do": "lost_after", "seconds": 1}, Silence(1, effect=True)),
    ({"do": "late", "seconds": 4}, Late(4)),
    ({"do": "garbage", "effect": False}, Mangle(Damage.GARBAGE, effect=False)),
    ({"do": "truncated"}, Mangle(Damage.TRUNCATED, effect=True)),
    ({"do": "wrong_amount"}, Mangle(Damage.WRONG_AMOUNT, effect=True)),
    ({"do": "unlisted_phase"}, Mangle(Damage.UNLISTED_PHASE, effect=True)),
]


@pytest.mark.parametrize(("given", "meant"), READ)
def test_a_behaviour_is_read_as_it_is_documented(script: Script, given: Mapping[str, object], meant: object) -> None:
    assert script.add(Fields({"operation": "*", "behaviour": dict(given)})).behaviour == meant


def test_every_behaviour_has_its_row_here() -> None:
    assert {given["do"] for given, _ in READ} == set(BEHAVIOURS)
