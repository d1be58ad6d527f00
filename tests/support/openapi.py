"""Writes docs/openapi.json, and the tables of docs/api.md: `python -m tests.support.openapi`, after each change."""

import json
import re
from pathlib import Path

from api.app import OPERATIONS
from api.problems import SPECS
from tests.support.api import edge

DOCS = Path(__file__).parents[2] / "docs"
DOCUMENT = DOCS / "openapi.json"
GUIDE = DOCS / "api.md"


def text() -> str:
    """The document as it is committed: names sorted, so that a difference shows only what changed."""
    return json.dumps(edge().build().openapi(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def with_tables(guide: str) -> str:
    """The guide with its tables written anew."""
    for name, lines in (("operations", _operations()), ("errors", _errors())):
        begin, end = f"<!-- {name}: generated -->", f"<!-- /{name} -->"
        table = "\n".join([begin, *lines, end])
        guide, found = re.subn(
            f"{re.escape(begin)}.*?{re.escape(end)}", lambda _, table=table: table, guide, flags=re.DOTALL
        )
        assert found == 1, name
    return guide


def _operations() -> list[str]:
    rows = ["| request | scope | what it does |", "|---|---|---|"]
    rows += [
        f"| `{each.method} {each.path}` | {f'`{each.scope}`' if each.scope else each.auth} | {each.summary} |"
        for each in OPERATIONS
    ]
    return rows


def _errors() -> list[str]:
    rows = ["| status | code | what it means | what to do | retry unchanged |", "|---|---|---|---|---|"]
    rows += [
        f"| {spec.status} | `{code}` | {spec.title} | {spec.advice} | {'yes' if spec.retryable else 'no'} |"
        for code, spec in SPECS.items()
    ]
    return rows


if __name__ == "__main__":
    DOCUMENT.write_text(text())
    GUIDE.write_text(with_tables(GUIDE.read_text()))
