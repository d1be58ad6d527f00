"""The saga engine: declared steps, done one at a time and undone newest first, with no doubt left between.

Three kinds of call, and who repeats each (money rule 5):
  an effect (Send)   the engine alone, since only the engine knows what every send answered;
  our own books (Book), undo and inquiry: Temporal, without end, since they are idempotent by reference;
  a thing that only the provider brings about (Await): inquired, or told by webhook.
The engine knows no payment, no provider and no ledger.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
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
from domain.commands import Command, Effect, Inquiry, Patience, Prepare
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
LONGEST_PENDING_PAUSE = 3600.0  # seconds: what a bank decides in days is asked for by the hour; webhooks are quicker
LOOK_AGAIN_IN_DOUBT = 900.0  # seconds: an outage may end by itself; a thousand events a day, for forty days
RISK_OWNER = "risk-operations"
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
    """A step that has come to its end: under which reference, what was answered, and whether that was ever in doubt."""

    reference: Reference
    answer: Answer
    doubted: bool = False

    @property
    def provider_id(self) -> str:
        return self.answer.provider_id


@dataclass
class Row:
    """One step that may have happened, with the operation that it belongs to and the try's number."""

    step: Step[Any]
    command: Command
    attempt: int
    operation: OperationId


@dataclass(frozen=True)
class _GaveUp:
    """Nobody waits any longer for what the provider has not decided. Its undo, confirmed there, is the proof."""

    reason: str


class Stopped(Exception):
    """The operation ends here by a known outcome. It never leaves the engine."""


class Saga:
    """The steps of one operation. What may have happened stays on its list until it is undone or known not to be.

    `book_found` books what an undo finds, a fact; `gives_up` is told when undoing begins; `recalls` may then put onto
    the list what the run has forgotten.
    """

    def __init__(
        self,
        run: Run,
        operation: OperationId,
        *,
        forward: bool = False,
        book_found: BookFound | None = None,
        gives_up: Callable[[Answer], None] | None = None,
        recalls: Callable[[Answer], Awaitable[None]] | None = None,
    ) -> None:
        self.stopped: Answer | None = None
        self._book_found = book_found
        self._gives_up = gives_up
        self._recalls = recalls
        self._run = run
        self._operation = operation
        self._forward = forward  # past the point of return: a cancellation waits for the operation's end
        self._may_have_happened: list[Row] = []
        self._attempts: Counter[str] = Counter()  # by verb: a number is never used again, whoever is asked

    async def __call__(self, step: Step[In], command: In) -> Done:
        """Do the step to its known end; the operation stops here where that is not done."""
        return self.needs(step, await self.attempt(step, command))

    async def attempt(self, step: Step[In], command: In, *, share: float = 1) -> Done:
        """Do the step to its known end, whatever that is. `share` is the part of the policy's patience that it has."""
        self._honour_cancellation()
        match step.policy:
            case Send() as policy:
                assert not self._forward, "past the point of return only our own books are written"
                done = await self._send(step, command, policy, share)
            case Book() as policy:
                done = await self._book(step, command, policy)
        self._run.relieve()
        return done

    def needs(self, step: Step[Any], done: Done) -> Done:
        """Stop the operation unless the attempt was done."""
        if done.answer.outcome is not Outcome.DONE:
            self._stop(done.answer)
        self._forward = self._forward or isinstance(step.undo, ForwardOnly)
        self._honour_cancellation()
        return done

    async def exchange(self, old: Reference, new: Row) -> None:
        """Undo a step, and put another into its place, so that what was done after it is still undone before it."""
        (place,) = [at for at, row in enumerate(self._may_have_happened) if row.command.reference == old]
        await self._undo(self._may_have_happened[place])
        self._may_have_happened[place] = new

    def remember(self, step: Step[In], command: In, attempt: int) -> None:
        """Take up a step that was done before this run was reset, so that it is undone with the others."""
        self._may_have_happened.append(Row(step, command, attempt, self._operation))

    async def ensure_absent(self, step: Step[In], command: In) -> None:
        """Undo a step that this run does not know of: before a reset it may have done it."""
        await self._undo(Row(step, command, 1, self._operation))

    async def became(self, inquiry: Inquiry) -> Answer | None:
        """Ask the provider, once it answers, what became of an effect that this run does not know of."""
        self._doubt(inquiry.on, 0)
        return self._no_doubt(await self._inquire(inquiry.on, inquiry))

    def standing(self) -> list[Row]:
        """What may have happened and is not undone, oldest first."""
        return list(self._may_have_happened)

    def attempts(self) -> dict[str, int]:
        """How many tries each verb has had."""
        return dict(self._attempts)

    def restore(self, rows: Iterable[Row], attempts: dict[str, int]) -> None:
        """Take over what stood in the run before this one."""
        self._may_have_happened, self._attempts = list(rows), Counter(attempts)

    async def arrives(
        self, policy: Await, inquiry: Inquiry, unless: Callable[[], bool] = lambda: False
    ) -> Answer | None:
        """Wait until the provider has decided what it had accepted under `on`: done or refused.

        None as soon as `unless` becomes true: something else has to be done first.
        """
        run, topic = self._run, Reference(f"{inquiry.on}/{policy.name}")
        began, pause = workflow.time(), policy.first_pause.total_seconds()
        while True:
            found = run.arrival(topic) or await self._inquire(topic, inquiry)
            found = run.arrival(topic) or found  # told while it was asked
            if found is not None and found.outcome in (Outcome.DONE, Outcome.REFUSED):
                run.relieve()
                run.conclude(topic, found)
                return found
            if unless():
                return None
            if workflow.time() - began >= policy.patience.total_seconds():
                again = policy.longest_pause.total_seconds()
                decided = await run.park(
                    topic, f"not decided by the provider after {policy.patience}", again, unless=unless
                )
                if decided is not None:
                    run.facts[topic] = decided
                continue
            await run.wait_for_fact(topic, pause, unless)
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
            if self._recalls is not None:
                await self._recalls(self.stopped)
            await self.unwind()
        return isinstance(failure, Stopped)

    async def unwind(self, *, give_way: bool = False) -> Answer:
        """Undo newest first, the provider's effect before the hold.

        Where an undo is refused a person decides: retry it, or resolve it as done. Giving way, what the provider will
        not undo stands instead; our own books have no such choice once the provider's effect is gone.
        """
        while self._may_have_happened:
            row = self._may_have_happened[-1]
            answer = await self._undo(row, give_way=give_way and isinstance(row.step.policy, Send))
            if answer.outcome is not Outcome.DONE:
                return answer
            self._may_have_happened.pop()
        return DONE

    async def _undo(self, row: Row, *, give_way: bool = False) -> Answer:
        """Undo one step. Done, unless it gives way to a refusal."""
        assert not isinstance(row.step.undo, Nothing | ForwardOnly)
        while True:
            reference = self._reference(row.step.undo, row.step.policy, row.command, row.attempt, row.operation)
            undo = replace(row.command, reference=reference, on=row.command.reference)
            answer: Answer | None = await self._until_answered(row.step.undo, undo, row.step.policy)
            if answer.found is not None and self._book_found is not None:
                await self._book_found(reference, answer.found)
                answer = DONE
            if answer.outcome is not Outcome.DONE:
                row.attempt += 1  # a refusal is final for its reference
                if give_way:
                    return answer
                answer = await self._run.park(reference, f"the undo was {answer.outcome}: {answer.reason}")
            if answer is not None and answer.outcome is Outcome.DONE:
                self._run.log("undone", row.command.reference)
                self._run.undone(row.command.reference)
                self._run.relieve()
                return answer

    def _honour_cancellation(self) -> None:
        if self._run.cancel_requested and not self._forward:
            self._stop(CANCELED)

    def _stop(self, answer: Answer) -> NoReturn:
        self.stopped = answer
        raise Stopped(answer.reason)

    async def _send(self, step: Step[In], command: In, policy: Send, share: float) -> Done:
        """Send until it is known what happened; a new attempt number only when it is known that nothing did."""
        patience = policy.patience(self._run.promises.patience) * share
        attempt, longest, until, doubted = self._next_attempt(step), FIRST_PAUSE, workflow.time() + patience, False
        while True:
            sent = self._record(step, command, attempt)
            answer, retry_after = await self._once(step, sent)
            if in_doubt := not decided(answer):
                doubted = True
                cleared = await self._clear_up(step, sent, answer, policy, patience)
                if isinstance(cleared, _GaveUp):  # not struck
                    return Done(sent.reference, refused(cleared.reason), doubted)
                answer = cleared
            self._run.log(f"{answer.outcome}", sent.reference, answer.reason)
            self._run.conclude(sent.reference, answer)
            if answer.outcome is Outcome.DONE:
                self._name(sent, answer.provider_id)
                return Done(sent.reference, answer, doubted)
            self._strike(sent)
            if answer.outcome is Outcome.REFUSED:
                return Done(sent.reference, answer, doubted)
            if in_doubt:
                self._run.conclude(sent.reference, refused("nothing happened"))  # whatever says otherwise is news
                attempt = self._next_attempt(step)
                if not policy.if_late:
                    longest, until = FIRST_PAUSE, workflow.time() + patience
            left = until - workflow.time()
            if left <= retry_after:
                reason = (in_doubt and policy.if_late) or Reason.PROVIDER_UNAVAILABLE
                return Done(sent.reference, refused(reason), doubted)
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

    def _next_attempt(self, step: Step[Any]) -> int:
        verb = _name_of(step.do)
        self._attempts[verb] += 1
        return self._attempts[verb]

    async def _clear_up(
        self, step: Step[In], sent: In, answer: Answer, policy: Send, patience: float
    ) -> Answer | _GaveUp:
        """Ask by reference until the doubt has ended, or nobody waits for its end and an undo can make it certain.

        "Nothing found" proves absence past the horizon, if the inquiry is complete and nothing was ever seen there
        (money rule 4). What the provider has accepted and not decided is waited for as long as a bank may take.
        """
        run, promises, began, reference = self._run, self._run.promises, workflow.time(), sent.reference
        can_undo = not isinstance(step.undo, Nothing | ForwardOnly)
        verb, pause = Verb(_name_of(step.do)), promises.inquiry_seconds
        inquiry = Inquiry(on=reference, provider=promises.provider, verb=verb, provider_id=answer.provider_id)
        horizon = patience if promises.horizon_seconds is None else promises.horizon_seconds
        proves = promises.inquiry_is_complete and promises.horizon_seconds is not None
        run.log(f"in doubt: {answer.outcome}", reference, answer.reason)
        found: Answer | None = answer
        while not decided(found):
            self._see(reference, found)
            self._doubt(reference, pause if found is answer else 0)
            if can_undo and (reason := run.gives_up()):
                return self._no_doubt(_GaveUp(reason))
            asked = workflow.time() - began  # an inquiry proves only what was so when it was asked
            if conflict := found is not None and found.outcome is Outcome.CONFLICT:
                found = await run.park(reference, "conflict: the reference was used for something else")
            else:
                found = run.facts.get(reference) or await self._inquire(reference, inquiry)
            self._see(reference, found)
            longest, person_after = LONGEST_INQUIRY_PAUSE, promises.attention_after_seconds
            if reference in run.accepted:
                longest, person_after = LONGEST_PENDING_PAUSE, promises.patience.pending
            past_horizon, late = asked >= horizon, asked >= person_after
            if past_horizon and not conflict and found is None and reference not in run.seen:
                if proves:
                    found = Answer(outcome=Outcome.UNAVAILABLE, reason="nothing happened, asked past the horizon")
                elif can_undo:
                    return self._no_doubt(_GaveUp(policy.if_late or Reason.ABSENCE_UNPROVEN))
            contradiction = found is None and past_horizon and not conflict
            if (late or contradiction) and not decided(found):
                why = f"undecided: {found.outcome if found else 'nothing found'}"
                found = await run.park(reference, why, again_seconds=LOOK_AGAIN_IN_DOUBT)
            if not decided(found):
                left = horizon - (workflow.time() - began)
                wait = min(pause, left) if left > 0 else pause  # at the horizon itself "none" begins to be proof
                wait = min(wait, run.gives_up_in())
                self._doubt(reference, wait)
                await run.wait_for_fact(reference, wait, lambda: can_undo and bool(run.gives_up()))
                pause = min(pause * 2, longest)
        return self._no_doubt(found)

    def _no_doubt(self, ended: Out) -> Out:
        self._run.doubt = None
        self._run.show()
        return ended

    def _see(self, reference: Reference, answer: Answer | None) -> None:
        if answer is not None and answer.shows_it:
            self._run.seen.add(reference)
            if answer.outcome is Outcome.PENDING:
                self._run.pending(reference, answer)

    def _doubt(self, reference: Reference, pause: float) -> None:
        """Let it be seen what is in doubt, since when, and when the provider is asked next."""
        run, now = self._run, workflow.now()
        since = run.doubt.since if run.doubt else now.isoformat()
        run.doubt = Doubt(
            reference=reference,
            since=since,
            next_check=(now + timedelta(seconds=pause)).isoformat(timespec="seconds"),
            accepted=reference in run.accepted,
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
        if held := answer.outcome is Outcome.PENDING:
            answer = await self._reviewed(step, entry, policy)
        while answer.outcome is not Outcome.DONE and (self._forward or isinstance(step.undo, ForwardOnly)):
            reason = f"a fact was {answer.outcome}: {answer.reason}"
            answer = await self._run.park(entry.reference, reason) or (
                await self._until_answered(step.do, entry, policy)
            )
        if answer.outcome is not Outcome.DONE and not held:  # an older try of what was held may still reserve
            self._strike(entry)
        self._run.log(f"{answer.outcome}", entry.reference, answer.reason)
        return Done(entry.reference, answer)

    async def _reviewed(self, step: Step[In], gate: In, policy: Book) -> Answer:
        """Wait for two people to let a gate pass that risk holds; nothing has been sent yet."""
        assert isinstance(gate, Prepare), "only a gate is judged"
        run, until, cleared = self._run, workflow.time() + self._run.promises.patience.review, False
        run.held(gate.reference)
        while (left := until - workflow.time()) > 0 and not run.cancel_requested:
            if not cleared:
                why = f"held by risk: `holdfast risk explain {gate.operation}` says by which rules"
                decision = await run.park(
                    gate.reference, why, left, owner=RISK_OWNER, unless=lambda: run.cancel_requested
                )
                if decision is None:  # asked to look again: only people decide this
                    continue
                run.relieve()
                if decision.outcome is not Outcome.DONE:
                    return refused(Reason.BLOCKED_BY_RISK)
                cleared = True
            answer = await self._until_answered(step.do, replace(gate, cleared=True), policy)
            if answer.outcome is not Outcome.PENDING:
                return answer
            await run.pause(LOOK_AGAIN)  # risk could not be asked just now; that takes back nothing that people said
        run.relieve()
        return CANCELED if run.cancel_requested else refused(Reason.REVIEW_TIMED_OUT)

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
        asked = command.provider if isinstance(command, Effect) else self._run.promises.provider
        queue = queues.repair(asked) if isinstance(policy, Send) else queues.PAYMENTS
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
        self._may_have_happened = [
            each for each in self._may_have_happened if each.command.reference != numbered.reference
        ]
        if not isinstance(step.undo, Nothing | ForwardOnly):
            self._may_have_happened.append(Row(step, numbered, attempt, self._operation))
        return numbered

    def _name(self, command: Command, provider_id: str) -> None:
        """Keep the provider's own id of the effect, so that its undo can say it."""
        for row in self._may_have_happened:
            if row.command is command:
                row.command = replace(command, provider_id=provider_id)

    def _strike(self, command: Command) -> None:
        """Now it is known that nothing happened."""
        self._may_have_happened = [row for row in self._may_have_happened if row.command is not command]

    def _reference(
        self,
        method: Method[Any],
        policy: Send | Book,
        command: Command,
        attempt: int,
        operation: OperationId | None = None,
    ) -> Reference:
        """Name an effect after operation, verb and attempt; a fact after the effect it books; a gate after both."""
        whose = operation or self._operation
        if isinstance(policy, Send):
            return effect_reference(whose, _name_of(method), attempt)
        name = policy.name if command.reference == "" else _name_of(method)
        return Reference(f"{command.on or whose}/{name}")


def decided(answer: Answer | None) -> TypeGuard[Answer]:
    """Tell whether the answer leaves nothing in doubt."""
    return answer is not None and answer.outcome not in (Outcome.UNKNOWN, Outcome.PENDING, Outcome.CONFLICT)


def _forget(asked: asyncio.Task[Any]) -> None:
    """Take note of an answer that nobody waits for; without it asyncio complains of an error never retrieved."""
    if not asked.cancelled():
        asked.exception()


def _name_of(method: Method[Any]) -> str:
    return str(getattr(method, "__name__"))  # noqa: B009  the type promises a callable, not a function
