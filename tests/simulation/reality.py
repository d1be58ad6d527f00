"""The same scenario on a real Temporal server: the product's workflows and activities over the books of a `World`.

What the simulation drives, a worker of the SDK drives here, in real time. Both ask the same `choices`, so that one
fault befalls the same attempt in both, and both keep which activities were asked for, in order. Knows no invariant.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import temporalio.activity
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateStage,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor, Worker

from contracts import queues
from domain.outcomes import Receipt
from tests.simulation.choices import NONE, Choices
from tests.simulation.clock import EPOCH, Clock
from tests.simulation.driver import Attempt, NotFound, Refused
from tests.simulation.faults import menu
from tests.simulation.scenarios import Scenario
from tests.simulation.world import WORKFLOWS, World, present, virtual_present
from workers.sandbox import SANDBOX

ENDS_SECONDS = 30.0  # three horizons: nothing that is lived here lasts longer


class RealClock(Clock):
    """Real time that begins at the simulation's epoch: what a scenario says of its beginning holds here too."""

    def __init__(self) -> None:
        self._ahead = EPOCH - time.time()

    @property
    def now(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        return time.time() + self._ahead

    def later(self, seconds: float, do: Any, *arguments: Any) -> None:
        asyncio.get_running_loop().call_later(seconds, do, *arguments)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def spawn(self, coroutine: Any, before_each: Any = None) -> Any:
        assert before_each is None, "activities are the worker's here"
        return asyncio.create_task(coroutine)


class Befalling(Choices):
    """One fault: it befalls the first attempt of one activity, wherever that is asked. With no activity, none."""

    def __init__(self, activity: str = "", fault: str = NONE) -> None:
        super().__init__()
        self._label, self._fault = f"{activity} ", fault

    def choose(self, options: Sequence[str], label: str) -> str:
        if self._fault not in options or not (label.startswith(self._label) and label.endswith("#1")):
            self._answers_with = NONE
        else:
            self._answers_with, self._label = self._fault, "no other"
        return super().choose(options, label)

    def _answer(self, options: Sequence[str]) -> str:
        return self._answers_with


def activities_of(world: World) -> list[str]:
    """Which activities were asked for under which references, in order; what was repeated at once stands once."""
    asked = [each.label.rpartition("#")[0] for each in world.choices.asked if "#" in each.label]
    return [each for number, each in enumerate(asked) if number == 0 or asked[number - 1] != each]


class _Clients:
    """What clients do, in the words of the simulated server."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._mark = uuid.uuid4().hex  # in every scenario the payment has the same id, and there is one server for all

    def run(self, workflow_id: str) -> WorkflowHandle[Any, str]:
        """The run that a workflow id of the simulation stands for."""
        return self._client.get_workflow_handle(f"{workflow_id}/{self._mark}", result_type=str)

    async def begin(
        self, workflow: Any, start: Any, workflow_id: str, update: tuple[str, Any, str], *, canceled: bool
    ) -> Receipt:
        assert not canceled
        name, content, update_id = update
        starting = WithStartWorkflowOperation(
            workflow.run, start, id=self.run(workflow_id).id, task_queue=queues.PAYMENTS,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        )  # fmt: skip
        asked = await self._client.start_update_with_start_workflow(  # pyright: ignore[reportUnknownMemberType]
            name, content, id=update_id, start_workflow_operation=starting,
            wait_for_stage=WorkflowUpdateStage.ACCEPTED, result_type=Receipt,
        )  # fmt: skip
        return await asked.result()

    async def update(self, workflow_id: str, name: str, content: Any, update_id: str) -> Receipt:
        try:
            return await self.run(workflow_id).execute_update(  # pyright: ignore[reportUnknownMemberType]
                name, content, id=update_id, result_type=Receipt
            )
        except WorkflowUpdateFailedError as failure:
            raise Refused(getattr(failure.cause, "type", ""), str(failure.cause)) from failure
        except RPCError as failure:
            if failure.status is not RPCStatusCode.NOT_FOUND:
                raise
            raise NotFound(workflow_id) from failure


class _Watch(Interceptor):
    """Has the world choose what befalls each attempt, before it is carried out."""

    def __init__(self, world: World) -> None:
        self._world = world

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        world = self._world

        class Watched(ActivityInboundInterceptor):
            async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
                info = temporalio.activity.info()
                deadline = info.start_to_close_timeout
                world.executing = attempt = Attempt(
                    activity=info.activity_type,
                    number=info.attempt,
                    local=info.is_local,
                    workflow_id=info.workflow_id or "",
                    arguments=input.args,
                    start_to_close=deadline.total_seconds() if deadline else 0.0,
                )
                command = input.args[0]
                label = f"{attempt.activity} {command.reference or command.on}#{attempt.number}"  # as the world says it
                attempt.fault = world.choices.choose(menu(attempt.activity, told=False), label)
                return await super().execute_activity(input)

        return Watched(next)


@asynccontextmanager
async def _workers(client: Client, world: World) -> AsyncGenerator[None]:
    async with AsyncExitStack() as stack:
        watch, activities = [_Watch(world)], list(world._functions.values())  # pyright: ignore[reportPrivateUsage]
        for provider in world.providers:
            for queue in (queues.effects(provider), queues.repair(provider)):
                await stack.enter_async_context(
                    Worker(client, task_queue=queue, activities=activities, interceptors=watch)
                )
        await stack.enter_async_context(
            Worker(
                client, task_queue=queues.PAYMENTS, workflows=list(WORKFLOWS.values()), workflow_runner=SANDBOX,
                activities=activities, interceptors=watch,
            )
        )  # fmt: skip
        yield


async def lived(client: Client, scenario: Scenario, choices: Choices) -> tuple[World, list[str]]:
    """Live a scenario on a real server, without webhooks; return its world, and how its runs have ended."""
    world = World(choices, clock=RealClock(), providers=scenario.providers)
    clients = _Clients(client)
    world.server = cast("Any", clients)
    with virtual_present():
        present(world.clock)
        async with _workers(client, world), asyncio.timeout(ENDS_SECONDS):
            await scenario.does(world)
            await asyncio.gather(*cast("list[asyncio.Task[None]]", world.clients))
            ends = [await clients.run(queues.workflow_id(each)).result() for each in world.starts]
    return world, ends
