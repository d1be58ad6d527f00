"""docs/risk.md says what the code says: its table of rule kinds, its example, its bounds, who asks and who does not."""

import ast
import re
from pathlib import Path

import pytest

from domain.ids import Prefix
from risk.gate import JUDGE_SECONDS, KEEP_SECONDS, SMALL_CHANGE_MAJOR
from risk.rehearsal import read_candidate
from risk.rules import KINDS, RULE_KINDS, TIMEOUT_MS_MAX, AmountLimit, AppliesTo
from tests.support import risk_docs

ROOT = Path(__file__).parents[2]
PAGE = risk_docs.TARGET.read_text()


def test_the_table_of_rule_kinds_is_that_of_the_code() -> None:
    assert risk_docs.text() == PAGE, "run `python -m tests.support.risk_docs`"


def test_the_example_of_the_page_is_a_candidate_with_most_kinds_of_rule() -> None:
    (document,) = re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    candidate = read_candidate(document)
    assert {rule.kind for rule in candidate.rules} == {"kyc", "sanctions", "velocity", "deny_list", "amount_limit"}
    assert len(RULE_KINDS) == 6
    assert len(candidate.examples) == 2


def test_the_bounds_of_the_page_are_those_of_the_code() -> None:
    assert f"{JUDGE_SECONDS * 1000:.0f} ms to judge, {KEEP_SECONDS * 1000:.0f} ms to keep" in PAGE
    assert f"1 to {TIMEOUT_MS_MAX} ms" in PAGE
    assert f"below {SMALL_CHANGE_MAJOR} major units" in PAGE
    assert TIMEOUT_MS_MAX / 1000 < JUDGE_SECONDS
    assert pytest.approx(0.5) == JUDGE_SECONDS + KEEP_SECONDS


def test_every_field_that_each_rule_has_stands_in_the_page() -> None:
    fields = re.findall(r"^\| `(\w+)` \| (?!.* \| .* \|)", PAGE, re.MULTILINE)
    assert set(fields) == set(AmountLimit.model_fields) - {"amount_max"}


def test_only_preparations_ask_risk() -> None:
    """Captures, voids, facts and balance reads never do: nothing else in the activities comes to `decide`."""
    asking = {name for name, called in _calls("activities/books.py").items() if "decide" in called}
    reached = set(asking)
    while more := {name for name, called in _calls("activities/books.py").items() if called & reached} - reached:
        reached |= more
    public = {name for name in reached if not name.startswith("_")}
    assert public == {"prepare_payment", "prepare_refund", "prepare_payout", "prepare_increment"}


def test_only_the_books_and_the_workers_know_risk() -> None:
    knowing = {
        file.relative_to(ROOT).parts[0]
        for package in (
            "activities",
            "adapters",
            "api",
            "contracts",
            "domain",
            "identity",
            "ledger",
            "records",
            "workers",
        )
        for file in (ROOT / package).rglob("*.py")
        if re.search(r"^(?:from|import) risk\b", file.read_text(), re.MULTILINE)
    }
    assert knowing == {"activities", "workers"}
    of_activities = [f.name for f in (ROOT / "activities").glob("*.py") if "from risk" in f.read_text()]
    assert of_activities == ["books.py"]


def test_what_is_prepared_can_be_judged_and_nothing_else() -> None:
    assert set(KINDS.values()) == {Prefix.PAYMENT, Prefix.INCREMENT, Prefix.REFUND, Prefix.PAYOUT}
    assert set(KINDS) == set(AppliesTo)


def _calls(file: str) -> dict[str, set[str]]:
    """What each function of a module calls, by name."""
    return {
        node.name: {
            call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            for call in ast.walk(node)
            if isinstance(call, ast.Call)
        }
        for node in ast.walk(ast.parse((ROOT / file).read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
