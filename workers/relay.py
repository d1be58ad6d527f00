"""The relay of the inbox: finds the run that an event belongs to, and signals it.

An event whose run is closed or unknown stays in the inbox with a note: evidence for reconciliation.
"""

import asyncio

import asyncpg
import structlog
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from adapters.providers.simulator import webhooks as simulator
from contracts.queues import starts_a_run, workflow_id
from domain.ids import OperationId, Reference, operation_of
from domain.outcomes import Fact
from records.inbox import Inbox, Waiting
from records.operations import Operations
from workflows.run import Run

PAUSE_SECONDS = 0.2  # how long a fact may lie: a doubt is inquired more slowly than this
BATCH = 50  # a round's reads stay short
TELLS = {"simulator": simulator.told}

log = structlog.get_logger()


async def run(client: Client, pool: asyncpg.Pool) -> None:
    """Relay for ever; what fails is tried again, since a row is handled only when its run has it."""
    inbox, operations = Inbox(pool), Operations(pool)
    while True:
        try:
            for event in await inbox.waiting(BATCH):
                await inbox.handled(event.id, await _relay(client, operations, event))
        except (asyncpg.PostgresError, OSError, RPCError) as failure:
            log.warning("relay.failed", failure=str(failure))
        await asyncio.sleep(PAUSE_SECONDS)


async def _relay(client: Client, operations: Operations, event: Waiting) -> str:
    """Signal the owner; return what became of the event."""
    told = TELLS[event.provider](event.raw)
    if told is None:
        return "of a kind that is not known"
    run = await _owner(operations, told.reference)
    if run is None:
        return "of an operation that is not known"
    fact = Fact(reference=told.reference, answer=told.answer, source=event.event_id)
    try:
        await client.get_workflow_handle(run).signal(Run.observe, fact)
    except RPCError as failure:
        if failure.status is RPCStatusCode.NOT_FOUND:
            return f"{run} is closed"
        raise
    return f"signaled {run}"


async def _owner(operations: Operations, reference: Reference) -> str | None:
    """The run that an effect belongs to: its operation's own, or its payment's."""
    operation = operation_of(reference)
    if starts_a_run(reference):
        return workflow_id(operation)
    for find in (operations.capture, operations.void):
        found = await find(OperationId(operation))
        if found is not None and found.payment is not None:
            return workflow_id(found.payment)
    return None
