"""Start a run, ask it, and never mistake silence for an answer. With `parked.py` the only place that calls Temporal.

A call that fails or is not answered is asked again under the same ids until the wait is over; the server refuses
updates for a while after a worker died, and that is no refusal of the run. When the wait is over it is asked once more
whether the operation is taken for certain: a start is durable as soon as the server has it, an update only when the
run has accepted it. Where even that is not known, `EngineUnavailable` says so.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import structlog
from temporalio.client import (
    Client,
    RPCError,
    RPCTimeoutOrCancelledError,
    WithStartWorkflowOperation,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateStage,
)
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCStatusCode

from api.ports import EngineUnavailable, Heard, Refusal, Requested, Silence
from api.resources import asked_by
from contracts import attributes, queues, starts
from domain.commands import Capture, Increment, Payment, Payout, Refund, Void
from domain.ids import OperationId
from domain.lifecycle import PaymentState
from domain.outcomes import Receipt, View
from workflows.payment import PaymentWorkflow
from workflows.payout import PayoutWorkflow
from workflows.refund import RefundWorkflow

CONFIRM_SECONDS = 1.0  # a start takes milliseconds; with the longest wait this stays within the request's deadline
VIEW_SECONDS = 0.3  # money rule 13: then the row
FIRST_PAUSE_SECONDS = 0.05  # a worker that takes over is back within tenths of a second
LONGEST_PAUSE_SECONDS = 1.0
LOOK_SECONDS = 0.1  # between two looks at a payment whose payer has come back: an inquiry takes tenths of a second
MOVING = "Moving"  # the run goes on as a new one this very moment, which takes the operation
REQUESTED: Final = "requested"  # the memo's name

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)
REFUSALS = frozenset(each.value for each in Refusal)  # a plain text is not `in` an enum before Python 3.12
H = TypeVar("H")
Starting = Payment | Refund | Payout
PaymentRun = WorkflowHandle[PaymentWorkflow, str]
PayoutRun = WorkflowHandle[PayoutWorkflow, str]


class TemporalRuns:
    """`ports.Runs` over a Temporal client that uses `contracts.payloads.DATA_CONVERTER`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def start(self, command: Starting, *, created_at: str, wait_seconds: float) -> Heard:
        """See `ports.Runs`."""
        heard = await _ask(command.id, lambda: self._submit(command, created_at), wait_seconds)
        return heard or await _confirm(command.id, lambda: self._begin(command, created_at))

    async def capture(self, payment: OperationId, capture: Capture, *, wait_seconds: float) -> Heard:
        """See `ports.Runs`."""
        run = self._payment(payment)
        heard = await _ask(capture.id, lambda: _capture(run, capture), wait_seconds)
        return heard or await _confirm(capture.id, lambda: _accept_capture(run, capture))

    async def void(self, payment: OperationId, void: Void, *, wait_seconds: float) -> Heard:
        """See `ports.Runs`."""
        run = self._payment(payment)
        heard = await _ask(void.id, lambda: _void(run, void), wait_seconds)
        return heard or await _confirm(void.id, lambda: _accept_void(run, void))

    async def increment(self, payment: OperationId, increment: Increment, *, wait_seconds: float) -> Heard:
        """See `ports.Runs`."""
        run = self._payment(payment)
        heard = await _ask(increment.id, lambda: _increment(run, increment), wait_seconds)
        return heard or await _confirm(increment.id, lambda: _accept_increment(run, increment))

    async def recall(self, payout: OperationId, recall: Void, *, wait_seconds: float) -> Heard:
        """See `ports.Runs`."""
        run = self._client.get_workflow_handle_for(PayoutWorkflow.run, queues.workflow_id(payout))
        heard = await _ask(recall.id, lambda: _recall(run, recall), wait_seconds)
        return heard or await _confirm(recall.id, lambda: _accept_recall(run, recall))

    async def returned(self, payment: OperationId, *, wait_seconds: float) -> None:
        """See `ports.Runs`."""
        run = self._payment(payment)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_seconds):
                if not await _look_again(run, payment):
                    return
                while True:
                    view = await self.view(payment)
                    if view is None or view.state != PaymentState.CHALLENGE_REQUIRED:
                        return
                    await asyncio.sleep(LOOK_SECONDS)

    async def view(self, operation: OperationId) -> View | None:
        """See `ports.Runs`."""
        run = self._client.get_workflow_handle_for(PaymentWorkflow.run, queues.workflow_id(operation))
        try:
            async with asyncio.timeout(VIEW_SECONDS):
                return await run.query(PaymentWorkflow.view)  # every run has this query
        except (
            TimeoutError,
            RPCError,
            RPCTimeoutOrCancelledError,
            WorkflowQueryFailedError,
            WorkflowQueryRejectedError,
        ):
            return None

    async def requested(self, operation: OperationId) -> Requested | None:
        """See `ports.Runs`."""
        run = self._client.get_workflow_handle(queues.workflow_id(operation))
        try:
            async with asyncio.timeout(VIEW_SECONDS):
                return await (await run.describe()).memo_value(REQUESTED, None, type_hint=Requested)
        except (TimeoutError, RPCError, RPCTimeoutOrCancelledError):
            return None

    # Starts

    async def _submit(self, command: Starting, created_at: str) -> Receipt:
        options = _options(command, created_at)
        match command:
            case Payment():
                start = WithStartWorkflowOperation(PaymentWorkflow.run, command, **options)
                submitting = _authorize(self._client, command, start)
            case Refund():
                start = WithStartWorkflowOperation(RefundWorkflow.run, command, **options)
                submitting = _submit_refund(self._client, command, start)
            case Payout():
                start = WithStartWorkflowOperation(PayoutWorkflow.run, command, **options)
                submitting = _submit_payout(self._client, command, start)
        try:
            return await submitting
        except (RPCError, RPCTimeoutOrCancelledError, WorkflowAlreadyStartedError):
            with contextlib.suppress(BaseException):  # temporalio keeps it a second time; unread, asyncio complains
                await start.workflow_handle()
            raise

    async def _begin(self, command: Starting, created_at: str) -> Silence:
        """Start without an update: durable as soon as it is answered. The run performs what it was started with."""
        workflow: Any = {Payment: PaymentWorkflow, Refund: RefundWorkflow, Payout: PayoutWorkflow}[type(command)]
        await self._client.start_workflow(workflow.run, command, **_options(command, created_at))
        return Silence.UNDERWAY

    def _payment(self, payment: OperationId) -> PaymentRun:
        return self._client.get_workflow_handle_for(PaymentWorkflow.run, queues.workflow_id(payment))


def _options(command: Starting, created_at: str) -> dict[str, Any]:
    return {
        **starts.once(queues.workflow_id(command.id)),
        "search_attributes": attributes.of(command),
        "static_summary": (
            f"{type(command).__name__} {command.money} for {command.merchant} via {command.promises.provider}"
        ),
        "memo": {REQUESTED: asked_by(command, created_at)},
    }


# One function per update: temporalio types their arguments as unknown. The update's id is the operation's.


async def _authorize(
    client: Client, payment: Payment, start: WithStartWorkflowOperation[PaymentWorkflow, str]
) -> Receipt:
    return await client.execute_update_with_start_workflow(  # pyright: ignore[reportUnknownMemberType]
        PaymentWorkflow.authorize, payment, start_workflow_operation=start, id=payment.id
    )


async def _submit_refund(
    client: Client, refund: Refund, start: WithStartWorkflowOperation[RefundWorkflow, str]
) -> Receipt:
    return await client.execute_update_with_start_workflow(  # pyright: ignore[reportUnknownMemberType]
        RefundWorkflow.submit, refund, start_workflow_operation=start, id=refund.id
    )


async def _submit_payout(
    client: Client, payout: Payout, start: WithStartWorkflowOperation[PayoutWorkflow, str]
) -> Receipt:
    return await client.execute_update_with_start_workflow(  # pyright: ignore[reportUnknownMemberType]
        PayoutWorkflow.submit, payout, start_workflow_operation=start, id=payout.id
    )


async def _capture(run: PaymentRun, capture: Capture) -> Receipt:
    return await run.execute_update(PaymentWorkflow.capture, capture, id=capture.id)  # pyright: ignore[reportUnknownMemberType]


async def _void(run: PaymentRun, void: Void) -> Receipt:
    return await run.execute_update(PaymentWorkflow.void, void, id=void.id)  # pyright: ignore[reportUnknownMemberType]


async def _increment(run: PaymentRun, increment: Increment) -> Receipt:
    return await run.execute_update(PaymentWorkflow.increment, increment, id=increment.id)  # pyright: ignore[reportUnknownMemberType]


async def _recall(run: PayoutRun, recall: Void) -> Receipt:
    return await run.execute_update(PayoutWorkflow.recall, recall, id=recall.id)  # pyright: ignore[reportUnknownMemberType]


async def _accept_increment(run: PaymentRun, increment: Increment) -> Silence:
    accepted = WorkflowUpdateStage.ACCEPTED
    await run.start_update(PaymentWorkflow.increment, increment, id=increment.id, wait_for_stage=accepted)  # pyright: ignore[reportUnknownMemberType]
    return Silence.UNDERWAY


async def _accept_recall(run: PayoutRun, recall: Void) -> Silence:
    accepted = WorkflowUpdateStage.ACCEPTED
    await run.start_update(PayoutWorkflow.recall, recall, id=recall.id, wait_for_stage=accepted)  # pyright: ignore[reportUnknownMemberType]
    return Silence.UNDERWAY


async def _look_again(run: PaymentRun, payment: OperationId) -> bool:
    """Tell whether the payment looks again: not where it waits for nothing, or has closed."""
    try:
        await run.execute_update(PaymentWorkflow.look_again, str(payment))  # pyright: ignore[reportUnknownMemberType]
    except (WorkflowUpdateFailedError, RPCError, RPCTimeoutOrCancelledError) as failure:
        log.info("engine.not_looked_again", operation=payment, why=str(failure))
        return False
    return True


async def _accept_capture(run: PaymentRun, capture: Capture) -> Silence:
    accepted = WorkflowUpdateStage.ACCEPTED
    await run.start_update(PaymentWorkflow.capture, capture, id=capture.id, wait_for_stage=accepted)  # pyright: ignore[reportUnknownMemberType]
    return Silence.UNDERWAY


async def _accept_void(run: PaymentRun, void: Void) -> Silence:
    accepted = WorkflowUpdateStage.ACCEPTED
    await run.start_update(PaymentWorkflow.void, void, id=void.id, wait_for_stage=accepted)  # pyright: ignore[reportUnknownMemberType]
    return Silence.UNDERWAY


# One question, asked until it is answered


async def _ask(
    operation: OperationId, call: Callable[[], Awaitable[H]], seconds: float
) -> H | Silence | Refusal | None:
    """Ask until there is an answer; None when the time is over."""
    pause = FIRST_PAUSE_SECONDS
    try:
        async with asyncio.timeout(seconds):
            while (heard := await _once(operation, call)) is None:
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            return heard
    except TimeoutError:
        return None


async def _confirm(operation: OperationId, call: Callable[[], Awaitable[Silence]]) -> Heard:
    """Ask whether it is taken. Raises `EngineUnavailable` where not even that is answered."""
    heard = await _ask(operation, call, CONFIRM_SECONDS)
    if heard is None:
        raise EngineUnavailable(operation)
    return heard


async def _once(operation: OperationId, call: Callable[[], Awaitable[H]]) -> H | Silence | Refusal | None:
    """Ask once; None means: ask again under the same ids."""
    try:
        return await call()
    except WorkflowAlreadyStartedError:
        return Silence.CLOSED
    except WorkflowUpdateFailedError as failed:
        return _refusal(operation, failed.cause)
    except RPCTimeoutOrCancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # temporalio hides our own timeouts in an error of its own
            raise asyncio.CancelledError from None
        return None
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return Silence.CLOSED
        log.warning("engine.asked_again", operation=operation, status=error.status.name)
        return None


def _refusal(operation: OperationId, cause: BaseException) -> Silence | Refusal | None:
    kind = cause.type if isinstance(cause, ApplicationError) else None
    if kind == MOVING:
        return None
    if kind == "AcceptedUpdateCompletedWorkflow":  # the server's word for a run that closed before it answered
        return Silence.CLOSED
    if kind in REFUSALS:
        return Refusal(kind)
    log.error("engine.update_failed", operation=operation, kind=kind or type(cause).__name__)
    raise EngineUnavailable(operation) from cause
