"""Whoever breaks a rule of the product is found by a short schedule, and the product as it is passes the same one."""

import inspect

import pytest

from tests.simulation.choices import Path
from tests.simulation.mutants import MUTANTS, Mutant, hunt, replayed
from tests.simulation.mutation import Edit, Outdated, edit, mutated
from workflows.saga import Saga


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_short_schedule_kills_the_mutant_and_is_clean_without_it(mutant: Mutant) -> None:
    (hunted,) = hunt([mutant.name])
    assert hunted.killed, f"{mutant.name}: survives {hunted.schedules} schedules"
    assert len(Path.parse(hunted.schedule.partition(":")[2])) <= mutant.faults
    assert replayed(hunted.schedule) == [], f"{hunted.schedule} breaks the product as it is"


def test_there_are_more_mutants_than_thirty_and_each_has_a_name_of_its_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) > 30


def test_a_mutant_is_taken_out_again() -> None:
    touched = [(change.owner, change.name) for mutant in MUTANTS for change in mutant.changes]
    before = [inspect.getattr_static(owner, name) for owner, name in touched]
    for mutant in MUTANTS:
        with mutated(mutant.changes):
            for change in mutant.changes:
                assert (
                    inspect.getattr_static(change.owner, change.name)
                    is not before[touched.index((change.owner, change.name))]
                )
    assert all(inspect.getattr_static(*each) is was for each, was in zip(touched, before, strict=True))


def test_an_edit_of_text_that_is_not_there_any_more_is_refused() -> None:
    with pytest.raises(Outdated, match=r"Saga\._undo has 0 times"), mutated([edit(Saga, "_undo", "no such text", "")]):
        pass


def test_an_edit_that_fails_leaves_nothing_changed() -> None:
    was = Saga._undo  # pyright: ignore[reportPrivateUsage]
    good, bad = edit(Saga, "_undo", "while True:", "while 1:"), Edit(Saga, "_record", [("no such text", "")])
    with pytest.raises(Outdated), mutated([good, bad]):
        pass
    assert Saga._undo is was  # pyright: ignore[reportPrivateUsage]
