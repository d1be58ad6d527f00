"""The relay of the inbox: finds the run that an event belongs to, and tells it (money rule 14).

    a run that is open                  is signaled
    a run that has closed               nothing, where the event agrees with our books; else `late/{provider}/{event}`
    a dispute                           `dispute/{id}` is signaled, and started by its first event
    what fits nothing                   stays in the inbox with a note, for reconciliation

An event counts as handled when its run has it: whatever fails before is tried again, later and later. So a run may be
told twice, and events come in no promised order. What an event means is the runs' to know.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg
import structlog
from temporalio.client import Client
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from activities.books import stands
from contracts import attributes, queues, starts
from domain.commands import Dispute, LateFact, Promises, Standing
from domain.ids import OperationId, Prefix, Reference, derive, operation_of
from domain.outcomes import DisputeNews, DisputeStage, Fact
from ledger.journal import Journal
from ledger.postings import Told, told_reference
from records.calls import CallJournal
from records.inbox import Inbox, Waiting
from records.operations import Operations
from workers.providers import TELLS
from workflows.dispute import DisputeWorkflow
from workflows.late import LateWorkflow, Meaning, meaning
from workflows.run import Run

PAUSE_SECONDS = 0.2  # how long a fact may lie: a doubt is inquired more slowly than this
BATCH = 50  # a round's reads stay short
NEVER_STALE = 1e10  # the year 2286: what a provider has done is admitted whenever it is told
BOOKED_AS = {DisputeStage.WITHDRAWN: Told.WITHDRAWN, DisputeStage.WON: Told.WON, DisputeStage.LOST: Told.LOST}

log = structlog.get_logger()


@dataclass(frozen=True)
class Handed:
    """What became of an event: said in its note, and whether it fits anything of ours."""

    note: str
    unexplained: bool = False


class Relay:
    """Hands the inbox's events on. `promises` are those of the providers that are wired, by name."""

    def __init__(self, client: Client, pool: asyncpg.Pool, promises: Mapping[str, Promises]) -> None:
        self._client = client
        self._promises = promises
        self._inbox = Inbox(pool)
        self._calls = CallJournal(pool)
        self._operations = Operations(pool)
        self._journal = Journal(pool)

    async def run(self) -> None:
        """Relay for ever."""
        while True:
            try:
                await self.round()
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as failure:
                log.warning("relay.failed", failure=str(failure))
            await asyncio.sleep(PAUSE_SECONDS)

    async def round(self) -> int:
        """Hand on what waits; return how many events were looked at. One that cannot be handed on holds no other up."""
        waiting = await self._inbox.waiting(BATCH)
        for event in waiting:
            try:
                handed = await self._hand_on(event)
            except Exception as failure:  # noqa: BLE001  also a bug in one event must not hold up the others
                pause = await self._inbox.postpone(event.id)
                again_in = round(pause.total_seconds(), 1)
                log.warning(
                    "relay.postponed", event_id=event.event_id, failure=repr(failure), again_in_seconds=again_in
                )
                continue
            if handed.unexplained:
                log.warning("relay.unexplained", provider=event.provider, event_id=event.event_id, note=handed.note)
            await self._inbox.handled(event.id, handed.note, unexplained=handed.unexplained)
        return len(waiting)

    async def _hand_on(self, event: Waiting) -> Handed:
        tells = TELLS.get(event.provider)
        told = tells(event.raw) if tells else None
        match told:
            case None:
                return Handed("of a kind that is not known", unexplained=True)
            case DisputeNews():
                return await self._of_a_dispute(event, told)
            case _:
                fact = Fact(reference=told.reference, answer=told.answer, source=event.event_id)
                return await self._of_an_effect(event, fact)

    async def _of_an_effect(self, event: Waiting, fact: Fact) -> Handed:
        """Signal the run that sent the reference. An arrival is told under the payout's own."""
        sent = Reference(fact.reference.split("/", 1)[0])
        run = await self._calls.run_of(event.provider, sent)
        if run is None:
            return Handed("about a reference that was never sent", unexplained=True)
        try:
            await self._client.get_workflow_handle(run).signal(Run.observe, fact)
        except RPCError as failure:
            if failure.status is not RPCStatusCode.NOT_FOUND:
                raise
            return await self._late(event, fact, sent, run)
        return Handed(f"signaled {run}")

    async def _late(self, event: Waiting, fact: Fact, sent: Reference, closed: str) -> Handed:
        """Have a run of its own settle what the closed one was not told, unless our books say the same already."""
        operation = operation_of(sent)
        row = await self._operations.any(operation)
        if row is None:
            return Handed(f"{closed} is closed, and {operation} has no row", unexplained=True)
        standing = await stands(self._journal, self._operations, Standing(operation=operation, on=sent))
        if meaning(fact, standing) is Meaning.AGREES:
            return Handed(f"{closed} is closed, and our books agree")
        late = LateFact(
            id=operation,
            fingerprint=_fingerprint(event.provider, event.event_id),
            client=row.client,
            merchant=row.merchant,
            money=row.money,
            promises=self._promises[event.provider],
            admit_until=row.created_at.timestamp(),
            merchant_reference=row.merchant_reference,
            fact=fact,
            source=event.event_id,
        )
        run = queues.late_id(event.provider, event.event_id)
        try:
            await self._client.start_workflow(
                LateWorkflow.run,
                late,
                **starts.once(run),
                search_attributes=attributes.of(late),
                static_summary=f"{fact.reference} is {fact.answer.outcome}, after its run has closed",
            )
        except WorkflowAlreadyStartedError:
            return Handed(f"{run} has settled it")
        return Handed(f"{closed} is closed: started {run}")

    async def _of_a_dispute(self, event: Waiting, news: DisputeNews) -> Handed:
        """Signal the dispute's run; the first event starts it, whichever that is."""
        row = await self._operations.any(operation_of(news.on))
        payment = await self._operations.payment(row.payment or row.id) if row else None
        if payment is None:
            return Handed(f"a dispute about {news.on}, which is of no payment of ours", unexplained=True)
        dispute = Dispute(
            id=dispute_id(event.provider, news.dispute),
            fingerprint=_fingerprint(event.provider, news.dispute),
            client=payment.client,
            merchant=payment.merchant,
            money=news.money,
            promises=self._promises[event.provider],
            admit_until=NEVER_STALE,
            merchant_reference=payment.merchant_reference,
            payment=payment.id,
            their_id=news.dispute,
        )
        run = queues.workflow_id(dispute.id)
        try:
            await self._client.start_workflow(
                DisputeWorkflow.run,
                dispute,
                **starts.once(run),
                search_attributes=attributes.of(dispute),
                static_summary=f"a dispute over {news.money}",
                start_signal="told",
                start_signal_args=[news],
            )
        except WorkflowAlreadyStartedError:
            return await self._of_a_closed_dispute(event, news, run)
        return Handed(f"signaled {run}")

    async def _of_a_closed_dispute(self, event: Waiting, news: DisputeNews, closed: str) -> Handed:
        """What is booked already agrees; money that moved after the end is nobody's to book without looking."""
        kind = BOOKED_AS.get(news.stage)
        if kind is None:
            return Handed(f"{closed} is closed")
        booked = told_reference(event.provider, news.key, kind)
        if booked in await self._journal.standing(booked):
            return Handed(f"{closed} is closed, and our books agree")
        return Handed(f"{closed} is closed, and {news.stage} {news.key} is not booked", unexplained=True)


def dispute_id(provider: str, their_id: str) -> OperationId:
    """Name a dispute after what its provider calls it: whatever is told of it first, it is one operation of ours."""
    return derive(Prefix.DISPUTE, client=provider, mode="told", operation="dispute", key=their_id)


def _fingerprint(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
