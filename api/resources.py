"""What initiators are shown, and how it is made of what was asked and what is known. Knows no HTTP.

The resource in a POST's answer holds nothing but what the claim and the receipt say, so that whoever answers a key
after a crash writes the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel

from api.ports import ParkedRun, Requested, Stored, StoredApproval, StoredMoment
from domain.commands import Payment, Payout, Refund
from domain.ids import ClientId, OperationId
from domain.lifecycle import DisputeState, PaymentState, PayoutState, RefundState
from domain.money import Money
from domain.outcomes import Attention, Doubt, Receipt, View

PartStatus = Literal["succeeded", "failed", "pending"]

# A reason that was given on the way to these is history, not the payment's own: an earlier capture was refused, say.
NOT_DECLINED = frozenset(
    {
        PaymentState.CHALLENGE_REQUIRED,
        PaymentState.AUTHORIZED,
        PaymentState.CAPTURING,
        PaymentState.PARTIALLY_CAPTURED,
        PaymentState.CAPTURED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a run: from its receipt, its row, or itself."""

    state: str
    total: Money
    reason: str = ""
    amount: Money | None = None  # where it is no longer what was asked for: an authorization was raised
    doubt: Doubt | None = None
    attention: Attention | None = None
    challenge: str = ""
    provider: str = ""  # where another was asked than the first


class DoubtResource(BaseModel):
    """An effect that may have happened: Holdfast asks the provider, and takes nothing else meanwhile.

    `accepted`: the provider has it for certain, and has not decided.
    """

    reference: str
    since: str
    next_check: str
    accepted: bool


class AttentionResource(BaseModel):
    """A person has to decide; until then nothing else is taken."""

    owner: str
    since: str
    deadline: str
    reason: str


class ChallengeResource(BaseModel):
    """The payer proves who they are at `url`; send them there, and tell us when they are back."""

    url: str


class MomentResource(BaseModel):
    """Something that happened, with the operation that it belongs to."""

    at: str
    operation: str
    what: str
    detail: str


class _Started(BaseModel):
    """What all operations with a run of their own show."""

    id: str
    amount: int
    currency: str
    merchant: str
    provider: str
    merchant_reference: str | None
    created_at: str
    livemode: bool
    in_doubt: DoubtResource | None
    attention: AttentionResource | None


class PaymentResource(_Started):
    """A payment. `amount` was asked for, with what it was raised by since; `amount_captured` has been taken.

    Refunds do not lower `amount_captured`. `challenge` is there while the status is `challenge_required`.
    """

    object: Literal["payment"] = "payment"
    status: PaymentState
    amount_captured: int
    capture: Literal["manual", "automatic"]
    decline_code: str | None
    challenge: ChallengeResource | None


class PaymentPage(PaymentResource):
    """A payment and what happened to it, oldest first."""

    timeline: list[MomentResource]


class RefundResource(_Started):
    """A refund of one payment."""

    object: Literal["refund"] = "refund"
    payment: str
    status: RefundState
    failure_code: str | None


class RefundPage(RefundResource):
    """A refund and what happened to it, oldest first."""

    timeline: list[MomentResource]


class PayoutResource(_Started):
    """A payout to a merchant's bank account; in transit until the rail says that it has arrived."""

    object: Literal["payout"] = "payout"
    status: PayoutState
    failure_code: str | None


class PayoutPage(PayoutResource):
    """A payout and what happened to it, oldest first."""

    timeline: list[MomentResource]


class DisputeResource(_Started):
    """A payer's dispute over a payment, as its provider tells it. Nothing of the payment is refunded meanwhile."""

    object: Literal["dispute"] = "dispute"
    payment: str
    status: DisputeState
    reason: str | None


class DisputePage(DisputeResource):
    """A dispute and what happened to it, oldest first."""

    timeline: list[MomentResource]


class RecallResource(BaseModel):
    """A recall of a payout on its way; where it succeeds the payout fails, and the merchant has the money back."""

    object: Literal["recall"] = "recall"
    id: str
    payout: str
    status: PartStatus
    failure_code: str | None
    payout_status: PayoutState
    created_at: str
    livemode: bool


class _Part(BaseModel):
    """What captures, increments and voids show: operations of a payment's run."""

    id: str
    payment: str
    status: PartStatus
    failure_code: str | None
    payment_status: PaymentState
    created_at: str
    livemode: bool


class CaptureResource(_Part):
    """A capture: all or a part of an authorization."""

    object: Literal["capture"] = "capture"
    amount: int
    currency: str


class CapturePage(CaptureResource):
    """A capture and what happened to it, oldest first."""

    timeline: list[MomentResource]


class IncrementResource(_Part):
    """An increment: by how much an authorization is raised."""

    object: Literal["increment"] = "increment"
    amount: int
    currency: str


class IncrementPage(IncrementResource):
    """An increment and what happened to it, oldest first."""

    timeline: list[MomentResource]


class VoidResource(_Part):
    """A void; `amount_captured` is what the payment keeps."""

    object: Literal["void"] = "void"
    amount_captured: int


class PaymentList(BaseModel):
    """A page of payments, newest first."""

    object: Literal["list"] = "list"
    data: list[PaymentResource]
    has_more: bool


class PayoutList(BaseModel):
    """A page of payouts, newest first."""

    object: Literal["list"] = "list"
    data: list[PayoutResource]
    has_more: bool


class DisputeList(BaseModel):
    """A page of disputes, newest first."""

    object: Literal["list"] = "list"
    data: list[DisputeResource]
    has_more: bool


class TimelineList(BaseModel):
    """What happened, oldest first."""

    object: Literal["list"] = "list"
    data: list[MomentResource]
    has_more: bool = False


class BalanceResource(BaseModel):
    """An account's balance in minor units, debit positive; `available` is what can be drawn of it."""

    object: Literal["balance"] = "balance"
    account: str
    currency: str
    posted: int
    pending_debit: int
    pending_credit: int
    available: int
    as_of: str | None


class ApprovalResource(BaseModel):
    """One operator's word on what has happened. `made_a_decision`: with another's it has been acted upon."""

    id: str
    actor: str
    outcome: str
    evidence: str
    at: str
    made_a_decision: bool


class ParkedResource(BaseModel):
    """A run that waits for a person: for what, whom, and until when at the latest. `update` is what ends the wait.

    Runs of upkeep name no reference and have no deadline: a broken book is looked at now.
    """

    object: Literal["parked_run"] = "parked_run"
    run: str
    kind: str
    status: str
    reference: str | None
    reason: str
    owner: str
    since: str
    deadline: str | None
    escalations: int
    update: str | None
    payload: str | None
    amount: int | None
    currency: str | None
    merchant: str | None
    provider: str | None
    approvals: list[ApprovalResource]


class ParkedList(BaseModel):
    """What waits for people, the oldest deadline first."""

    object: Literal["list"] = "list"
    data: list[ParkedResource]
    has_more: bool


class ApprovalGiven(BaseModel):
    """An approval, and what became of it: `waiting` for another operator's, or `decided`.

    `run` is how the run stands now; null once it has closed.
    """

    object: Literal["approval"] = "approval"
    id: str
    outcome: str
    decision: Literal["waiting", "decided"]
    run: ParkedResource | None


class RetryAsked(BaseModel):
    """The run looks again. `run` is how it stands a moment later; null once it has closed."""

    object: Literal["retry"] = "retry"
    reference: str
    run: ParkedResource | None


class EventReceived(BaseModel):
    """The event is kept; what follows from it follows later."""

    object: Literal["event_received"] = "event_received"


class Health(BaseModel):
    """Whether the process, and what it needs, is there; `missing` names what is not."""

    status: Literal["ok", "unavailable"]
    missing: list[str] = []


# What is known


def from_receipt(receipt: Receipt) -> Known:
    """What a run's own answer says; an answered operation is not in doubt."""
    return Known(state=receipt.state, total=receipt.total, reason=receipt.reason)


def from_row(row: Stored) -> Known:
    """What the row says; whether something is in doubt only the run knows."""
    return Known(state=row.state, total=row.total, reason=row.reason)


def from_view(view: View) -> Known:
    """What the run says of itself."""
    return Known(
        state=view.state,
        total=view.total,
        reason=view.reason,
        amount=view.amount,
        doubt=view.doubt,
        attention=view.attention,
        challenge=view.challenge,
        provider=view.provider,
    )


def nothing_yet(money: Money) -> Known:
    """It has been asked for, and no more is known."""
    return Known(state="requested", total=Money(0, money.currency))


# What was asked


def asked_by(command: Payment | Refund | Payout, created_at: str) -> Requested:
    """What a command asks for."""
    return Requested(
        client=ClientId(command.client),
        merchant=command.merchant,
        provider=command.promises.provider,
        money=command.money,
        merchant_reference=command.merchant_reference,
        created_at=created_at,
        automatic=isinstance(command, Payment) and command.automatic,
        payment=command.payment if isinstance(command, Refund) else None,
    )


def asked_of(row: Stored) -> Requested:
    """What a row says was asked for."""
    return Requested(
        client=row.client,
        merchant=row.merchant,
        provider=row.provider,
        money=row.money,
        merchant_reference=row.merchant_reference,
        created_at=timestamp(row.created_at),
        automatic=row.automatic,
        payment=row.payment,
    )


# Resources


def payment(operation: OperationId, asked: Requested, known: Known, *, live: bool) -> PaymentResource:
    """Show a payment."""
    status = PaymentState(known.state)
    return PaymentResource(
        id=operation,
        status=status,
        amount=(known.amount or asked.money).minor,
        currency=asked.money.currency,
        amount_captured=known.total.minor,
        merchant=asked.merchant,
        provider=known.provider or asked.provider,
        capture="automatic" if asked.automatic else "manual",
        decline_code=None if status in NOT_DECLINED else known.reason or None,
        challenge=ChallengeResource(url=known.challenge) if known.challenge else None,
        merchant_reference=asked.merchant_reference or None,
        created_at=asked.created_at,
        livemode=live,
        in_doubt=_doubt(known.doubt),
        attention=_attention(known.attention),
    )


def refund(operation: OperationId, asked: Requested, known: Known, *, live: bool) -> RefundResource:
    """Show a refund."""
    assert asked.payment is not None
    return RefundResource(
        id=operation,
        payment=asked.payment,
        status=RefundState(known.state),
        amount=asked.money.minor,
        currency=asked.money.currency,
        merchant=asked.merchant,
        provider=known.provider or asked.provider,
        failure_code=known.reason or None,
        merchant_reference=asked.merchant_reference or None,
        created_at=asked.created_at,
        livemode=live,
        in_doubt=_doubt(known.doubt),
        attention=_attention(known.attention),
    )


def payout(operation: OperationId, asked: Requested, known: Known, *, live: bool) -> PayoutResource:
    """Show a payout."""
    return PayoutResource(
        id=operation,
        status=PayoutState(known.state),
        amount=asked.money.minor,
        currency=asked.money.currency,
        merchant=asked.merchant,
        provider=known.provider or asked.provider,
        failure_code=known.reason or None,
        merchant_reference=asked.merchant_reference or None,
        created_at=asked.created_at,
        livemode=live,
        in_doubt=_doubt(known.doubt),
        attention=_attention(known.attention),
    )


def dispute(operation: OperationId, asked: Requested, known: Known, *, live: bool) -> DisputeResource:
    """Show a dispute."""
    assert asked.payment is not None
    return DisputeResource(
        id=operation,
        payment=asked.payment,
        status=DisputeState(known.state),
        amount=asked.money.minor,
        currency=asked.money.currency,
        merchant=asked.merchant,
        provider=known.provider or asked.provider,
        reason=known.reason or None,
        merchant_reference=asked.merchant_reference or None,
        created_at=asked.created_at,
        livemode=live,
        in_doubt=_doubt(known.doubt),
        attention=_attention(known.attention),
    )


def parked(run: ParkedRun, approvals: Sequence[StoredApproval]) -> ParkedResource:
    """Show a run that waits, with what operators have said about it."""
    attention, money = run.view and run.view.attention, run.view.amount if run.view else run.money
    return ParkedResource(
        run=run.run,
        kind=run.kind,
        status=run.view.state if run.view else run.state,
        reference=attention and attention.reference,
        reason=attention.reason if attention else run.why,
        owner=attention.owner if attention else run.owner,
        since=attention.since if attention else timestamp(run.started_at),
        deadline=attention and attention.deadline,
        escalations=attention.escalations if attention else 0,
        update=attention and attention.update,
        payload=attention and attention.payload,
        amount=money and money.minor,
        currency=money and money.currency,
        merchant=run.merchant or None,
        provider=run.provider or None,
        approvals=[_approval(each) for each in approvals],
    )


def moments(rows: Sequence[StoredMoment]) -> list[MomentResource]:
    """Show a timeline."""
    return [
        MomentResource(
            at=instant(row.at),
            operation=row.operation,
            what=row.what,
            detail=row.detail,
        )
        for row in rows
    ]


def timestamp(instant: datetime) -> str:
    """Write an instant as RFC 3339 in UTC, to the second."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def instant(at: datetime) -> str:
    """Write an instant as RFC 3339 in UTC, to the millisecond."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _doubt(doubt: Doubt | None) -> DoubtResource | None:
    return doubt and DoubtResource(
        reference=doubt.reference, since=doubt.since, next_check=doubt.next_check, accepted=doubt.accepted
    )


def _attention(attention: Attention | None) -> AttentionResource | None:
    return attention and AttentionResource(
        owner=attention.owner, since=attention.since, deadline=attention.deadline, reason=attention.reason
    )


def _approval(approval: StoredApproval) -> ApprovalResource:
    return ApprovalResource(
        id=approval.id,
        actor=approval.actor,
        outcome=approval.outcome,
        evidence=approval.evidence,
        at=instant(approval.at),
        made_a_decision=approval.used_by is not None,
    )
