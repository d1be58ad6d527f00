"""Payouts that nobody asks for one by one: the daily sweep of a merchant's balance, and the batch.

Both only start payouts, each as a run of its own with its own gates, and undo nothing. What makes a repetition harmless
is the payout's id: a sweep's is made of merchant, currency and day, a batch's are in its order.
"""

import asyncio
import hashlib
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import SearchAttributeKey, WorkflowIDReusePolicy
from temporalio.exceptions import ChildWorkflowError, WorkflowAlreadyStartedError

from contracts import attributes, queues
from contracts.books import Books
from contracts.payouts import Batch, BatchReport, Sweep, Unpaid
from domain.commands import Available, Payout
from domain.ids import Prefix, derive
from domain.lifecycle import PayoutState
from domain.money import Money
from workflows import questions
from workflows.payout import PayoutWorkflow

SCHEDULED: SearchAttributeKey[datetime] = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")
ADMITTED_FOR = timedelta(days=1)  # the next day's sweep takes what this one has not
AT_ONCE = 20  # starts on their way: as many calls as a provider takes at once by default; more would only queue there

Started = workflow.ChildWorkflowHandle[PayoutWorkflow, str]


@workflow.defn(name="PayoutSweep")
class PayoutSweep:
    """Pays out what a merchant has available, once a day."""

    @workflow.run
    async def run(self, sweep: Sweep) -> str:
        """Return what was started, or why nothing was."""
        currency = sweep.minimum.currency
        asked = Available(merchant=sweep.merchant, currency=currency)
        available = await questions.answered(Books.available, asked, f"what is available in {currency}")
        if available.minor < max(1, sweep.minimum.minor):
            return f"nothing to pay out: {available} is below the minimum of {sweep.minimum}"
        day = sweep.day or _day()
        payout = _swept(sweep, day, available)
        if await _start(payout) is None:
            return f"swept before on {day}: {payout.id}"
        return f"started {payout.id} over {available}"


@workflow.defn(name="PayoutBatch")
class PayoutBatch:
    """Starts payouts and waits for what becomes of each. They go on whatever becomes of the batch."""

    @workflow.init
    def __init__(self, batch: Batch) -> None:
        self._payouts = len(batch.payouts)
        self._started = self._known = self._paid = 0
        self._unpaid: list[Unpaid] = []

    @workflow.run
    async def run(self, batch: Batch) -> BatchReport:
        """Return the counts, and which payouts have not reached their account."""
        places = asyncio.Semaphore(AT_ONCE)
        await asyncio.gather(*(self._one(payout, places) for payout in batch.payouts))
        return self.report()

    async def _one(self, payout: Payout, places: asyncio.Semaphore) -> None:
        async with places:
            started = await _start(payout)
        if started is None:
            self._known += 1
            return
        self._started += 1
        try:
            state = await started
        except ChildWorkflowError:
            state = "terminated"  # by a person, against all advice: somebody has to look what became of it
        if state == PayoutState.PAID:
            self._paid += 1
        else:
            self._unpaid.append(
                Unpaid(payout=payout.id, merchant_reference=payout.merchant_reference, money=payout.money, state=state)
            )

    @workflow.query
    def report(self) -> BatchReport:
        """How far it has come."""
        return BatchReport(
            payouts=self._payouts,
            started=self._started,
            known=self._known,
            paid=self._paid,
            unpaid=tuple(self._unpaid),
        )


async def _start(payout: Payout) -> Started | None:
    """Start a payout's own run, which nothing that becomes of its parent touches; None where it was started before."""
    try:
        return await workflow.start_child_workflow(
            PayoutWorkflow.run,
            payout,
            id=queues.workflow_id(payout.id),
            task_queue=queues.PAYMENTS,
            task_timeout=queues.TASK_TIMEOUT,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            parent_close_policy=workflow.ParentClosePolicy.ABANDON,
            cancellation_type=workflow.ChildWorkflowCancellationType.ABANDON,
            search_attributes=attributes.of(payout),
        )
    except WorkflowAlreadyStartedError:
        return None


def _swept(sweep: Sweep, day: str, money: Money) -> Payout:
    """The payout of a merchant's balance of a day: the same one, however often the day is swept."""
    key = f"{sweep.merchant}/{money.currency}/{day}"
    return Payout(
        id=derive(Prefix.PAYOUT, client=sweep.client, mode=sweep.mode, operation="sweep", key=key),
        fingerprint=hashlib.sha256(f"sweep\0{key}\0{sweep.destination}".encode()).hexdigest(),
        client=sweep.client,
        merchant=sweep.merchant,
        money=money,
        promises=sweep.promises,
        admit_until=(workflow.now() + ADMITTED_FOR).timestamp(),
        merchant_reference=f"sweep {day}",
        destination=sweep.destination,
    )


def _day() -> str:
    """The day that a schedule has this run for, even where it begins after midnight; else today."""
    scheduled = workflow.info().typed_search_attributes.get(SCHEDULED)
    return f"{scheduled or workflow.now():%Y-%m-%d}"
