"""The simulator's page says what the simulator does: every word that a tester can use stands in it."""

from pathlib import Path

import pytest

from simulator import instruments
from simulator.control import PLAIN, WAITING
from simulator.disputes import STEPS
from simulator.northbank import ROUTES
from simulator.orders import Operation
from simulator.records import ID_PREFIX, Phase
from simulator.script import BEHAVIOURS

PAGE = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text()
INSTRUMENTS = [
    name
    for table in (instruments.AUTHORISATIONS, instruments.INCREMENTS, instruments.COLLECTIONS, instruments.TRANSFERS)
    for name in table
]


@pytest.mark.parametrize("name", [*INSTRUMENTS, *BEHAVIOURS])
def test_every_instrument_and_every_behaviour_has_its_row(name: str) -> None:
    assert f"\n| `{name}` |" in PAGE


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_call_has_its_row(method: str, path: str) -> None:
    assert f"\n| `{method} {path}" in PAGE


@pytest.mark.parametrize("path", sorted({path for _, path in [*PLAIN, *WAITING]}))
def test_every_call_of_the_control_api_is_shown(path: str) -> None:
    assert path in PAGE


@pytest.mark.parametrize(
    "word", [*Phase, *(f"`{each}`" for each in Operation), *(f"`{p}_`" for p in ID_PREFIX.values())]
)
def test_every_word_of_the_wire_is_named(word: str) -> None:
    assert word in PAGE


def test_every_step_of_a_dispute_has_its_row() -> None:
    for begun, ends in STEPS.items():
        assert all(f"\n| {begun} | {end} |" in PAGE for end in ends)
