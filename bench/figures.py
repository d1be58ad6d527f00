"""Figures of a run: each with its floor of the same run, its ratio and its goal; printed, and kept for programs."""

import json
import math
import os
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from workers.embedded.home import home_of

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Figure:
    """One measurement. `goal` bounds the ratio: at most where `at_most`, at least otherwise; None: no goal.

    `rounds` is what the goal bounds, round by round, where it was measured so: then the ratio is their median, and the
    goal is met when their 80 % interval reaches it.
    """

    name: str
    value: float
    unit: str
    floor: float | None = None
    goal: float | None = None
    at_most: bool = True
    what: str = ""
    rounds: tuple[float, ...] = ()

    @property
    def ratio(self) -> float | None:
        if not self.floor:
            return None
        return p50(self.rounds) if self.rounds else self.value / self.floor

    @property
    def spread(self) -> tuple[float, float] | None:
        """The 80 % interval of the rounds: from the tenth to the ninetieth percentile, interpolated."""
        if not self.rounds:
            return None
        tenths = statistics.quantiles(self.rounds, n=10, method="inclusive")
        return tenths[0], tenths[-1]

    @property
    def met(self) -> bool | None:
        measured = self.ratio if self.floor is not None else self.value
        if self.goal is None or measured is None:
            return None
        least, most = self.spread or (measured, measured)
        return least <= self.goal if self.at_most else most >= self.goal


def p50(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def p99(values: Sequence[float]) -> float:
    """The value that one in a hundred exceeds (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(0.99 * len(ranked)) - 1)]


def cpu_seconds(pid: int) -> float:
    """User and system seconds that a process has used (proc(5): stat, fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def show(title: str, figures: Sequence[Figure], notes: Sequence[str]) -> None:
    """Print the table."""
    table = Table(title=title, title_style="bold")
    for column, side in (
        ("figure", "left"),
        ("measured", "right"),
        ("floor", "right"),
        ("ratio", "right"),
        ("80 %", "right"),
        ("goal", "right"),
    ):
        table.add_column(column, justify="right" if side == "right" else "left", overflow="fold")
    table.add_column("")
    for each in figures:
        sign = "≤" if each.at_most else "≥"
        table.add_row(
            f"{each.name}: {each.what}",
            f"{_short(each.value)} {each.unit}",
            "" if each.floor is None else _short(each.floor),
            "" if each.ratio is None else _short(each.ratio),
            "" if each.spread is None else "–".join(map(_short, each.spread)),
            "" if each.goal is None else f"{sign} {each.goal:,}",
            {True: "[green]met[/]", False: "[red]not met[/]", None: ""}[each.met],
        )
    console = Console(highlight=False, width=130)
    console.print(table)
    for note in notes:
        console.print(f"  {note}", style="dim")


def _short(value: float) -> str:
    """As many digits as a reader compares by."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 0.1 or not value else f"{value:.4f}"


def keep(figures: Sequence[Figure]) -> Path:
    """Write the figures for programs."""
    report = home_of() / "reports" / "bench.json"
    report.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {key: value for key, value in asdict(each).items() if key not in ("at_most", "what", "rounds")}
        | {"ratio": each.ratio, "met": each.met, "spread": each.spread}
        for each in figures
    ]
    report.write_text(json.dumps(rows, indent=2) + "\n")
    return report
