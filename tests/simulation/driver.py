"""A Temporal server and its worker in one process: real workflow code, driven through activations in virtual time.

How it is used:

    server = Server(clock, choices, activities, Mode.ASIDE)
    server.begin(PaymentWorkflow, payment, "payment/pay_…", update=("authorize", payment, payment.id))   # a Promise
    server.update("payment/pay_…", "capture", capture, capture.id)                                       # a Promise
    while clock.step(): ...

What it models: workflow tasks and what arrives during one; local activities (inside their task), activities with
retry policies, both timeouts and cancellation; timers; signals, updates with validators, queries; cancellation;
continue-as-new; patches; reset. A worker that is lost forgets its instances: the next task rebuilds one from the
recorded activations, and every command must be the same, byte for byte. What it does not model: the server's own
faults, and the rest of the product's processes (tests/chaos does).

Knows no payment and no provider: `Activities` says what an activity does and which fault befalls it.

This module alone uses private parts of temporalio; test_conformance_* say so loudly when a release changes them.
"""

# pyright: reportPrivateUsage=false

import asyncio
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, cast

import temporalio.activity
import temporalio.api.common.v1
import temporalio.common
import temporalio.workflow
from temporalio.api.enums.v1.workflow_pb2 import TIMEOUT_TYPE_START_TO_CLOSE
from temporalio.api.failure.v1 import Failure
from temporalio.bridge.proto.activity_result import activity_result_pb2 as results
from temporalio.bridge.proto.child_workflow import child_workflow_pb2 as children
from temporalio.bridge.proto.workflow_activation import workflow_activation_pb2 as activations
from temporalio.bridge.proto.workflow_commands import workflow_commands_pb2 as commands
from temporalio.bridge.proto.workflow_completion import workflow_completion_pb2 as completions
from temporalio.converter import DefaultFailureConverter, DefaultPayloadConverter, PayloadConverter
from temporalio.testing import ActivityEnvironment
from temporalio.worker._workflow_instance import (
    UnsandboxedWorkflowRunner,
    WorkflowInstance,
    WorkflowInstanceDetails,
)

from tests.simulation.choices import NONE, Choices
from tests.simulation.clock import Clock, Promise

TASK_SECONDS = (
    10.0  # Temporal's default timeout of a workflow task: a task whose worker is lost is begun again after it
)
LATENCY = 0.001  # seconds between a command and what it brings about; more than nothing, so that messages can overtake
SEED = 7
NAMESPACE = "simulation"

Job = activations.WorkflowActivationJob
Command = commands.WorkflowCommand
_RUNNER = UnsandboxedWorkflowRunner()
_LOOP = asyncio.new_event_loop()  # never run: creating an instance asks for one


class Killed(BaseException):
    """The worker process is gone at this very moment. Only the driver catches it."""


class TaskFailed(Exception):
    """A workflow task failed: a bug in workflow code, which Temporal would repeat without end."""


class Nondeterministic(Exception):
    """A replay gave other commands than were recorded."""


class Refused(Exception):
    """An update was refused: by its validator, or because its handler failed."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind


class NotFound(Exception):
    """No open run has this id."""


class Closed(Exception):
    """The run ended with an update accepted and not answered."""


@dataclass(slots=True)
class Attempt:
    """One execution of an activity: what it is told about itself, and the fault that befalls it."""

    activity: str
    number: int
    local: bool
    workflow_id: str
    arguments: Sequence[Any]
    start_to_close: float  # seconds
    fault: str = NONE
    dead: bool = False  # its process is gone: nothing it still tries has any effect
    answered: bool = False  # the server has its end, or has given it up


class Activities(Protocol):
    """What the driver asks of the world."""

    def fault(self, attempt: Attempt) -> str:
        """Choose the fault that befalls an attempt."""
        ...

    def perform(self, attempt: Attempt) -> Promise[Any]:
        """Begin to carry an attempt out; broken by `Killed` where its worker is lost."""
        ...

    def parameter_types(self, activity: str) -> Sequence[type]:
        """The types of an activity's parameters."""
        ...

    def attention(self, run: "Execution", wanted: bool) -> None:
        """Take note that a run asks for a person, or does not any more."""
        ...

    def closed(self, run: "Execution") -> None:
        """Take note that a run has ended."""
        ...

    def note(self, what: str, subject: str = "", detail: object = "") -> None:
        """Add a line to the schedule's timeline."""
        ...

    def reached(self, point: str) -> None:
        """Count that an interesting point was reached."""
        ...


@dataclass(slots=True)
class Activation:
    """One recorded activation: replayed, it must give the same commands."""

    at: float
    jobs: list[Job]
    said: completions.Success
    patches: tuple[str, ...] = ()
    long: bool = False  # the server suggested to continue as new
    ends_task: bool = False


@dataclass(slots=True)
class Pending:
    """An activity that has been scheduled and not resolved."""

    command: Any  # ScheduleActivity or ScheduleLocalActivity
    local: bool
    scheduled_at: float
    attempt: int = 1


@dataclass(slots=True)
class Asked:
    """An update that has been sent, and what its sender waits for."""

    id: str
    name: str
    answer: Promise[Any]
    accepted: bool = False


@dataclass(slots=True)
class Execution:
    """One run of a workflow."""

    workflow: type
    id: str
    run_id: str
    argument: tuple[Any, ...]
    began: float
    info: temporalio.workflow.Info
    instance: WorkflowInstance | None = None
    history: list[Activation] = field(default_factory=list[Activation])
    task: list[Activation] = field(default_factory=list[Activation])  # of the workflow task that is not complete
    inbox: list[Job] = field(default_factory=list[Job])
    pending: dict[int, Pending] = field(default_factory=dict[int, Pending])
    timers: dict[int, float] = field(default_factory=dict[int, float])  # by sequence number: when it fires
    updates: dict[str, Asked] = field(default_factory=dict[str, Asked])
    attributes: dict[str, bytes] = field(default_factory=dict[str, bytes])
    tasks: int = 0
    busy: bool = False  # a workflow task is open: what arrives waits for its end
    long: bool = False  # its history is so long that the server suggests to continue as new
    parent: "tuple[Execution, int] | None" = None  # and under which sequence number that one knows it
    replaced: bool = False  # by a reset
    ended: str = ""  # completed, continued, failed, canceled
    result: Any = None

    @property
    def open(self) -> bool:
        return not self.ended and not self.replaced


class Server:
    """The server, its queues and the worker; `crashes` etc. come from `choices`."""

    def __init__(
        self,
        clock: Clock,
        choices: Choices,
        activities: Activities,
        converter: PayloadConverter,
        workflows: Sequence[type],
        *,
        exact: bool = False,
    ) -> None:
        """`workflows` are those that a run may start as its child; `exact`: failures too pass the SDK's converter."""
        self.clock = clock
        self.runs: dict[str, Execution] = {}  # the latest of each workflow id
        self.executions: list[Execution] = []
        self.replays = 0
        self.lost: Callable[[Execution], None] = lambda _: None  # called when a workflow task is lost with its worker
        # Called after each workflow task of an open run, with the task's number.
        self.between: Callable[[Execution, int], None] = lambda _, __: None
        self._choices = choices
        self._workflows = {_definition(each).name: each for each in workflows}
        self._activities = activities
        self._converter = converter
        self._exact = exact
        self._failures = DefaultFailureConverter()

    # What clients do

    def begin(
        self,
        workflow: type,
        argument: Any,
        workflow_id: str,
        update: tuple[str, Any, str] | None = None,
        *,
        signal: tuple[str, Any] | None = None,
        canceled: bool = False,
    ) -> Promise[Any] | None:
        """Start a run unless it is there, and update or signal it in the same call; the promise is the update's.

        `canceled`: before its first task. Raises `NotFound` where the run has closed: an id is used once.
        """
        run = self.runs.get(workflow_id)
        jobs: list[Job] = []
        if run is None:
            run = self._execution(workflow, workflow_id, (argument,), f"{workflow_id}#1")
            jobs.append(self._initialize(run))
        elif not run.open:
            raise NotFound(workflow_id)
        if signal is not None:
            jobs.append(self._signal(*signal))
        answer: Promise[Any] | None = None
        if update is not None:
            name, content, update_id = update
            asked = run.updates.get(update_id)
            if asked is None:
                asked = run.updates[update_id] = Asked(update_id, name, Promise[Any]())
                jobs.append(self._do_update(asked, content))
            answer = asked.answer
        if canceled:
            jobs.append(_cancel())
        self._deliver(run, *jobs)
        return answer

    def update(self, workflow_id: str, name: str, content: Any, update_id: str) -> Promise[Any]:
        """Send an update; the same id again gives the first one's answer. Raises `NotFound`.

        The promise is broken by `Refused`, or by `Closed`.
        """
        run = self._open(workflow_id)
        asked = run.updates.get(update_id)
        if asked is None:
            asked = run.updates[update_id] = Asked(update_id, name, Promise[Any]())
            self._deliver(run, self._do_update(asked, content))
        return asked.answer

    def signal(self, workflow_id: str, name: str, content: Any) -> None:
        """Send a signal. Raises `NotFound`."""
        self._deliver(self._open(workflow_id), self._signal(name, content))

    def _signal(self, name: str, content: Any) -> Job:
        told = activations.SignalWorkflow(signal_name=name, input=self._converter.to_payloads([content]))
        return Job(signal_workflow=told)

    def cancel(self, workflow_id: str) -> None:
        """Request cancellation. Raises `NotFound`."""
        self._deliver(self._open(workflow_id), _cancel())

    def query(self, workflow_id: str, name: str) -> Any:
        """Ask a run, closed ones too; nothing of it is recorded."""
        run = self.runs[workflow_id]
        instance = run.instance or self._rebuild(run)
        asking = activations.QueryWorkflow(query_id="q", query_type=name)
        completion = instance.activate(self._activation(run, [Job(query_workflow=asking)], self.clock.now))
        (command,) = completion.successful.commands
        assert command.respond_to_query.HasField("succeeded"), command.respond_to_query.failed.message
        result = self._converter.from_payloads([command.respond_to_query.succeeded.response], [_return_of(run, name)])
        return result[0]

    def lose_worker(self) -> None:
        """Lose every instance that is held in memory, and the workflow tasks under way."""
        for run in self.runs.values():
            run.instance = None
            if run.busy and run.open:
                self._begin_task_again(run, TASK_SECONDS)
                self.lost(run)

    def reset_points(self, run: Execution) -> list[int]:
        """The recorded activations that a reset can go back to: those that begin a workflow task."""
        begins = [0, *(number + 1 for number, each in enumerate(run.history) if each.ends_task)]
        return [number for number in begins if number < len(run.history)]

    def reset(self, run: Execution, to: int) -> Execution:
        """Begin a new run from the events before the workflow task that begins with activation `to`.

        What the kept tasks had scheduled is scheduled again; signals and accepted updates of later are delivered again.
        """
        run.replaced, run.instance = True, None
        count = sum(1 for each in self.executions if each.id == run.id)
        fresh = self._execution(run.workflow, run.id, run.argument, f"{run.id}#{count + 1}")
        fresh.began, original = run.began, run.info.original_execution_run_id
        fresh.info = dataclasses.replace(fresh.info, start_time=run.info.start_time, original_execution_run_id=original)
        fresh.history = list(run.history[:to])
        fresh.parent, fresh.long = run.parent, run.long
        kept = [job for job in run.history[to].jobs if not job.HasField("do_update")]
        later = run.history[to + 1 :]
        again = [job for each in later for job in each.jobs if job.HasField("signal_workflow")]
        for each in run.history[to:]:
            again += [job for job in each.jobs if job.HasField("do_update")]
        again += [job for job in run.inbox if job.HasField("do_update") or job.HasField("signal_workflow")]
        for job in again:
            if job.HasField("do_update"):
                job.do_update.run_validator = True
        fresh.updates = run.updates
        seed = activations.UpdateRandomSeed(randomness_seed=SEED + count)
        for command in [command for each in fresh.history for command in each.said.commands]:
            if command.HasField("upsert_workflow_search_attributes"):
                self._describe(fresh, command.upsert_workflow_search_attributes)
        self._schedule_again(fresh, [*fresh.history, Activation(run.history[to].at, kept, completions.Success())])
        self._deliver(fresh, *kept, Job(update_random_seed=seed), *again)
        return fresh

    def _schedule_again(self, run: Execution, kept: Sequence[Activation]) -> None:
        """Schedule what the kept part of a history had scheduled and not seen the end of."""
        pending: dict[int, Pending] = {}
        timers: dict[int, float] = {}
        for each in kept:
            for job in each.jobs:
                pending.pop(job.resolve_activity.seq if job.HasField("resolve_activity") else 0, None)
                timers.pop(job.fire_timer.seq if job.HasField("fire_timer") else 0, None)
            for command in each.said.commands:
                match command.WhichOneof("variant"):
                    case "schedule_activity":
                        scheduled = command.schedule_activity
                        pending[scheduled.seq] = Pending(scheduled, False, self.clock.now)
                    case "start_timer":
                        timer = command.start_timer
                        timers[timer.seq] = each.at + timer.start_to_fire_timeout.ToMilliseconds() / 1000
                    case "cancel_timer":
                        timers.pop(command.cancel_timer.seq, None)
                    case _:
                        pass
        for pend in pending.values():
            run.pending[pend.command.seq] = pend
            self.clock.later(LATENCY, self._attempt, run, pend)
        for seq, at in timers.items():
            run.timers[seq] = at
            self.clock.later(max(LATENCY, at - self.clock.now), self._fire, run, seq, at)

    # Workflow tasks

    def _open(self, workflow_id: str) -> Execution:
        run = self.runs.get(workflow_id)
        if run is None or not run.open:
            raise NotFound(workflow_id)
        return run

    def _execution(self, workflow: type, workflow_id: str, argument: tuple[Any, ...], run_id: str) -> Execution:
        info = _info(workflow, workflow_id, run_id, self.clock.now)
        run = Execution(workflow, workflow_id, run_id, argument, self.clock.now, info)
        self.runs[workflow_id] = run
        self.executions.append(run)
        return run

    def _initialize(self, run: Execution) -> Job:
        begins = activations.InitializeWorkflow(
            workflow_type=run.info.workflow_type,
            workflow_id=run.id,
            arguments=self._converter.to_payloads(run.argument),
            randomness_seed=SEED,
        )
        return Job(initialize_workflow=begins)

    def _do_update(self, asked: Asked, content: Any) -> Job:
        update = activations.DoUpdate(
            id=asked.id,
            protocol_instance_id=asked.id,
            name=asked.name,
            input=self._converter.to_payloads([content]),
            run_validator=True,
        )
        return Job(do_update=update)

    def _deliver(self, run: Execution, *jobs: Job) -> None:
        if not run.open:
            return
        run.inbox.extend(jobs)
        if run.inbox and not run.busy:
            self._begin_task(run)

    def _begin_task(self, run: Execution) -> None:
        if run.busy or not run.inbox or not run.open:
            return
        run.busy = True
        jobs, run.inbox = run.inbox, []
        self._activate(run, jobs)

    def _begin_task_again(self, run: Execution, seconds: float) -> None:
        """Give up the open workflow task; after `seconds` its events come again, with what has arrived meanwhile."""
        external = [job for each in run.task for job in each.jobs if not _is_local(run, job)]
        run.inbox = [*external, *run.inbox]
        run.task, run.instance = [], None
        for seq in [seq for seq, each in run.pending.items() if each.local]:
            del run.pending[seq]
        self._activities.note("workflow task lost", run.id)

        def begin() -> None:
            run.busy = False
            self._begin_task(run)

        self.clock.later(seconds, begin)

    def _activate(self, run: Execution, jobs: list[Job]) -> None:
        instance = run.instance = run.instance or self._rebuild(run)
        completion = instance.activate(self._activation(run, jobs, self.clock.now))
        if completion.HasField("failed"):
            raise TaskFailed(completion.failed.failure.message)
        said = completion.successful
        patches = tuple(each.set_patch_marker.patch_id for each in said.commands if each.HasField("set_patch_marker"))
        run.task.append(Activation(self.clock.now, jobs, said, patches, run.long))
        locals_ = [each.schedule_local_activity for each in said.commands if each.HasField("schedule_local_activity")]
        for scheduled in locals_:
            pending = run.pending[scheduled.seq] = Pending(scheduled, True, self.clock.now)
            self.clock.later(LATENCY, self._attempt, run, pending)
        if not any(each.local for each in run.pending.values()):
            self._complete_task(run)

    def _complete_task(self, run: Execution) -> None:
        said = [command for each in run.task for command in each.said.commands]
        if run.inbox and any(_closes(command) for command in said):
            self._begin_task_again(run, LATENCY)  # the server takes no end while events are unseen
            return
        task, run.task = run.task, []
        task[-1].ends_task = True
        for each in task:
            self._record(run, each)
        run.busy, run.tasks = False, run.tasks + 1
        number = run.tasks  # what is carried out may begin the next one
        for command in said:
            self._carry_out(run, command)
        if not run.open:
            return
        self.between(run, number)
        if run.open and run.inbox:
            self.clock.later(LATENCY, self._begin_task, run)

    def _record(self, run: Execution, activation: Activation) -> None:
        """Keep what a history keeps: an update that its validator refused leaves nothing in it."""
        refused = _refused(activation)
        if refused:
            kept = [job for job in activation.jobs if job.do_update.protocol_instance_id not in refused]
            said = completions.Success()
            said.CopyFrom(activation.said)
            del said.commands[:]
            said.commands.extend(
                each for each in activation.said.commands if each.update_response.protocol_instance_id not in refused
            )
            activation.jobs, activation.said = kept, said
            if not kept:
                assert not said.commands, "a refused update has left something behind"
                return
        for job in activation.jobs:
            if job.HasField("do_update"):
                job.do_update.run_validator = False
        run.history.append(activation)

    def _rebuild(self, run: Execution) -> WorkflowInstance:
        """Make an instance; where there is a history, replay it and compare."""
        info = dataclasses.replace(
            run.info, search_attributes={}, typed_search_attributes=temporalio.common.TypedSearchAttributes([])
        )
        details = WorkflowInstanceDetails(
            payload_converter_factory=lambda: self._converter,
            failure_converter_class=DefaultFailureConverter,
            interceptor_classes=[],
            defn=_definition(run.workflow),
            info=info,
            randomness_seed=SEED,
            extern_functions=_EXTERN,
            disable_eager_activity_execution=True,
            worker_level_failure_exception_types=[],
            patch_activation_callback=None,
            last_completion_result=temporalio.api.common.v1.Payloads(),
            last_failure=None,
        )
        asyncio._set_running_loop(_LOOP)
        try:
            instance = _RUNNER.create_instance(details)
        finally:
            asyncio._set_running_loop(None)
        if run.history:
            self.replays += 1
            self._activities.note("rebuilt from its history", run.id)
        for number, each in enumerate(run.history):
            patches = [Job(notify_has_patch=activations.NotifyHasPatch(patch_id=patch)) for patch in each.patches]
            again = instance.activate(
                self._activation(run, [*patches, *each.jobs], each.at, replaying=True, long=each.long)
            )
            if again.HasField("failed"):
                raise Nondeterministic(f"{run.id}, activation {number}: {again.failed.failure.message}")
            if _bytes(again.successful) != _bytes(each.said):
                raise Nondeterministic(
                    f"{run.id}, activation {number}: {_variants(each.said)} became {_variants(again.successful)}"
                )
        return instance

    def replay(self, run: Execution) -> None:
        """Replay a whole history. Raises `Nondeterministic`."""
        kept, run.instance = run.instance, None
        self._rebuild(run)
        run.instance = kept

    def _activation(
        self, run: Execution, jobs: list[Job], at: float, *, replaying: bool = False, long: bool | None = None
    ) -> activations.WorkflowActivation:
        activation = activations.WorkflowActivation(
            run_id=run.run_id,
            is_replaying=replaying,
            jobs=jobs,
            continue_as_new_suggested=run.long if long is None else long,
        )
        activation.timestamp.FromNanoseconds(int(at * 1e9))
        return activation

    # Commands

    def _carry_out(self, run: Execution, command: Command) -> None:
        variant = command.WhichOneof("variant")
        assert variant is not None
        if variant in CARRIED_OUT:
            CARRIED_OUT[variant](self, run, getattr(command, variant))
        elif variant not in WITHIN_THE_TASK:
            raise AssertionError(f"the driver does not know {variant}")

    def _schedule(self, run: Execution, command: commands.ScheduleActivity) -> None:
        pending = run.pending[command.seq] = Pending(command, False, self.clock.now)
        self.clock.later(LATENCY, self._attempt, run, pending)

    def _start_timer(self, run: Execution, command: commands.StartTimer) -> None:
        """A timer never fires early: the task that it begins comes a little later."""
        at = self.clock.now + command.start_to_fire_timeout.ToMicroseconds() / 1e6
        run.timers[command.seq] = at
        self.clock.later(at + LATENCY - self.clock.now, self._fire, run, command.seq, at)

    def _cancel_timer(self, run: Execution, command: commands.CancelTimer) -> None:
        run.timers.pop(command.seq, None)

    def _complete(self, run: Execution, command: commands.CompleteWorkflowExecution) -> None:
        run.result = self._converter.from_payloads([command.result], [_definition(run.workflow).ret_type or str])[0]
        self._end(run, "completed")

    def _fail(self, run: Execution, command: commands.FailWorkflowExecution) -> None:
        run.result = command.failure.message
        self._end(run, "failed")

    def _end_canceled(self, run: Execution, _: commands.CancelWorkflowExecution) -> None:
        self._end(run, "canceled")

    def _answer(self, run: Execution, said: commands.UpdateResponse) -> None:
        asked = run.updates[said.protocol_instance_id]
        match said.WhichOneof("response"):
            case "accepted":
                asked.accepted = True
            case "rejected":
                if not asked.accepted:
                    del run.updates[said.protocol_instance_id]  # the same id may be sent again
                if not asked.answer.kept:
                    failure = said.rejected
                    asked.answer.break_by(Refused(failure.application_failure_info.type, failure.message))
            case _:
                if not asked.answer.kept:  # a run that was reset answers again; its initiator has left
                    kind = _updates(run.workflow)[asked.name].ret_type
                    asked.answer.keep(self._converter.from_payloads([said.completed], [kind])[0])

    def _describe(self, run: Execution, command: commands.UpsertWorkflowSearchAttributes) -> None:
        for name, payload in command.search_attributes.indexed_fields.items():
            run.attributes[name] = payload.data
            if name == "NeedsAttention":
                self._activities.attention(run, payload.data == b"true")

    def _end(self, run: Execution, how: str) -> None:
        run.ended = how
        run.pending.clear()
        run.timers.clear()
        for asked in list(run.updates.values()):
            if asked.accepted and not asked.answer.kept:
                asked.answer.break_by(Closed(asked.id))
        self._activities.note(how, run.id, run.result)
        self._activities.closed(run)
        if how == "completed":
            self._tell_parent(run)

    def _continue(self, run: Execution, command: commands.ContinueAsNewWorkflowExecution) -> None:
        """The next run of the same id; what this one has not seen goes to it."""
        run.ended = "continued"
        run.pending.clear()
        run.timers.clear()
        self._activities.note("continued as new", run.id)
        self._activities.reached("continued as new")
        count = sum(1 for each in self.executions if each.id == run.id)
        types: list[type] = _definition(run.workflow).arg_types or []
        argument = tuple(self._converter.from_payloads(list(command.arguments), types[: len(command.arguments)]))
        fresh = self._execution(run.workflow, run.id, argument, f"{run.id}#{count + 1}")
        fresh.attributes, fresh.parent = dict(run.attributes), run.parent
        fresh.inbox.append(self._initialize(fresh))
        self.clock.later(LATENCY, self._begin_task, fresh)

    def _start_child(self, run: Execution, command: commands.StartChildWorkflowExecution) -> None:
        """Start a child that outlives its parent; an id that was used before is refused."""
        started = activations.ResolveChildWorkflowExecutionStart(seq=command.seq)
        if command.workflow_id in self.runs:
            failed = started.failed
            failed.workflow_id, failed.workflow_type = command.workflow_id, command.workflow_type
            failed.cause = children.START_CHILD_WORKFLOW_EXECUTION_FAILED_CAUSE_WORKFLOW_ALREADY_EXISTS
            self._activities.note("child is there already", command.workflow_id)
        else:
            workflow = self._workflows[command.workflow_type]
            types: list[type] = _definition(workflow).arg_types or []
            argument = tuple(self._converter.from_payloads(list(command.input), types))
            child = self._execution(workflow, command.workflow_id, argument, f"{command.workflow_id}#1")
            child.parent = run, command.seq
            started.succeeded.run_id = child.run_id
            self._activities.note("child started", command.workflow_id)
            self.clock.later(LATENCY, self._deliver, child, self._initialize(child))
        self.clock.later(0, self._deliver, run, Job(resolve_child_workflow_execution_start=started))

    def _tell_parent(self, run: Execution) -> None:
        if run.parent is None or not run.parent[0].open:
            return
        parent, seq = run.parent
        ended = activations.ResolveChildWorkflowExecution(seq=seq)
        ended.result.completed.result.CopyFrom(self._converter.to_payloads([run.result])[0])
        self.clock.later(LATENCY, self._deliver, parent, Job(resolve_child_workflow_execution=ended))

    def _fire(self, run: Execution, seq: int, at: float) -> None:
        if run.timers.get(seq) == at and run.open:
            del run.timers[seq]
            self._deliver(run, Job(fire_timer=activations.FireTimer(seq=seq)))

    # Activities

    def _attempt(self, run: Execution, pending: Pending) -> None:
        """Execute an activity once."""
        command = pending.command
        if run.pending.get(command.seq) is not pending or not run.open:
            return
        attempt = Attempt(
            activity=command.activity_type,
            number=pending.attempt,
            local=pending.local,
            workflow_id=run.id,
            arguments=self._converter.from_payloads(
                list(command.arguments), list(self._activities.parameter_types(command.activity_type))
            ),
            start_to_close=_seconds(command.start_to_close_timeout) or _seconds(command.schedule_to_close_timeout),
        )
        attempt.fault = self._activities.fault(attempt)
        self.clock.later(attempt.start_to_close, self._timed_out, run, pending, attempt)
        ended = self._activities.perform(attempt)

        def end() -> None:
            if isinstance(ended.error, Killed):
                attempt.dead = True
                self._activities.note("worker lost", attempt.activity)
                self._activities.reached("worker lost in an activity")
                self.lose_worker()
            elif not attempt.answered:
                attempt.answered = True
                self._attempted(run, pending, attempt, ended)

        if ended.kept:
            self.clock.later(0, end)  # not within the task that has scheduled it
        else:
            ended.then(end)

    def _timed_out(self, run: Execution, pending: Pending, attempt: Attempt) -> None:
        if attempt.answered:
            return
        attempt.answered = True
        if run.pending.get(pending.command.seq) is not pending or not run.open:
            return
        self._activities.note("start-to-close timeout", attempt.activity)
        self._activities.reached("activity timed out")
        failure = Failure(message="activity StartToClose timeout", source="Server")
        failure.timeout_failure_info.timeout_type = TIMEOUT_TYPE_START_TO_CLOSE
        self._failed(run, pending, failure, None, retryable=True)

    def _attempted(self, run: Execution, pending: Pending, attempt: Attempt, ended: Promise[Any]) -> None:
        if run.pending.get(pending.command.seq) is not pending or not run.open:
            return
        if ended.error is None:
            result = results.ActivityResolution()
            payload = self._converter.to_payloads([ended.result()])[0]
            result.completed.result.CopyFrom(payload)
            self._resolve(run, pending, result)
            return
        error = ended.error
        failure = self._failure(error)
        info = failure.application_failure_info
        delay = _seconds(info.next_retry_delay) if info.HasField("next_retry_delay") else None
        policy = pending.command.retry_policy
        retryable = not info.non_retryable and info.type not in policy.non_retryable_error_types
        self._failed(run, pending, failure, delay, retryable=retryable)

    def _failed(
        self, run: Execution, pending: Pending, failure: Failure, delay: float | None, *, retryable: bool
    ) -> None:
        """Repeat a failed attempt as its policy says, or let the workflow know."""
        command, policy = pending.command, pending.command.retry_policy
        pause = _backoff(policy, pending.attempt) if delay is None else delay
        limit = _seconds(command.schedule_to_close_timeout)
        in_time = not limit or self.clock.now + pause < pending.scheduled_at + limit
        if retryable and in_time and (not policy.maximum_attempts or pending.attempt < policy.maximum_attempts):
            pending.attempt += 1
            self.clock.later(pause, self._attempt, run, pending)
            return
        result = results.ActivityResolution()
        if pending.local:
            result.failed.failure.CopyFrom(failure)
        else:
            told = result.failed.failure
            told.message = "activity failed"
            told.activity_failure_info.activity_type.name = command.activity_type
            told.activity_failure_info.activity_id = command.activity_id
            told.cause.CopyFrom(failure)
        self._resolve(run, pending, result)

    def _failure(self, error: BaseException) -> Failure:
        failure = Failure()
        if self._exact:
            self._failures.to_failure(error, self._converter, failure)
            return failure
        failure.message = str(error)
        info = failure.application_failure_info
        info.type = getattr(error, "type", None) or type(error).__name__
        info.non_retryable = bool(getattr(error, "non_retryable", False))
        if delay := cast("timedelta | None", getattr(error, "next_retry_delay", None)):
            info.next_retry_delay.FromTimedelta(delay)
        return failure

    def _resolve(self, run: Execution, pending: Pending, result: results.ActivityResolution) -> None:
        seq = pending.command.seq
        del run.pending[seq]
        job = Job(resolve_activity=activations.ResolveActivity(seq=seq, result=result, is_local=pending.local))
        if pending.local:
            self._activate(run, [job])
        else:
            self._deliver(run, job)

    def _cancel_activity(self, run: Execution, command: commands.RequestCancelActivity) -> None:
        """Report an activity as canceled at once; what it is doing goes on, and nobody hears of its end."""
        seq = command.seq
        if run.pending.pop(seq, None) is not None:
            result = results.ActivityResolution()
            failure = result.cancelled.failure
            failure.activity_failure_info.SetInParent()
            failure.cause.canceled_failure_info.SetInParent()
            self.clock.later(0, self._deliver, run, Job(
                resolve_activity=activations.ResolveActivity(seq=seq, result=result)
            ))  # fmt: skip


# What each command brings about, once its task is complete; and what was carried out within it.
CARRIED_OUT: Mapping[str, Callable[[Server, Execution, Any], None]] = {
    "schedule_activity": Server._schedule,
    "request_cancel_activity": Server._cancel_activity,
    "start_timer": Server._start_timer,
    "cancel_timer": Server._cancel_timer,
    "update_response": Server._answer,
    "upsert_workflow_search_attributes": Server._describe,
    "start_child_workflow_execution": Server._start_child,
    "complete_workflow_execution": Server._complete,
    "continue_as_new_workflow_execution": Server._continue,
    "fail_workflow_execution": Server._fail,
    "cancel_workflow_execution": Server._end_canceled,
}
WITHIN_THE_TASK = ("schedule_local_activity", "set_patch_marker")


def _cancel() -> Job:
    return Job(cancel_workflow=activations.CancelWorkflow(reason="asked for"))


def _refused(activation: Activation) -> set[str]:
    """The updates of an activation that their validators refused; what a handler fails with later is kept."""
    sent = {job.do_update.protocol_instance_id for job in activation.jobs if job.HasField("do_update")}
    if not sent:
        return sent
    said = [each.update_response for each in activation.said.commands if each.HasField("update_response")]
    accepted = {each.protocol_instance_id for each in said if each.HasField("accepted")}
    return {each.protocol_instance_id for each in said if each.HasField("rejected")} & sent - accepted


def _is_local(run: Execution, job: Job) -> bool:
    return job.HasField("resolve_activity") and job.resolve_activity.is_local


def _closes(command: Command) -> bool:
    return command.WhichOneof("variant") in (
        "complete_workflow_execution",
        "continue_as_new_workflow_execution",
        "fail_workflow_execution",
        "cancel_workflow_execution",
    )


def _seconds(duration: Any) -> float:
    return duration.seconds + duration.nanos / 1e9


def _backoff(policy: Any, attempt: int) -> float:
    """The seconds before the next attempt, as a retry policy has them; its maximum is a hundred times its first."""
    first = _seconds(policy.initial_interval)
    grown = first * (policy.backoff_coefficient or 2.0) ** min(attempt - 1, 60)
    return min(grown, _seconds(policy.maximum_interval) or 100 * first)


def _bytes(said: completions.Success) -> bytes:
    return said.SerializeToString(deterministic=True)


def _variants(said: completions.Success) -> str:
    return ", ".join(str(each.WhichOneof("variant")) for each in said.commands) or "nothing"


def _definition(workflow: type) -> Any:
    return temporalio.workflow._Definition.must_from_class(workflow)


def _updates(workflow: type) -> Mapping[str, Any]:
    return _definition(workflow).updates


def _return_of(run: Execution, query: str) -> Any:
    return _definition(run.workflow).queries[query].ret_type


def _any_activity(_: object) -> None:
    """There is no activity that the world does not have."""


_EXTERN: Mapping[str, Callable[..., Any]] = {"__temporal_assert_local_activity_valid": _any_activity}

_INFO = temporalio.workflow.Info(
    attempt=1, continued_run_id=None, cron_schedule=None, execution_timeout=None, first_execution_run_id="first",
    headers={}, namespace=NAMESPACE, original_execution_run_id="first", parent=None, root=None,
    priority=temporalio.common.Priority.default, raw_memo={}, retry_policy=None, run_id="", run_timeout=None,
    search_attributes={}, start_time=datetime.fromtimestamp(0, UTC), task_queue="payments",
    task_timeout=timedelta(seconds=TASK_SECONDS),
    typed_search_attributes=temporalio.common.TypedSearchAttributes.empty, workflow_id="",
    workflow_start_time=datetime.fromtimestamp(0, UTC), workflow_type="",
)  # fmt: skip


def _info(workflow: type, workflow_id: str, run_id: str, now: float) -> temporalio.workflow.Info:
    began = datetime.fromtimestamp(now, UTC)
    return dataclasses.replace(
        _INFO,
        run_id=run_id,
        original_execution_run_id=run_id,
        workflow_id=workflow_id,
        start_time=began,
        workflow_start_time=began,
        workflow_type=_definition(workflow).name,
    )


# What an activity is told about itself

_NEVER = temporalio.common._CompositeEvent(thread_event=cast("Any", None), async_event=None)
_ACTIVITY = ActivityEnvironment().info


def within(attempt: Attempt) -> Callable[[], None]:
    """Make what has to be called whenever an attempt's coroutine goes on: it lets `activity.info()` answer."""
    context = temporalio.activity._Context(
        info=lambda: dataclasses.replace(
            _ACTIVITY, attempt=attempt.number, workflow_id=attempt.workflow_id, activity_type=attempt.activity
        ),
        heartbeat=None,
        cancelled_event=_NEVER,
        worker_shutdown_event=_NEVER,
        shield_thread_cancel_exception=None,
        payload_converter_class_or_instance=DefaultPayloadConverter,
        runtime_metric_meter=None,
        client=None,
        cancellation_details=temporalio.activity._ActivityCancellationDetailsHolder(),
    )
    return lambda: _enter(context)


def _enter(context: temporalio.activity._Context) -> None:
    temporalio.activity._Context.set(context)  # pyright: ignore[reportUnknownMemberType]


def parameter_types(activity: Callable[..., Any]) -> Sequence[type]:
    """The types of an activity's parameters, as the strict converter wants them."""
    definition = temporalio.activity._Definition.must_from_callable(activity)  # pyright: ignore[reportUnknownMemberType]
    return definition.arg_types or []
