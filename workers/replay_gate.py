"""The gate before a ramp: the code of this process replays the runs that the server holds, open ones and closed ones.

Pinned runs stay on their build, so most would never meet this code. Those that were started without a build do, and
upkeep's; and every run must be able to: when a build proves wrong, its open runs are moved off it. Changes nothing.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecution, WorkflowHistory
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Replayer

from workers.sandbox import SANDBOX

BUILD = SearchAttributeKey.for_keyword("TemporalWorkerDeploymentVersion")  # Temporal's own: `deployment:build`
OPEN_MAX = 20_000  # ten minutes on one core: a replay takes 30 ms, measured
CLOSED_SAMPLE = 500  # the last to close: they are queried and reset, and took the branches that are taken nowadays
WHY_MAX = 400  # characters; Temporal's text names the event in its first line


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """A run that cannot go on under this code; `build` is empty where it has none."""

    workflow_id: str
    run_id: str
    workflow: str
    build: str
    why: str


@dataclass
class Replayed:
    """What was looked at. `open_in_all` above `open` plus `left` means that the oldest were not reached."""

    open_in_all: int
    open: int = 0
    closed: int = 0
    left: int = 0
    misfits: list[Misfit] = field(default_factory=list[Misfit])


async def replay(
    client: Client, workflows: Sequence[type], queues: Collection[str], *, leave: Collection[str] = ()
) -> Replayed:
    """Replay the runs of these task queues under `workflows`, except those of the builds in `leave`.

    A run of a workflow that is not among them is a misfit as well. One that no worker has touched yet fits any code.
    """
    on_queues = f"TaskQueue IN ({', '.join(repr(queue) for queue in sorted(queues))})"
    is_open, is_closed = f"{on_queues} AND ExecutionStatus = 'Running'", f"{on_queues} AND ExecutionStatus != 'Running'"
    replayer = Replayer(workflows=workflows, workflow_runner=SANDBOX, data_converter=client.data_converter)
    done = Replayed(open_in_all=(await client.count_workflows(is_open)).count)
    for query, most in ((is_open, OPEN_MAX), (is_closed, CLOSED_SAMPLE)):
        async for execution in client.list_workflows(query, limit=most):
            if _build_of(execution) in leave:
                done.left += query is is_open
            elif history := await _history(client, execution):
                done.open += query is is_open
                done.closed += query is is_closed
                result = await replayer.replay_workflow(history, raise_on_replay_failure=False)
                if result.replay_failure is not None:
                    done.misfits.append(_misfit(execution, result.replay_failure))
    return done


async def _history(client: Client, execution: WorkflowExecution) -> WorkflowHistory | None:
    """What a run has recorded; None where no worker has decided anything yet, or its retention has just ended."""
    try:
        history = await client.get_workflow_handle(execution.id, run_id=execution.run_id).fetch_history()
    except RPCError as failure:
        if failure.status is not RPCStatusCode.NOT_FOUND:
            raise
        return None
    is_begun = any(event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED for event in history.events)
    return history if is_begun else None


def _misfit(execution: WorkflowExecution, failure: Exception) -> Misfit:
    return Misfit(
        workflow_id=execution.id,
        run_id=execution.run_id,
        workflow=execution.workflow_type,
        build=_build_of(execution),
        why=" ".join(str(failure).split())[:WHY_MAX],
    )


def _build_of(execution: WorkflowExecution) -> str:
    return (execution.typed_search_attributes.get(BUILD) or "").partition(":")[2]
