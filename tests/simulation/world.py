"""Everything around the runs of one schedule: activities, books, provider, webhooks, clients and people.

One `World` lives for one schedule. It carries the product's real activities out over books in memory and a provider in
process, lets the chosen faults happen, and keeps what the invariants are judged by. Knows no scenario.
"""

import contextlib
import dataclasses
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, tzinfo
from functools import partial
from typing import Any, Self, cast

import pybreaker
from temporalio.converter import PayloadConverter

import adapters.breaker
from activities.books import OurBooks
from activities.provider import ProviderCalls
from adapters.profile import Profile
from adapters.providers.simulator import client, vocabulary
from adapters.resilience import wrap
from contracts import queues
from domain.commands import Inquiry, Operation, Patience, Promises, Start
from domain.ids import OperationId, Reference, Verb, operation_of
from domain.outcomes import Decision, Outcome, Receipt, View
from ledger.entry import Entry, HoldAction
from ledger.journal import Posted
from simulator.records import Kind, Phase, Record
from simulator.webhooks import Event, State
from tests.simulation.books import Executing, MemoryApprovals, MemoryCallJournal, MemoryJournal, MemoryOperations, Risk
from tests.simulation.choices import NONE, Choices
from tests.simulation.clock import EPOCH, Clock, Promise
from tests.simulation.driver import Attempt, Closed, Execution, NotFound, Refused, Server, parameter_types, within
from tests.simulation.faults import AFTER_TASK, CANCEL_FIRST, CANCEL_LOST, NOT_FOUND, WEBHOOK, menu
from tests.simulation.payloads import Aside
from tests.simulation.provider import Bank, InProcessWire, simulator
from tests.simulation.relay import InProcessRelay
from workers.providers import SIMULATOR_B
from workflows.dispute import DisputeWorkflow
from workflows.late import LateWorkflow
from workflows.payment import PaymentWorkflow
from workflows.payout import PayoutWorkflow
from workflows.refund import RefundWorkflow
from workflows.run import Run

HORIZON = timedelta(seconds=10)  # as the product's own settings promise it for the simulator
ATTENTION_AFTER = timedelta(minutes=15)  # likewise
WEBHOOK_SECONDS = 0.5  # until an event is delivered as usual: after the answer
MINUTE, TEN_DAYS = 60.0, 10 * 86_400.0
WEBHOOK_PAUSES: dict[str, Sequence[float]] = {  # seconds until it is delivered, each time
    "lost": (),
    "twice": (WEBHOOK_SECONDS, WEBHOOK_SECONDS + 1),
    "early": (0.0,),
    "late": (MINUTE,),
    "very_late": (TEN_DAYS,),
}
FIRST, SECOND = client.NAME, SIMULATOR_B  # two accounts there: what one refuses is asked of the other
PROFILES: dict[str, Profile] = {
    name: client.profile(name=name, horizon=HORIZON, attention_after=ATTENTION_AFTER) for name in (FIRST, SECOND)
}
PATIENCE = Patience(authorize=10, automatic_capture=60, as_asked=120)  # the product's, with fewer sends
PROMISES: dict[str, Promises] = {name: profile.promises(PATIENCE) for name, profile in PROFILES.items()}
WORKFLOWS: dict[str, type[Run]] = {"pay": PaymentWorkflow, "rfd": RefundWorkflow, "po": PayoutWorkflow}
# What a provider only tells, and nobody asks about: where the webhook is lost, the settlement files are the last word.
ONLY_TOLD = frozenset({Phase.FAILED, Phase.RETURNED, Phase.OPENED, Phase.WITHDRAWN, Phase.WON, Phase.LOST})
FEE_BASIS_POINTS = 150
MOVING_SECONDS, MOVING_TRIES = 1.0, 100  # how a client asks again while a run goes on under a new history
CHILDREN = (LateWorkflow, DisputeWorkflow)
_RANDOM = 20_270_115  # of the activities' jitter: the same for every schedule


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a schedule's timeline."""

    at: float
    what: str
    subject: str
    detail: str


@dataclass(frozen=True)
class Kinds:
    """What our own books are made of: in memory, or with a database beside it."""

    journal: Callable[[Clock, Executing, Callable[[Entry, Posted], None]], MemoryJournal] = MemoryJournal
    operations: Callable[[Clock, Executing], MemoryOperations] = MemoryOperations
    calls: Callable[[Clock, Executing], MemoryCallJournal] = MemoryCallJournal


@dataclass
class Settings:
    """How a schedule is played."""

    converter: Callable[[], PayloadConverter] = Aside
    exact: bool = False  # failures travel through the SDK's converter, and payloads are kept for I10
    timeline: bool = False
    books: Kinds = Kinds()
    salt: str = ""  # tells the provider's ids from those of other schedules, where they share a database


@dataclass
class World:
    """See the module."""

    choices: Choices
    settings: Settings = field(default_factory=Settings)
    webhooks_on: bool = False
    clock: Clock = field(default_factory=Clock)
    executing: Attempt = field(default_factory=lambda: Attempt("", 0, False, "", (), 0))
    receipts: dict[OperationId, list[Receipt]] = field(default_factory=dict[OperationId, list[Receipt]])
    refusals: Counter[str] = field(default_factory=Counter[str])
    broken: list[str] = field(default_factory=list[str])
    reach: Counter[str] = field(default_factory=Counter[str])
    lines: list[Line] = field(default_factory=list[Line])
    sent: list[tuple[str, str, Operation]] = field(default_factory=list[tuple[str, str, Operation]])
    requests: list[int] = field(default_factory=list[int])  # how many questions had been asked when each was sent
    starts: dict[OperationId, Start] = field(default_factory=dict[OperationId, Start])
    providers: Sequence[str] = (FIRST,)
    settled_late: set[str] = field(default_factory=set[str])  # operations that a late run has given back or booked
    untold: list[tuple[str, Record]] = field(default_factory=list[tuple[str, Record]])  # left to reconciliation
    posters: dict[Reference, str] = field(default_factory=dict[Reference, str])  # which run has posted an entry
    relayed: Counter[str] = field(default_factory=Counter[str])  # what became of webhooks
    clients: list[Promise[Any]] = field(default_factory=list[Promise[Any]])
    asks: Callable[[Execution], None] = lambda _: None  # a run asks for a person

    def __post_init__(self) -> None:
        random.seed(_RANDOM)
        clock = self.clock
        kinds = self.settings.books
        self.journal = kinds.journal(clock, self, self._posted)
        self.operations = kinds.operations(clock, self)
        self.calls = self.operations.calls = kinds.calls(clock, self)
        self.approvals = MemoryApprovals(clock, self)
        self.risk = Risk()
        self.banks = {
            name: Bank(name + self.settings.salt, clock, partial(self._announce, name)) for name in self.providers
        }
        ports = {
            name: wrap(simulator(InProcessWire(PROFILES[name], bank, clock, self)), PROFILES[name], _untold)
            for name, bank in self.banks.items()
        }
        owned: tuple[Any, ...] = (self.journal, self.operations, self.risk, self.approvals)
        books, provider = OurBooks(*owned), ProviderCalls(ports, cast("Any", self.calls))
        self._functions = {name: getattr(owner, method) for owner, name, method in _named(books, provider)}
        converter = self.converter = self.settings.converter()
        self.server = Server(clock, self.choices, self, converter, CHILDREN, exact=self.settings.exact)
        self.server.between, self.server.lost = self._after_task, self._task_lost
        self._relay = InProcessRelay(self.server, PROMISES, self.journal, self.operations, self.calls)

    @property
    def bank(self) -> Bank:
        """The provider that is asked first."""
        return self.banks[FIRST]

    # What the driver asks

    def fault(self, attempt: Attempt) -> str:
        """Choose what befalls an attempt."""
        options = menu(attempt.activity, told=self.webhooks_on)
        if attempt.activity == "provider.inquire":
            self._doubt_is_shown(attempt)
            if self._may_find_nothing(attempt.arguments[0]):
                options = (*options, NOT_FOUND)
        return self.choices.choose(options, f"{attempt.activity} {_about(attempt)}#{attempt.number}")

    def _may_find_nothing(self, inquiry: Inquiry) -> bool:
        """Tell whether "none" can be a lie: within the horizon, or where they have shown that they have it (rule 4)."""
        sent = self.calls.latest(inquiry.provider, inquiry.on)
        if sent is None:
            return False
        shown = sent.answer is not None and sent.answer.shows_it
        return shown or self.clock.now < sent.sent_at + HORIZON.total_seconds()

    def _doubt_is_shown(self, attempt: Attempt) -> None:
        """Whoever asks what became of an effect says meanwhile that it is in doubt, or asks for a person (I5)."""
        run, inquiry = self.server.runs[attempt.workflow_id], attempt.arguments[0]
        if inquiry.verb is Verb.ARRIVE or run.id.startswith("late/"):
            return  # it is on its way, which is no doubt
        sent = self.calls.latest(inquiry.provider, inquiry.on)
        if sent is None or sent.outcome in (Outcome.DONE, Outcome.REFUSED):
            return  # this run has forgotten what became of it, and finds out
        if not run.attributes.get("UnknownSince") and run.attributes.get("NeedsAttention") != b"true":
            self.breaks(f"I5: {run.id} is in doubt about {inquiry.on}, and does not say so")

    def perform(self, attempt: Attempt) -> Promise[Any]:
        """Carry an attempt out by the product's own activity."""
        if attempt.fault != NONE:
            self.note(f"fault: {attempt.fault}", attempt.activity, _about(attempt))
        enter = within(attempt)

        def go_on() -> None:
            self.executing = attempt
            enter()

        return self.clock.spawn(self._functions[attempt.activity](*attempt.arguments), go_on)

    def parameter_types(self, activity: str) -> Sequence[type]:
        """The types of an activity's parameters, as the strict converter wants them."""
        return _types(self._functions[activity])

    def attention(self, run: Execution, wanted: bool) -> None:
        """Call a person, or let it be seen that none is needed any more."""
        self.note("asks for a person" if wanted else "needs nobody any more", run.id)
        if wanted:
            self.reached("parked")
            self.asks(run)

    def closed(self, run: Execution) -> None:
        """Take note that a run has ended."""
        if run.id.startswith("late/"):
            self.settled_late.add(operation_of(run.argument[0].fact.reference))
            self.reached("settled late")

    def note(self, what: str, subject: str = "", detail: object = "") -> None:
        """Add a line to the timeline, where one is kept."""
        if self.settings.timeline:
            self.lines.append(Line(self.clock.now - EPOCH, what, subject, str(detail)))

    def reached(self, point: str) -> None:
        """Count a point that a search must reach sometimes."""
        self.reach[point] += 1

    # What must always hold

    def breaks(self, what: str) -> None:
        """An invariant does not hold: the schedule ends here. Raised, it would be an activity's failure, no more."""
        self.broken.append(what)

    def sends(self, provider: str, verb: Verb, reference: str) -> None:
        """An effect is about to be sent: its intent stands written (I9)."""
        if not self.calls.intends(provider, reference):
            self.breaks(f"I9: {verb} {reference} was sent without a row in the call journal")
        self.reached(f"{verb} sent")
        if provider == SECOND:
            self.reached("second provider asked")
        if reference[-1] != "1":
            self.reached("sent as a new attempt")

    def _posted(self, entry: Entry, posted: Posted) -> None:
        """An entry was taken: what it gives up stands at the provider no more."""
        self.note(f"entry {posted.status}", entry.reference)
        self.reached(f"{entry.kind} {posted.status}")
        self.posters.setdefault(entry.reference, self.executing.workflow_id)
        if entry.hold is not None and entry.hold.action is HoldAction.RELEASE:
            self._held_while_it_stands()

    def fee_of(self, entry: Entry) -> int:
        """The basis points that an entry, or the one that it takes back, was booked with: a late run earns nothing."""
        late = self.posters.get(entry.reverses or entry.reference, "").startswith("late/")
        return 0 if late else FEE_BASIS_POINTS

    def _held_while_it_stands(self) -> None:
        """What stands open at a provider, or may come to, is held: a hold goes only afterwards (money rule 6)."""
        held = sum(each.left for each in self.journal.book.holds.values() if each and each.payment is None)
        for bank in self.banks.values():
            for each in bank.underway:
                if ".a" in each and not held:
                    self.breaks(f"the hold is released while {each} is on its way")
            for record in bank.books.effects():
                stands = bank.books.open_minor(record) if record.kind is Kind.AUTHORISATION else 0
                if stands > held:
                    self.breaks(f"{stands} stands authorized under {record.merchant_ref}, and {held} is held")

    def left_open(self, bank: Bank, authorisation: Record) -> int:
        """What an authorization had open when the last run ended; it expires by itself, which proves nothing."""
        books = bank.books
        stands = replace(authorisation, valid_until=self.clock.now + 1)
        return books.open_minor(stands) if authorisation.phase is Phase.APPROVED else 0

    # Faults after a workflow task

    def _task_lost(self, run: Execution) -> None:
        """A task is lost with its worker: a person may cancel meanwhile, and it begins again with that."""
        if self.choices.choose(CANCEL_LOST, f"task lost of {run.id}") != NONE:
            self.note("fault: cancel", run.id)
            self.server.cancel(run.id)

    def _after_task(self, run: Execution, number: int) -> None:
        points = self.server.reset_points(run)
        options = [*AFTER_TASK, *(f"reset:{point}" for point in points)]
        answer = self.choices.choose(options, f"after task {number} of {run.id}")
        if answer == NONE:
            return
        self.note(f"fault: {answer}", run.id)
        match answer:
            case "crash":
                self.server.lose_worker()
                self.reached("worker lost between tasks")
            case "cancel":
                self.server.cancel(run.id)
                self.reached("canceled")
            case "meddle":
                self._meddle(run)
            case "again":
                self._again()
            case "long":
                run.long = True
            case _:
                self.server.reset(run, int(answer.removeprefix("reset:")))
                self.reached("reset")

    def _meddle(self, run: Execution) -> None:
        """Decide and retry what nobody has asked for: refused, and nothing comes of it."""
        reference = Reference(f"{run.id.rpartition('/')[2]}.c9")
        word = Decision(reference=reference, outcome=Outcome.REFUSED, evidence="hearsay", approvals=("ann", "bob"))
        for name, content in (("resolve", word), ("retry", reference)):
            answer = self.server.update(run.id, name, content, f"{name}-{len(self.choices.asked)}")
            answer.then(lambda answer=answer, name=name: self._must_be_refused(answer, name))

    def _must_be_refused(self, answer: Promise[Any], name: str) -> None:
        if answer.error is None:
            self.breaks(f"{name} was taken by a run that had not asked for it")
        self.reached("update refused")

    def _again(self) -> None:
        """Send everything again: under the same id, under another, and changed under a third."""
        self.reached("sent again")
        for workflow_id, name, content in tuple(self.sent):
            with contextlib.suppress(NotFound):
                number = len(self.choices.asked)
                self._same(content, self.server.update(workflow_id, name, content, content.id))
                self._same(content, self.server.update(workflow_id, name, content, f"{content.id}-{number}"))
                changed = dataclasses.replace(content, fingerprint="of another command")
                answer = self.server.update(workflow_id, name, changed, f"{content.id}-{number}-changed")
                answer.then(lambda answer=answer: self._must_be_refused(answer, "a changed command"))

    def _same(self, operation: Operation, answer: Promise[Any]) -> None:
        def answered() -> None:
            with contextlib.suppress(Refused, Closed):
                self.received(operation, answer.result())

        answer.then(answered)

    # Clients

    def does(self, client: Coroutine[Any, Any, Any]) -> None:
        """Let a client do something at the same time as others."""
        self.clients.append(self.clock.spawn(client))

    def received(self, operation: Operation, receipt: Receipt) -> Receipt:
        """A receipt reaches a client. An operation has one (I4)."""
        known = self.receipts.setdefault(operation.id, [])
        if known and known[0] != receipt:
            self.breaks(f"I4: {operation.id} has two receipts: {known[0]} and {receipt}")
        known.append(receipt)
        self.note(f"receipt: {receipt.outcome} {receipt.reason}", operation.id, f"{receipt.moved}, {receipt.state}")
        return receipt

    async def begin(self, start: Start, update: str) -> Receipt | None:
        """Start a run and wait for its first answer; None where it was refused."""
        self.starts[start.id] = start
        workflow_id = queues.workflow_id(start.id)
        first = self.choices.choose(CANCEL_FIRST, f"start of {workflow_id}")
        self.sent.append((workflow_id, update, start))
        self.requests.append(len(self.choices.asked))
        workflow = WORKFLOWS[start.id.partition("_")[0]]
        answer = self.server.begin(workflow, start, workflow_id, (update, start, start.id), canceled=first != NONE)
        assert answer is not None
        try:
            return self.received(start, await answer)
        except Refused as refusal:
            return self._refused(start, refusal.kind)

    async def ask(self, of: Start, update: str, operation: Operation) -> Receipt | None:
        """Ask a run for an operation; None where it was refused, or the run has closed."""
        workflow_id = queues.workflow_id(of.id)
        self.sent.append((workflow_id, update, operation))
        self.requests.append(len(self.choices.asked))
        for _ in range(MOVING_TRIES):
            try:
                return self.received(operation, await self.server.update(workflow_id, update, operation, operation.id))
            except NotFound:
                return self._refused(operation, "NotFound")
            except Refused as refusal:
                if refusal.kind != "Moving":
                    return self._refused(operation, refusal.kind)
            await self.clock.sleep(MOVING_SECONDS)
        self.breaks(f"liveness: {workflow_id} does not get on under a new history")
        return None

    def _refused(self, operation: Operation, kind: str) -> None:
        self.note(f"refused: {kind}", operation.id)
        self.refusals[kind] += 1
        self.reached(f"refused {kind}")

    def look_again(self, of: Start) -> None:
        """The payer has come back to the shop: the run inquires now. Nobody waits for the answer."""
        with contextlib.suppress(NotFound):
            self.server.update(queues.workflow_id(of.id), "look_again", of.id, f"{of.id}-back-{self.clock.now}")

    def view(self, of: Start) -> View:
        """What a run says of itself."""
        return self.server.query(queues.workflow_id(of.id), "view")

    # Webhooks

    def _announce(self, provider: str, record: Record) -> None:
        """A provider tells of a record's new phase: as usual, or as somebody's network has it."""
        self.note(f"provider: {record.kind} {record.phase}", record.merchant_ref, record.denial)
        if not self.webhooks_on:
            return
        event = Event(f"ev_{record.movement or record.id}_{record.phase}", record, State.WAITING)
        how = self.choices.choose(WEBHOOK, f"webhook {event.type} {record.merchant_ref}")
        if how != NONE:
            self.note(f"fault: webhook {how}", record.merchant_ref)
        if how == "lost" and record.phase in ONLY_TOLD:
            self.untold.append((provider, record))
        for pause in WEBHOOK_PAUSES.get(how, (WEBHOOK_SECONDS,)):
            self.clock.later(pause, self._deliver, provider, event)

    def _deliver(self, provider: str, event: Event) -> None:
        """The inbox has it, and its relay hands it on."""
        run = self.server.runs.get(f"payment/{operation_of(Reference(event.record.merchant_ref))}")
        if run is not None and run.open and run.attributes.get("UnknownSince"):
            self.reached("webhook in a doubt")
        handed = self.clock.spawn(self._relay.hand_on(1, provider, event.id, event.body()))
        note = handed.result()
        self.note(f"relay: {note}", event.record.merchant_ref, event.type)
        self.relayed[note] += 1
        self.reached("relay: " + _kind_of(note))


class _VirtualDatetime(datetime):
    """The present, by the clock of the schedule that is being played."""

    clock: Clock = Clock()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return cls.fromtimestamp(cls.clock.now, tz)


@contextmanager
def virtual_present() -> Generator[None]:
    """Let the adapters and the breaker read virtual time: they ask `datetime` for the present."""
    modules: tuple[Any, ...] = (vocabulary, adapters.breaker, pybreaker)
    kept = [module.datetime for module in modules]
    for module in modules:
        module.datetime = _VirtualDatetime
    try:
        yield
    finally:
        for module, datetime_ in zip(modules, kept, strict=True):
            module.datetime = datetime_


def present(clock: Clock) -> None:
    """Make a schedule's clock the one that `virtual_present` reads."""
    _VirtualDatetime.clock = clock


def _untold(verb: Verb, reference: str, came: str, seconds: float, /) -> None:
    """Nobody is told of a call: the timeline has it."""


def _kind_of(note: str) -> str:
    """A relay's note without the ids in it."""
    return " ".join(word for word in note.split() if "/" not in word and "_" not in word)


def _named(*owners: object) -> Generator[tuple[object, str, str]]:
    """The activities of objects: by the name under which a workflow schedules them."""
    for owner in owners:
        for method, name in _activity_names(type(owner)):
            yield owner, name, method


_NAMES: dict[type, list[tuple[str, str]]] = {}


def _activity_names(kind: type) -> list[tuple[str, str]]:
    if kind not in _NAMES:
        _NAMES[kind] = [
            (method, definition.name)
            for method in dir(kind)
            if (definition := getattr(getattr(kind, method), "__temporal_activity_definition", None)) is not None
        ]
    return _NAMES[kind]


_TYPES: dict[Any, Sequence[type]] = {}


def _types(function: Any) -> Sequence[type]:
    key = function.__func__
    if key not in _TYPES:
        _TYPES[key] = parameter_types(function)
    return _TYPES[key]


def _about(attempt: Attempt) -> str:
    command = attempt.arguments[0]
    return command.reference or command.on
