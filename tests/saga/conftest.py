"""One server and one worker for all sagas of the tests: a run's clock is its own, and so is its world.

With HISTORIES=folder the closed runs of each test are kept there, for the replay corpus (`make histories`).
"""

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.client import Client, WorkflowExecutionStatus

from tests.support.cluster import Database, TestCluster
from tests.support.engine import skipping_server, worker
from workflows import run
from workflows.since import since

LOCAL_TIMERS_SECONDS = 2.1  # local activities leave timers of 2 s, which complain of a worker that is gone


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def client() -> AsyncGenerator[Client]:
    """A client of a server whose clock skips, with a worker on the product's queues."""
    async with skipping_server() as connected, worker(connected):
        yield connected
        await asyncio.sleep(LOCAL_TIMERS_SECONDS)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def skipping() -> AsyncGenerator[Client]:
    """A client of a server whose clock skips, for workers of the test's own."""
    async with skipping_server() as connected:
        yield connected


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def database(cluster: TestCluster) -> AsyncGenerator[Database]:
    """One database for all tests of a file: each has a merchant of its own."""
    made = await cluster.create()
    yield made
    await cluster.drop(made)


@pytest.fixture
def nobody_else_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a clock that skips, a parked run would escalate until its operator is there."""
    monkeypatch.setattr(run, "since", _but_for_escalation)


def _but_for_escalation(change: str) -> bool:
    return change != "escalation" and since(change)


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def keeper(request: pytest.FixtureRequest) -> AsyncGenerator[None]:
    """Keep what the test's runs went through, where that is asked for."""
    folder = os.environ.get("HISTORIES")
    if not folder:
        yield
        return
    names = [name for name in request.fixturenames if name in ("client", "steady", "skipping", "ticking")]
    clients: list[Client] = [request.getfixturevalue(name) for name in names]
    before = {(each.id, each.run_id) for client in clients async for each in client.list_workflows()}
    yield
    number = 0
    for client in clients:
        async for each in client.list_workflows('ExecutionStatus != "Running"'):
            if (each.id, each.run_id) not in before and each.status != WorkflowExecutionStatus.TERMINATED:
                number += 1
                history = await client.get_workflow_handle(each.id, run_id=each.run_id).fetch_history()
                kept = Path(folder) / each.workflow_type / f"{request.node.name}-{number}.json"
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(history.to_json())
