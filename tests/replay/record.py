"""Record the histories that every later release must be able to replay: `python -m tests.replay.record`.

Only the current release's are written; those of earlier releases stay as they are, for runs of theirs are still open.
What says where it was recorded (stack traces) is left out: no workflow reads it.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from temporalio.client import Client

from contracts.payloads import DATA_CONVERTER
from tests.replay.scenarios import LIVED, SCENARIOS
from tests.replay.upkeep import LIVES, Life, lived, upkeep_worker
from tests.saga.grid import Case, live
from tests.saga.grids import row
from tests.support.engine import handle_of, skipping_server, worker
from tests.support.stack import running_temporal

HERE = Path(__file__).parent
HISTORIES = HERE / "histories"
INCOMPATIBLE = HERE / "histories_incompatible"
RELEASE = str(tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text())["project"]["version"])
USUAL = "manual-40-void-nothing-done"  # a payment's usual life: authorized, captured in part, the rest voided
AT_ONCE = 8  # lives at the same time; each row is a second of waiting


async def record() -> int:
    """Live every scenario and keep its history; return how many."""
    for old in HISTORIES.glob(f"*/{RELEASE}-*.json"):
        old.unlink()
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(client: Client, name: str) -> None:
        async with gate:
            await _keep(client, name, row(name))

    async with skipping_server() as client, worker(client), upkeep_worker(client):
        await asyncio.gather(*(one(client, name) for name in SCENARIOS))
        await _keep_upkeep(client, [life for life in LIVES if not life.taken_by])
    async with running_temporal() as server:  # where a person has the time to take something
        client = await Client.connect(server.target, data_converter=DATA_CONVERTER, identity="holdfast-tests")
        async with upkeep_worker(client):
            await _keep_upkeep(client, [life for life in LIVES if life.taken_by])
    spoil(HISTORIES / "Payment" / f"{RELEASE}-{USUAL}.json")
    return len(SCENARIOS) + len(LIVES) + _keep_lived()


def _keep_lived() -> int:
    """Have the tests of `LIVED` keep what their runs go through."""
    tests = [f"tests/saga/{file}::{name}" for file, names in LIVED.items() for name in names]
    with tempfile.TemporaryDirectory(prefix="holdfast-test-") as folder:
        environment = {**os.environ, "HISTORIES": folder}
        command = [sys.executable, "-m", "pytest", "-q", *tests]
        subprocess.run(command, check=True, cwd=HERE.parents[1], env=environment)
        kept = sorted(Path(folder).glob("*/*.json"))
        for each in kept:
            words = re.sub(r"[^a-z0-9_.]+", "-", each.stem.removeprefix("test_").lower()).replace("_", "-")
            _write(each.parent.name, words, json.loads(each.read_text()))
        return len(kept)


async def _keep_upkeep(client: Client, lives: Sequence[Life]) -> None:
    for life in lives:
        run = await lived(client, life)
        _write(life.workflow, life.name, json.loads((await run.fetch_history()).to_json()))


async def _keep(client: Client, name: str, case: Case) -> None:
    life = case.life(name)
    await live(client, life, case)
    handle = handle_of(client, life.start)
    history = json.loads((await handle.fetch_history()).to_json())
    words = re.sub(r"[^a-z0-9_.!]+", "-", name.split(" ", 1)[1].replace("!", "final"))
    _write(type(life.start).__name__, words.strip("-"), history)


def _write(workflow: str, name: str, history: Any) -> None:
    folder = HISTORIES / workflow
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_without_traces(history), ensure_ascii=False, separators=(",", ":"))
    (folder / f"{RELEASE}-{name}.json").write_text(f"{text}\n")


def _without_traces(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_traces(each) for key, each in value.items() if key != "stackTrace"}  # pyright: ignore[reportUnknownVariableType]
    return [_without_traces(each) for each in value] if isinstance(value, list) else value  # pyright: ignore[reportUnknownVariableType]


def spoil(history: Path) -> None:
    """Write a history that no workflow of ours has had: it voids under another name."""
    INCOMPATIBLE.mkdir(exist_ok=True)
    for old in INCOMPATIBLE.glob("*.json"):
        old.unlink()
    text = history.read_text()
    assert '"name":"provider.void"' in text
    (INCOMPATIBLE / history.name).write_text(text.replace('"name":"provider.void"', '"name":"provider.cancel"'))


if __name__ == "__main__":
    sys.stdout.write(f"{asyncio.run(record())} histories\n")
    sys.stdout.flush()
    os._exit(0)  # the Temporal client can abort at interpreter exit
