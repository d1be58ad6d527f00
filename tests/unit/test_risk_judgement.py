"""Judgement: what each rule finds in figures, what silence means, and how findings come to a verdict."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.ids import Prefix
from domain.money import Money
from risk.deny_lists import Denied
from risk.judgement import (
    Counted,
    Finding,
    find_denied,
    find_score,
    find_standing,
    find_velocity,
    judge,
)
from risk.rules import By, DenyList, Fired, Kyc, Rule, Sanctions, Score, Velocity, Verdict
from risk.scores import Scored
from tests.support.risk_rules import payout, rule, rules, subject

ALLOW, REVIEW, REFUSE = Verdict.ALLOW, Verdict.REVIEW, Verdict.REFUSE
YES, NO = Finding(fires=True, why="yes"), Finding(fires=False, why="no")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Checked:
    """A standing as identity keeps it."""

    check: str
    answer: str
    passed: bool | None
    at: datetime = NOON


def one(kind: str, **given: Any) -> Rule:
    return rules(rule(kind, **given))[0]


@pytest.mark.parametrize(
    ("findings", "verdict", "named"),
    [
        ({"look": NO, "stop": NO}, ALLOW, []),
        ({"look": YES, "stop": NO}, REVIEW, ["look"]),
        ({"look": NO, "stop": YES}, REFUSE, ["stop"]),
        ({"look": YES, "stop": YES}, REFUSE, ["look", "stop"]),
        ({"stop": NO}, REVIEW, ["look"]),
        ({"look": NO}, REVIEW, ["stop"]),
        ({"other": YES, "look": NO, "stop": NO}, ALLOW, []),
    ],
)
def test_the_strictest_rule_that_fires_decides_and_all_are_named(
    findings: Mapping[str, Finding], verdict: Verdict, named: list[str]
) -> None:
    asked = rules(rule("score", name="look"), rule("score", name="stop", verdict="refuse"))
    judgement = judge(asked, subject("one"), findings)
    assert judgement.verdict is verdict
    assert [each.rule for each in judgement.fired] == named


def test_without_rules_everything_is_allowed() -> None:
    assert judge((), subject("one"), {}).verdict is ALLOW


def test_a_rule_that_fires_says_why_and_one_without_an_answer_says_that() -> None:
    asked = rules(rule("score", name="one"), rule("score", name="two", if_absent="refuse"))
    assert judge(asked, subject("one"), {"one": YES}).fired == (
        Fired(rule="one", verdict=REVIEW, why="yes"),
        Fired(rule="two", verdict=REFUSE, why="no answer, which means refuse", absent=True),
    )


@pytest.mark.parametrize(
    ("minor", "currency", "verdict", "why"),
    [
        (99, "EUR", ALLOW, "no answer, and 0.99 EUR is below 1.00 EUR"),
        (100, "EUR", REVIEW, "no answer, and 1.00 EUR is not below 1.00 EUR"),
        (4, "JPY", ALLOW, "no answer, and 4 JPY is below 5 JPY"),
        (1, "USD", REVIEW, "no answer, and USD is not among what may pass without one"),
    ],
)
def test_below_a_limit_of_its_currency_silence_allows(minor: int, currency: str, verdict: Verdict, why: str) -> None:
    asked = (one("score", if_absent={"allow_below": {"EUR": 100, "JPY": 5}}),)
    judgement = judge(asked, subject("one", minor, currency), {})
    assert judgement.fired == (Fired(rule="score", verdict=verdict, why=why, absent=True),)
    assert judgement.verdict is verdict


@pytest.mark.parametrize(
    ("says", "if_absent", "finding", "verdict"),
    [
        ("review", "review", YES, ALLOW),
        ("review", "review", None, ALLOW),
        ("review", "refuse", None, REFUSE),
        ("refuse", "review", YES, REFUSE),
        ("refuse", "review", None, ALLOW),
        ("refuse", "review", NO, ALLOW),
    ],
)
def test_of_what_people_have_cleared_only_a_refusal_has_a_say(
    says: str, if_absent: str, finding: Finding | None, verdict: Verdict
) -> None:
    asked = (one("score", verdict=says, if_absent=if_absent),)
    assert judge(asked, subject("one", cleared=True), {"score": finding} if finding else {}).verdict is verdict


@pytest.mark.parametrize(("minor", "fires"), [(9_999, False), (10_000, False), (10_001, True)])
def test_an_amount_above_the_limit_of_its_currency_fires(minor: int, fires: bool) -> None:
    fired = judge((one("amount_limit"),), subject("one", minor), {}).fired
    assert [each.why for each in fired] == ([f"{Money(minor, 'EUR')}, where 100.00 EUR may pass"] if fires else [])


def test_an_amount_limit_knows_nothing_of_a_currency_that_it_does_not_name() -> None:
    (fired,) = judge((one("amount_limit"),), subject("one", 1, "JPY"), {}).fired
    assert fired.absent


@pytest.mark.parametrize(("operations", "fires"), [(2, False), (3, False), (4, True)])
def test_more_operations_than_may_pass_fire(operations: int, fires: bool) -> None:
    finding = find_velocity(_velocity(), subject("one"), Counted(operations, 10**9))
    why = f"{operations} operations within 1:00:00 by instrument, where 3 may pass"
    assert finding == Finding(fires=fires, why=why)


@pytest.mark.parametrize(("minor", "fires"), [(500, False), (501, True)])
def test_more_money_than_may_pass_fires(minor: int, fires: bool) -> None:
    finding = find_velocity(_velocity(amount_max={"EUR": 500}), subject("one"), Counted(99, minor))
    why = f"{minor} minor units of EUR within 1:00:00 by instrument, where 500 may pass"
    assert finding == Finding(fires=fires, why=why)


def test_velocity_finds_nothing_by_a_key_that_nobody_said_or_in_a_currency_that_it_does_not_name() -> None:
    assert find_velocity(_velocity(by="country"), subject("one", country=""), Counted(9, 9)) is None
    assert find_velocity(_velocity(amount_max={"EUR": 5}), subject("one", 1, "JPY"), Counted(9, 9)) is None


def test_what_stands_on_a_list_fires_and_tells_the_reason() -> None:
    asked = one("deny_list")
    assert isinstance(asked, DenyList)
    on = Denied(list="stolen", value="tok_visa", author="ann", why="reported", at=NOON)
    why = "the instrument is on stolen since 2026-01-01 12:00: reported"
    assert find_denied(asked, subject("one"), on) == Finding(fires=True, why=why)
    off = Finding(fires=False, why="the instrument is not on stolen")
    assert find_denied(asked, subject("one"), None) == off
    assert find_denied(asked, subject("one", instrument=""), None) is None


@pytest.mark.parametrize(("value", "fires"), [(700, False), (701, True)])
def test_a_score_above_what_may_pass_fires(value: int, fires: bool) -> None:
    asked = one("score")
    assert isinstance(asked, Score)
    scored = Scored(by=By.OPERATION, key="k", value=value, source="scorer", event="1", scored_at=NOON)
    why = f"scorer gives the operation {value}, where 700 may pass"
    assert find_score(asked, scored) == Finding(fires=fires, why=why)
    assert find_score(asked, None) is None


@pytest.mark.parametrize(
    ("standing", "now", "fires"),
    [
        (Checked("kyc", "verified", passed=True), NOON, False),
        (Checked("kyc", "rejected", passed=False), NOON, True),
        (Checked("kyc", "pending", passed=None), NOON, None),
        (None, NOON, None),
        (Checked("kyc", "verified", passed=True), NOON + timedelta(seconds=60), False),
        (Checked("kyc", "verified", passed=True), NOON + timedelta(seconds=61), None),
    ],
)
def test_a_check_says_what_it_found_unless_it_is_undecided_or_too_old(
    standing: Checked | None, now: datetime, fires: bool | None
) -> None:
    asked = one("kyc", age_seconds_max=60)
    assert isinstance(asked, Kyc)
    finding = find_standing(asked, standing, now)
    assert (finding and finding.fires) is fires


def test_a_check_without_an_age_holds_for_good() -> None:
    asked = one("sanctions")
    assert isinstance(asked, Sanctions)
    finding = find_standing(asked, Checked("sanctions", "clear", passed=True), NOON + timedelta(days=9_999))
    why = "the merchant's sanctions check says clear since 2026-01-01 12:00"
    assert finding == Finding(fires=False, why=why)


def test_a_payout_without_any_answer_is_never_allowed() -> None:
    for kind in ("kyc", "sanctions", "velocity", "deny_list", "score"):
        for silence in ("review", "refuse"):
            asked = (one(kind, applies_to=["payouts"], if_absent=silence),)
            assert judge(asked, payout("one", 1), {}).verdict is Verdict(silence)
    assert payout("one").kind is Prefix.PAYOUT


def _velocity(**given: Any) -> Velocity:
    made = one("velocity", **given)
    assert isinstance(made, Velocity)
    return made
