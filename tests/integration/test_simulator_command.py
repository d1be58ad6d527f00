"""The simulator starts with whatever secret the stack has drawn for it."""

import subprocess
from pathlib import Path

from workers.embedded.supervisor import simulator_command

ROOT = Path(__file__).parents[2]


def test_a_secret_may_begin_with_a_dash() -> None:
    command = simulator_command(0, "-a-dash", webhooks_to="http://127.0.0.1:1")
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("listening on http://127.0.0.1:")
        process.terminate()
