"""The schedules that once broke something, one a line in `corpus.txt`. They are always played."""

from collections.abc import Iterator
from pathlib import Path as File

from tests.simulation.choices import Astray, Following, Path
from tests.simulation.scenarios import BY_NAME, Scenario
from tests.simulation.search import Report, played_by, quiet
from tests.simulation.world import Settings, virtual_present

CORPUS = File(__file__).with_name("corpus.txt")


def schedules() -> Iterator[tuple[Scenario, Path]]:
    """Read them. A line is `scenario:path`, and what it had shown."""
    for line in CORPUS.read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, path = line.split()[0].partition(":")
            yield BY_NAME[name], Path.parse(path)


def played() -> Report:
    """Play them all. One that has gone astray, since the code asks otherwise now, is played as far as it fits."""
    report = Report()
    with quiet(), virtual_present():
        for scenario, path in schedules():
            report.take(played_by(scenario, Leaning(path), Settings(), replay_all=True))
    return report


class Leaning(Following):
    """Follows a path where the questions are still asked so, and answers "none" elsewhere."""

    def _answer(self, options: "list[str] | tuple[str, ...]") -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            return super()._answer(options)
        except Astray:
            return options[0]
