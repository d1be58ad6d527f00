"""`python -m bench [saga] [ledger]`: measure, print the table, keep the figures; exits 0 whatever they are."""

import asyncio
import os
import sys

from rich.console import Console

from bench import saga
from bench.figures import Figure, keep, show
from bench.ledger import goals
from workers.embedded.home import home_of
from workers.embedded.stack import read_settings
from workers.embedded.supervisor import running


def main(wanted: list[str]) -> int:
    """Run the kinds that are asked for, or all."""
    unknown = set(wanted) - set(KINDS)
    if unknown:
        Console().print(f"there is no bench called {', '.join(sorted(unknown))}; there is: {', '.join(KINDS)}")
        return 2
    figures = [figure for kind, measure in KINDS.items() if not wanted or kind in wanted for figure in measure()]
    Console().print(f"kept in {keep(figures)}")
    return 0


def _saga() -> list[Figure]:
    home = home_of() / "bench"
    with running(home, fixed_ports=False) as supervisor:
        settings = read_settings(home)
        os.environ.update(settings)
        figures, notes = asyncio.run(saga.measure(supervisor.stack, settings))
    show("Sagas: the product beside its floors, one run", figures, notes)
    return figures


def _ledger() -> list[Figure]:
    figures, notes = asyncio.run(goals.measure())
    show("Ledger: the product beside its floors, one run", figures, notes)
    return figures


KINDS = {"saga": _saga, "ledger": _ledger}


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)
