"""The three grids by name, with their golden texts; and their rows by the words of their titles."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tests.saga import payment_rows, payout_rows, refund_rows
from tests.saga.grid import Case

GRIDS: dict[str, Sequence[Case]] = {
    "payment": payment_rows.rows(),
    "refund": refund_rows.rows(),
    "payout": payout_rows.rows(),
}


def golden(name: str) -> Path:
    """Where a grid's golden text is kept."""
    return Path(__file__).parent / f"{name}.golden.txt"


def row(name: str) -> Case:
    """The row of that grid and title, e.g. `payment manual 40 void provider.capture late on the wire`."""
    return _rows()[name]


def golden_line(name: str) -> str:
    """The golden line of that row."""
    grid, title = name.split(" ", 1)[0], row(name).title
    (line,) = (each for each in golden(grid).read_text().splitlines() if each.split(" → ")[0] == title)
    return line


@cache
def _rows() -> dict[str, Case]:
    return {" ".join((grid, *each.title.split())): each for grid, rows in GRIDS.items() for each in rows}
