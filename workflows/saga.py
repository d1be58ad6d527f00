"""The saga engine: declared steps, done one at a time and undone newest first, with no doubt left between.

Three kinds of call, and who repeats each (money rule 5):
  an effect (Send)   the engine alone, since only the engine knows what every send answered;
  our own books (Book), undo and inquiry: Temporal, without end, since they are idempotent by reference;
  a thing that only the provider brings about (Await): inquired, or told by webhook.
The engine knows no payment, no provider and no ledger.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from types import TracebackType
from typing import Any, Generic, NoReturn, TypeAlias, TypeGuard, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, FailureError
from temporalio.types import MethodAsyncSingleParam

from contracts import queues
from contracts.provider import UNAVAILABLE, Provider
from domain.commands import Command, Inquiry, Patience
from domain.ids import OperationId, Reference, Verb, effect_reference
from domain.outcomes import CANCELED, DONE, Answer, Doubt, Found, Outcome, Reason, refused
from workflows.run import Run

In = TypeVar("In", bound=Command)
Out = TypeVar("Out")
Method: TypeAlias = MethodAsyncSingleParam[Any, In, Answer]
BookFound: TypeAlias = Callable[[Reference, Found], Awaitable[None]]

ONCE = RetryPolicy(maximum_attempts=1)
FOR_EVER = RetryPolicy(initial_interval=timedelta(seconds=0.1), maximum_interval=timedelta(minutes=1))
A_FEW_TIMES = RetryPolicy(initial_interval=timedelta(seconds=0.05), maximum_attempts=3)  # then the regular kind
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds, money rule 5
LONGEST_INQUIRY_PAUSE = 60.0  # seconds: a doubt is worth a question a minute
LOOK_AGAIN_IN_DOUBT = 900.0  # seconds: an outage may end by itself; a thousand events a day, for forty days
LOOK_AGAIN = 60.0  # seconds after which an undo or entry that found no answer is tried again, attention or not


@dataclass(frozen=True)
class Nothing:
    """This step leaves nothing behind to undo."""

    why: str


@dataclass(frozen=True)
class ForwardOnly:
    """Past this step the saga only goes forward; cancellation waits for the operation's end."""

    why: str


@dataclass(frozen=True)
class Send:
    """Policy of an effect at a provider: how long one that did not happen is sent again, and why so long.

    `if_late`: after a proof of absence it is refused for this reason unless within the patience; empty: sent again.
    """

    patience: Callable[[Patience], float]
    why: str
    if_late: str = ""


@dataclass(frozen=True)
class Book:
    """Policy of an entry in our own books; `name` ends its reference, `local` tries it as a local activity first."""

    name: str
    deadline: timedelta
    why: str
    local: bool = False


@dataclass(frozen=True)
class Await:
    """Policy of what only the provider brings about: how often it is asked for, and when a person looks."""

    name: str
    first_pause: timedelta
    longest_pause: timedelta
    patience: timedelta
    why: str


@dataclass(frozen=True)
class Step(Generic[In]):
    """What is done, and what undoes it. The undo takes what the do took and ensures absence; it is idempotent."""

    do: Method[In]
    undo: Method[In] | Nothing | ForwardOnly
    policy: Send | Book


@dataclass(frozen=True)
class Done:
    """A step that was done: under which reference, and what was answered."""

    reference: Reference
    answer: Answer

    @property
    def provider_id(self) -> str:
        return self.answer.provider_id


@dataclass
class _Row:
    """One step that may have happened, with the try's number."""

    step: Step[Any]
    command: Command
    attempt: int


class Stopped(Exception):
    """The operation ends here by a known outcome. It never leaves the engine."""


class Saga:
    """The steps of one operation. What may have happened stays on its list until it is undone or known not to be.

    `book_found` books what an undo finds, a fact; `gives_up` is told when undoing begins.
    """

    def __init__(
        self,
        run: Run,
        operation: OperationId,
        *,
        forward: bool = False,
        book_found: BookFound | None = None,
        gives_up: Callable[[Answer], None] | None = None,
    ) -> None:
        self.stopped: Answer | None = None
        self._book_found = book_found
        self._gives_up = gives_up
        self._run = run
        self._operation = operation
        self._forward = forward  # past the point of return: a cancellation waits for the operation's end
        self._may_have_happened: list[_Row] = []

    async def __call__(self, step: Step[In], command: In) -> Done:
        """Do the step to its known end."""
        self._honour_cancellation()
        match step.policy:
            case Send() as policy:
                assert not self._forward, "past the point of return only our own books are written"
                done = await self._send(step, command, policy)
            case Book() as policy:
                done = await self._book(step, command, policy)
        self._run.relieve()
        if done.answer.outcome is not Outcome.DONE:
            self._stop(done.answer)
        self._forward = self._forward or isinstance(step.undo, ForwardOnly)
        self._honour_cancellation()
        return done

    async def arrives(self, policy: Await, inquiry: Inquiry) -> Answer:
        """Wait until the provider has decided what it had accepted under `on`: done or refused."""
        run, topic = self._run, Reference(f"{inquiry.on}/{policy.name}")
        began, pause = workflow.time(), policy.first_pause.total_seconds()
        while True:
            found = run.facts.pop(topic, None) or await self._inquire(topic, inquiry)
            if found is not None and found.outcome in (Outcome.DONE, Outcome.REFUSED):
                run.relieve()
                return found
            if workflow.time() - began >= policy.patience.total_seconds():
                again = policy.longest_pause.total_seconds()
                decided = await run.park(topic, f"not decided by the provider after {policy.patience}", again)
                if decided is not None:
                    run.facts[topic] = decided
                continue
            await run.wait_for_fact(topic, pause)
            pause = min(pause * 2, policy.longest_pause.total_seconds())

    async def __aenter__(self) -> "Saga":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> bool:
        # Any other exception is a bug: the workflow task fails, nothing is undone, a fixed worker resumes.
        if isinstance(failure, Stopped):
            assert self.stopped is not None
            if self._gives_up is not None:
                self._gives_up(self.stopped)
            await self.unwind()
        return isinstance(failure, Stopped)

    async def unwind(self, *, give_way: bool = False) -> Answer:
        """Undo newest first, the provider's effect before the hold.

        Where an undo is refused a person decides: retry it, or resolve it as done. Giving way, what the provider will
        not undo stands instead; our own books have no such choice once the provider's effect is gone.
        """
        while self._may_have_happened:
            row = self._may_have_happened[-1]
            assert not isinstance(row.step.undo, Nothing | ForwardOnly)
            reference = self._reference(row.step.undo, row.step.policy, row.command, row.attempt)
            undo = replace(row.command, reference=reference, on=row.command.reference)
            answer: Answer | None = await self._until_answered(row.step.undo, undo, row.step.policy)
            if answer.found is not None and self._book_found is not None:
                await self._book_found(reference, answer.found)
                answer = DONE
            if answer.outcome is not Outcome.DONE:
                row.attempt += 1  # a refusal is final for its reference
                if give_way and isinstance(row.step.policy, Send):
                    return answer
                answer = await self._run.park(reference, f"the undo was {answer.outcome}: {answer.reason}")
            if answer is not None and answer.outcome is Outcome.DONE:
                self._run.log("undone", row.command.reference)
                self._run.relieve()
                self._may_have_happened.pop()
        return DONE

    def _honour_cancellation(self) -> None:
        if self._run.cancel_requested and not self._forward:
            self._stop(CANCELED)

    def _stop(self, answer: Answer) -> NoReturn:
        self.stopped = answer
        raise Stopped(answer.reason)

    async def _send(self, step: Step[In], command: In, policy: Send) -> Done:
        """Send until it is known what happened; a new attempt number only when it is known that nothing did."""
        patience = policy.patience(self._run.promises.patience)
        attempt, longest, until = 1, FIRST_PAUSE, workflow.time() + patience
        while True:
            sent = self._record(step, command, attempt)
            answer, retry_after = await self._once(step, sent)
            if in_doubt := not decided(answer):
                cleared = await self._clear_up(step, sent, answer, patience)
                if cleared is None:  # not struck: its undo, confirmed by the provider, is the proof
                    return Done(sent.reference, refused(policy.if_late or Reason.ABSENCE_UNPROVEN))
                answer = cleared
            self._run.log(f"{answer.outcome}", sent.reference, answer.reason)
            if answer.outcome is Outcome.DONE:
                self._name(sent, answer.provider_id)
                return Done(sent.reference, answer)
            self._strike(sent)
            if answer.outcome is Outcome.REFUSED:
                return Done(sent.reference, answer)
            if in_doubt:
                attempt += 1
                if not policy.if_late:
                    longest, until = FIRST_PAUSE, workflow.time() + patience
            left = until - workflow.time()
            if left <= retry_after:
                return Done(sent.reference, refused((in_doubt and policy.if_late) or Reason.PROVIDER_UNAVAILABLE))
            await self._run.pause(max(retry_after, min(left, workflow.random().uniform(0, longest))))  # full jitter
            longest = min(longest * 2, LONGEST_PAUSE)
            self._honour_cancellation()

    async def _once(self, step: Step[In], command: In) -> tuple[Answer, float]:
        """Make one call; with its answer, how long the provider wants to be left alone."""
        try:
            return await self._call(step.do, command, ONCE, queues.effects(self._run.promises.provider)), 0
        except ActivityError as failure:
            cause = failure.cause
            if not isinstance(cause, ApplicationError) or cause.type != UNAVAILABLE:
                return Answer(outcome=Outcome.UNKNOWN, reason=str(cause)), 0
            pause = (cause.next_retry_delay or timedelta()).total_seconds()
            return Answer(outcome=Outcome.UNAVAILABLE, reason=str(cause)), pause

    async def _clear_up(self, step: Step[In], sent: In, answer: Answer, patience: float) -> Answer | None:
        """Ask by reference until the doubt has ended; None where only an undo that the provider confirms can end it.

        "Nothing found" proves absence past the horizon, if the inquiry is complete and nothing was ever seen there
        (money rule 4).
        """
        run, promises, gave_up, reference = self._run, self._run.promises, workflow.time(), sent.reference
        verb, pause = Verb(_name_of(step.do)), promises.inquiry_seconds
        inquiry = Inquiry(on=reference, provider=promises.provider, verb=verb, provider_id=answer.provider_id)
        horizon = patience if promises.horizon_seconds is None else promises.horizon_seconds
        proves = promises.inquiry_is_complete and promises.horizon_seconds is not None
        run.log(f"in doubt: {answer.outcome}", reference, answer.reason)
        found: Answer | None = answer
        while not decided(found):
            self._see(reference, found)
            self._doubt(reference, pause if found is answer else 0)
            asked = workflow.time() - gave_up  # an inquiry proves only what was so when it was asked
            if conflict := found is not None and found.outcome is Outcome.CONFLICT:
                found = await run.park(reference, "conflict: the reference was used for something else")
            else:
                found = run.facts.get(reference) or await self._inquire(reference, inquiry)
            self._see(reference, found)
            past_horizon, late = asked >= horizon, asked >= promises.attention_after_seconds
            if past_horizon and not conflict and found is None and reference not in run.seen:
                if proves:
                    found = Answer(outcome=Outcome.UNAVAILABLE, reason="nothing happened, asked past the horizon")
                elif not isinstance(step.undo, Nothing | ForwardOnly):
                    break
            contradiction = found is None and past_horizon and not conflict
            if (late or contradiction) and not decided(found):
                why = f"undecided: {found.outcome if found else 'nothing found'}"
                found = await run.park(reference, why, again_seconds=LOOK_AGAIN_IN_DOUBT)
            if not decided(found):
                left = horizon - (workflow.time() - gave_up)
                wait = min(pause, left) if left > 0 else pause  # at the horizon itself "none" begins to be proof
                self._doubt(reference, wait)
                await run.wait_for_fact(reference, wait)
                pause = min(pause * 2, LONGEST_INQUIRY_PAUSE)
        run.doubt = None
        run.show()
        return found

    def _see(self, reference: Reference, answer: Answer | None) -> None:
        if answer is not None and answer.shows_it:
            self._run.seen.add(reference)
            if answer.outcome is Outcome.PENDING:
                self._run.pending()

    def _doubt(self, reference: Reference, pause: float) -> None:
        """Let it be seen what is in doubt, since when, and when the provider is asked next."""
        run, now = self._run, workflow.now()
        since = run.doubt.since if run.doubt else now.isoformat()
        run.doubt = Doubt(
            reference=reference, since=since, next_check=(now + timedelta(seconds=pause)).isoformat(timespec="seconds")
        )
        run.show()

    async def _inquire(self, topic: Reference, inquiry: Inquiry) -> Answer | None:
        """Ask the provider, unless a webhook is quicker."""
        run, provider = self._run, self._run.promises.provider
        asking = self._start(Provider.inquire, inquiry, FOR_EVER, queues.repair(provider), f"inquire {inquiry.on}")
        await workflow.wait_condition(lambda: asking.done() or topic in run.facts)
        if not asking.done():
            asking.add_done_callback(_forget)
            asking.cancel()
            return run.facts[topic]
        try:
            return await asking
        except ActivityError as failure:
            return Answer(outcome=Outcome.UNKNOWN, reason=f"no inquiry was answered: {failure.cause}")

    async def _book(self, step: Step[In], command: In, policy: Book) -> Done:
        """Write into our own books. A gate may be refused; a fact may not, and is a person's case if it is."""
        entry = self._record(step, command, 1)
        answer = await self._until_answered(step.do, entry, policy, local=policy.local)
        while answer.outcome is not Outcome.DONE and (self._forward or isinstance(step.undo, ForwardOnly)):
            reason = f"a fact was {answer.outcome}: {answer.reason}"
            answer = await self._run.park(entry.reference, reason) or (
                await self._until_answered(step.do, entry, policy)
            )
        if answer.outcome is not Outcome.DONE:
            self._strike(entry)
        self._run.log(f"{answer.outcome}", entry.reference, answer.reason)
        return Done(entry.reference, answer)

    async def _until_answered(
        self, do: Method[Any], command: Command, policy: Send | Book, *, local: bool = False
    ) -> Answer:
        """Call what is idempotent until it answers, without end; past its time a person is asked to look."""
        if local and isinstance(policy, Book):
            try:
                return await workflow.execute_local_activity_method(
                    do,
                    command,
                    start_to_close_timeout=policy.deadline,
                    retry_policy=A_FEW_TIMES,
                    summary=command.reference,
                )
            except FailureError:  # not ActivityError alone: a local activity's own error arrives unwrapped
                pass  # the regular kind takes over: visible, and it can be paused
        queue = queues.repair(self._run.promises.provider) if isinstance(policy, Send) else queues.PAYMENTS
        deadline = policy.deadline if isinstance(policy, Book) else None
        while True:
            try:
                return await self._call(do, command, FOR_EVER, queue, deadline)
            except ActivityError as failure:
                why = f"no answer: {failure.cause}"
                if resolved := await self._run.park(command.reference, why, again_seconds=LOOK_AGAIN):
                    return resolved

    async def _call(
        self,
        method: MethodAsyncSingleParam[Any, In, Out],
        command: In,
        retry: RetryPolicy,
        queue: str,
        deadline: timedelta | None = None,
    ) -> Out:
        return await self._start(method, command, retry, queue, command.reference, deadline)

    def _start(
        self,
        method: MethodAsyncSingleParam[Any, In, Out],
        command: In,
        retry: RetryPolicy,
        queue: str,
        summary: str,
        deadline: timedelta | None = None,
    ) -> workflow.ActivityHandle[Out]:
        promises = self._run.promises
        return workflow.start_activity_method(
            method,
            command,
            task_queue=queue,
            summary=summary,
            start_to_close_timeout=deadline or timedelta(seconds=promises.start_to_close_seconds),
            # An effect is one attempt: only its own end counts, however long its queue was.
            schedule_to_close_timeout=None if retry is ONCE else timedelta(seconds=promises.attention_after_seconds),
            retry_policy=retry,
        )

    def _record(self, step: Step[In], command: In, attempt: int) -> In:
        """Number the command, and note it before the call: a call without an answer may have happened."""
        numbered = replace(command, reference=self._reference(step.do, step.policy, command, attempt))
        if not isinstance(step.undo, Nothing | ForwardOnly):
            self._may_have_happened.append(_Row(step, numbered, attempt))
        return numbered

    def _name(self, command: Command, provider_id: str) -> None:
        """Keep the provider's own id of the effect, so that its undo can say it."""
        for row in self._may_have_happened:
            if row.command is command:
                row.command = replace(command, provider_id=provider_id)

    def _strike(self, command: Command) -> None:
        """Now it is known that nothing happened."""
        self._may_have_happened = [row for row in self._may_have_happened if row.command is not command]

    def _reference(self, method: Method[Any], policy: Send | Book, command: Command, attempt: int) -> Reference:
        """Name an effect after operation, verb and attempt; a fact after the effect it books; a gate after both."""
        if isinstance(policy, Send):
            return effect_reference(self._operation, _name_of(method), attempt)
        name = policy.name if command.reference == "" else _name_of(method)
        return Reference(f"{command.on or self._operation}/{name}")


def decided(answer: Answer | None) -> TypeGuard[Answer]:
    """Tell whether the answer leaves nothing in doubt."""
    return answer is not None and answer.outcome not in (Outcome.UNKNOWN, Outcome.PENDING, Outcome.CONFLICT)


def _forget(asked: asyncio.Task[Any]) -> None:
    """Take note of an answer that nobody waits for; without it asyncio complains of an error never retrieved."""
    if not asked.cancelled():
        asked.exception()


def _name_of(method: Method[Any]) -> str:
    return str(getattr(method, "__name__"))  # noqa: B009  the type promises a callable, not a function
