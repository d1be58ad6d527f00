"""The relay of the inbox: finds the run that an event belongs to, and signals it.

An event whose run is closed or unknown stays in the inbox with a note: evidence for reconciliation.
"""

import asyncio

import asyncpg
import structlog
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from adapters.providers.simulator import webhooks as simulator
from domain.ids import Reference
from domain.outcomes import Fact
from records.calls import CallJournal
from records.inbox import Inbox, Waiting
from workflows.run import Run

PAUSE_SECONDS = 0.2  # how long a fact may lie: a doubt is inquired more slowly than this
BATCH = 50  # a round's reads stay short
TELLS = {"simulator": simulator.told}

log = structlog.get_logger()


async def run(client: Client, pool: asyncpg.Pool) -> None:
    """Relay for ever; what fails is tried again, since a row is handled only when its run has it."""
    inbox, calls = Inbox(pool), CallJournal(pool)
    while True:
        try:
            for event in await inbox.waiting(BATCH):
                await inbox.handled(event.id, await _relay(client, calls, event))
        except (asyncpg.PostgresError, OSError, RPCError) as failure:
            log.warning("relay.failed", failure=str(failure))
        await asyncio.sleep(PAUSE_SECONDS)


async def _relay(client: Client, calls: CallJournal, event: Waiting) -> str:
    """Signal the owner; return what became of the event."""
    told = TELLS[event.provider](event.raw)
    if told is None:
        return "of a kind that is not known"
    sent = Reference(told.reference.split("/", 1)[0])  # an arrival is told under the payout's own reference
    run = await calls.run_of(event.provider, sent)
    if run is None:
        return "about a reference that was never sent"
    fact = Fact(reference=told.reference, answer=told.answer, source=event.event_id)
    try:
        await client.get_workflow_handle(run).signal(Run.observe, fact)
    except RPCError as failure:
        if failure.status is RPCStatusCode.NOT_FOUND:
            return f"{run} is closed"
        raise
    return f"signaled {run}"
