"""The simulator's command line takes whatever secret it is given."""

import subprocess
import sys
from pathlib import Path

from workers.embedded import supervisor

ROOT = Path(__file__).parents[2]


def test_a_secret_may_begin_with_a_dash() -> None:
    command = [sys.executable, "-m", "simulator", "--port", "0", "--secret=-a-dash"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("listening on http://127.0.0.1:")
        process.terminate()


def test_the_supervisor_gives_it_in_one_word() -> None:
    assert 'f"--secret={simulator_secret}"' in Path(supervisor.__file__).read_text()
