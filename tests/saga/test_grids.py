"""The grids: every step × every misbehaviour × every cancellation, one golden line each.

`make grid` (GRID=write) rewrites the golden texts; then the diff is read. Marks: ! refused, - unavailable, ? answer
lost, … pending, # conflict; calls repeated in a row are written once. The sums are what moved = what is booked.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest
from temporalio.client import Client

from tests.saga import payment_rows, payout_rows, refund_rows
from tests.saga.grid import Case, differences, lines_of

GRIDS: dict[str, Sequence[Case]] = {
    "payment": payment_rows.rows(),
    "refund": refund_rows.rows(),
    "payout": payout_rows.rows(),
}


@pytest.mark.parametrize("name", GRIDS)
async def test_whatever_goes_wrong_the_money_is_right_and_the_steps_are_as_written(client: Client, name: str) -> None:
    lines = await lines_of(client, GRIDS[name])
    assert not [line for line in lines if "BROKEN" in line]
    assert not differences(lines, Path(__file__).parent / f"{name}.golden.txt")


@pytest.mark.parametrize("name", GRIDS)
def test_no_row_is_written_twice(name: str) -> None:
    titles = [row.title for row in GRIDS[name]]
    assert len(titles) == len(set(titles))
