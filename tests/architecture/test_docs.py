"""The documents are in step with the code: links lead somewhere, every page is reached, numbers balance.

What a sentence means cannot be tested; what it points at can.
"""

import re
import tomllib
from decimal import Decimal
from functools import cache
from pathlib import Path

import pytest

from domain.commands import Operation
from domain.ids import Verb
from domain.outcomes import Outcome
from tests.support.docs import GENERATED

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
DECISIONS = sorted((DOCS / "decisions").glob("*.md"))
PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
    "packages"
]
CODE: list[str] = [*PACKAGES, "bench", "tests"]

FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
ELSEWHERE = ("http://", "https://", "mailto:")


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def _links(page: Path) -> list[tuple[Path, str]]:
    """The page's links into the repository: which file, and which heading of it."""
    targets = [target for target in LINK.findall(_prose(page)) if not target.startswith(ELSEWHERE)]
    parts = [target.partition("#") for target in targets]
    return [((page.parent / path).resolve() if path else page, heading) for path, _, heading in parts]


def _anchors(page: Path) -> set[str]:
    """The headings of a page, as GitHub writes them in addresses."""
    headings = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def _sources() -> dict[str, str]:
    return {_name(file): file.read_text() for folder in CODE for file in (ROOT / folder).rglob("*.py")}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_leads_to_a_file_and_to_a_heading_of_it(page: Path) -> None:
    broken = [f"{target}#{heading}" for target, heading in _links(page) if not target.exists()]
    lost = [f"{_name(to)}#{at}" for to, at in _links(page) if at and to.is_file() and at not in _anchors(to)]
    assert not broken + lost


def test_every_page_can_be_reached_from_the_index_or_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md", DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        waiting += [to for to, _ in _links(page) if to.suffix == ".md" and to.exists() and to not in reached]
    assert set(PAGES) - reached == set()


@pytest.mark.parametrize("file", GENERATED)
def test_a_generated_document_says_what_the_code_says(file: str) -> None:
    assert (DOCS / file).read_text() == GENERATED[file](), "run `make generate`"


@pytest.mark.parametrize("decision", DECISIONS, ids=_name)
def test_a_decision_has_its_number_and_its_four_headings(decision: Path) -> None:
    text = decision.read_text()
    assert text.startswith(f"# {int(decision.name[:4])}. ")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences", "Alternatives"]


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(decision.name[:4]) for decision in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_every_outcome_verb_and_operation_has_its_word_in_the_glossary() -> None:
    words = set(re.findall(r"^\| ([a-z-]+(?: [a-z-]+)*) \|", (DOCS / "glossary.md").read_text(), re.MULTILINE))
    kinds = {kind.__name__.lower() for kind in Operation.__subclasses__() if hasattr(kind, "prefix")}
    noun = {Verb.AUTHORIZE: "authorization", Verb.PAY_OUT: "payout", Verb.ARRIVE: "arrival"}
    assert set(Outcome) | kinds | {noun.get(verb, str(verb)) for verb in Verb} <= words


def test_a_word_of_the_glossary_stands_there_once() -> None:
    words = re.findall(r"^\| ([a-z-]+(?: [a-z-]+)*) \|", (DOCS / "glossary.md").read_text(), re.MULTILINE)
    words = [word for word in words if word != "word"]  # the tables' own head
    assert len(words) == len(set(words))


def test_the_code_cites_only_money_rules_that_exist() -> None:
    rules = {int(number) for number in re.findall(r"^## (\d+)\. ", (DOCS / "money-rules.md").read_text(), re.MULTILINE)}
    assert rules == set(range(1, 16))
    cited = {int(n) for text in _sources().values() for n in re.findall(r"money rules? (\d+)", text, re.IGNORECASE)}
    assert cited
    assert cited <= rules


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(rf"`((?:{'|'.join(CODE)}|docs)/[\w/.]+)`", _prose(page))
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_test_that_a_page_names_is_in_the_file_that_it_links_beside_it(page: Path) -> None:
    for line in _prose(page).splitlines():
        names = re.findall(r"`(test_\w+)`", line)
        files = [(page.parent / link).resolve().read_text() for link in LINK.findall(line) if link.endswith(".py")]
        assert [name for name in names if not any(f"def {name}(" in text for text in files)] == [], line


def test_the_ledger_of_the_money_path_balances_in_every_row() -> None:
    rows = re.findall(r"^\| (.+?) \|((?: −?[\d.]+ \|){6})(.*)\|$", (DOCS / "money-path.md").read_text(), re.MULTILINE)
    assert len(rows) > 5
    for after, posted, pending in rows:
        amounts = [Decimal(amount.strip().replace("−", "-")) for amount in posted.split("|") if amount.strip()]
        held = [Decimal(amount.replace("−", "-")) for amount in re.findall(r"[+−][\d.]+", pending)]
        assert sum(amounts) == 0, after
        assert sum(held) == 0, after
