"""Changes of workflow code that stand behind `since`: the table names them all, and the kept histories show both paths.

The table is empty while no change is under way; what it promises is then tested on a tiny workflow of its own.
"""

import ast
import asyncio
import base64
import json
import re
from collections.abc import Generator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowHandle, WorkflowHistory
from temporalio.worker import Replayer, Worker
from temporalio.workflow import NondeterminismError

from tests.replay.record import HISTORIES
from tests.support.stack import TemporalServer
from workers.sandbox import SANDBOX
from workflows import since as changing
from workflows.since import CHANGES, since

ROOT = Path(__file__).parents[2]
Release = tuple[int, ...]
CHANGE = "pause-first"


def _release(name: str) -> Release:
    return tuple(int(part) for part in name.split("."))


def _markers(history: Path) -> set[str]:
    """The changes whose new path a run has taken."""
    marked = [
        event["markerRecordedEventAttributes"]["details"]["patch-data"]["payloads"][0]["data"]
        for event in json.loads(history.read_text())["events"]
        if event.get("markerRecordedEventAttributes", {}).get("markerName") == "core_patch"
    ]
    return {json.loads(base64.b64decode(data))["id"] for data in marked}


KEPT = {path: (_release(path.name.partition("-")[0]), _markers(path)) for path in HISTORIES.glob("*/*.json")}


def _asked_for() -> Generator[tuple[str, str]]:
    """The changes that workflow code asks for, and by which call."""
    for file in sorted((ROOT / "workflows").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            name = ast.unparse(node.func).rpartition(".")[2] if isinstance(node, ast.Call) else ""
            if isinstance(node, ast.Call) and name in ("since", "patched", "deprecate_patch"):
                yield name, ast.unparse(node.args[0])


def test_the_table_names_every_change_that_the_code_asks_for_and_no_other() -> None:
    asked = {ast.literal_eval(change) for call, change in _asked_for() if call != "patched"}
    assert asked == set(CHANGES)


def test_workflow_code_changes_by_since_alone() -> None:
    assert [change for call, change in _asked_for() if call == "patched"] == ["change"], "since's own"


def test_a_change_has_a_name_of_words_and_the_release_that_brought_it() -> None:
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", change) for change in CHANGES)
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", release) for release in CHANGES.values())


def test_no_history_from_before_a_change_has_taken_its_new_path() -> None:
    early = [
        (path.name, change)
        for path, (release, markers) in KEPT.items()
        for change in markers
        if change not in CHANGES or release < _release(CHANGES[change])
    ]
    assert early == []


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_replayed_on_both_paths(change: str) -> None:
    brought = _release(CHANGES[change])
    assert [path for path, (release, _) in KEPT.items() if release < brought], "an old path that nobody replays"
    recorded = [markers for release, markers in KEPT.values() if release >= brought]
    assert not recorded or any(change in markers for markers in recorded), "a new path that nobody replays"


@workflow.defn(name="Changed")
class Before:
    """Waits to be told."""

    def __init__(self) -> None:
        self._told = False

    @workflow.run
    async def run(self) -> str:
        """Return `old`."""
        await workflow.sleep(timedelta(milliseconds=1))
        await workflow.wait_condition(lambda: self._told)
        return "old"

    @workflow.signal
    def tell(self) -> None:
        """End."""
        self._told = True


@workflow.defn(name="Changed")
class After:
    """The same, with a second pause before the first since a change."""

    def __init__(self) -> None:
        self._told = False

    @workflow.run
    async def run(self) -> str:
        """Return the path that was taken."""
        is_new = since(CHANGE)
        if is_new:
            await workflow.sleep(timedelta(milliseconds=2))
        await workflow.sleep(timedelta(milliseconds=1))
        await workflow.wait_condition(lambda: self._told)
        return "new" if since(CHANGE) else "old"

    @workflow.signal
    def tell(self) -> None:
        """End."""
        self._told = True


@pytest.fixture
def under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the change in the table."""
    monkeypatch.setattr(changing, "CHANGES", {CHANGE: "0.0.1"})


async def _live(server: TemporalServer, begun: type, ended: type, name: str) -> tuple[str, WorkflowHistory]:
    """Live a run whose code is replaced while it waits; its result and its history."""
    client, queue = await Client.connect(server.target), f"changes-{name}"
    async with Worker(client, task_queue=queue, workflows=[begun], workflow_runner=SANDBOX):
        run = await client.start_workflow("Changed", id=queue, task_queue=queue, result_type=str)
        while (await _pauses(run)) < (1 if begun is Before else 2):
            await asyncio.sleep(0.02)
    async with Worker(client, task_queue=queue, workflows=[ended], workflow_runner=SANDBOX):
        await run.signal("tell")
        return await run.result(), await run.fetch_history()


async def _pauses(run: WorkflowHandle[Any, str]) -> int:
    history = await run.fetch_history()
    return sum(event.HasField("timer_fired_event_attributes") for event in history.events)


async def _replay(code: type, history: WorkflowHistory) -> None:
    await Replayer(workflows=[code], workflow_runner=SANDBOX).replay_workflow(history)


@pytest.mark.usefixtures("under_way")
async def test_a_run_from_before_a_change_ends_as_it_began(temporal: TemporalServer) -> None:
    result, history = await _live(temporal, Before, After, "before")
    assert result == "old"
    await _replay(Before, history)
    await _replay(After, history)


@pytest.mark.usefixtures("under_way")
async def test_a_run_from_after_a_change_takes_the_new_path_and_the_old_code_cannot_go_on_with_it(
    temporal: TemporalServer, tmp_path: Path
) -> None:
    result, history = await _live(temporal, After, After, "after")
    assert result == "new"
    await _replay(After, history)
    with pytest.raises(NondeterminismError):
        await _replay(Before, history)
    kept = tmp_path / "9.9.9-new.json"
    kept.write_text(history.to_json())
    assert _markers(kept) == {CHANGE}


async def test_a_change_that_is_not_in_the_table_is_a_bug(temporal: TemporalServer) -> None:
    client = await Client.connect(temporal.target)
    async with Worker(client, task_queue="changes-bug", workflows=[After], workflow_runner=SANDBOX):
        run = await client.start_workflow("Changed", id="changes-bug", task_queue="changes-bug")
        while not (failed := await _failed_tasks(run)):
            await asyncio.sleep(0.02)
        await run.terminate()
    assert "pause-first is not in CHANGES" in failed[0]


async def _failed_tasks(run: WorkflowHandle[Any, Any]) -> list[str]:
    history = await run.fetch_history()
    failed = [event.workflow_task_failed_event_attributes.failure.message for event in history.events]
    return [message for message in failed if message]
