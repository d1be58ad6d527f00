"""The report of a soak: a table for people, and the same for programs in `.holdfast/reports/chaos.json`."""

import json
import os
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tests.support.chaos_audit import Audit, Finding
from tests.support.chaos_recovery import Recovery
from workers.embedded.home import home_of

RECOVERY_GOAL_SECONDS = 4.0
WIDTH_MIN = 118
SHOWN_MAX = 20  # of what breaks one invariant; the file has all


@dataclass(frozen=True)
class Spell:
    """One phase, as it went."""

    name: str
    payments: int
    seconds: float
    faults: Counter[str]


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was done, and what is left of it."""

    seed: int
    spells: Sequence[Spell]
    made: Counter[str]  # acknowledged operations by kind
    answers: Counter[str]
    recoveries: Sequence[Recovery]
    audit: Audit
    left_out: Sequence[str]
    load: float  # of the whole machine while the recovery was measured: processes that wanted to run, on average

    @property
    def recovery_median_seconds(self) -> float:
        return statistics.median(each.seconds for each in self.recoveries)

    @property
    def faults(self) -> Counter[str]:
        return sum((spell.faults for spell in self.spells), Counter[str]())

    def keep(self) -> Path:
        """Write it down for programs; gives where."""
        place = home_of() / "reports" / "chaos.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(self._as_json(), indent=2) + "\n")
        return place

    def _as_json(self) -> dict[str, object]:
        audit = self.audit
        return {
            "payments": self.made["payment"],
            "refunds": self.made["refund"],
            "payouts": self.made["payout"],
            "fault_kinds": sorted(self.faults),
            "faults": dict(sorted(self.faults.items())),
            "money_difference": audit.money_difference,
            "acknowledged_lost": len(audit.acknowledged.broken),
            "unowned": len(audit.owned.broken),
            "replay_failures": len(audit.replayed.broken),
            "recovery_median_s": round(self.recovery_median_seconds, 2),
            "recovery_goal_s": RECOVERY_GOAL_SECONDS,
            "processors": os.cpu_count(),
            "load": round(self.load, 1),
            "recoveries_s": [round(each.seconds, 2) for each in self.recoveries],
            "seconds": round(sum(spell.seconds for spell in self.spells)),
            "seed": self.seed,
            "left_out": list(self.left_out),
            "invariants": {finding.name: list(finding.broken) for finding in audit.findings},
            "answers": dict(self.answers.most_common()),
        }

    def show(self) -> None:
        """Print it."""
        console = Console(highlight=False)
        if console.width < WIDTH_MIN:
            console = Console(highlight=False, width=WIDTH_MIN)
        console.print(self._phases())
        console.print(self._invariants())
        console.print(self._recovery())
        console.print(f"answers to the shops: {', '.join(f'{count} × {what}' for what, count in _most(self.answers))}")
        for what in self.left_out:
            console.print(f"left out: {what}", style="yellow")
        for finding in self.audit.findings:
            _complain(console, finding)
        sound = self.audit.is_sound
        verdict = "nothing was lost, doubled or left alone" if sound else "not all of it is sound"
        console.print(Text(f"{'✓' if sound else '✗'} {verdict}", style="bold green" if sound else "bold red"))

    def _phases(self) -> Table:
        table = _table(f"What was done (seed {self.seed})", "phase", "faults", "payments", "seconds")
        for spell in self.spells:
            faults = "\n".join(f"{count} × {what}" for what, count in sorted(spell.faults.items()))
            table.add_row(spell.name, faults or "–", str(spell.payments), f"{spell.seconds:.0f}")
        table.add_section()
        made = ", ".join(f"{count} {what}s" for what, count in sorted(self.made.items()))
        total = sum(spell.seconds for spell in self.spells)
        struck = f"{self.faults.total()} faults of {len(self.faults)} kinds"
        table.add_row(made, struck, str(self.made["payment"]), f"{total:.0f}", style="bold")
        return table

    def _invariants(self) -> Table:
        table = _table("What must hold", "", "invariant", "looked at", "broken")
        for finding in self.audit.findings:
            mark, style = ("✗", "bold red") if finding.broken else ("✓", "")
            table.add_row(mark, finding.name, finding.seen, str(len(finding.broken)), style=style)
        return table

    def _recovery(self) -> Table:
        machine = f"{os.cpu_count()} processors, load {self.load:.1f}"
        title = f"The only worker killed {len(self.recoveries)} times ({machine}), seconds until …"
        table = _table(title, "", "median", "at most")
        for name, values in (
            ("another worker polls", [each.polls for each in self.recoveries]),
            ("a payment asked for at that moment is answered", [each.asked_afresh for each in self.recoveries]),
            ("a capture of a run that it had is answered", [each.asked_of_the_dead for each in self.recoveries]),
            ("a payment with its call on the wire has ended", [each.on_the_wire for each in self.recoveries]),
        ):
            table.add_row(name, f"{statistics.median(values):.2f}", f"{max(values):.2f}")
        median = self.recovery_median_seconds
        met = "met" if median < RECOVERY_GOAL_SECONDS else "not met"
        table.add_section()
        name = f"everything is served as before (goal: under {RECOVERY_GOAL_SECONDS:.0f}, {met})"
        table.add_row(name, f"{median:.2f}", f"{max(each.seconds for each in self.recoveries):.2f}", style="bold")
        return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(
            column, justify="right" if column in ("payments", "seconds", "broken", "median", "at most") else "left"
        )
    return table


def _most(counts: Counter[str]) -> list[tuple[str, int]]:
    return counts.most_common(12)


def _complain(console: Console, finding: Finding) -> None:
    for what in finding.broken[:SHOWN_MAX]:
        console.print(Text(f"✗ {finding.name}: {what}", style="red"), soft_wrap=True)
    if len(finding.broken) > SHOWN_MAX:
        console.print(f"  … and {len(finding.broken) - SHOWN_MAX} more", style="red")
