"""Schedules of faults over the real ledger and rows: they hold there too, and the books in memory are like them."""

import pytest

from tests.simulation.choices import Following, Path, onward
from tests.simulation.postgres import Database
from tests.simulation.scenarios import SCENARIOS, Scenario, merchant, salted
from tests.simulation.search import Played, played_by, quiet
from tests.simulation.world import Settings, virtual_present
from tests.support.cluster import Database as Made

EVERY = 60  # of the schedules of one fault, one in so many, each scenario its own: eighty in some seconds


def _played(database: Database, number: int, scenario: Scenario, path: Path) -> Played:
    salt = f"_{number}"
    with salted(salt):
        played = played_by(scenario, Following(path), Settings(books=database.kinds, salt=salt))
        played.violations.extend(database.differences(played.world, merchant()))
    return played


@pytest.mark.timeout(300)
def test_the_database_says_what_the_books_in_memory_say(database: Made) -> None:
    beside, number = Database(database.url), 0
    try:
        with quiet(), virtual_present():
            for scenario in SCENARIOS:
                number += 1
                plain = _played(beside, number, scenario, Path())
                assert not plain.violations, f"{plain.name}: {plain.violations}"
                for path in list(onward(Path(), plain.asked))[number % EVERY :: EVERY]:
                    number += 1
                    played = _played(beside, number, scenario, path)
                    assert not played.violations, f"{played.name}: {played.violations}"
        assert beside.ask(beside.journal.verify()) is None
    finally:
        beside.close()
