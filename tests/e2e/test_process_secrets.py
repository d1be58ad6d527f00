"""Each process of the stack is given its own secrets, and no other's: what it does not have cannot be taken from it."""

import sys
from pathlib import Path

import pytest

from workers.embedded.stack import Stack

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads environments in /proc")

URLS = {
    "worker": "HOLDFAST_WORKER_DATABASE_URL",
    "api": "HOLDFAST_API_DATABASE_URL",
    "upkeep": "HOLDFAST_UPKEEP_DATABASE_URL",
}


def _environment(stack: tuple[Stack, Path], process: str) -> dict[str, str]:
    running = Stack.read(stack[1])  # others may have killed it since, and its supervisor started it again
    lines = Path(f"/proc/{running.pids[process]}/environ").read_text().split("\0")
    return dict(line.split("=", 1) for line in lines if line.startswith("HOLDFAST_"))


@pytest.mark.parametrize("process", URLS)
def test_a_process_has_the_address_of_its_own_login_only(process: str, stack: tuple[Stack, Path]) -> None:
    given = _environment(stack, process)
    assert {name for name in given if name.endswith("DATABASE_URL")} == {URLS[process]}
    assert "HOLDFAST_ADMIN_URL" not in given


def test_upkeep_alone_can_seal(stack: tuple[Stack, Path]) -> None:
    holders = [name for name in URLS if "HOLDFAST_SEAL_KEY" in _environment(stack, name)]
    assert holders == ["upkeep"]
    assert "HOLDFAST_DEVELOPMENT_TOKEN" not in _environment(stack, "upkeep")
