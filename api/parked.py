"""What waits for people: found by Temporal's own search, and asked one by one what it waits for.

There is no table of it that could differ from the runs. Nothing here knows who is allowed to decide.
"""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import (
    Client,
    RPCError,
    RPCTimeoutOrCancelledError,
    WorkflowExecution,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCStatusCode

from api.ports import EngineUnavailable, ParkedRun
from contracts import attributes, queues
from domain.errors import BadMoney
from domain.ids import OperationId, Prefix, Reference, is_operation_id
from domain.money import Money
from domain.outcomes import Decision
from workflows.run import Run

RUNS_MAX = 500  # more waits only while a provider is out, and then nobody reads a list
AT_ONCE = 16  # questions to runs: each may have a worker read a whole history
SEARCH_SECONDS = 5.0  # a search takes milliseconds; an engine that takes longer is not there
ANSWER_SECONDS = 3.0  # what a run has to say for itself; then it is listed by what the search says
UPDATE_SECONDS = 8.0  # within a request's deadline, with a look before and after it
ACTED_SECONDS = 3.0  # within which a run has acted upon a decision; its provider may take longer
LOOK_SECONDS = 0.1
PAGE_QUERY = "__temporal_workflow_metadata"  # Temporal's own, which every run answers

Waiting = Sequence[ParkedRun]
T = TypeVar("T")


class TemporalParked:
    """`ports.ParkedRuns` over a Temporal client that uses `contracts.payloads.DATA_CONVERTER`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def waiting(self, owner: str | None = None) -> tuple[Waiting, bool]:
        """See `ports.ParkedRuns`."""
        query = f"{attributes.NEEDS_ATTENTION.name} = true AND ExecutionStatus = 'Running'"
        if owner is not None:
            query += f" AND {attributes.OWNER.name} = '{owner}'"
        found = await _reached(self._list(query))
        places = asyncio.Semaphore(AT_ONCE)

        async def asked(execution: WorkflowExecution) -> ParkedRun:
            async with places:
                return await self._asked(execution)

        runs = await asyncio.gather(*(asked(each) for each in found[:RUNS_MAX]))
        return sorted(runs, key=urgency), len(found) > RUNS_MAX

    async def look(self, run: str) -> ParkedRun | None:
        """See `ports.ParkedRuns`."""
        described = await _reached(_described(self._client.get_workflow_handle(run)))
        if described is None or described.status is not WorkflowExecutionStatus.RUNNING:
            return None
        return await self._asked(described)

    async def retry(self, run: str, reference: Reference) -> str:
        """See `ports.ParkedRuns`."""
        return await _taken(run, _retry(self._client.get_workflow_handle(run), reference))

    async def resolve(self, run: str, decision: Decision) -> str:
        """See `ports.ParkedRuns`. The update's id is the two approvals': one decision, however often it is sent."""
        return await _taken(run, _resolve(self._client.get_workflow_handle(run), decision))

    async def decided(self, run: str, reference: Reference) -> ParkedRun | None:
        """See `ports.ParkedRuns`."""
        until = time.monotonic() + ACTED_SECONDS
        while (now := await self.look(run)) is not None and time.monotonic() < until:
            attention = now.view.attention if now.view else None
            if attention is None or attention.reference != reference:
                break
            await asyncio.sleep(LOOK_SECONDS)
        return now

    async def _list(self, query: str) -> list[WorkflowExecution]:
        return [each async for each in self._client.list_workflows(query, limit=RUNS_MAX + 1)]

    async def _asked(self, execution: WorkflowExecution) -> ParkedRun:
        run = self._client.get_workflow_handle(execution.id)
        view, why = None, ""
        with suppress(TimeoutError, RPCError, RPCTimeoutOrCancelledError):
            async with asyncio.timeout(ANSWER_SECONDS):
                try:
                    view = await run.query(Run.view)  # every run that moves money has it
                except WorkflowQueryFailedError:
                    why = _first_line(await run.query(PAGE_QUERY, result_type=WorkflowMetadata))
        found = execution.typed_search_attributes
        return ParkedRun(
            run=execution.id,
            kind=execution.workflow_type,
            owner=found.get(attributes.OWNER, ""),
            started_at=execution.start_time,
            state=found.get(attributes.PAYMENT_STATE, ""),
            merchant=found.get(attributes.MERCHANT_ID, ""),
            provider=found.get(attributes.PROVIDER, ""),
            money=_money(found.get(attributes.AMOUNT_MINOR), found.get(attributes.CURRENCY)),
            view=view,
            why=why,
        )


def run_of(name: str) -> str | None:
    """The workflow id of a payment, refund, payout or dispute, or the workflow id that `name` is already.

    None for a capture, a void or an increment: they live in their payment's run, which the id does not tell.
    """
    if "/" in name:
        return name
    prefix = name.split("_", 1)[0]
    if prefix not in set(Prefix) or not is_operation_id(name, Prefix(prefix)) or prefix not in queues.WORKFLOW_OF:
        return None
    return queues.workflow_id(OperationId(name))


def urgency(run: ParkedRun) -> tuple[str, str]:
    """The oldest deadline first; what has none, a broken book, before everything."""
    attention = run.view.attention if run.view else None
    return (attention.deadline if attention else "", run.run)


async def _reached(asked: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(SEARCH_SECONDS):
            return await asked
    except (TimeoutError, RPCError, RPCTimeoutOrCancelledError) as error:
        raise EngineUnavailable("Temporal's search") from error


async def _described(run: WorkflowHandle[Any, Any]) -> WorkflowExecution | None:
    try:
        return await run.describe()
    except RPCError as error:
        if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
            return None
        raise


async def _taken(run: str, sending: Awaitable[None]) -> str:
    """Empty once the run has taken it, else why it has not. Raises `EngineUnavailable` where neither is known."""
    try:
        async with asyncio.timeout(UPDATE_SECONDS):
            await sending
    except WorkflowUpdateFailedError as failed:
        return failed.cause.message if isinstance(failed.cause, ApplicationError) else str(failed.cause)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return "the run has ended"
        raise EngineUnavailable(run) from error
    except (TimeoutError, RPCTimeoutOrCancelledError):
        raise EngineUnavailable(run) from None
    return ""


# temporalio types the arguments of updates as unknown.


async def _retry(run: WorkflowHandle[Any, Any], reference: Reference) -> None:
    await run.execute_update(Run.retry, reference)  # pyright: ignore[reportUnknownMemberType]


async def _resolve(run: WorkflowHandle[Any, Any], decision: Decision) -> None:
    update_id = "/".join(("resolve", *sorted(decision.approvals)))
    await run.execute_update(Run.resolve, decision, id=update_id)  # pyright: ignore[reportUnknownMemberType]


def _money(minor: int | None, currency: str | None) -> Money | None:
    try:
        return Money(minor, currency) if minor is not None and currency is not None else None
    except BadMoney:  # attributes are for searching: a person may have set them by hand
        return None


def _first_line(metadata: WorkflowMetadata) -> str:
    """What a run's page says first, below its title, without its marks."""
    lines = [line for line in metadata.current_details.splitlines() if line and not line.startswith("#")]
    return lines[0].replace("*", "").replace("`", "") if lines else ""
