"""Runs that a provider starts (late facts, disputes), over our real books and a provider that does as it is told.

The server's clock skips. Books are those of a `Shop`; the provider keeps nothing but what it was asked.
"""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from contracts import attributes, queues
from contracts.provider import UNKNOWN, Provider
from domain.commands import Dispute, Effect, Inquiry, LateFact, Promises
from domain.ids import OperationId, Prefix, Reference, operation_of
from domain.outcomes import DONE, Answer, DisputeNews, DisputeStage, Fact, Outcome, View
from tests.support.booked_shop import Shop, euro
from workers.sandbox import SANDBOX
from workers.wiring import WORKFLOWS, of_books, of_effects, of_repair
from workflows.dispute import DisputeWorkflow
from workflows.late import LateWorkflow

PROVIDER = "simulator"
PROMISES = Promises(
    provider=PROVIDER,
    start_to_close_seconds=10,
    horizon_seconds=30,
    inquiry_is_complete=True,
    inquiry_seconds=0.5,
    attention_after_seconds=900,
)
Handle = WorkflowHandle[Any, str]


@dataclass
class ToldProvider(Provider):
    """Answers each call by the next of the answers for its verb: an `Answer`, or an error's type; done without any."""

    answers: dict[str, list[Answer | str]] = field(default_factory=dict[str, list[Answer | str]])
    asked: list[str] = field(default_factory=list[str])  # the references, in order; inquiries as `?{reference}`
    acted_on: list[str] = field(default_factory=list[str])  # what voids and refunds acted upon

    @activity.defn(name="provider.void")
    async def void(self, effect: Effect) -> Answer:
        return self._answer("void", effect)

    @activity.defn(name="provider.refund")
    async def refund(self, effect: Effect) -> Answer:
        return self._answer("refund", effect)

    @activity.defn(name="provider.pay_out")
    async def pay_out(self, effect: Effect) -> Answer:
        return self._answer("pay_out", effect)

    @activity.defn(name="provider.inquire")
    async def inquire(self, inquiry: Inquiry) -> Answer | None:
        self.asked.append(f"?{inquiry.on}")
        said = self._next("inquire")
        return None if said == "none" else said if isinstance(said, Answer) else DONE

    def _answer(self, verb: str, effect: Effect) -> Answer:
        self.asked.append(effect.reference)
        self.acted_on.append(f"{effect.on} {effect.money}")
        said = self._next(verb)
        if isinstance(said, str):
            raise ApplicationError("scripted", type=said, non_retryable=said == UNKNOWN)
        return said

    def _next(self, verb: str) -> Answer | str:
        left = self.answers.get(verb, [])
        return left.pop(0) if left else DONE


@dataclass(frozen=True)
class Settling:
    """A client of the server, the shop, and the provider of its payments."""

    client: Client
    shop: Shop
    provider: ToldProvider

    async def late(self, reference: str, answer: Answer, event: str) -> Handle:
        """Start the run that settles a late fact, as the relay does."""
        operation = operation_of(Reference(reference))
        row = await self.shop.operations.any(operation)
        assert row is not None
        late = LateFact(
            id=operation, fingerprint=event, client=row.client, merchant=row.merchant, money=row.money,
            promises=PROMISES, admit_until=0, source=event,
            fact=Fact(reference=Reference(reference), answer=answer, source=event),
        )  # fmt: skip
        return await self.client.start_workflow(
            LateWorkflow.run, late, id=queues.late_id(PROVIDER, f"{self.shop.merchant}/{event}"),
            task_queue=queues.PAYMENTS, id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE, search_attributes=attributes.of(late),
        )  # fmt: skip

    async def settled(self, reference: str, answer: Answer, event: str = "ev_1") -> str:
        """Have a late fact settled without anybody's help, and say what it meant."""
        handle = await self.late(reference, answer, event)
        assert await handle.result() == "settled"
        view: View = await handle.query("view", result_type=View)
        return view.reason

    @property
    def dispute(self) -> Dispute:
        """A dispute over 30.00 of the shop's payment."""
        return Dispute(
            id=self.shop.id(Prefix.DISPUTE), fingerprint="fp", client="books", merchant=self.shop.merchant,
            money=euro(3_000), promises=PROMISES, admit_until=1e10, payment=self.shop.pay, their_id="dsp_theirs",
        )  # fmt: skip

    async def tell(self, news: DisputeNews) -> Handle:
        """Tell the dispute's run, which the first news starts."""
        dispute = self.dispute
        return await self.client.start_workflow(
            DisputeWorkflow.run, dispute, id=queues.workflow_id(dispute.id), task_queue=queues.PAYMENTS,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE, search_attributes=attributes.of(dispute),
            start_signal="told", start_signal_args=[news],
        )  # fmt: skip

    def news(self, stage: DisputeStage, key: str, minor: int = 3_000, evidence_due: str = "") -> DisputeNews:
        """One thing that the provider tells of the dispute; its keys are of this shop alone."""
        return DisputeNews(
            dispute="dsp_theirs", key=f"{self.shop.merchant}-{key}", stage=stage, on=Reference(f"{self.shop.pay}.a1"),
            money=euro(minor), source=f"ev_{key}", evidence_due=evidence_due, reason="fraud",
        )  # fmt: skip


@asynccontextmanager
async def settling(client: Client, shop: Shop) -> AsyncGenerator[Settling]:
    """Run the workflows over the shop's books and a provider that does as it is told."""
    logging.getLogger("temporalio.activity").setLevel(logging.ERROR)  # that a call fails as scripted is no news
    provider = ToldProvider()
    async with (
        Worker(client, task_queue=queues.effects(PROVIDER), activities=of_effects(provider)),
        Worker(client, task_queue=queues.repair(PROVIDER), activities=of_repair(provider)),
        Worker(
            client, task_queue=queues.PAYMENTS, workflows=WORKFLOWS, workflow_runner=SANDBOX,
            activities=of_books(shop.books), workflow_failure_exception_types=[],
        ),
    ):  # fmt: skip
        yield Settling(client, shop, provider)


async def decide(settling: Settling, handle: Handle, reference: str, outcome: Outcome) -> None:
    """Have two people decide about a parked reference."""
    evidence = "seen in their books"
    approvals = [
        await settling.shop.approvals.give(handle.id, Reference(reference), outcome, evidence, who)
        for who in ("ann", "bob")
    ]
    decision = {"reference": reference, "outcome": outcome, "evidence": evidence, "approvals": approvals}
    await handle.execute_update("resolve", decision)  # pyright: ignore[reportUnknownMemberType]


async def parked(handle: Handle) -> View:
    """Wait until the run asks for a person."""
    while True:
        view: View = await handle.query("view", result_type=View)
        if view.attention is not None:
            return view


def operation(effect: str) -> OperationId:
    """The operation that an effect belongs to."""
    return operation_of(Reference(effect))
