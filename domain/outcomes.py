"""What became of things: outcomes, answers, receipts, doubts, attention, facts and a person's decisions."""

from dataclasses import dataclass
from enum import StrEnum

from domain.ids import UNWRITTEN, OperationId, Reference
from domain.money import Money


class Outcome(StrEnum):
    """Money rule 4. Done, refused and unavailable need explicit evidence; whatever has none is unknown."""

    DONE = "done"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"  # certainly no effect yet
    PENDING = "pending"  # accepted; the answer comes later
    UNKNOWN = "unknown"  # may have happened
    CONFLICT = "conflict"  # same reference, other content


class Reason(StrEnum):
    """Why Holdfast itself ended an operation. A provider's own words stand beside these, never among them."""

    CANCELED = "canceled"
    STALE = "stale"  # nobody waits any more: nothing was started
    BLOCKED_BY_RISK = "blocked_by_risk"
    RISK_REVIEW = "risk_review"  # held until two people decide
    REVIEW_TIMED_OUT = "review_timed_out"
    CHALLENGE_ABANDONED = "challenge_abandoned"  # the payer has not come back
    PAYMENT_DISPUTED = "payment_disputed"  # the payer may get the money back another way
    NOT_REPLACEABLE = "not_replaceable"  # the payout to be tried again has not failed, or another has replaced it
    NOT_SUPPORTED = "not_supported"  # the provider cannot do this
    RECALLED = "recalled"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    REFUND_EXCEEDS_CAPTURED = "refund_exceeds_captured"
    HOLD_NOT_OPEN = "hold_not_open"
    ACCOUNT_CLOSED = "account_closed"
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    NOT_AUTHORIZED_IN_TIME = "not_authorized_in_time"
    ABSENCE_UNPROVEN = "absence_unproven"
    CAPTURE_EXCEEDS_AUTHORIZATION = "capture_exceeds_authorization"
    ALREADY_CAPTURED = "already_captured"  # a void found that the provider had captured
    PAYMENT_CLOSED = "payment_closed"
    REFUSED_BY_OPERATORS = "refused_by_operators"  # two people have decided so, by evidence that stays with them


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What an undo met instead of the effect that it was to undo."""

    kind: str
    money: Money  # all that is captured under the authorization, ours included
    provider_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a provider or our own books say about one reference."""

    outcome: Outcome
    reason: str = ""  # a `Reason`, or the provider's own code; empty when done
    provider_id: str = ""
    found: Found | None = None
    expires_seconds: float | None = None  # how long the provider says that an authorization stands
    challenge: str = ""  # where the payer proves who they are, while the provider waits for it
    soft: bool = False  # refused, but another provider may take it; the adapter's table says so

    @property
    def shows_it(self) -> bool:
        """The provider has the operation: from now on "nothing found" is a contradiction."""
        return self.outcome is Outcome.PENDING or bool(self.provider_id)


DONE = Answer(outcome=Outcome.DONE)
CANCELED = Answer(outcome=Outcome.REFUSED, reason=Reason.CANCELED)


def refused(reason: str) -> Answer:
    """Answer with a refusal."""
    return Answer(outcome=Outcome.REFUSED, reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the initiator of an operation is told.

    Temporal gives the first receipt to any command under the same update id without asking the workflow, so the caller
    compares `fingerprint` with its own command's. `state` is the run's state when it answered; `moved` is what this
    operation moved, `total` what is captured (payment), refunded (refund) or paid out (payout) by the run altogether.
    """

    operation: OperationId
    fingerprint: str
    outcome: Outcome
    state: str
    moved: Money
    total: Money
    reason: str = ""
    provider_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """An effect that may have happened; while it stands, no other operation of the run is taken."""

    reference: Reference
    since: str  # RFC 3339
    next_check: str  # RFC 3339
    accepted: bool = False  # the provider has it and has not decided: known to be on its way, not lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """What a run that cannot decide asks of a person."""

    reference: Reference
    reason: str
    owner: str
    since: str  # RFC 3339
    deadline: str  # RFC 3339
    update: str  # the name of the update that resolves it
    payload: str  # the JSON to send with it
    escalations: int = 0  # how many deadlines have passed


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """What a webhook reports about one reference. An arrival is reported under `{reference}/arrival`."""

    reference: Reference
    answer: Answer
    source: str  # the webhook's event id, for the timeline


class DisputeStage(StrEnum):
    """What a provider tells of a dispute."""

    OPENED = "opened"
    WITHDRAWN = "withdrawn"  # the funds were taken; again after a dispute was won, under a key of its own
    WON = "won"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeNews:
    """One thing that a provider tells of a dispute.

    `dispute` is the provider's id of it, `key` its own key of this movement, `on` the effect of ours that is disputed
    (an authorization or a capture). `evidence_due` is RFC 3339, or empty.
    """

    dispute: str
    key: str
    stage: DisputeStage
    on: Reference
    money: Money
    source: str  # the webhook's event id
    evidence_due: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """An effect that our call journal has as sent, and not as certainly without effect."""

    provider: str
    reference: Reference
    provider_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stands:
    """What our own books say about one effect of ours, told to whoever settles a late fact.

    `state` is the operation's row's; `posted` whether the effect is booked, `reversed` whether its failure is too.
    """

    state: str
    posted: bool
    reversed: bool
    payment: OperationId | None = None
    amount: Money | None = None
    total: Money | None = None
    reference: Reference = UNWRITTEN  # the effect that the operation's row stands for
    provider_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A person's word on a parked reference.

    It may move money, so it carries the ids of two approvals, by two authenticated operators (money rule 15).
    """

    reference: Reference
    outcome: Outcome
    evidence: str
    approvals: tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One line of a run's own timeline: what happened under which reference, and when."""

    at: str  # RFC 3339
    what: str
    reference: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a run says of itself when it is asked."""

    state: str
    amount: Money
    total: Money  # captured, refunded or paid out by the run altogether
    reason: str
    doubt: Doubt | None
    attention: Attention | None
    challenge: str = ""  # where the payer proves who they are
    provider: str = ""  # who is asked now: another may have been before
