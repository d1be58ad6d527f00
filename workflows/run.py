"""What every run is: one queue of operations, one loop that performs them, and a person to ask when it cannot decide.

Handlers check, enqueue and wait; `run()` alone performs (money rule 6). A cancellation is a message like any other: it
raises a flag that is looked at between steps, and never reaches a step. Knows no provider and no ledger.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar, TypeVar

from temporalio import workflow
from temporalio.common import SearchAttributeUpdate
from temporalio.exceptions import ApplicationError

from contracts import attributes
from domain.commands import Operation, Start
from domain.ids import OperationId, Reference
from domain.lifecycle import Lifecycle, is_terminal, move
from domain.money import Money
from domain.outcomes import Answer, Attention, Decision, Doubt, Fact, Moment, Outcome, Reason, Receipt, View
from workflows import page

T = TypeVar("T")

ATTENTION_HOURS = 4  # a person looks within a working half-day; the escalation belongs to whoever watches the list
FACTS_MAX = 100  # webhooks nobody waits for are evidence, not memory: the inbox keeps them all
MOMENTS_MAX = 200  # what a person can read; the history holds the rest
OPERATIONS_MAX = 500  # about 10,000 events, where Temporal begins to warn; no payment is captured so often


class Run:
    """The base of every workflow. Subclasses name their lifecycle and who owns a run that waits for a person."""

    lifecycle: ClassVar[Lifecycle[Any]]
    owner: ClassVar[str]

    def __init__(self, start: Start, state: StrEnum) -> None:
        self.promises = start.promises
        self.state = state
        self.total = Money(0, start.money.currency)
        self.reason = ""
        self.doubt: Doubt | None = None
        self.attention: Attention | None = None
        self.facts: dict[Reference, Answer] = {}
        self.seen: set[Reference] = set()  # what the provider has shown to have
        self.cancel_requested = False
        self.window_closed = False
        self._start = start
        self._window: asyncio.Task[None] | None = None
        self._known: dict[OperationId, Operation] = {start.id: start}
        self._queue: list[Operation] = [start]
        self._receipts: dict[OperationId, Receipt] = {}
        self._retries: set[Reference] = set()
        self._moments: list[Moment] = []
        self._shown: dict[str, object] = {}
        self.show()

    # Operations

    def admit(self, operation: Operation) -> None:
        """Refuse before history what cannot be taken now; the same id again must be the same command."""
        known = self._known.get(operation.id)
        if known is not None:
            if known.fingerprint != operation.fingerprint:
                raise refusal("Conflict", "the operation id was used for another command")
            return
        if blocked_by := self.doubt or self.attention:
            raise refusal("InDoubt", f"{blocked_by.reference} is not decided yet; nothing else is taken meanwhile")
        if is_terminal(self.lifecycle, self.state) or len(self._known) >= OPERATIONS_MAX:
            raise refusal("InvalidState", f"it is {self.state}")

    async def ask(self, operation: Operation) -> Receipt:
        """Enqueue, and wait for the loop's answer."""
        if operation.id not in self._known:
            self._known[operation.id] = operation
            self._queue.append(operation)
        await workflow.wait_condition(lambda: operation.id in self._receipts)
        return self._receipts[operation.id]

    def answer(self, operation: Operation, answer: Answer, moved: Money) -> None:
        """Let the initiator go; an operation is answered once, early or at its end."""
        receipt = Receipt(
            operation=operation.id,
            fingerprint=operation.fingerprint,
            outcome=answer.outcome,
            state=self.state,
            moved=moved,
            total=self.total,
            reason=answer.reason,
            provider_id=answer.provider_id,
        )
        self._receipts.setdefault(operation.id, receipt)
        self.log(f"answered {answer.outcome}", operation.id, answer.reason)

    async def next(self) -> Operation | None:
        """The next operation; None when the run was cancelled, or its window has closed and nobody waits."""
        await workflow.wait_condition(lambda: bool(self._queue) or self.cancel_requested or self.window_closed)
        return self._queue.pop(0) if self._queue and not self.cancel_requested else None

    async def last(self) -> Operation | None:
        """What is left in the queue of a run that has ended; None when every initiator has been answered."""
        await workflow.wait_condition(lambda: bool(self._queue) or workflow.all_handlers_finished())
        return self._queue.pop(0) if self._queue else None

    def open_window(self, seconds: float) -> None:
        """Start the one timer of the run: a timer per wait would cost two events per operation."""

        async def close() -> None:
            await workflow.sleep(timedelta(seconds=seconds), summary="the authorization's window")
            self.window_closed = True

        self._window = asyncio.create_task(close())

    async def to_the_end(self, life: Coroutine[Any, Any, T]) -> T:
        """Live to the end, whatever cancellations arrive; each only raises the flag that the loop reads."""
        task = asyncio.create_task(life)
        while not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError:
                if not self.cancel_requested:
                    self.log("cancel requested", self._start.id)
                self.cancel_requested = True
        if self._window is not None:
            self._window.cancel()
        return task.result()

    # What can be seen

    def move(self, onward: StrEnum) -> None:
        """Move along the lifecycle; an edge that it does not have is a bug."""
        self.state = move(self.lifecycle, self.state, onward)
        self.log(f"is {onward}", self._start.id)
        self.describe()

    def log(self, what: str, reference: str = "", detail: str = "") -> None:
        """Add a line to the run's own timeline."""
        self._moments.append(Moment(at=workflow.now().isoformat(), what=what, reference=reference, detail=detail))
        del self._moments[:-MOMENTS_MAX]

    def describe(self) -> None:
        """Write the page that the UI shows beside the run; it costs no event."""
        workflow.set_current_details(page.of(self._start, self.view(), waiting=len(self._queue)))

    def show(self) -> None:
        """Bring the search attributes up to date, in one event, and only where something changed."""
        doubt, attention = self.doubt, self.attention
        fresh: dict[str, object] = {
            "state": self.state,
            "attention": attention is not None,
            "owner": attention.owner if attention else None,
            "since": doubt.since if doubt else None,
        }
        updates: list[SearchAttributeUpdate[Any]] = []
        if fresh["state"] != self._shown.get("state"):
            updates.append(attributes.PAYMENT_STATE.value_set(self.state))
        if fresh["attention"] != self._shown.get("attention", False):
            updates.append(attributes.NEEDS_ATTENTION.value_set(attention is not None))
            updates.append(attributes.OWNER.value_set(attention.owner) if attention else attributes.OWNER.value_unset())
        if fresh["since"] != self._shown.get("since"):
            key = attributes.UNKNOWN_SINCE
            updates.append(key.value_set(datetime.fromisoformat(doubt.since)) if doubt else key.value_unset())
        first, self._shown = not self._shown, fresh
        if updates and not first:  # the start has set the first ones
            workflow.upsert_search_attributes(updates)  # pyright: ignore[reportUnknownMemberType]
        self.describe()

    @workflow.query
    def view(self) -> View:
        """State, sums, what is in doubt and whom the run waits for."""
        return View(
            state=self.state,
            amount=self._start.money,
            total=self.total,
            reason=self.reason,
            doubt=self.doubt,
            attention=self.attention,
        )

    @workflow.query
    def timeline(self) -> list[Moment]:
        """What happened, oldest first."""
        return self._moments

    @workflow.query
    def explain(self) -> str:
        """The page that the UI shows, as markdown."""
        return page.of(self._start, self.view(), waiting=len(self._queue))

    # Facts and people

    @workflow.signal
    def observe(self, fact: Fact) -> None:
        """Take what a webhook reports; only a decided outcome counts, but any shows that the provider has it."""
        self.seen.add(fact.reference)
        self.log(f"webhook says {fact.answer.outcome}", fact.reference, fact.source)
        if fact.answer.outcome in (Outcome.DONE, Outcome.REFUSED):
            self.facts[fact.reference] = fact.answer
            while len(self.facts) > FACTS_MAX:
                del self.facts[next(iter(self.facts))]

    def pending(self) -> None:
        """Note that the provider has accepted the effect on the wire and has not decided it."""

    async def pause(self, seconds: float) -> None:
        """Let time pass; a cancellation cuts it short."""
        await self._wait(lambda: self.cancel_requested, seconds, "before it is sent again")

    async def wait_for_fact(self, reference: Reference, seconds: float) -> None:
        """Wait for a webhook, or for the next inquiry's time."""
        await self._wait(lambda: reference in self.facts, seconds, "before the next inquiry")

    async def park(self, reference: Reference, reason: str, again_seconds: float | None = None) -> Answer | None:
        """Stay open until a person or a webhook decides; None means: ask the world again.

        The attention stands until the step has ended, so that it can be seen while the world is asked.
        """
        since = self.attention.since if self.attention else workflow.now().isoformat()
        payload = {"reference": reference, "outcome": "done", "evidence": "…", "approvals": ["…", "…"]}
        self.attention = Attention(
            reference=reference,
            reason=reason,
            owner=self.owner,
            since=since,
            deadline=(datetime.fromisoformat(since) + timedelta(hours=ATTENTION_HOURS)).isoformat(),
            update="resolve",
            payload=json.dumps(payload, ensure_ascii=False),
        )
        self.log("needs attention", reference, reason)
        self.show()
        self._retries.discard(reference)
        summary = f"{self.owner} decides about {reference}"
        await self._wait(lambda: reference in self._retries or reference in self.facts, again_seconds, summary)
        return self.facts.pop(reference, None)

    def relieve(self) -> None:
        """The step has ended: nobody needs to look any more."""
        if self.attention is not None:
            self.attention = None
            self.show()

    async def _wait(self, condition: Callable[[], bool], seconds: float | None, summary: str) -> None:
        timeout = None if seconds is None else timedelta(seconds=seconds)
        with contextlib.suppress(asyncio.TimeoutError):
            await workflow.wait_condition(condition, timeout=timeout, timeout_summary=summary)

    @workflow.update
    async def retry(self, reference: Reference) -> None:
        """Ask the world again about a parked reference."""
        self.log("a person asks to look again", reference)
        self._retries.add(reference)

    @retry.validator
    def _retry_is_apt(self, reference: Reference) -> None:
        self._must_be_parked(reference)

    @workflow.update
    async def resolve(self, decision: Decision) -> None:
        """Take a person's decision: from now on it is the fact about this reference."""
        self.log(
            f"resolved as {decision.outcome} by {', '.join(decision.approvals)}", decision.reference, decision.evidence
        )
        reason = Reason.REFUSED_BY_OPERATORS if decision.outcome is Outcome.REFUSED else ""
        self.facts[decision.reference] = Answer(outcome=decision.outcome, reason=reason)

    @resolve.validator
    def _resolve_is_apt(self, decision: Decision) -> None:
        self._must_be_parked(decision.reference)
        if decision.outcome not in (Outcome.DONE, Outcome.REFUSED):
            raise refusal("BadDecision", "a decision is done or refused")
        if len({name.strip() for name in decision.approvals} - {"", "…"}) != len(decision.approvals):
            raise refusal("BadDecision", "two different people must approve, by name")
        if not decision.evidence.strip(" …"):
            raise refusal("BadDecision", "say what was seen, and where")

    def _must_be_parked(self, reference: Reference) -> None:
        if self.attention is None or self.attention.reference != reference:
            raise refusal("NotParked", f"{reference} is not waiting for a person")


def refusal(kind: str, why: str) -> ApplicationError:
    """Make the error by which a validator refuses; `kind` is what the API reads."""
    return ApplicationError(why, type=kind, non_retryable=True)
