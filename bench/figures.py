"""Figures of a run: each with its floor of the same run, its ratio and its goal; printed, and kept for programs."""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from workers.embedded.home import home_of


@dataclass(frozen=True)
class Figure:
    """One measurement. `goal` bounds the ratio: at most where `at_most`, at least otherwise; None: no goal."""

    name: str
    value: float
    unit: str
    floor: float | None = None
    goal: float | None = None
    at_most: bool = True
    what: str = ""

    @property
    def ratio(self) -> float | None:
        return self.value / self.floor if self.floor else None

    @property
    def met(self) -> bool | None:
        measured = self.ratio if self.floor is not None else self.value
        if self.goal is None or measured is None:
            return None
        return measured <= self.goal if self.at_most else measured >= self.goal


def p50(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def p99(values: Sequence[float]) -> float:
    """The value that one in a hundred exceeds (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(0.99 * len(ranked)) - 1)]


def show(title: str, figures: Sequence[Figure], notes: Sequence[str]) -> None:
    """Print the table."""
    table = Table(title=title, title_style="bold")
    for column, side in (
        ("figure", "left"),
        ("measured", "right"),
        ("floor", "right"),
        ("ratio", "right"),
        ("goal", "right"),
    ):
        table.add_column(column, justify="right" if side == "right" else "left", overflow="fold")
    table.add_column("")
    for each in figures:
        sign = "≤" if each.at_most else "≥"
        table.add_row(
            f"{each.name}: {each.what}",
            f"{each.value:,.2f} {each.unit}",
            "" if each.floor is None else f"{each.floor:,.2f}",
            "" if each.ratio is None else f"{each.ratio:.2f}",
            "" if each.goal is None else f"{sign} {each.goal:g}",
            {True: "[green]met[/]", False: "[red]not met[/]", None: ""}[each.met],
        )
    console = Console(highlight=False, width=130)
    console.print(table)
    for note in notes:
        console.print(f"  {note}", style="dim")


def keep(figures: Sequence[Figure]) -> Path:
    """Write the figures for programs."""
    report = home_of() / "reports" / "bench.json"
    report.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {key: value for key, value in asdict(each).items() if key not in ("at_most", "what")}
        | {"ratio": each.ratio, "met": each.met}
        for each in figures
    ]
    report.write_text(json.dumps(rows, indent=2) + "\n")
    return report
