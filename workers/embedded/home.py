"""The folder in which a clone keeps its data, logs and addresses, and the two locks that keep stacks apart.

`supervisor.lock` is the supervisor's alone, and names it. `processes.lock` is inherited by every process of the stack:
it outlives a supervisor that was killed, until the last of them has ended.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Generator
from pathlib import Path

from domain.errors import HoldfastError
from workers.embedded.processes import ROOT

LEFTOVERS_SECONDS = 20.0  # what a killed supervisor leaves is gone within its guardians' three seconds

GLANCE_SECONDS = 0.3  # somebody who only looks who supervises (`supervisor_of`) holds the lock for microseconds


class AlreadyRuns(HoldfastError):
    """A stack of this home runs, or is being started or stopped."""


def home_of(root: Path = ROOT) -> Path:
    """Where a clone keeps what it makes while it runs."""
    return root / ".holdfast"


@contextlib.contextmanager
def claimed(home: Path) -> Generator[int]:
    """Be the supervisor of this home; gives the descriptor of the lock that the stack's processes inherit.

    Waits for the end of what a killed supervisor left. Raises `AlreadyRuns`.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (home / "supervisor.lock").open("a+") as ours, (home / "processes.lock").open("w") as everybodys:
        if not _lock(ours.fileno(), seconds=GLANCE_SECONDS):
            raise AlreadyRuns(f"a stack of {home} runs already")
        ours.truncate(0)
        ours.write(str(os.getpid()))
        ours.flush()
        if not _lock(everybodys.fileno(), seconds=LEFTOVERS_SECONDS):
            raise AlreadyRuns(f"processes of an earlier stack of {home} have not ended")
        yield everybodys.fileno()


def supervisor_of(home: Path) -> int | None:
    """The process that supervises a stack of this home, also while it starts or stops; None where there is none."""
    try:
        with (home / "supervisor.lock").open("r+") as ours:
            if _lock(ours.fileno(), seconds=0):
                return None
            return int(ours.read() or 0) or None
    except FileNotFoundError:
        return None


def _lock(descriptor: int, *, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
