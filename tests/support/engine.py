"""A Temporal server whose clock skips, a worker with the fakes of `world`, and the calls that an initiator makes."""

import logging
import sys
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateHandle,
    WorkflowUpdateStage,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from contracts import attributes, queues
from contracts.payloads import DATA_CONVERTER
from domain.commands import Capture, Increment, Operation, Patience, Payment, Payout, Promises, Refund, Void
from domain.ids import MerchantId, OperationId, Prefix, Reference, derive
from domain.money import Money
from domain.outcomes import Decision, Receipt
from tests.support.world import WORLDS, FakeBooks, FakeProvider, World
from workers.sandbox import SANDBOX
from workflows.payment import PaymentWorkflow
from workflows.payout import PayoutWorkflow
from workflows.refund import RefundWorkflow

PROVIDER, ANOTHER = "fake", "fake_b"
WORKFLOWS: Sequence[type] = (PaymentWorkflow, RefundWorkflow, PayoutWorkflow)
PROMISES = Promises(
    provider=PROVIDER,
    start_to_close_seconds=10,
    horizon_seconds=3,
    inquiry_is_complete=True,
    inquiry_seconds=0.5,
    attention_after_seconds=900,
    patience=Patience(authorize=10, automatic_capture=60, as_asked=120),  # the product's, with fewer sends
)
AT_ONCE = (  # dynamic configuration of a server that does not make its tests wait
    "frontend.WorkflowTimeSkippingEnabled=true",
    'history.timerProcessorMaxTimeShift="1ms"',  # else a timer fires up to a second late, on the wall clock
    "history.transferProcessorMaxPollRPS=10000",
    "history.timerProcessorMaxPollRPS=10000",
    "history.visibilityProcessorMaxPollRPS=10000",
    "history.shardIOConcurrency=8",
    "matching.numTaskqueueReadPartitions=1",
    "matching.numTaskqueueWritePartitions=1",
)
EUR_100 = Money(100, "EUR")
Handle = WorkflowHandle[Any, str]
Asked = WorkflowUpdateHandle[Receipt]
Starting = Payment | Refund | Payout
BEGINS_WITH: dict[type[Starting], str] = {Payment: "authorize", Refund: "submit", Payout: "submit"}


@asynccontextmanager
async def skipping_server() -> AsyncGenerator[Client]:
    """Start the server; a run's clock jumps whenever nothing but a timer is left of it."""
    async with await WorkflowEnvironment.start_time_skipping_v2(
        data_converter=DATA_CONVERTER,
        dev_server_existing_path=str(Path(sys.executable).parent / "temporal"),
        dev_server_log_level="never",
        identity="holdfast-tests",  # histories are kept; they name no machine
        dev_server_extra_args=[word for value in AT_ONCE for word in ("--dynamic-config-value", value)]
        + [word for name, kind in attributes.REGISTERED.items() for word in ("--search-attribute", f"{name}={kind}")],
    ) as environment:
        yield environment.client


@asynccontextmanager
async def worker(client: Client) -> AsyncGenerator[None]:
    """Run the workflows over the fakes, on the queues that the product uses."""
    logging.getLogger("temporalio.activity").setLevel(logging.ERROR)  # that a call fails as scripted is no news
    provider = FakeProvider()
    effects = [
        provider.authorize, provider.capture, provider.refund, provider.pay_out, provider.increment, provider.recall,
    ]  # fmt: skip
    repair = [provider.void, provider.inquire]
    async with (
        Worker(client, task_queue=queues.effects(PROVIDER), activities=effects),
        Worker(client, task_queue=queues.repair(PROVIDER), activities=repair),
        Worker(client, task_queue=queues.effects(ANOTHER), activities=effects),
        Worker(client, task_queue=queues.repair(ANOTHER), activities=repair),
        workflows(client, queues.PAYMENTS),
    ):
        yield


def workflows(client: Client, queue: str) -> Worker:
    """Run the workflows, and beside them our own books, on one queue."""
    books = FakeBooks()
    return Worker(
        client, task_queue=queue, workflows=WORKFLOWS, workflow_runner=SANDBOX,
        activities=[
            books.prepare_payment, books.prepare_refund, books.prepare_payout, books.release, books.book_capture,
            books.book_refund, books.book_payout_accepted, books.book_payout_paid, books.book_payout_failed, books.note,
            books.prepare_increment, books.book_capture_failed, books.check_approvals, books.stands, books.sent,
        ],
    )  # fmt: skip


def operation(prefix: Prefix, key: str) -> OperationId:
    """An id that is the same in every run of the tests."""
    return derive(prefix, client="tests", mode="test", operation="saga", key=key)


def payment(key: str, *, automatic: bool = False, promises: Promises = PROMISES, money: Money = EUR_100) -> Payment:
    """A payment with a world of its own."""
    made = Payment(
        id=operation(Prefix.PAYMENT, key), fingerprint=f"f{key}", client="tests", merchant=MerchantId("m_bakery"),
        money=money, promises=promises, admit_until=2e9, instrument="tok_visa", automatic=automatic,
        window_seconds=7 * 86_400, fee_basis_points=100,
    )  # fmt: skip
    WORLDS[made.id] = World()
    return made


def capture(key: str, of: Payment, minor: int, *, final: bool = False) -> Capture:
    """A capture in the world of its payment."""
    made = Capture(
        id=operation(Prefix.CAPTURE, key),
        fingerprint=f"f{key}{minor}",
        money=Money(minor, of.money.currency),
        final=final,
    )
    WORLDS[made.id] = WORLDS[of.id]
    return made


def increment(key: str, of: Payment, minor: int) -> Increment:
    """An increment in the world of its payment."""
    made = Increment(id=operation(Prefix.INCREMENT, key), fingerprint=f"f{key}", money=Money(minor, "EUR"))
    WORLDS[made.id] = WORLDS[of.id]
    return made


def void(key: str, of: Payment | Payout) -> Void:
    """A void in the world of its payment, or a recall in that of its payout."""
    made = Void(id=operation(Prefix.VOID, key), fingerprint=f"f{key}")
    WORLDS[made.id] = WORLDS[of.id]
    return made


def refund(key: str, *, promises: Promises = PROMISES) -> Refund:
    """A refund with a world of its own."""
    made = Refund(
        id=operation(Prefix.REFUND, key), fingerprint=f"f{key}", client="tests", merchant=MerchantId("m_bakery"),
        money=EUR_100, promises=promises, admit_until=2e9, payment=operation(Prefix.PAYMENT, "refunded"),
        on=Reference(f"{operation(Prefix.PAYMENT, 'refunded')}.a1"), on_provider_id="psp_0",
    )  # fmt: skip
    WORLDS[made.id] = World()
    return made


def payout(key: str, *, promises: Promises = PROMISES) -> Payout:
    """A payout with a world of its own."""
    made = Payout(
        id=operation(Prefix.PAYOUT, key), fingerprint=f"f{key}", client="tests", merchant=MerchantId("m_bakery"),
        money=EUR_100, promises=promises, admit_until=2e9, destination="acct_ok",
    )  # fmt: skip
    WORLDS[made.id] = World()
    return made


async def start(client: Client, of: Starting, *, queue: str = queues.PAYMENTS) -> Handle:
    """Start the run of a payment, a refund or a payout."""
    return await client.start_workflow(
        _run_of(of), of, id=queues.workflow_id(of.id), task_queue=queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
    )  # fmt: skip


async def begin(client: Client, of: Starting, *, queue: str = queues.PAYMENTS, update_id: str = "") -> Asked:
    """Start the run and ask it for its own operation in one call, as the API does; the run cannot end in between."""
    operation = WithStartWorkflowOperation(
        _run_of(of), of, id=queues.workflow_id(of.id), task_queue=queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
    )  # fmt: skip
    return await client.start_update_with_start_workflow(  # pyright: ignore[reportUnknownMemberType]
        BEGINS_WITH[type(of)], of, id=update_id or of.id, start_workflow_operation=operation,
        wait_for_stage=WorkflowUpdateStage.ACCEPTED, result_type=Receipt,
    )  # fmt: skip


def handle_of(client: Client, of: Starting) -> Handle:
    """The run of an operation, whether it has been started or not."""
    return client.get_workflow_handle(queues.workflow_id(of.id), result_type=str)


def _run_of(of: Starting) -> Any:
    return {Payment: PaymentWorkflow, Refund: RefundWorkflow, Payout: PayoutWorkflow}[type(of)].run


async def submit(handle: Handle, name: str, of: Operation, *, update_id: str = "") -> Asked:
    """Send an update and wait until it is accepted or refused; its receipt, or the refusal, is its result."""
    return await handle.start_update(  # pyright: ignore[reportUnknownMemberType]
        name, of, id=update_id or of.id, wait_for_stage=WorkflowUpdateStage.ACCEPTED, result_type=Receipt
    )


async def ask(handle: Handle, name: str, of: Operation, *, update_id: str = "") -> Receipt:
    """Ask for an operation, and wait for its receipt. Raises `WorkflowUpdateFailedError` where it is refused."""
    return await (await submit(handle, name, of, update_id=update_id)).result()


async def refusal(asking: Awaitable[object]) -> ApplicationError:
    """Await the error by which a validator refuses."""
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await asking
    cause = caught.value.cause
    assert isinstance(cause, ApplicationError)
    return cause


async def retry(handle: Handle, reference: Reference) -> None:
    """Have a parked run ask the world again."""
    await handle.execute_update("retry", reference)  # pyright: ignore[reportUnknownMemberType]


async def resolve(handle: Handle, decision: Decision) -> None:
    """Decide for a parked run."""
    await handle.execute_update("resolve", decision)  # pyright: ignore[reportUnknownMemberType]


def blind(promises: Promises = PROMISES) -> Promises:
    """What a provider promises that finds nothing by our reference."""
    return replace(promises, inquiry_is_complete=False)
