"""Northbank's books: what it was asked, what became of it, and what that amounts to. Pure, but for the given clock.

Each order is judged by what the books hold at that moment, and by nothing else; HTTP, scripts and webhooks are
unknown here. Whatever happens later (a review ends, a transfer arrives, an effect lands late) waits in one agenda and
is carried out, at its own time, as soon as somebody looks.
"""

import heapq
import itertools
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

from simulator.disputes import TAKES, Disputes
from simulator.faults import Fault
from simulator.instruments import AUTHORISATIONS, COLLECTIONS, INCREMENTS, TRANSFERS, USUAL_LANDING
from simulator.orders import Authorise, Collect, Increment, Order, PayBack, Pointer, Recall, Release, Transfer
from simulator.records import ID_PREFIX, UNDER_WAY, WITHOUT_EFFECT, Closed, Kind, Phase, Record
from simulator.twists import Challenge, Deny, FailLater, Land, Queue, Twist

KEY_MEMORY_SECONDS = 24 * 3600.0  # what many providers promise for idempotency keys
VALIDITY_SECONDS = 7 * 24 * 3600.0  # how long an authorisation stands: what card schemes commonly grant
FAILURE_REASON = "payer_account_closed"
RETURN_REASON = "beneficiary_refused"
CHALLENGE_FAILED = "challenge_failed"


class Clock:
    """Seconds since 1970, and as many more as somebody has moved it on."""

    def __init__(self) -> None:
        self.ahead_seconds = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_seconds


@dataclass(frozen=True, slots=True)
class Total:
    """What the effects in one currency amount to, in minor units."""

    authorised_open: int = 0
    collected: int = 0
    paid_back: int = 0
    transferred: int = 0
    withdrawn: int = 0  # by disputes, those included that gave it back
    given_back: int = 0  # by disputes that were won


_DONE: Mapping[Kind, Phase] = MappingProxyType(
    {
        Kind.AUTHORISATION: Phase.APPROVED,
        Kind.COLLECTION: Phase.COLLECTED,
        Kind.PAYBACK: Phase.PAID_BACK,
        Kind.INCREMENT: Phase.RAISED,
        Kind.RECALL: Phase.RECALLED,
    }
)
_FAILED: Mapping[Phase, tuple[Phase, str]] = MappingProxyType(
    {
        Phase.COLLECTED: (Phase.FAILED, FAILURE_REASON),
        Phase.PAID_BACK: (Phase.FAILED, FAILURE_REASON),
        Phase.ARRIVED: (Phase.RETURNED, RETURN_REASON),
    }
)
_NOT_RECALLED: Mapping[Phase, str] = MappingProxyType(
    {
        Phase.ARRIVED: "already_arrived",
        Phase.RETURNED: "already_arrived",
        Phase.BOUNCED: "not_on_its_way",
        Phase.DENIED: "not_on_its_way",
    }
)
_NOT_COUNTED = UNDER_WAY | {Phase.FAILED}


@dataclass(frozen=True, slots=True)
class _Answered:
    """The memory of one key."""

    order: Order
    at: float
    first: Record


class Books:
    """All records of one process. `announce` is told of every new phase of every record, the first included."""

    def __init__(self, clock: Callable[[], float], announce: Callable[[Record], None]) -> None:
        self.deduplicate = True
        self.challenges_at = "/challenges"  # the address under which payers are asked who they are
        self._clock = clock
        self._announce = announce
        self._records: dict[str, Record] = {}  # by id, in the order of their making
        self._by_reference: defaultdict[str, list[str]] = defaultdict(list)
        self._under: defaultdict[str, list[str]] = defaultdict(list)  # ids of an authorisation's other records
        self._answered: dict[str, _Answered] = {}
        self._barred: set[str] = set()  # references of authorisations that must never be approved any more
        self._agenda: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count(1)
        self._tag = secrets.token_hex(4)  # ids of two processes differ, as their callers may outlive one of them
        self._landing_at: float | None = None
        self.disputes = Disputes(self.now, self._name, announce)

    # Orders

    def place(self, order: Order, twist: Twist = None) -> Record:
        """Carry an order out and return its record, or the first answer again where its key is remembered.

        `twist` bends the decision, but only where the books would have said yes. Raises `Fault`, with nothing changed.
        """
        remembered = self._remembered(order)
        if remembered is not None:
            return remembered
        record = self._judge(order, twist)
        self._answered[order.merchant_ref] = _Answered(order, self.now(), record)
        return record

    def lookup(self, reference: str) -> Record | None:
        """Return what stands under a reference: the newest effect, or else the newest refusal."""
        found = [self._records[each] for each in self._by_reference.get(reference, ())]
        effects = [record for record in found if record.phase not in WITHOUT_EFFECT]
        return (effects or found or [None])[-1]

    def token_of(self, authorisation: Pointer) -> str:
        """The token of an authorisation; empty if there is no such."""
        found = self._pointed_at(authorisation)
        return found[-1].token if found else ""

    def _remembered(self, order: Order) -> Record | None:
        answered = self._answered.get(order.merchant_ref)
        if not self.deduplicate or answered is None or self.now() - answered.at >= KEY_MEMORY_SECONDS:
            return None
        if answered.order != order:
            raise Fault(409, "KEY_REUSED", "the key stands for another order")
        return answered.first

    def _judge(self, order: Order, twist: Twist) -> Record:
        match order:
            case Authorise():
                return self._authorise(order, twist)
            case Collect():
                return self._collect(order, twist)
            case Release():
                return self._release(order)
            case PayBack():
                return self._pay_back(order, twist)
            case Transfer():
                return self._transfer(order, twist)
            case Increment():
                return self._increment(order, twist)
            case Recall():
                return self._recall(order, twist)

    def _authorise(self, order: Authorise, twist: Twist) -> Record:
        draft = self._draft(Kind.AUTHORISATION, order.merchant_ref, order.value.minor, order.value.unit)
        draft = replace(draft, token=order.token)
        if order.merchant_ref in self._barred:
            return self._deny(draft, "released")
        return self._decide(draft, _bent(AUTHORISATIONS.get(order.token), twist))

    def _collect(self, order: Collect, twist: Twist) -> Record:
        authorisation = self._authorisation(order.authorisation)
        draft = self._draft(
            Kind.COLLECTION, order.merchant_ref, order.value.minor, order.value.unit, authorisation=authorisation
        )
        draft = replace(draft, last=order.last)
        if authorisation.unit != order.value.unit:
            return self._deny(draft, "unit_differs")
        if self._has_expired(authorisation):
            return self._deny(draft, "authorisation_expired")
        if order.value.minor > self.open_minor(authorisation):
            return self._deny(draft, "exceeds_open")
        return self._decide(draft, _bent(COLLECTIONS.get(authorisation.token), twist))

    def _release(self, order: Release) -> Record:
        """Close whatever stands of the authorisation, and bar its reference from ever being approved later."""
        found = self._pointed_at(order.authorisation)
        collections = [each for one in found for each in self._related(one, Kind.COLLECTION)]
        if any(each.phase in UNDER_WAY for each in collections):
            raise Fault(409, "COLLECTION_UNDER_WAY", "a collection of this authorisation is not decided yet")
        collected = [each for each in collections if each.phase is Phase.COLLECTED]
        all_used = bool(collected) and all(self._is_used_up(one) for one in found if one.phase is Phase.APPROVED)
        draft = self._draft(
            Kind.RELEASE,
            order.merchant_ref,
            sum(self.open_minor(one) for one in found),
            found[-1].unit if found else "",
            authorisation=found[-1] if found else None,
            phase=Phase.NOT_RELEASED if all_used else Phase.RELEASED,
        )
        for one in found:
            self._give_up(one)
        self._barred |= {one.merchant_ref for one in found} | {order.authorisation.reference}
        return self._write(
            replace(
                draft,
                authorisation_ref=draft.authorisation_ref or order.authorisation.reference,
                collected=sum(each.minor for each in collected),
                collections=tuple(each.id for each in collected),
            )
        )

    def _pay_back(self, order: PayBack, twist: Twist) -> Record:
        authorisation = self._authorisation(order.authorisation)
        draft = self._draft(
            Kind.PAYBACK, order.merchant_ref, order.value.minor, order.value.unit, authorisation=authorisation
        )
        if authorisation.unit != order.value.unit:
            return self._deny(draft, "unit_differs")
        collected = self._sum(authorisation, Kind.COLLECTION, but=_NOT_COUNTED)
        left = collected - self._sum(authorisation, Kind.PAYBACK, but=frozenset({Phase.FAILED}))
        if order.value.minor > left:
            return self._deny(draft, "exceeds_collected")
        if order.value.minor > left - self.disputes.minor_against(authorisation):
            return self._deny(draft, "disputed")  # or the payer would have it twice
        return self._decide(draft, twist)

    def _transfer(self, order: Transfer, twist: Twist) -> Record:
        draft = self._draft(Kind.TRANSFER, order.merchant_ref, order.value.minor, order.value.unit)
        usual = TRANSFERS.get(order.beneficiary, USUAL_LANDING)
        if isinstance(usual, Deny):
            return self._deny(draft, usual.reason)
        match twist:
            case Deny(reason=reason):
                return self._deny(draft, reason)
            case Land():
                end = twist
            case FailLater():
                end = replace(usual, then=twist)
            case Queue() | Challenge() | None:
                end = usual
        accepted = self._write(replace(draft, phase=Phase.ACCEPTED))
        self.later(end.seconds, partial(self._land, accepted.id, end))
        return accepted

    def _increment(self, order: Increment, twist: Twist) -> Record:
        authorisation = self._authorisation(order.authorisation)
        draft = self._draft(
            Kind.INCREMENT, order.merchant_ref, order.value.minor, order.value.unit, authorisation=authorisation
        )
        if authorisation.unit != order.value.unit:
            return self._deny(draft, "unit_differs")
        no = self._why_not_raised(authorisation)
        return self._deny(draft, no) if no else self._decide(draft, _bent(INCREMENTS.get(authorisation.token), twist))

    def _recall(self, order: Recall, twist: Twist) -> Record:
        found = [each for each in self._at(order.transfer) if each.kind is Kind.TRANSFER]
        if not found:
            raise Fault(404, "NO_SUCH_TRANSFER", "no transfer is known under this id or reference")
        transfer = found[-1]
        draft = self._draft(Kind.RECALL, order.merchant_ref, order.value.minor, order.value.unit)
        draft = replace(draft, transfer=transfer.id, transfer_ref=transfer.merchant_ref)
        if (transfer.minor, transfer.unit) != (order.value.minor, order.value.unit):
            return self._deny(draft, "value_differs")
        no = _NOT_RECALLED.get(transfer.phase, "")
        return self._deny(draft, no) if no else self._decide(draft, twist)

    # Decisions

    def _decide(self, draft: Record, twist: Twist) -> Record:
        match twist:
            case Deny(reason=reason):
                return self._deny(draft, reason)
            case Queue(seconds=seconds, denial=denial):
                waiting = self._write(replace(draft, phase=_waiting(draft.kind)))
                self.later(seconds, partial(self._end_wait, waiting.id, denial))
                return waiting
            case Challenge():
                asked = replace(draft, phase=Phase.CHALLENGED, challenge=f"{self.challenges_at}/{draft.id}")
                return self._write(asked)
            case FailLater(seconds=seconds, reason=reason):
                done = self._carry_out(draft)
                self.later(seconds, partial(self._fail, done.id, reason))
                return done
            case Land() | None:
                return self._carry_out(draft)

    def _end_wait(self, record_id: str, denial: str) -> None:
        waiting = self._records[record_id]
        if waiting.phase not in UNDER_WAY:
            return  # released meanwhile
        if denial:
            self._deny(waiting, denial)
        else:
            self._carry_out(waiting)

    def _carry_out(self, record: Record) -> Record:
        """Do it, unless what it acts upon has changed while it was QUEUED."""
        no = ""
        match record.kind:
            case Kind.INCREMENT:
                no = self._why_not_raised(self._records[record.authorisation])
            case Kind.RECALL:
                no = self._call_back(self._records[record.transfer])
            case _:
                pass
        if no:
            return self._deny(record, no)
        valid_until = self.now() + VALIDITY_SECONDS if record.kind is Kind.AUTHORISATION else 0.0
        if record.last:
            authorisation = self._records[record.authorisation]
            self._records[authorisation.id] = replace(authorisation, closed=Closed.LAST)
        return self._write(replace(record, phase=_DONE[record.kind], valid_until=valid_until, challenge=""))

    def _deny(self, record: Record, reason: str) -> Record:
        return self._write(replace(record, phase=Phase.DENIED, denial=reason, challenge=""))

    def _land(self, record_id: str, end: Land) -> None:
        transfer = self._records[record_id]
        if transfer.phase is not Phase.ACCEPTED:
            return  # recalled meanwhile
        phase = Phase.BOUNCED if end.bounce else Phase.ARRIVED
        self._write(replace(transfer, phase=phase, denial=end.bounce))
        if end.then is not None and not end.bounce:
            self.later(end.then.seconds, partial(self._fail, record_id, end.then.reason))

    def _fail(self, record_id: str, reason: str = "") -> bool:
        """Take a success back; tell whether there was one."""
        record = self._records[record_id]
        if record.phase not in _FAILED:
            return False
        phase, usual = _FAILED[record.phase]
        returned_as = self._name("rt") if phase is Phase.RETURNED else ""
        self._write(replace(record, phase=phase, denial=reason or usual, returned_as=returned_as))
        return True

    def _call_back(self, transfer: Record) -> str:
        """See to it that a transfer does not arrive; return why not, where that is too late."""
        if transfer.phase is Phase.ACCEPTED:
            self._write(replace(transfer, phase=Phase.RECALLED, denial="recalled"))
        return _NOT_RECALLED.get(transfer.phase, "")

    def _why_not_raised(self, authorisation: Record) -> str:
        if self._has_expired(authorisation):
            return "authorisation_expired"
        if authorisation.phase is not Phase.APPROVED or authorisation.closed:
            return "authorisation_closed"
        return ""

    def _give_up(self, authorisation: Record) -> None:
        for increment in self._related(authorisation, Kind.INCREMENT):
            if increment.phase in UNDER_WAY:
                self._deny(increment, "released")
        if authorisation.phase in UNDER_WAY:
            self._deny(authorisation, "released")
        elif authorisation.phase is Phase.APPROVED and not authorisation.closed:
            self._records[authorisation.id] = replace(authorisation, closed=Closed.RELEASED)

    # What others than the merchant do

    def end_challenge(self, challenged: Record, *, passed: bool) -> Record:
        """Let a payer prove who they are, or fail to. Raises `Fault` where nobody asks them, or not any more."""
        if challenged.phase is not Phase.CHALLENGED:
            raise Fault(409, "NOT_CHALLENGED", "the payer is not asked who they are, or not any more")
        return self._carry_out(challenged) if passed else self._deny(challenged, CHALLENGE_FAILED)

    def fail(self, reference: str, reason: str = "") -> Record:
        """Take back what was COLLECTED or PAID_BACK, or return what has ARRIVED. Raises `Fault` where none has."""
        found = self.known(reference)
        if not self._fail(found.id, reason):
            raise Fault(409, "NOTHING_TO_TAKE_BACK", f"what is {found.phase} cannot fail any more")
        return self._records[found.id]

    def open_dispute(self, reference: str, minor: int | None, reason: str, evidence_seconds: float) -> Record:
        """Open a dispute over what was collected of, or by, a reference; None: over all of it. Raises `Fault`."""
        disputed = self.known(reference)
        match disputed.kind:
            case Kind.AUTHORISATION:
                authorisation = disputed
                most = self._sum(disputed, Kind.COLLECTION, but=_NOT_COUNTED)
            case Kind.COLLECTION:
                authorisation = self._records[disputed.authorisation]
                most = disputed.minor if disputed.phase is Phase.COLLECTED else 0
            case _:
                raise Fault(409, "NOT_DISPUTABLE", f"a {disputed.kind} cannot be disputed")
        minor = most if minor is None else minor
        left = self._sum(authorisation, Kind.COLLECTION, but=_NOT_COUNTED) - self.disputes.minor_against(authorisation)
        if not 0 < minor <= min(most, left):
            raise Fault(409, "EXCEEDS_COLLECTED", "no more can be disputed than was collected and is not disputed yet")
        return self.disputes.open(
            disputed, authorisation, minor=minor, reason=reason, evidence_seconds=evidence_seconds
        )

    def known(self, reference: str) -> Record:
        """What stands under a reference, as `lookup`; raises `Fault` for nothing."""
        found = self.lookup(reference)
        if found is None:
            raise Fault(404, "NO_SUCH_REFERENCE", "nothing is known under this reference")
        return found

    def record(self, record_id: str) -> Record | None:
        """The record with an id."""
        return self._records.get(record_id)

    # Time

    def now(self) -> float:
        """The simulator's time; while something from the agenda is carried out, the time that it was due."""
        return self._clock() if self._landing_at is None else self._landing_at

    def later(self, seconds: float, action: Callable[[], object]) -> None:
        """Carry `action` out that much later by the simulator's clock."""
        heapq.heappush(self._agenda, (self.now() + seconds, next(self._numbers), action))

    def land_due(self) -> None:
        """Carry out whatever is due by now, the earliest first, what it brings about included."""
        now = self._clock()
        while self._agenda and self._agenda[0][0] <= now:
            self._landing_at, _, action = heapq.heappop(self._agenda)
            try:
                action()
            finally:
                self._landing_at = None

    # Sums

    def open_minor(self, authorisation: Record) -> int:
        """What can still be collected of an authorisation; a collection under way, or failed, has had its part."""
        if authorisation.phase is not Phase.APPROVED or authorisation.closed or self._has_expired(authorisation):
            return 0
        return self._granted(authorisation) - self._sum(authorisation, Kind.COLLECTION)

    def effects(self) -> Sequence[Record]:
        """All records but refusals, in the order of their making."""
        return [record for record in self._records.values() if record.phase not in WITHOUT_EFFECT]

    def totals(self) -> Mapping[str, Total]:
        """What stands, for each currency."""
        totals: defaultdict[str, Total] = defaultdict(Total)
        for record in self._records.values():
            so_far = totals[record.unit]
            match record.phase:
                case Phase.APPROVED:
                    total = replace(so_far, authorised_open=so_far.authorised_open + self.open_minor(record))
                case Phase.COLLECTED:
                    total = replace(so_far, collected=so_far.collected + record.minor)
                case Phase.PAID_BACK:
                    total = replace(so_far, paid_back=so_far.paid_back + record.minor)
                case Phase.ACCEPTED | Phase.ARRIVED:
                    total = replace(so_far, transferred=so_far.transferred + record.minor)
                case _:
                    total = so_far
            totals[record.unit] = total
        for movement in self.disputes.movements():
            so_far, taken = totals[movement.unit], TAKES[movement.phase] * movement.minor
            totals[movement.unit] = replace(
                so_far,
                withdrawn=so_far.withdrawn + max(taken, 0),
                given_back=so_far.given_back + max(-taken, 0),
            )
        return {unit: total for unit, total in totals.items() if unit}

    def doubles(self) -> Sequence[str]:
        """The references under which more than one effect has moved something. There must be none, ever."""
        return [
            reference
            for reference, ids in self._by_reference.items()
            if sum(self._moves_something(self._records[each]) for each in ids) > 1
        ]

    def _moves_something(self, record: Record) -> bool:
        return record.phase not in WITHOUT_EFFECT and record.minor > 0

    def _sum(self, authorisation: Record, kind: Kind, *, but: frozenset[Phase] = frozenset()) -> int:
        wanted = [each for each in self._related(authorisation, kind) if each.phase not in WITHOUT_EFFECT | but]
        return sum(each.minor for each in wanted)

    def _granted(self, authorisation: Record) -> int:
        return authorisation.minor + self._sum(authorisation, Kind.INCREMENT, but=UNDER_WAY)

    def _has_expired(self, authorisation: Record) -> bool:
        return authorisation.phase is Phase.APPROVED and self.now() >= authorisation.valid_until

    def _is_used_up(self, authorisation: Record) -> bool:
        """Nothing was left to release: all of it has been collected, or a last collection gave the rest up."""
        collected = self._sum(authorisation, Kind.COLLECTION)
        return authorisation.closed is Closed.LAST or collected >= self._granted(authorisation)

    # Pages

    def _authorisation(self, pointer: Pointer) -> Record:
        found = self._pointed_at(pointer)
        if not found:
            raise Fault(404, "NO_SUCH_AUTHORISATION", "no authorisation is known under this id or reference")
        return found[-1]

    def _pointed_at(self, pointer: Pointer) -> Sequence[Record]:
        """One authorisation; several where a reference was sent twice and both were taken. The best is the last."""
        authorisations = [record for record in self._at(pointer) if record.kind is Kind.AUTHORISATION]
        return sorted(authorisations, key=lambda record: record.phase not in WITHOUT_EFFECT)

    def _at(self, pointer: Pointer) -> Sequence[Record]:
        ids = [pointer.id] if pointer.id else self._by_reference.get(pointer.reference, ())
        return [self._records[each] for each in ids if each in self._records]

    def _related(self, authorisation: Record, kind: Kind) -> Sequence[Record]:
        records = (self._records[each] for each in self._under.get(authorisation.id, ()))
        return [record for record in records if record.kind is kind]

    def _draft(
        self,
        kind: Kind,
        reference: str,
        minor: int,
        unit: str,
        *,
        authorisation: Record | None = None,
        phase: Phase = Phase.DENIED,
    ) -> Record:
        """A record that is not written yet; its phase is still to be decided, and a refusal until then."""
        return Record(
            kind=kind,
            id=self._name(ID_PREFIX[kind]),
            merchant_ref=reference,
            phase=phase,
            at=0.0,
            minor=minor,
            unit=unit,
            authorisation=authorisation.id if authorisation else "",
            authorisation_ref=authorisation.merchant_ref if authorisation else "",
        )

    def _name(self, kind: str) -> str:
        return f"{kind}_{self._tag}{next(self._numbers):06}"

    def _write(self, record: Record) -> Record:
        written = replace(record, at=self.now())
        if written.id not in self._records:
            self._by_reference[written.merchant_ref].append(written.id)
            if written.authorisation:
                self._under[written.authorisation].append(written.id)
        self._records[written.id] = written
        self._announce(written)
        return written


def _bent(usual: Twist, twist: Twist) -> Twist:
    """What the script says, or else the instrument; but no script bends the no of an instrument."""
    return usual if twist is None or isinstance(usual, Deny) else twist


def _waiting(kind: Kind) -> Phase:
    return Phase.IN_REVIEW if kind is Kind.AUTHORISATION else Phase.QUEUED
