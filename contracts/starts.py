"""How a run is started by whoever is no run itself: the API, the relay, a command."""

from typing import Any

from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from contracts import queues


def once(run: str) -> dict[str, Any]:
    """The options that start the run of this workflow id once, ever.

    Both policies are always named: the defaults start a second run after the first has closed.
    """
    return {
        "id": run,
        "task_queue": queues.PAYMENTS,
        "task_timeout": queues.TASK_TIMEOUT,
        "id_conflict_policy": WorkflowIDConflictPolicy.USE_EXISTING,
        "id_reuse_policy": WorkflowIDReusePolicy.REJECT_DUPLICATE,
    }
