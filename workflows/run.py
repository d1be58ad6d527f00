"""What every run is: one queue of operations, one loop that performs them, and a person to ask when it cannot decide.

Handlers check, enqueue and wait; `run()` alone performs (money rule 6). A cancellation is a message like any other: it
raises a flag that is looked at between steps, and never reaches a step. Knows no provider and no ledger.
"""

import asyncio
import contextlib
import json
import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar, TypeVar

from temporalio import workflow
from temporalio.common import SearchAttributeUpdate, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError

from contracts import attributes, queues
from contracts.books import Books
from domain.commands import Approval, LateFact, Operation, Promises, Standing, Start
from domain.ids import OperationId, Reference
from domain.lifecycle import Lifecycle, is_terminal, move
from domain.money import Money
from domain.outcomes import Answer, Attention, Decision, Doubt, Fact, Moment, Outcome, Reason, Receipt, Stands, View
from workflows import page, questions
from workflows.since import since

T = TypeVar("T")

ATTENTION_HOURS = 4  # a person looks within a working half-day; after each, the next one up is asked
FACTS_MAX = 100  # webhooks nobody waits for are evidence, not memory: the inbox keeps them all
MOMENTS_MAX = 200  # what a person can read; the history holds the rest
OPERATIONS_MAX = 2000  # their receipts travel from run to run: a megabyte, half of what Temporal takes
DECIDED = (Outcome.DONE, Outcome.REFUSED)


@dataclass(frozen=True)
class Expiring:
    """The window will close soon, and the initiator has not taken everything."""


@dataclass(frozen=True)
class Setback:
    """A provider says otherwise than it did before: a success that failed, or a refusal that came about after all."""

    fact: Fact


Happening = Operation | Expiring | Setback


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What every run hands on to its successor, which goes on under the same id (money rule 7)."""

    state: str
    total: Money
    reason: str
    promises: Promises
    window_closes: float  # unix seconds
    warned: bool
    known: dict[OperationId, str]  # fingerprints
    receipts: tuple[Receipt, ...]
    facts: dict[Reference, Answer]
    seen: tuple[Reference, ...]
    accepted: tuple[Reference, ...]
    concluded: dict[Reference, Outcome]
    told: tuple[Fact, ...]
    moments: tuple[Moment, ...]


class Run:
    """The base of every workflow. Subclasses name their lifecycle and who owns a run that waits for a person."""

    lifecycle: ClassVar[Lifecycle[Any]]
    owner: ClassVar[str]
    heeds_cancellation: ClassVar[bool] = True  # a run that settles what has happened only takes note of it
    moves_on: ClassVar[bool] = False  # it may live so long that it has to go on under a new history

    def __init__(self, start: Start, state: StrEnum) -> None:
        self.promises = start.promises
        self.amount = start.money
        self.state = state
        self.total = Money(0, start.money.currency)
        self.reason = ""
        self.doubt: Doubt | None = None
        self.attention: Attention | None = None
        self.facts: dict[Reference, Answer] = {}  # told about what is not concluded yet, the latest word of each
        self.seen: set[Reference] = set()  # what the provider has shown to have
        self.accepted: set[Reference] = set()  # what it has shown to have, and not to have decided
        self.challenge = ""
        self.cancel_requested = False
        self.window_closed = False
        self.draining = False  # its history is long: it goes on under a new one as soon as it is at rest
        self._start = start
        self._looks_again = False
        self._window: asyncio.Task[None] | None = None
        self._window_closes = 0.0
        self._warned = False
        self._known: dict[OperationId, str] = {start.id: start.fingerprint}
        self._queue: list[Happening] = [start]
        self._concluded: dict[Reference, Outcome] = {}
        self._told: dict[Reference, dict[Outcome, Fact]] = {}  # beside `facts`: every word, for what contradicts
        self._receipts: dict[OperationId, Receipt] = {}
        self._retries: set[Reference] = set()
        self._moments: list[Moment] = []
        self._shown: dict[str, object] = {}
        self.show()

    # Operations

    def admit(self, operation: Operation, *, whatever_is_pending: bool = False) -> None:
        """Refuse before history what cannot be taken now; the same id again must be the same command."""
        known = self._known.get(operation.id)
        if known is not None:
            if known != operation.fingerprint:
                raise refusal("Conflict", "the operation id was used for another command")
            return
        if self.draining:
            raise refusal("Moving", "the run goes on under a new history in a moment: ask again")
        if not whatever_is_pending and (blocked_by := self.doubt or self.attention):
            raise refusal("InDoubt", f"{blocked_by.reference} is not decided yet; nothing else is taken meanwhile")
        if is_terminal(self.lifecycle, self.state) or len(self._known) >= OPERATIONS_MAX:
            raise refusal("InvalidState", f"it is {self.state}")

    async def ask(self, operation: Operation) -> Receipt:
        """Enqueue, and wait for the loop's answer."""
        if operation.id not in self._known:
            self._known[operation.id] = operation.fingerprint
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

    async def next(self) -> Happening | None:
        """What comes next; None when the run was cancelled, its window has closed, or it is to go on as another."""
        await workflow.wait_condition(lambda: bool(self._queue) or self._comes_to_an_end())
        return self._queue.pop(0) if self._queue and not self.cancel_requested else None

    def _comes_to_an_end(self) -> bool:
        return self.cancel_requested or self.window_closed or self.must_go_on_anew()

    def wanted(self) -> bool:
        """Tell whether something waits in the queue."""
        return bool(self._queue)

    def take(self) -> Happening | None:
        """What waits in the queue first, whether or not the run was canceled."""
        return self._queue.pop(0) if self._queue else None

    async def last(self) -> Operation | None:
        """What is left in the queue of a run that has ended; None when every initiator has been answered."""
        while True:
            await workflow.wait_condition(lambda: bool(self._queue) or workflow.all_handlers_finished())
            match self._queue.pop(0) if self._queue else None:
                case Setback(fact=fact):
                    await self.contradicted(fact)
                case Expiring():
                    pass
                case None if self._told and since(
                    "told-at-the-end"
                ):  # of what this run has forgotten, or never came to
                    words = self._told.pop(next(iter(self._told)))
                    await self.contradicted(list(words.values())[-1])
                case left:
                    return left

    async def contradicted(self, fact: Fact) -> None:
        """Have a run of its own settle what a provider says otherwise than before (money rule 14)."""
        start = self._start
        late = LateFact(
            id=start.id,
            fingerprint=start.fingerprint,
            client=start.client,
            merchant=start.merchant,
            money=self.amount,
            promises=self.promises,
            admit_until=start.admit_until,
            merchant_reference=start.merchant_reference,
            fact=fact,
            source=fact.source,
        )
        self.log("says otherwise than before: a late run settles it", fact.reference, fact.source)
        with contextlib.suppress(WorkflowAlreadyStartedError):  # the same event was told before
            await workflow.start_child_workflow(
                "Late",
                late,
                id=queues.late_id(self.promises.provider, fact.source),
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                task_timeout=queues.TASK_TIMEOUT,
                search_attributes=attributes.of(late),
                static_summary=f"{fact.reference} is {fact.answer.outcome} after all",
            )

    def open_window(self, closes: float, *, warn_before: float = 0) -> None:
        """Start the one timer of the run: a timer per wait would cost two events per operation.

        `closes` is in unix seconds; `warn_before` seconds before it the loop is told, once.
        """
        self._window_closes = closes

        async def close() -> None:
            warn_in = closes - warn_before - workflow.time()
            if warn_before and not self._warned and warn_in > 0:
                await workflow.sleep(timedelta(seconds=warn_in), summary="until its initiator is warned")
                self._warned = True
                self._queue.append(Expiring())
            left = max(0.0, closes - workflow.time())
            await workflow.sleep(timedelta(seconds=left), summary="the authorization's window")
            self.window_closed = True

        self._window = asyncio.create_task(close())

    # Long lives

    def must_go_on_anew(self) -> bool:
        """Tell whether this run's history is long enough. From then on it takes nothing until it has moved."""
        self.draining = self.draining or (self.moves_on and workflow.info().is_continue_as_new_suggested())
        return self.draining

    async def at_rest(self) -> bool:
        """Wait until every initiator was answered; then tell whether nothing has come in between."""
        await workflow.wait_condition(lambda: bool(self._queue) or workflow.all_handlers_finished())
        return not (self._queue or self.cancel_requested or self.window_closed or self.doubt or self.attention)

    def hand_on(self) -> Carried:
        """What the next run of this id has to know."""
        return Carried(
            state=self.state,
            total=self.total,
            reason=self.reason,
            promises=self.promises,
            window_closes=self._window_closes,
            warned=self._warned,
            known=self._known,
            receipts=tuple(self._receipts.values()),
            facts=self.facts,
            seen=tuple(sorted(self.seen)),
            accepted=tuple(sorted(self.accepted)),
            concluded=self._concluded,
            told=tuple(fact for words in self._told.values() for fact in words.values()),
            moments=tuple(self._moments),
        )

    def take_over(self, carried: Carried, state: StrEnum) -> None:
        """Go on where the run before this one came to."""
        self.state, self.total, self.reason, self.promises = state, carried.total, carried.reason, carried.promises
        self._window_closes, self._warned = carried.window_closes, carried.warned
        self._known, self._receipts = dict(carried.known), {each.operation: each for each in carried.receipts}
        self.facts, self.seen, self.accepted = dict(carried.facts), set(carried.seen), set(carried.accepted)
        self._concluded, self._moments = dict(carried.concluded), list(carried.moments)
        for fact in carried.told:
            self._told.setdefault(fact.reference, {})[fact.answer.outcome] = fact
        self._queue.clear()
        self._shown = {"state": state, "attention": False, "owner": None, "since": None}
        self.log("goes on under a new history", self._start.id)
        self.describe()

    async def to_the_end(self, life: Coroutine[Any, Any, T]) -> T:
        """Live to the end, whatever cancellations arrive; each only raises the flag that the loop reads, if that."""
        task = asyncio.create_task(life)
        while not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError:
                if not self.heeds_cancellation:
                    self.log("cancel requested, and not heeded: what has happened is settled all the same")
                    continue
                if not self.cancel_requested:
                    self.log("cancel requested", self._start.id)
                self.cancel_requested = True
        self.close_window()
        return task.result()

    def close_window(self) -> None:
        """Stop the timer: nothing authorized is left, or another run has its own."""
        if self._window is not None:
            self._window.cancel()

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
        workflow.set_current_details(self.explain())

    def show(self) -> None:
        """Bring the search attributes up to date, in one event, and only where something changed."""
        doubt, attention = self.doubt, self.attention
        fresh: dict[str, object] = {
            "state": self.state,
            "provider": self.promises.provider,
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
        elif attention is not None and fresh["owner"] != self._shown["owner"]:
            updates.append(attributes.OWNER.value_set(attention.owner))
        if fresh["provider"] != self._shown.get("provider", self._start.promises.provider):
            updates.append(attributes.PROVIDER.value_set(self.promises.provider))
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
            amount=self.amount,
            total=self.total,
            reason=self.reason,
            doubt=self.doubt,
            attention=self.attention,
            challenge=self.challenge,
            provider=self.promises.provider,
        )

    @workflow.query
    def timeline(self) -> list[Moment]:
        """What happened, oldest first."""
        return self._moments

    @workflow.query
    def explain(self) -> str:
        """The page that the UI shows, as markdown."""
        return page.of(self._start, self.view(), run=workflow.info().workflow_id, waiting=len(self._queue))

    # Facts and people

    async def stands(self, operation: OperationId, on: Reference) -> Stands:
        """Ask our own books about an effect of an operation, until they answer."""
        return await questions.answered(Books.stands, Standing(operation=operation, on=on), operation)

    @workflow.signal
    def observe(self, fact: Fact) -> None:
        """Take what a webhook reports; only a decided outcome counts, but any shows that the provider has it.

        What agrees with what is known already says nothing new; what contradicts it is performed like an operation.
        """
        self.seen.add(fact.reference)
        self.log(f"webhook says {fact.answer.outcome}", fact.reference, fact.source)
        if fact.answer.outcome not in DECIDED:
            return
        before = self._concluded.get(fact.reference)
        if before is None:
            self.facts[fact.reference] = fact.answer
            self._told.setdefault(fact.reference, {})[fact.answer.outcome] = fact
            for kept in (self.facts, self._told):
                while len(kept) > FACTS_MAX:
                    del kept[next(iter(kept))]
        elif before is not fact.answer.outcome:
            self._queue.append(Setback(fact))

    def arrival(self, topic: Reference) -> Answer | None:
        """What was told of an arrival. One that arrived and came back has arrived: the return is settled after it."""
        told = self.facts.pop(topic, None)
        done = self._told.get(topic, {}).get(Outcome.DONE)
        return done.answer if done else told

    def conclude(self, reference: Reference, answer: Answer) -> None:
        """Remember what became of an effect, so that another word about it is known to be news or none.

        A word that contradicts may have come first: events know no order.
        """
        self.facts.pop(reference, None)
        told = self._told.pop(reference, {})
        if answer.outcome in DECIDED:
            self._concluded[reference] = answer.outcome
            self._queue += [Setback(fact) for outcome, fact in told.items() if outcome is not answer.outcome]

    def undone(self, reference: Reference) -> None:
        """Remember that an effect was undone: that it had been there is no news."""
        self.facts.pop(reference, None)
        self._told.pop(reference, None)
        self._concluded[reference] = Outcome.DONE

    def pending(self, reference: Reference, answer: Answer) -> None:
        """Note that the provider has accepted the effect on the wire and has not decided it."""
        self.accepted.add(reference)

    def held(self, gate: Reference) -> None:
        """Note that risk holds a gate until people decide."""

    def gives_up(self) -> str:
        """Say why nobody waits any longer for the effect on the wire; empty as long as somebody does."""
        return ""

    def gives_up_in(self) -> float:
        """In how many seconds that may become so by itself."""
        return math.inf

    async def pause(self, seconds: float) -> None:
        """Let time pass; a cancellation cuts it short."""
        await self._wait(lambda: self.cancel_requested, seconds, "before it is sent again")

    async def wait_for_fact(
        self, reference: Reference, seconds: float, unless: Callable[[], bool] = lambda: False
    ) -> None:
        """Wait for a webhook, for the next inquiry's time, or for somebody who wants to know now."""
        self._looks_again = False
        await self._wait(
            lambda: reference in self.facts or self._looks_again or unless(), seconds, "before the next inquiry"
        )

    async def park(
        self,
        reference: Reference,
        reason: str,
        again_seconds: float | None = None,
        *,
        owner: str = "",
        unless: Callable[[], bool] = lambda: False,
    ) -> Answer | None:
        """Stay open until a person or a webhook decides; None means: ask the world again.

        The attention stands until the step has ended, so that it can be seen while the world is asked. Whenever its
        deadline passes the next one up becomes its owner.
        """
        self._ask_for_attention(reference, reason, owner or self.owner)
        self._retries.discard(reference)
        again = math.inf if again_seconds is None else workflow.time() + again_seconds
        escalates = since("escalation")

        def over() -> bool:
            return reference in self._retries or reference in self.facts or unless()

        while True:
            attention = self.attention
            assert attention is not None
            deadline = datetime.fromisoformat(attention.deadline).timestamp() if escalates else math.inf
            left = min(again, deadline) - workflow.time()
            summary = f"{attention.owner} decides about {reference}"
            await self._wait(over, left if math.isfinite(left) else None, summary)
            if over() or again <= deadline:
                return self.facts.pop(reference, None)
            self._escalate(attention)

    def _ask_for_attention(self, reference: Reference, reason: str, owner: str) -> None:
        began, now = self.attention, workflow.now()
        if began is not None and began.reference == reference:
            self.attention = replace(began, reason=reason)
        else:
            asked_since = began.since if began else now.isoformat()
            payload = {"reference": reference, "outcome": "done", "evidence": "…", "approvals": ["…", "…"]}
            deadline = datetime.fromisoformat(asked_since) + timedelta(hours=ATTENTION_HOURS)
            self.attention = Attention(
                reference=reference,
                reason=reason,
                owner=owner,
                since=asked_since,
                deadline=deadline.isoformat(),
                update="resolve",
                payload=json.dumps(payload, ensure_ascii=False),
            )
        self.log("needs attention", reference, reason)
        self.show()

    def _escalate(self, attention: Attention) -> None:
        """Nobody has decided in time: ask whoever is above."""
        self.attention = replace(
            attention,
            owner=f"{attention.owner.removesuffix('-lead')}-lead",
            deadline=(workflow.now() + timedelta(hours=ATTENTION_HOURS)).isoformat(),
            escalations=attention.escalations + 1,
        )
        self.log("escalated", attention.reference, f"to {self.attention.owner}")
        self.show()

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
    async def look_again(self, reference: str) -> None:
        """Inquire now: the payer has returned from their bank, or a person wants to know. Idempotent, moves nothing."""
        if self.doubt is not None:
            self.log("asked to look again", self.doubt.reference, reference)
            self._looks_again = True

    @workflow.update
    async def resolve(self, decision: Decision) -> None:
        """Take a decision that two people have approved: from now on it is the fact about this reference."""
        if since("approvals"):
            approval = Approval(reference=decision.reference, run=workflow.info().workflow_id, decision=decision)
            checked = await questions.answered(Books.check_approvals, approval, decision.reference)
            if checked.outcome is not Outcome.DONE:
                raise refusal("NotApproved", checked.reason)
            self._must_be_parked(decision.reference)
        self.log(
            f"resolved as {decision.outcome} by {', '.join(decision.approvals)}", decision.reference, decision.evidence
        )
        reason = Reason.REFUSED_BY_OPERATORS if decision.outcome is Outcome.REFUSED else ""
        self.facts[decision.reference] = Answer(outcome=decision.outcome, reason=reason)

    @resolve.validator
    def _resolve_is_apt(self, decision: Decision) -> None:
        self._must_be_parked(decision.reference)
        if decision.outcome not in DECIDED:
            raise refusal("BadDecision", "a decision is done or refused")
        if len({name.strip() for name in decision.approvals} - {"", "…"}) != len(decision.approvals):
            raise refusal("BadDecision", "two approvals are needed, by two people: `holdfast approve` gives one")
        if not decision.evidence.strip(" …"):
            raise refusal("BadDecision", "say what was seen, and where")

    def _must_be_parked(self, reference: Reference) -> None:
        if self.attention is None or self.attention.reference != reference:
            raise refusal("NotParked", f"{reference} is not waiting for a person")


def refusal(kind: str, why: str) -> ApplicationError:
    """Make the error by which a validator refuses; `kind` is what the API reads."""
    return ApplicationError(why, type=kind, non_retryable=True)
