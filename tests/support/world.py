"""The world of one run, in memory: a provider with its own books and a ledger, both told per call how to behave.

The provider does NOT deduplicate: a reference sent twice after its effect is a second effect, and is counted. Nothing
here reads a clock: what comes late comes at a later question, so that no golden line can depend on the machine's speed.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from temporalio import activity
from temporalio.exceptions import ApplicationError

from contracts.books import Books
from contracts.provider import UNAVAILABLE, UNKNOWN, Provider
from domain.commands import Approval, Booking, Command, Effect, Inquiry, Note, Prepare, Standing
from domain.ids import OperationId, Reference, Verb, operation_of
from domain.money import Money
from domain.outcomes import DONE, Answer, Fact, Found, Outcome, Reason, Sent, Stands, refused

RETRY_AFTER = timedelta(seconds=7)  # longer than any pause of the engine within an authorization's patience
AN_HOUR = timedelta(hours=1)  # longer than any patience
SHOWN_THEN_NONE = ("pending, none", "named, none", "reported, none")  # the provider has it, and finds nothing
MARKS = {
    "done": "", "refused": "!", "unavailable": "-", "busy": "-", "busy for an hour": "-", "pending": "…",
    "pending, told": "…", "pending, none": "…", "told": "…", "told, bounced": "…", "conflict": "#", "captured": "!",
    "bounced": "!", "blocked_by_risk": "!", "stale": "!", "insufficient_funds": "!", "challenged": "…", "soft": "!",
    "reviewed": "…",
}  # fmt: skip
SHORT = {
    "prepare": "hold",
    "book_capture": "post",
    "book_refund": "post",
    "book_payout_accepted": "accepted",
    "book_payout_paid": "paid",
    "book_payout_failed": "reversed",
    "book_capture_failed": "reversed",
    "arrival": "arrived?",
}
GATE_REFUSALS = ("blocked_by_risk", "stale", "insufficient_funds")
ARRIVAL = "payout.arrival"  # the script's name for the inquiry whether a payout has arrived
INQUIRIES_UNTIL_LATE = 2  # what lands late is found by the second question

Happening = Callable[[], Awaitable[object]]


@dataclass
class World:
    """One run's provider books and ledger, and the script of how calls behave."""

    script: dict[str, list[str]] = field(default_factory=dict[str, list[str]])  # activity → behaviour per call
    on_the_wire: dict[str, list[Happening]] = field(default_factory=dict[str, list[Happening]])  # during its first call
    tell: Callable[[Fact], Awaitable[None]] | None = None  # sends a webhook
    blind: bool = False  # it finds nothing by inquiry
    trace: list[str] = field(default_factory=list[str])
    sent: dict[Reference, list[datetime]] = field(default_factory=dict[Reference, list[datetime]])  # by the run's clock
    asked: Counter[Reference] = field(default_factory=Counter[Reference])
    waiting: dict[Reference, tuple[str, Effect, str]] = field(default_factory=dict[Reference, tuple[str, Effect, str]])
    refusals: set[Reference] = field(default_factory=set[Reference])
    effects: Counter[Reference] = field(default_factory=Counter[Reference])
    authorized: dict[Reference, int] = field(default_factory=dict[Reference, int])  # still open at the provider
    moved: dict[Reference, int] = field(default_factory=dict[Reference, int])  # captured, refunded or paid out
    holds: dict[Reference, int] = field(default_factory=dict[Reference, int])
    entries: dict[Reference, int] = field(default_factory=dict[Reference, int])
    states: dict[OperationId, str] = field(default_factory=dict[OperationId, str])
    seen: dict[Reference, Command] = field(default_factory=dict[Reference, Command])
    events: list[str] = field(default_factory=list[str])  # that rows have brought along by name
    asked_at: list[str] = field(default_factory=list[str])  # the provider of each effect, in order

    @property
    def provider_total(self) -> int:
        return sum(self.moved.values())

    @property
    def ledger_total(self) -> int:
        return sum(self.entries.values())

    @property
    def open_holds(self) -> int:
        return sum(1 for left in self.holds.values() if left)

    @property
    def doubles(self) -> int:
        return sum(count - 1 for count in self.effects.values())

    def during(self, activity: str, *happenings: Happening) -> None:
        """Let things happen, in this order, while the first call of the activity is on the wire."""
        self.on_the_wire.setdefault(activity, []).extend(happenings)

    def looked_at(self, reference: Reference) -> bool:
        """Be looked at by a person: what waits here is found after all. Tell whether it has happened."""
        if reference in self.waiting:
            self.land(reference)
        return self.effects[reference] > 0

    def mark(self, text: str) -> None:
        """Add to the trace; repeated calls are written once."""
        if not self.trace or self.trace[-1] != text:
            self.trace.append(text)

    def land(self, reference: Reference) -> None:
        """Let an effect that waits at the provider happen."""
        verb, effect, _ = self.waiting.pop(reference)
        self.apply(verb, effect)

    def apply(self, verb: str, effect: Effect) -> Answer:
        """Have the effect happen in the provider's books."""
        reference, minor = effect.reference, effect.money.minor
        match verb:
            case "authorize":
                self.effects[reference] += 1
                self.authorized[reference] = minor
            case "capture":
                if self.authorized.get(effect.on, 0) < minor:
                    self.refusals.add(reference)
                    return refused("nothing is authorized")
                self.effects[reference] += 1
                self.moved[reference] = self.moved.get(reference, 0) + minor
                self.authorized[effect.on] -= minor
                if effect.final:
                    del self.authorized[effect.on]
            case "void":
                self.authorized.pop(effect.on, None)
                self.waiting.pop(effect.on, None)
            case "increment":
                self.effects[reference] += 1
                self.authorized[effect.on] += minor
            case "recall":
                self.effects[reference] += 1
                self.moved.pop(effect.on)
            case _:  # refund, pay_out
                self.effects[reference] += 1
                self.moved[reference] = self.moved.get(reference, 0) + minor
        return DONE


WORLDS: dict[OperationId, World] = {}  # by the ids of all operations of a run


def _world(command: Command) -> World:
    return WORLDS[operation_of(command.reference or command.on)]


async def _misbehave(name: str, command: Command) -> tuple[World, str]:
    """Let happen what is to happen on the wire; raise, or return the behaviour of this call."""
    world = _world(command)
    behaviours = world.script.get(name, [])
    behaviour = behaviours.pop(0) if behaviours else "done"
    world.mark(_short(name) + MARKS.get(behaviour, "?"))
    for happening in world.on_the_wire.pop(name, []):
        await happening()
    if behaviour == "unavailable":
        raise ApplicationError("connection refused", type=UNAVAILABLE)
    if behaviour.startswith("busy"):
        pause = RETRY_AFTER if behaviour == "busy" else AN_HOUR
        raise ApplicationError("429", type=UNAVAILABLE, next_retry_delay=pause)
    if behaviour == "bug":
        raise AssertionError("a bug in an activity")
    return world, behaviour


def _short(name: str) -> str:
    return SHORT.get(name.split(".")[1], name.split(".")[1])


class FakeProvider(Provider):
    """The provider of every world."""

    @activity.defn(name="provider.authorize")
    async def authorize(self, effect: Effect) -> Answer:
        return await self._effect("authorize", effect)

    @activity.defn(name="provider.capture")
    async def capture(self, effect: Effect) -> Answer:
        return await self._effect("capture", effect)

    @activity.defn(name="provider.increment")
    async def increment(self, effect: Effect) -> Answer:
        return await self._effect("increment", effect)

    @activity.defn(name="provider.recall")
    async def recall(self, effect: Effect) -> Answer:
        return await self._effect("recall", effect)

    @activity.defn(name="provider.void")
    async def void(self, effect: Effect) -> Answer:
        return await self._effect("void", effect)

    @activity.defn(name="provider.refund")
    async def refund(self, effect: Effect) -> Answer:
        return await self._effect("refund", effect)

    @activity.defn(name="provider.pay_out")
    async def pay_out(self, effect: Effect) -> Answer:
        return await self._effect("pay_out", effect)

    async def _effect(self, verb: str, effect: Effect) -> Answer:
        _world(effect).sent.setdefault(effect.reference, []).append(activity.info().scheduled_time)
        _world(effect).asked_at.append(effect.provider)
        world, behaviour = await _misbehave(f"provider.{verb}", effect)
        lost = ApplicationError("read timed out", type=UNKNOWN)
        match behaviour:
            case "done":
                return world.apply(verb, effect)
            case "refused":
                world.refusals.add(effect.reference)
                return refused("scripted")
            case "soft":
                world.refusals.add(effect.reference)
                return Answer(outcome=Outcome.REFUSED, reason="issuer_unreachable", soft=True)
            case "challenged":
                world.waiting[effect.reference] = (verb, effect, "challenged")
                return Answer(outcome=Outcome.PENDING, provider_id="psp_1", challenge="https://bank.example/prove")
            case "conflict":
                return Answer(outcome=Outcome.CONFLICT, reason="scripted")
            case "captured":
                left = world.authorized.pop(effect.on, 0)
                world.moved[effect.reference] = left
                everything = Money(world.provider_total, effect.money.currency)
                return Answer(
                    outcome=Outcome.REFUSED,
                    reason="captured",
                    found=Found(kind="captured", money=everything, provider_id="psp_1"),
                )
            case "lost after":
                world.apply(verb, effect)
                raise lost
            case "lost before":
                raise lost
            case _:
                world.waiting[effect.reference] = (verb, effect, behaviour)
        if behaviour == "reported, none":
            await self._tell(world, effect.reference, Answer(outcome=Outcome.PENDING))
        if behaviour == "named, none":
            return Answer(outcome=Outcome.UNKNOWN, provider_id="psp_1")
        if behaviour.startswith("pending"):
            return Answer(outcome=Outcome.PENDING)
        raise lost  # late; reported, none

    @activity.defn(name="provider.inquire")
    async def inquire(self, inquiry: Inquiry) -> Answer | None:
        if inquiry.verb is Verb.ARRIVE:
            return await self._arrival(inquiry)
        world, behaviour = await _misbehave("provider.inquire", inquiry)
        assert behaviour == "done", "an inquiry only fails to answer"
        world.asked[inquiry.on] += 1
        return await self._what_became(world, inquiry.on)

    async def _what_became(self, world: World, on: Reference) -> Answer | None:
        _, _, behaviour = world.waiting.get(on, ("", None, ""))
        if behaviour == "pending, told":
            world.land(on)
            await self._tell(world, on, DONE)
            return Answer(outcome=Outcome.PENDING)
        if behaviour in ("late", "pending") and world.asked[on] >= INQUIRIES_UNTIL_LATE:
            world.land(on)
        if behaviour in ("pending", "challenged") and on in world.waiting:
            return Answer(outcome=Outcome.PENDING)
        if world.blind:
            return None
        if on in world.refusals:
            return refused("scripted")
        return DONE if world.effects[on] else None

    async def _arrival(self, inquiry: Inquiry) -> Answer:
        """Tell whether a payout has arrived; what has bounced is no longer paid out."""
        world, behaviour = await _misbehave(ARRIVAL, inquiry)
        if behaviour.endswith("bounced"):
            world.moved.pop(inquiry.on)
        arrived = refused("beneficiary unknown") if behaviour.endswith("bounced") else DONE
        if behaviour.startswith("told"):
            await self._tell(world, Reference(f"{inquiry.on}/arrival"), arrived)
            return Answer(outcome=Outcome.PENDING)
        return Answer(outcome=Outcome.PENDING) if behaviour == "pending" else arrived

    async def _tell(self, world: World, reference: Reference, answer: Answer) -> None:
        assert world.tell is not None
        await world.tell(Fact(reference=reference, answer=answer, source="ev_1"))


class FakeBooks(Books):
    """The ledger and rows of every world."""

    @activity.defn(name="payment.prepare")
    async def prepare_payment(self, prepare: Prepare) -> Answer:
        return await self._entry("payment.prepare", prepare)

    @activity.defn(name="refund.prepare")
    async def prepare_refund(self, prepare: Prepare) -> Answer:
        return await self._entry("refund.prepare", prepare)

    @activity.defn(name="payout.prepare")
    async def prepare_payout(self, prepare: Prepare) -> Answer:
        return await self._entry("payout.prepare", prepare)

    @activity.defn(name="increment.prepare")
    async def prepare_increment(self, prepare: Prepare) -> Answer:
        return await self._entry("increment.prepare", prepare)

    @activity.defn(name="ledger.book_capture_failed")
    async def book_capture_failed(self, booking: Booking) -> Answer:
        return await self._entry("ledger.book_capture_failed", booking)

    @activity.defn(name="records.stands")
    async def stands(self, standing: Standing) -> Stands:
        """What is booked of the payment; its trace is that of its steps."""
        world = _world(standing)
        total = Money(world.ledger_total, "EUR")
        return Stands(state=world.states.get(standing.operation, ""), posted=False, reversed=False, total=total)

    @activity.defn(name="records.sent")
    async def sent(self, standing: Standing) -> tuple[Sent, ...]:
        """What may stand at the provider, whoever has sent it."""
        world = _world(standing)
        may_stand = [each for each in world.sent if ".a" in each and (world.effects[each] or each in world.waiting)]
        return tuple(Sent(provider="fake", reference=each, provider_id="") for each in may_stand)

    @activity.defn(name="records.check_approvals")
    async def check_approvals(self, approval: Approval) -> Answer:
        """Approvals of these tests are the names of their people."""
        one, other = approval.decision.approvals
        return DONE if "nobody" not in (one, other) else refused("there is no such approval")

    @activity.defn(name="ledger.release")
    async def release(self, prepare: Prepare) -> Answer:
        return await self._entry("ledger.release", prepare)

    @activity.defn(name="ledger.book_capture")
    async def book_capture(self, booking: Booking) -> Answer:
        return await self._entry("ledger.book_capture", booking)

    @activity.defn(name="ledger.book_refund")
    async def book_refund(self, booking: Booking) -> Answer:
        return await self._entry("ledger.book_refund", booking)

    @activity.defn(name="ledger.book_payout_accepted")
    async def book_payout_accepted(self, booking: Booking) -> Answer:
        return await self._entry("ledger.book_payout_accepted", booking)

    @activity.defn(name="ledger.book_payout_paid")
    async def book_payout_paid(self, booking: Booking) -> Answer:
        return await self._entry("ledger.book_payout_paid", booking)

    @activity.defn(name="ledger.book_payout_failed")
    async def book_payout_failed(self, booking: Booking) -> Answer:
        return await self._entry("ledger.book_payout_failed", booking)

    @activity.defn(name="records.note")
    async def note(self, note: Note) -> Answer:
        return await self._entry("records.note", note)

    async def _entry(self, name: str, command: Command) -> Answer:
        world, behaviour = await _misbehave(name, command)
        lost = ApplicationError("the connection was lost", type=UNKNOWN)
        if behaviour == "refused" or behaviour in GATE_REFUSALS:
            return refused(behaviour)
        if behaviour == "reviewed":
            return Answer(outcome=Outcome.PENDING, reason=Reason.RISK_REVIEW)
        if behaviour == "conflict":
            return Answer(outcome=Outcome.CONFLICT, reason="scripted")
        if behaviour == "lost before":
            raise lost
        answer = self._write(world, name, command)
        if behaviour in ("lost after", "late"):
            raise lost
        return answer

    def _write(self, world: World, name: str, command: Command) -> Answer:
        """Write once per reference; the same reference with other content is a conflict."""
        again = world.seen.get(command.reference)
        if again is not None and not isinstance(command, Note):
            return DONE if again == command else Answer(outcome=Outcome.CONFLICT, reason="same reference")
        world.seen[command.reference] = command
        match command:
            case Prepare() if name == "ledger.release":
                world.holds[command.on] = 0
            case Prepare():
                world.holds[command.reference] = command.money.minor
            case Booking():
                self._book(world, name, command)
            case _:
                pass
        rows = command.rows if isinstance(command, Booking | Note) else ()
        world.states |= {row.operation: row.state for row in rows}
        world.events += [row.event for row in rows if row.event]
        return DONE

    def _book(self, world: World, name: str, booking: Booking) -> None:
        if name in ("ledger.book_capture", "ledger.book_refund", "ledger.book_payout_accepted"):
            world.entries[booking.reference] = booking.money.minor
            left = world.holds[booking.hold] - booking.money.minor
            world.holds[booking.hold] = 0 if booking.final else left
        elif name in ("ledger.book_payout_failed", "ledger.book_capture_failed"):
            world.entries[booking.reference] = -booking.money.minor
