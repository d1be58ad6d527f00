"""Every lifecycle under every fault, and every pair that may tell more than its parts: no invariant breaks."""

import logging

import pytest

from tests.simulation import corpus, timeline
from tests.simulation.choices import Astray, Path
from tests.simulation.scenarios import BY_NAME, SCENARIOS
from tests.simulation.search import Report, Violation, play, quiet, search
from tests.simulation.world import Settings

SEARCH_SECONDS = 600  # an idle core needs less than one minute; a busy machine several


def _told(violation: Violation) -> str:
    """A violation as whoever has to mend it wants to see it."""
    with quiet():
        played = play(BY_NAME[violation.scenario], violation.path, settings=Settings(timeline=True))
    return f"{violation.what} ({violation.times} times)\n{violation.command}\n{timeline.written(played)}"


@pytest.fixture(scope="module")
def report() -> Report:
    return search(SCENARIOS, faults=2)


@pytest.mark.timeout(SEARCH_SECONDS)
def test_no_fault_and_no_pair_of_faults_breaks_an_invariant(report: Report) -> None:
    logging.getLogger(__name__).info("%d schedules, %d a minute and core", report.schedules, report.per_minute)
    broken = sorted(report.violations.values(), key=lambda each: len(each.path))
    assert not broken, "\n\n".join(map(_told, broken[:3]))


@pytest.mark.timeout(SEARCH_SECONDS)
def test_each_recovery_refusal_and_compensation_was_reached(report: Report) -> None:
    assert not report.never_reached


def test_what_once_broke_breaks_no_more() -> None:
    played = corpus.played()
    assert played.schedules == len(list(corpus.schedules()))
    assert not played.violations, "\n\n".join(map(_told, played.violations.values()))


def test_a_schedule_is_the_same_each_time_it_is_played() -> None:
    path = Path.parse("3=lost_after,10=late")
    with quiet():
        one, other = (play(BY_NAME["manual"], path, settings=Settings(timeline=True)) for _ in range(2))
    assert timeline.written(one) == timeline.written(other)
    assert str(one.path) == "3=lost_after,10=late"


def test_a_path_of_another_commit_is_told_from_one_that_holds() -> None:
    played = play(BY_NAME["manual"], Path.parse("3=no_such_fault"))
    assert [Astray.__name__ in each for each in played.violations] == [True]


def test_a_path_is_read_as_it_is_written() -> None:
    assert str(Path.parse("11=cancel,3=lost_after")) == "3=lost_after,11=cancel"
    with pytest.raises(ValueError, match="no answer"):
        Path.parse("lost_after")


@pytest.mark.parametrize("name", BY_NAME)
def test_each_lifecycle_ends_as_it_says(name: str) -> None:
    assert not play(BY_NAME[name]).violations
