"""Children that end with their supervisor, however it ends."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from workers.embedded.guardian import GRACE_SECONDS, OURSELVES

GUARDIAN = (sys.executable, "-m", "workers.embedded.guardian")
ROOT = Path(__file__).parents[2]  # where the packages are, whatever folder the user stands in
STOP_SECONDS = GRACE_SECONDS + 4  # the guardian has killed it by then, or is stuck itself


def free_ports(count: int) -> list[int]:
    """Find loopback ports that nobody listens on, all different; another process may still be quicker."""
    with ExitStack() as open_until_all_are_found:
        probes = [open_until_all_are_found.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def free_port() -> int:
    """Find one loopback port that nobody listens on."""
    return free_ports(1)[0]


def is_free(port: int) -> bool:
    """Tell whether a loopback port can be listened on now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to start, and the signal that ends it in order."""

    name: str
    command: Sequence[str]
    stop: signal.Signals = signal.SIGTERM
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    user: str | None = None  # as whom; None: as we are


@dataclass
class Child:
    """One process of the stack, behind its guardian."""

    program: Program
    log: Path
    guardian: "subprocess.Popen[bytes]"
    _report: int  # gives the process's id, then the end of file when it and all that it started have gone
    _pid: int | None = None

    @property
    def name(self) -> str:
        return self.program.name

    @property
    def pid(self) -> int:
        """The process's own id, not its guardian's; 0 if it could not be started."""
        if self._pid is None:
            told = b""
            while not told.endswith(b"\n") and (more := os.read(self._report, 1)):
                told += more
            self._pid = int(told or 0)
        return self._pid

    def is_alive(self) -> bool:
        return self.guardian.poll() is None

    def last_words(self, lines: int = 12) -> str:
        """The end of its log, for a person who wants to know why it died."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """End it and wait until it has gone, also where its guardian was killed; killed if it does not go."""
        if self.is_alive():
            self.guardian.terminate()
            try:
                self.guardian.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self.guardian.pid, signal.SIGKILL)
                self.guardian.wait()
        if self.pid and not self._has_gone(STOP_SECONDS):
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self._has_gone(STOP_SECONDS)
        os.close(self._report)

    def _has_gone(self, seconds: float) -> bool:
        return bool(select.select([self._report], [], [], seconds)[0])


class Nursery:
    """Starts children that share one lifeline: a pipe whose write end lives in this process alone.

    They inherit `lock`, an open descriptor, and so hold whatever lock is on it until the last of them has ended.
    """

    def __init__(self, logs: Path, lock: int | None = None) -> None:
        self._logs = logs
        self._logs.mkdir(parents=True, exist_ok=True)
        self._inherited = () if lock is None else (lock,)
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
        program = Program(name=name, command=command, stop=stop, environment=environment or {}, user=user)
        child = self._start(program)
        self.children.append(child)
        return child

    def restart(self, child: Child) -> Child:
        """Start again what has ended; takes its place."""
        child.stop()
        again = self._start(child.program)
        self.children[self.children.index(child)] = again
        return again

    def _start(self, program: Program) -> Child:
        log = self._logs / f"{program.name}.log"
        report, told = os.pipe()
        try:
            with log.open("ab") as out:
                guardian = subprocess.Popen(  # noqa: S603  our own commands
                    [*GUARDIAN, program.stop.name, program.user or OURSELVES, str(told), "--", *program.command],
                    stdin=self._lifeline,
                    stdout=out,
                    stderr=out,
                    cwd=ROOT,
                    env={**os.environ, **program.environment},
                    start_new_session=True,
                    pass_fds=(told, *self._inherited),
                )
        finally:
            os.close(told)
        return Child(program, log, guardian, report)

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
