"""Whatever the rules are: more of them never judge laxer, silence lets no payout go, clearing undoes no refusal."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from domain.ids import Prefix
from risk.judgement import Finding, judge
from risk.rules import AllowBelow, Rule, RuleSet, Subject, Verdict, read_rules, strictest, write_rules
from tests.support.risk_rules import KINDS, rule, rules, subject

ORDER = list(Verdict)
JUDGED = (Prefix.PAYMENT, Prefix.INCREMENT, Prefix.REFUND, Prefix.PAYOUT)
APPLIES = ("payments", "increments", "refunds", "payouts")
AMOUNTS = st.dictionaries(st.sampled_from(["EUR", "JPY", "KWD"]), st.integers(0, 5), min_size=1)


@st.composite
def one_rule(draw: st.DrawFn, number: int) -> Rule:
    """A rule of any kind. Its name says where it stands, so that a set has no two of one name."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    applies = draw(st.lists(st.sampled_from(APPLIES), min_size=1, unique=True))
    verdicts = st.sampled_from(["review", "refuse"])
    is_closed = "payouts" in applies or kind in ("kyc", "sanctions")
    silence: Any = draw(verdicts if is_closed else verdicts | st.fixed_dictionaries({"allow_below": AMOUNTS}))
    more: dict[str, Any] = {"amount_max": draw(AMOUNTS)} if kind == "amount_limit" else {}
    return rules(
        rule(kind, name=f"rule-{number}", applies_to=applies, verdict=draw(verdicts), if_absent=silence, **more)
    )[0]


@st.composite
def sets(draw: st.DrawFn) -> tuple[Rule, ...]:
    """A few rules."""
    return tuple(draw(one_rule(number)) for number in range(draw(st.integers(0, 6))))


@st.composite
def subjects(draw: st.DrawFn) -> Subject:
    """A subject of any kind, whose amount is about as large as the limits that are drawn."""
    currency = draw(st.sampled_from(["EUR", "JPY", "KWD", "USD"]))
    minor, kind = draw(st.integers(0, 6)), draw(st.sampled_from(JUDGED))
    return subject("one", minor, currency, kind, cleared=draw(st.booleans()))


FINDINGS = st.dictionaries(
    st.integers(0, 6).map(lambda number: f"rule-{number}"),
    st.booleans().map(lambda fires: Finding(fires=fires, why="drawn")),
)


@given(sets(), one_rule(6), st.integers(0, 6), subjects(), FINDINGS)
def test_a_further_rule_never_makes_a_judgement_laxer(
    before: tuple[Rule, ...], further: Rule, place: int, asked: Subject, findings: dict[str, Finding]
) -> None:
    after = (*before[:place], further, *before[place:])
    assert _strictness(after, asked, findings) >= _strictness(before, asked, findings)


@given(sets(), subjects(), FINDINGS, st.randoms(use_true_random=False))
def test_the_order_of_rules_makes_no_difference(
    drawn: tuple[Rule, ...], asked: Subject, findings: dict[str, Finding], chance: Any
) -> None:
    others = list(drawn)
    chance.shuffle(others)
    assert _strictness(tuple(others), asked, findings) == _strictness(drawn, asked, findings)


@given(sets(), subjects(), FINDINGS)
def test_a_judgement_is_the_strictest_of_what_its_rules_say_alone(
    drawn: tuple[Rule, ...], asked: Subject, findings: dict[str, Finding]
) -> None:
    alone = [judge(RuleSet(1, (each,)).judging(asked.kind), asked, findings).verdict for each in drawn]
    assert judge(RuleSet(1, drawn).judging(asked.kind), asked, findings).verdict is strictest(alone)


@given(sets(), subjects(), FINDINGS)
def test_clearing_never_makes_stricter_and_never_undoes_a_refusal(
    drawn: tuple[Rule, ...], asked: Subject, findings: dict[str, Finding]
) -> None:
    before, cleared = (
        judge(RuleSet(1, drawn).judging(asked.kind), _cleared(asked, cleared=cleared), findings).verdict
        for cleared in (False, True)
    )
    assert cleared is (before if before is Verdict.REFUSE else Verdict.ALLOW)


@given(sets(), subjects(), FINDINGS)
def test_an_answer_that_does_not_fire_is_never_stricter_than_silence(
    drawn: tuple[Rule, ...], asked: Subject, findings: dict[str, Finding]
) -> None:
    answered = {each.name: Finding(fires=False, why="drawn") for each in drawn} | findings
    assert _strictness(drawn, asked, answered) <= _strictness(drawn, asked, findings)


@given(sets(), subjects())
def test_what_is_absent_and_may_be_large_passes_only_below_a_limit_that_says_so(
    drawn: tuple[Rule, ...], asked: Subject
) -> None:
    judging = RuleSet(1, drawn).judging(asked.kind)
    silent = [each for each in judge(judging, asked, {}).fired if each.absent and each.verdict is Verdict.ALLOW]
    by_name = {each.name: each for each in judging}
    for each in silent:
        limit = by_name[each.rule].if_absent
        assert isinstance(limit, AllowBelow)
        assert asked.money.minor < limit.allow_below[asked.money.currency]
        assert asked.kind is not Prefix.PAYOUT


@given(sets())
def test_rules_are_read_as_they_were_written(drawn: tuple[Rule, ...]) -> None:
    assert read_rules(write_rules(drawn)) == drawn


def _cleared(asked: Subject, *, cleared: bool) -> Subject:
    return subject("one", asked.money.minor, asked.money.currency, asked.kind, cleared=cleared)


def _strictness(drawn: tuple[Rule, ...], asked: Subject, findings: dict[str, Finding]) -> int:
    return ORDER.index(judge(RuleSet(1, drawn).judging(asked.kind), asked, findings).verdict)
