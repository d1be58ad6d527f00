"""`python -m bench [saga]`: measure, print the table, keep the figures; exits 0 whatever they are."""

import asyncio
import os
import sys

from rich.console import Console

from bench import saga
from bench.figures import keep, show
from workers.embedded.home import home_of
from workers.embedded.stack import read_settings
from workers.embedded.supervisor import running

KINDS = ("saga",)


def main(wanted: list[str]) -> int:
    """Run the kinds that are asked for, or all."""
    unknown = set(wanted) - set(KINDS)
    if unknown:
        Console().print(f"there is no bench called {', '.join(sorted(unknown))}; there is: {', '.join(KINDS)}")
        return 2
    home = home_of() / "bench"
    with running(home, fixed_ports=False) as supervisor:
        settings = read_settings(home)
        os.environ.update(settings)
        figures, notes = asyncio.run(saga.measure(supervisor.stack, settings))
    show("Sagas: the product beside its floors, one run", figures, notes)
    Console().print(f"kept in {keep(figures)}")
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)
