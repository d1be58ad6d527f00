"""Children that end with their supervisor, however it ends."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

GUARDIAN = (sys.executable, "-m", "workers.embedded.guardian")
ROOT = Path(__file__).parents[2]  # where the packages are, whatever folder the user stands in
STOP_SECONDS = 12  # longer than the guardian's own grace


def free_port() -> int:
    """Find a loopback port that nobody listens on; another process may still be quicker."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Tell whether a loopback port can be listened on now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@dataclass
class Child:
    """One process of the stack, behind its guardian."""

    name: str
    guardian: "subprocess.Popen[bytes]"
    log: Path

    @property
    def pid(self) -> int:
        return self.guardian.pid

    def is_alive(self) -> bool:
        return self.guardian.poll() is None

    def last_words(self, lines: int = 12) -> str:
        """The end of its log, for a person who wants to know why it died."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """End it and wait; its guardian kills it if it does not go."""
        if self.is_alive():
            self.guardian.terminate()
            try:
                self.guardian.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self.guardian.pid, signal.SIGKILL)
                self.guardian.wait()


class Nursery:
    """Starts children that share one lifeline: a pipe whose write end lives in this process alone."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._logs.mkdir(parents=True, exist_ok=True)
        self._lifeline, self._held = os.pipe()  # neither is inherited, but for what is passed on as stdin
        self.children: list[Child] = []

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        stop: signal.Signals = signal.SIGTERM,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> Child:
        """Start one command in a process group of its own, so that a Ctrl-C reaches the supervisor only."""
        log = self._logs / f"{name}.log"
        with log.open("ab") as out:
            guardian = subprocess.Popen(  # noqa: S603  our own commands
                [*GUARDIAN, stop.name, user or "-", "--", *command],
                stdin=self._lifeline,
                stdout=out,
                stderr=out,
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        child = Child(name, guardian, log)
        self.children.append(child)
        return child

    def stop(self, *names: str) -> None:
        """Stop the named children in this order, or all of them, the last started first."""
        order = list(names) or [child.name for child in reversed(self.children)]
        for name in order:
            for child in [each for each in self.children if each.name == name]:
                child.stop()
                self.children.remove(child)

    def close(self) -> None:
        """Stop whatever still runs and give the pipe back."""
        self.stop()
        os.close(self._held)
        os.close(self._lifeline)
