"""A Temporal server for a test session, and supervisors of the embedded stack for tests that kill them."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from workers.embedded import temporal
from workers.embedded.processes import ROOT, Nursery, free_port
from workers.embedded.supervisor import READY

MARK = "HOLDFAST_TEST_MARK"
STOP_SECONDS = 30.0  # measured: 3 s on an idle machine


@dataclass(frozen=True)
class TemporalServer:
    """A running server: `target` is its host and port."""

    target: str


@asynccontextmanager
async def running_temporal() -> AsyncGenerator[TemporalServer]:
    """Run a server in memory, its namespace and search attributes ready, and remove it without a trace."""
    with tempfile.TemporaryDirectory(prefix="holdfast-test-") as folder:
        nursery = Nursery(Path(folder) / "logs")
        try:
            port = free_port()
            nursery.start(
                "temporal",
                temporal.command(port=port, ui_port=None, database=None),
                environment=temporal.ENVIRONMENT,
            )
            target = f"127.0.0.1:{port}"
            await temporal.make_ready(target)
            yield TemporalServer(target)
        finally:
            nursery.close()


@dataclass
class Supervised:
    """A supervisor as a process of its own, whose every descendant carries `mark` in its environment."""

    process: "subprocess.Popen[str]"
    home: Path
    mark: str

    def line(self) -> str:
        """The next line that it says; empty once it has ended."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def until_ready(self) -> list[str]:
        """Read on until everything is ready; gives what it has said on the way."""
        said: list[str] = []
        while (line := self.line()) != READY:
            said.append(line)
            assert line, said
        return said

    def leaves_nothing(self) -> None:
        """Assert that none of its processes lives on."""
        self.process.wait(STOP_SECONDS)
        until = time.monotonic() + STOP_SECONDS
        while left := processes_marked(self.mark):
            assert time.monotonic() < until, left
            time.sleep(0.05)


@contextmanager
def supervised(home: Path, *parts: str, free_ports: bool = True) -> Generator[Supervised]:
    """Run a supervisor over some parts of the stack or all; whatever is left of it in the end is killed."""
    mark = uuid.uuid4().hex
    command = [sys.executable, "-m", "workers.embedded.supervisor", str(home)]
    command += ["--free-ports"] if free_ports else []
    process = subprocess.Popen(
        [*command, *(word for part in parts for word in ("--part", part))],
        cwd=ROOT, env={**os.environ, MARK: mark}, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        yield Supervised(process, home, mark)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        for pid in processes_marked(mark):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def processes_marked(mark: str) -> dict[int, str]:
    """The living processes whose environment carries the mark, with their commands. Linux only."""
    found: dict[int, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ").strip()
    return {pid: command for pid, command in found.items() if command}
