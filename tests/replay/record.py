"""Record the histories that every later release must be able to replay: `python -m tests.replay.record`.

Only the current release's are written; those of earlier releases stay as they are, for runs of theirs are still open.
What says where it was recorded (stack traces) is left out: no workflow reads it.
"""

import asyncio
import json
import os
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from temporalio.client import Client

from tests.replay.scenarios import SCENARIOS
from tests.saga.grid import Case, live
from tests.saga.grids import row
from tests.support.engine import handle_of, skipping_server, worker

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

    async with skipping_server() as client, worker(client):
        await asyncio.gather(*(one(client, name) for name in SCENARIOS))
    spoil(HISTORIES / "Payment" / f"{RELEASE}-{USUAL}.json")
    return len(SCENARIOS)


async def _keep(client: Client, name: str, case: Case) -> None:
    life = case.life(name)
    await live(client, life, case)
    handle = handle_of(client, life.start)
    history = json.loads((await handle.fetch_history()).to_json())
    folder = HISTORIES / type(life.start).__name__
    folder.mkdir(parents=True, exist_ok=True)
    words = re.sub(r"[^a-z0-9_.!]+", "-", name.split(" ", 1)[1].replace("!", "final"))
    text = json.dumps(_without_traces(history), ensure_ascii=False, separators=(",", ":"))
    (folder / f"{RELEASE}-{words.strip('-')}.json").write_text(f"{text}\n")


def _without_traces(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_traces(each) for key, each in value.items() if key != "stackTrace"}  # pyright: ignore[reportUnknownVariableType]
    return [_without_traces(each) for each in value] if isinstance(value, list) else value  # pyright: ignore[reportUnknownVariableType]


def spoil(history: Path) -> None:
    """Write a history that no workflow of ours has had: it voids under another name."""
    INCOMPATIBLE.mkdir(exist_ok=True)
    text = history.read_text()
    assert '"name":"provider.void"' in text
    (INCOMPATIBLE / history.name).write_text(text.replace('"name":"provider.void"', '"name":"provider.cancel"'))


if __name__ == "__main__":
    sys.stdout.write(f"{asyncio.run(record())} histories\n")
    sys.stdout.flush()
    os._exit(0)  # the Temporal client can abort at interpreter exit
