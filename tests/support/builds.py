"""Builds for the tests of a deploy: two of one tiny workflow, and the product's own workers over fakes."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any, cast

from temporalio import workflow
from temporalio.api.deployment.v1 import WorkerDeploymentVersion
from temporalio.api.workflowservice.v1 import DescribeWorkerDeploymentVersionRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.common import VersioningBehavior
from temporalio.service import RPCError
from temporalio.worker import Worker

from activities.books import OurBooks
from activities.provider import ProviderCalls
from contracts.payloads import DATA_CONVERTER
from tests.support.engine import PROVIDER
from tests.support.world import FakeBooks, FakeProvider
from workers import deployment, wiring
from workers.replay_gate import BUILD
from workers.sandbox import SANDBOX
from workers.settings import Settings

ERRANDS = "errands"  # the tiny workflow's queue
CALLS_AT_ONCE = 10
QUEUES = 4  # runs, our own books, the provider's effects, its repairs
PATIENCE_SECONDS = 60  # measured: 2 on an idle machine
Errand = WorkflowHandle[Any, str]


@workflow.defn(name="Errand")
class FirstErrand:
    """Pauses, waits until it is told to go, and tells which code ran it."""

    def __init__(self) -> None:
        self._goes = False

    @workflow.run
    async def run(self) -> str:
        """Return `first`."""
        await workflow.sleep(timedelta(milliseconds=1))
        await workflow.wait_condition(lambda: self._goes)
        return "first"

    @workflow.signal
    def go(self) -> None:
        """End."""
        self._goes = True


@workflow.defn(name="Errand")
class SecondErrand:
    """The same without the pause: what the first has recorded does not replay here."""

    def __init__(self) -> None:
        self._goes = False

    @workflow.run
    async def run(self) -> str:
        """Return `second`."""
        await workflow.wait_condition(lambda: self._goes)
        return "second"

    @workflow.signal
    def go(self) -> None:
        """End."""
        self._goes = True


async def client_of(target: str, build: str) -> Client:
    """Connect as a build: its name stands in a history beside all that its workers did."""
    return await Client.connect(target, data_converter=DATA_CONVERTER, identity=build or "without a build")


def settings_of(build: str, name: str) -> Settings:
    """The settings of a build of the deployment `name`."""
    return Settings(build_id=build, deployment_name=name)


@asynccontextmanager
async def errand_worker(target: str, build: str, code: type) -> AsyncGenerator[Client]:
    """Run the tiny workflow as a build."""
    client, settings = await client_of(target, build), settings_of(build, ERRANDS)
    pinned = deployment.config(settings, VersioningBehavior.PINNED)
    async with Worker(
        client, task_queue=ERRANDS, workflows=[code], workflow_runner=SANDBOX, deployment_config=pinned
    ):  # fmt: skip
        yield client


@asynccontextmanager
async def product_workers(target: str, build: str, name: str) -> AsyncGenerator[Client]:
    """Run the product's workers as a build, wired as in a worker process, over fakes of books and provider."""
    client = await client_of(target, build)
    parts = wiring.Carried(books=cast("OurBooks", FakeBooks()), provider=cast("ProviderCalls", FakeProvider()))
    async with AsyncExitStack() as stack:
        for worker in wiring.workers(client, settings_of(build, name), parts, {PROVIDER: CALLS_AT_ONCE}):
            await stack.enter_async_context(worker)
        if build:
            await _queues_known(client, WorkerDeploymentVersion(deployment_name=name, build_id=build))
        yield client


async def _queues_known(client: Client, build: WorkerDeploymentVersion) -> None:
    """Wait until Temporal knows the build on all its queues: a change while one comes may stay unconfirmed."""
    request = DescribeWorkerDeploymentVersionRequest(namespace=client.namespace, deployment_version=build)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with contextlib.suppress(RPCError):  # until its first worker has asked
                described = await client.workflow_service.describe_worker_deployment_version(request)
                if len(described.version_task_queues) == QUEUES:
                    return
            await asyncio.sleep(0.1)


async def build_of(run: WorkflowHandle[Any, Any]) -> str:
    """The build that a run is on; empty while it has none."""
    described = await run.describe()
    return (described.typed_search_attributes.get(BUILD) or "").partition(":")[2]


async def who_worked_on(run: WorkflowHandle[Any, Any]) -> set[str]:
    """The builds whose workers took a task of the run."""
    history = await run.fetch_history()
    started = [
        getattr(event, name).identity
        for event in history.events
        for name in ("workflow_task_started_event_attributes", "activity_task_started_event_attributes")
        if event.HasField(name)  # pyright: ignore[reportArgumentType]
    ]
    return set(started)
