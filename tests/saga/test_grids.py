"""The grids: every step × every misbehaviour × every cancellation, one golden line each.

`make grid` (GRID=write) rewrites the golden texts; then the diff is read. Marks: ! refused, - unavailable, ? answer
lost, … pending, # conflict; calls repeated in a row are written once. The sums are what moved = what is booked.
"""

import pytest
from temporalio.client import Client

from tests.saga.grid import differences, lines_of
from tests.saga.grids import GRIDS, golden
from workflows import saga

pytestmark = pytest.mark.usefixtures("nobody_else_is_asked")


@pytest.fixture(autouse=True)
def a_parked_run_waits_for_its_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a clock that skips, a run that looks again by itself would race the operator of its row."""
    monkeypatch.setattr(saga, "LOOK_AGAIN_IN_DOUBT", None)


@pytest.mark.timeout(600)  # a minute for all three on two cores of their own
@pytest.mark.parametrize("name", GRIDS)
async def test_whatever_goes_wrong_the_money_is_right_and_the_steps_are_as_written(client: Client, name: str) -> None:
    lines = await lines_of(client, GRIDS[name])
    assert not [line for line in lines if "BROKEN" in line]
    assert not differences(lines, golden(name))


@pytest.mark.parametrize("name", GRIDS)
def test_no_row_is_written_twice(name: str) -> None:
    titles = [row.title for row in GRIDS[name]]
    assert len(titles) == len(set(titles))
