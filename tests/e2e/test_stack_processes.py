"""The embedded stack's processes: whatever becomes of their supervisor, at whatever moment, none outlives it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import uuid
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from tests.support.stack import MARK, processes_marked, supervised
from workers.embedded import postgres
from workers.embedded.guardian import identity_of
from workers.embedded.home import supervisor_of
from workers.embedded.processes import ROOT
from workers.embedded.stack import Stack
from workers.embedded.supervisor import FIXED

PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
    "packages"
]
SOON_SECONDS = 30.0  # measured: 1 s on an idle machine
MOMENTS = (
    "0.1",
    "0.5",
    "0.9",
    "1.4",
    "ready",
)  # seconds: importing, initdb, starting, migrating; on a slow machine sooner

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


@pytest.fixture
def home(tmp_path: Path) -> Generator[Path]:
    """A home whose path has a space; it and its neighbours are removed, also what root keeps elsewhere."""
    yield tmp_path / "a home"
    for place in tmp_path.iterdir():
        postgres.remove(place)


@pytest.mark.parametrize(
    ("moment", "number"),
    [(moment, signal.SIGKILL) for moment in MOMENTS]
    + [(moment, number) for moment in MOMENTS[2::2] for number in (signal.SIGTERM, signal.SIGINT)],
)
def test_nothing_is_left_of_a_stack_whose_supervisor_ends(moment: str, number: signal.Signals, home: Path) -> None:
    with supervised(home, "postgres", "temporal", "simulator") as stack:
        if moment == "ready":
            stack.until_ready()
            assert len(processes_marked(stack.mark)) >= 7  # the supervisor, three parts and their guardians
        else:
            time.sleep(float(moment))
        stack.process.send_signal(number)
        stack.leaves_nothing()
        assert not (home / "stack.json").exists() or number is signal.SIGKILL


def test_the_whole_stack_ends_with_a_killed_supervisor_and_starts_again_at_once(home: Path) -> None:
    with supervised(home) as killed:
        killed.until_ready()
        killed.process.kill()
        with supervised(home) as again:
            again.until_ready()
            assert Stack.read(home).pids["supervisor"] == again.process.pid
            again.process.terminate()
            again.leaves_nothing()
        killed.leaves_nothing()


@pytest.mark.parametrize("part", ["postgres", "temporal"])
def test_a_part_ends_with_its_killed_guardian_and_is_started_again(part: str, home: Path) -> None:
    with supervised(home, "postgres", "temporal") as stack:
        stack.until_ready()
        before = Stack.read(home).pids[part]
        os.kill(_parent_of(before), signal.SIGKILL)
        assert _restarted(home, part, before) != before
        assert before not in processes_marked(stack.mark)
        stack.process.terminate()
        stack.leaves_nothing()


def test_nothing_is_left_where_guardians_are_killed_with_their_supervisor(home: Path) -> None:
    with supervised(home, "postgres", "temporal", "simulator") as stack:
        stack.until_ready()
        pids = Stack.read(home).pids
        for guardian in [_parent_of(pids[part]) for part in ("postgres", "temporal", "simulator")]:
            os.kill(guardian, signal.SIGKILL)
        stack.process.kill()
        stack.leaves_nothing()


def test_a_killed_worker_is_started_again(home: Path) -> None:
    with supervised(home) as stack:
        stack.until_ready()
        before = Stack.read(home).pids["worker"]
        os.kill(before, signal.SIGKILL)
        assert _restarted(home, "worker", before) != before
        stack.process.terminate()
        stack.leaves_nothing()


def test_the_stack_stops_when_the_simulator_and_its_books_are_gone(home: Path) -> None:
    with supervised(home, "simulator") as stack:
        stack.until_ready()
        os.kill(Stack.read(home).pids["simulator"], signal.SIGKILL)
        stack.leaves_nothing()
        assert stack.process.returncode == 1


async def test_a_second_start_finds_the_books_of_the_first(home: Path) -> None:
    for _ in range(2):
        with supervised(home, "postgres", "temporal") as stack:
            stack.until_ready()
            connection = await asyncpg.connect(Stack.read(home).postgres)
            entries = await connection.fetchval("SELECT count(*) FROM ledger.entry WHERE kind = 'top_up'")
            await connection.close()
            assert entries == 6  # two merchants in three currencies, topped up once
            stack.process.terminate()
            stack.leaves_nothing()


def test_two_stacks_run_side_by_side_and_know_nothing_of_each_other(home: Path) -> None:
    with supervised(home, "postgres") as one, supervised(home.with_name("another home"), "postgres") as two:
        one.until_ready()
        two.until_ready()
        assert Stack.read(one.home).postgres != Stack.read(two.home).postgres
        one.process.terminate()
        one.leaves_nothing()
        assert two.process.poll() is None
        two.process.terminate()
        two.leaves_nothing()


def test_a_port_that_is_taken_is_replaced_and_said_so(home: Path) -> None:
    with socket.socket() as taken:
        with suppress(OSError):  # a stack that runs here has it already
            taken.bind(("127.0.0.1", FIXED["simulator"]))
            taken.listen()
        with supervised(home, "simulator", free_ports=False) as stack:
            said = stack.until_ready()
            port = Stack.read(home).simulator.rpartition(":")[2]
            assert f"port {FIXED['simulator']} is taken; simulator listens on {port}" in said


def test_a_second_supervisor_of_one_home_gives_way(home: Path) -> None:
    with supervised(home, "simulator") as first:
        first.until_ready()
        with supervised(home, "simulator") as second:
            second.process.wait(SOON_SECONDS)
            assert second.process.returncode == 1
        assert supervisor_of(home) == first.process.pid
        assert Stack.read(home).pids["supervisor"] == first.process.pid


def test_only_its_owner_can_read_where_the_stack_is(home: Path) -> None:
    with supervised(home, "simulator") as stack:
        stack.until_ready()
        for file in ("stack.json", "settings.env"):
            assert (home / file).stat().st_mode & 0o777 == 0o600
        said = json.loads((home / "stack.json").read_text())
        assert set(said) == {"api", "simulator", "temporal", "temporal_ui", "postgres", "token", "pids"}


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone keeps its database outside")
def test_root_uses_no_folder_that_belongs_to_somebody_else(home: Path) -> None:
    place = postgres.place_of_root(home)
    place.mkdir()
    try:
        shutil.chown(place, "nobody")
        with pytest.raises(postgres.BadPlace):
            postgres.prepare(home, 1)
    finally:
        place.rmdir()


def test_an_ordinary_user_runs_a_copy_in_a_path_with_a_space_from_any_folder() -> None:
    with tempfile.TemporaryDirectory(prefix="holdfast test ") as folder:
        clone = Path(folder) / "clone"
        for package in [*PACKAGES, "pyproject.toml"]:
            _copy(ROOT / package, clone / package)
        user = _ordinary_user(Path(folder))
        mark = uuid.uuid4().hex
        holdfast = [sys.executable, str(clone / "workers" / "command_line.py")]
        environment = {**os.environ, MARK: mark, "PYTHONPATH": str(clone)}
        try:
            for words in (["up", "--keep", "--demo"], ["up", "--keep"], ["down"], ["down"]):
                ran = subprocess.run(
                    [*holdfast, *words], cwd="/", env=environment, capture_output=True, text=True, check=False,
                    **identity_of(user),
                )  # fmt: skip
                assert ran.returncode == 0, ran.stdout + ran.stderr
            assert processes_marked(mark) == {}
        finally:
            for pid in processes_marked(mark):
                os.kill(pid, signal.SIGKILL)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def _ordinary_user(folder: Path) -> str | None:
    """Give the folder to somebody who is not root; None: we are nobody special ourselves."""
    if os.geteuid() != 0:
        return None
    for place in (folder, *folder.rglob("*")):
        shutil.chown(place, "nobody")
    try:
        subprocess.run([sys.executable, "-c", ""], check=True, capture_output=True, **identity_of("nobody"))
    except (PermissionError, subprocess.CalledProcessError):
        pytest.skip("this interpreter is out of an ordinary user's reach")
    return "nobody"


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _restarted(home: Path, part: str, before: int) -> int:
    """Wait until another process is the part's; return it."""
    until = time.monotonic() + SOON_SECONDS
    while (now := Stack.read(home).pids[part]) == before:
        assert time.monotonic() < until, f"{part} was not started again"
        time.sleep(0.05)
    return now
