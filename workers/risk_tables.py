"""How rules and decisions are shown to a person. Knows nothing of where they come from."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import assert_never

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from domain.money import Money
from identity.standing import Standing
from records.approvals import StoredApproval
from risk.decisions import Kept
from risk.deny_lists import Denied
from risk.judgement import Judgement
from risk.rehearsal import Change, Example
from risk.rule_sets import Version
from risk.rules import (
    AllowBelow,
    AmountLimit,
    DenyList,
    Fired,
    Kyc,
    Rule,
    Sanctions,
    Score,
    Velocity,
    Verdict,
)

STYLES = {Verdict.ALLOW: "green", Verdict.REVIEW: "yellow", Verdict.REFUSE: "bold red"}


def fires_when(rule: Rule) -> str:
    """Say in words when a rule fires."""
    match rule:
        case Velocity():
            span = f"by {rule.by} within {timedelta(seconds=rule.window_seconds)}"
            if rule.amount_max is None:
                return f"more than {rule.count_max} operations {span}"
            return f"more than {_amounts(rule.amount_max)} {span}"
        case AmountLimit():
            return f"more than {_amounts(rule.amount_max)}"
        case DenyList():
            return f"the {rule.by} is on {rule.list}"
        case Score():
            return f"the {rule.by}'s score is above {rule.score_max}"
        case Kyc():
            return f"the merchant's identity is rejected{_age(rule)}"
        case Sanctions():
            return f"the merchant is on a sanctions list{_age(rule)}"
        case _:
            assert_never(rule)


def show_rules(console: Console, version: Version, rules: Sequence[Rule]) -> None:
    """A set of rules, in the order in which they are told."""
    if not rules:
        console.print(f"Version {version.number} is empty: everything is allowed, payouts included.", style="yellow")
        return
    table = _table(
        f"Rules, version {version.number}", "rule", "judges", "fires when", "says", "waits", "without answer"
    )
    for rule in rules:
        table.add_row(
            rule.name,
            ", ".join(rule.applies_to),
            fires_when(rule),
            _verdict(rule.says),
            f"{rule.timeout_ms} ms",
            f"allow below {_amounts(rule.if_absent.allow_below)}, else review"
            if isinstance(rule.if_absent, AllowBelow)
            else rule.if_absent,
        )
    console.print(table)


def show_history(console: Console, versions: Sequence[Version]) -> None:
    """Who installed which version, and why."""
    table = _table("Versions, newest first", "version", "since", "author", "why")
    for each in versions:
        table.add_row(str(each.number), instant(each.at), escape(each.author), escape(each.why))
    console.print(table)


def show_differences(console: Console, before: Sequence[Rule], after: Sequence[Rule]) -> None:
    """What a candidate adds, changes and takes away."""
    old, new = {rule.name: rule for rule in before}, {rule.name: rule for rule in after}
    lines = [f"+ {name}: {fires_when(rule)}" for name, rule in new.items() if name not in old]
    lines += [f"~ {name}: {fires_when(rule)}" for name, rule in new.items() if name in old and old[name] != rule]
    lines += [f"- {name}" for name in old if name not in new]
    console.print("\n".join(lines) or "the same rules as before", markup=False)


def show_examples(console: Console, judged: Sequence[tuple[Example, Judgement]]) -> None:
    """What a candidate says of its author's examples."""
    table = _table("Examples", "example", "expected", "verdict", "why")
    for example, judgement in judged:
        as_expected = "" if judgement.verdict is example.expect else "  ← not as expected"
        verdict = f"{_verdict(judgement.verdict)}[bold red]{as_expected}[/]"
        table.add_row(escape(example.name), example.expect, verdict, _why(judgement.fired))
    console.print(table)


def show_changes(console: Console, changes: Sequence[Change], judged: int) -> None:
    """What a candidate would have decided otherwise, and how often."""
    console.print(f"Of the latest {judged} decisions, {len(changes)} would have been others.", style="bold")
    if not changes:
        return
    turns = Counter((each.kept.decision.verdict, each.would.verdict) for each in changes)
    for (was, would), count in sorted(turns.items()):
        console.print(f"  {_verdict(was)} → {_verdict(would)}: {count}")
    table = _table("", "operation", "at", "amount", "was", "would be", "why")
    for each in changes:
        subject = each.kept.subject
        table.add_row(
            subject.operation, instant(each.kept.at), str(subject.money),
            _verdict(each.kept.decision.verdict), _verdict(each.would.verdict), _why(each.would.fired),
        )  # fmt: skip
    console.print(table)


def show_decision(console: Console, kept: Kept) -> None:
    """One decision: what was judged, what the rules said."""
    subject, decision = kept.subject, kept.decision
    cleared = ", which people had cleared" if subject.cleared else ""
    by = f"by version {decision.version}" if decision.version else "without a rule set"
    console.print(
        f"{subject.operation} ({subject.money} of {subject.merchant}{cleared}): {_verdict(decision.verdict)} {by}, "
        f"{instant(kept.at)} UTC, in {decision.milliseconds} ms"
    )
    if not decision.fired:
        console.print("  no rule had anything to say")
        return
    table = Table("rule", "says", "why", box=None, padding=(0, 2))
    for each in decision.fired:
        passed = subject.cleared and each.verdict is Verdict.REVIEW
        table.add_row(each.rule, _verdict(each.verdict) + (" (cleared)" if passed else ""), escape(each.why))
    console.print(table)


def show_approvals(console: Console, approvals: Sequence[StoredApproval]) -> None:
    """What people said of a review."""
    for each in approvals:
        used = "" if each.used_by else " (not yet used: two people decide)"
        console.print(
            f"  {each.actor} said {each.outcome} at {instant(each.at)} UTC{used}: {each.evidence}", markup=False
        )


def show_denied(console: Console, name: str, denied: Sequence[Denied]) -> None:
    """What stands on a deny list."""
    table = _table(f"On {name}", "value", "since", "author", "why")
    for each in denied:
        table.add_row(escape(each.value), instant(each.at), escape(each.author), escape(each.why))
    console.print(table)


def show_standing(console: Console, merchant: str, standings: Sequence[Standing]) -> None:
    """What checks of a merchant have answered."""
    table = _table(f"Checks of {merchant}", "check", "answer", "since", "by", "why")
    for each in standings:
        table.add_row(each.check, each.answer, instant(each.at), escape(each.actor), escape(each.why))
    console.print(table)


def instant(at: datetime) -> str:
    """An instant as people read it, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _table(title: str, *columns: str) -> Table:
    return Table(*columns, title=title, title_style="bold", title_justify="left", show_lines=False)


def _verdict(verdict: Verdict) -> str:
    return f"[{STYLES[verdict]}]{verdict}[/]"


def _amounts(amounts: Mapping[str, int]) -> str:
    return " or ".join(str(Money(minor, currency)) for currency, minor in amounts.items())


def _age(rule: Kyc | Sanctions) -> str:
    if rule.age_seconds_max is None:
        return ""
    return f"; an answer older than {timedelta(seconds=rule.age_seconds_max)} is none"


def _why(fired: Sequence[Fired]) -> str:
    return escape("; ".join(f"{each.rule}: {each.why}" for each in fired))
