"""Writes the tables of docs/risk.md that the code says: `python -m tests.support.risk_docs`. A test compares them."""

import inspect
import re
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from risk.rules import RULE_KINDS, AmountLimit, Rule

TARGET = Path(__file__).parents[2] / "docs" / "risk.md"
BEGIN, END = "<!-- Generated: rule kinds -->\n", "<!-- End of what is generated -->\n"
OF_ALL = set(AmountLimit.model_fields) - {"amount_max"}  # what every rule says


def text() -> str:
    """The page, with its tables as the code says."""
    page = TARGET.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{rule_kinds()}\n{END}{after}"


def rule_kinds() -> str:
    """A row for each kind of rule: when it fires, when it is absent, and what else it says."""
    rows = ["| kind | fires when | absent | also says |", "|---|---|---|---|"]
    for kind in RULE_KINDS:
        fires, absent = inspect.getdoc(kind).split("\n\n")  # pyright: ignore[reportOptionalMemberAccess]
        rows.append(
            f"| `{_name(kind)}` | {_plain(fires).removeprefix('Fires when').lstrip(', ')} | "
            f"{_plain(absent).removeprefix('Absent ')} | {_fields(kind)} |"
        )
    return "\n".join(rows) + "\n"


def _name(kind: type[Rule]) -> str:
    return str(_properties(kind)["kind"]["const"])


def _fields(kind: type[Rule]) -> str:
    """The fields of a kind's own, with what they may say."""
    said = [f"`{name}` {_may(each)}" for name, each in _properties(kind).items() if name not in OF_ALL]
    return ", ".join(said) or "–"


def _may(field: dict[str, Any]) -> str:
    field = next((each for each in field.get("anyOf", ()) if each.get("type") != "null"), field)
    if "enum" in field:
        return f"({', '.join(field['enum'])})"
    if field["type"] == "object":
        return "(minor units by currency)"
    if field["type"] == "string":
        return "(a name)"
    return f"({field['minimum']} to {field['maximum']})" if "maximum" in field else f"(from {field['minimum']})"


def _properties(kind: type[Rule]) -> dict[str, dict[str, Any]]:
    schema: dict[str, Any] = TypeAdapter(kind).json_schema()
    return schema["properties"]


def _plain(sentence: str) -> str:
    return re.sub(r"\s+", " ", sentence).strip().removesuffix(".")


if __name__ == "__main__":
    TARGET.write_text(text())
