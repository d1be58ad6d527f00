"""The simulator's words and what they mean to us: pure tables. A word or status that is not listed is unknown.

Knows their records and faults; what is sent, and whether a call could be made, is for others.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from adapters.profile import Profile, encode
from adapters.wire import Reply
from domain.commands import Effect, Inquiry
from domain.errors import BadMoney, Conflict, Unknown
from domain.ids import Reference, Verb
from domain.money import Money, parse
from domain.outcomes import Answer, DisputeNews, DisputeStage, Found, Outcome, Reason

KINDS: Mapping[Verb, str] = MappingProxyType({
    Verb.AUTHORIZE: "authorisation",
    Verb.CAPTURE:   "collection",
    Verb.VOID:      "release",
    Verb.REFUND:    "payback",
    Verb.PAY_OUT:   "transfer",
    Verb.ARRIVE:    "transfer",
    Verb.INCREMENT: "increment",
    Verb.RECALL:    "recall",
})  # fmt: skip

# (kind, phase): what became of what was asked. A transfer's arrival is another question than its acceptance.
PHASES: Mapping[tuple[str, str], Outcome] = MappingProxyType({
    ("authorisation", "APPROVED"): Outcome.DONE,
    ("authorisation", "IN_REVIEW"): Outcome.PENDING,
    ("authorisation", "CHALLENGED"): Outcome.PENDING,  # the payer is to prove who they are
    ("authorisation", "DENIED"): Outcome.REFUSED,
    ("collection", "COLLECTED"): Outcome.DONE,
    ("collection", "QUEUED"): Outcome.PENDING,
    ("collection", "DENIED"): Outcome.REFUSED,
    ("collection", "FAILED"): Outcome.REFUSED,  # it was collected, and was taken back
    ("release", "RELEASED"): Outcome.DONE,
    ("release", "NOT_RELEASED"): Outcome.REFUSED,
    ("payback", "PAID_BACK"): Outcome.DONE,
    ("payback", "QUEUED"): Outcome.PENDING,
    ("payback", "DENIED"): Outcome.REFUSED,
    ("payback", "FAILED"): Outcome.REFUSED,  # it was paid back, and did not reach the payer
    ("transfer", "ACCEPTED"): Outcome.DONE,
    ("transfer", "ARRIVED"): Outcome.DONE,
    ("transfer", "BOUNCED"): Outcome.DONE,  # it was accepted before it came back
    ("transfer", "RETURNED"): Outcome.DONE,  # and had arrived
    ("transfer", "RECALLED"): Outcome.DONE,
    ("transfer", "DENIED"): Outcome.REFUSED,
    ("increment", "RAISED"): Outcome.DONE,
    ("increment", "QUEUED"): Outcome.PENDING,
    ("increment", "DENIED"): Outcome.REFUSED,
    ("recall", "RECALLED"): Outcome.DONE,
    ("recall", "QUEUED"): Outcome.PENDING,
    ("recall", "DENIED"): Outcome.REFUSED,
})  # fmt: skip

ARRIVALS: Mapping[tuple[str, str], Outcome] = MappingProxyType({
    ("transfer", "ACCEPTED"): Outcome.PENDING,
    ("transfer", "ARRIVED"): Outcome.DONE,
    ("transfer", "BOUNCED"): Outcome.REFUSED,
    ("transfer", "RETURNED"): Outcome.REFUSED,
    ("transfer", "RECALLED"): Outcome.REFUSED,
})  # fmt: skip

STAGES: Mapping[str, DisputeStage] = MappingProxyType({
    "OPENED":    DisputeStage.OPENED,
    "WITHDRAWN": DisputeStage.WITHDRAWN,
    "WON":       DisputeStage.WON,
    "LOST":      DisputeStage.LOST,
})  # fmt: skip

# Why a payer disputes. Any other word of theirs is `other`: it decides nothing.
CAUSES: Mapping[str, str] = MappingProxyType({
    "not_recognised":   "not_recognized",
    "not_received":     "not_received",
    "not_as_described": "not_as_described",
    "charged_twice":    "charged_twice",
})  # fmt: skip
OTHER_CAUSE = "other"


class No(NamedTuple):
    """A refusal, in words that stay the same whoever the provider is."""

    reason: str
    soft: bool = False  # this provider does not get it authorized now; another one may


REFUSALS: Mapping[str, No] = MappingProxyType({
    "insufficient_credit":   No("insufficient_credit"),
    "card_reported_lost":    No("card_lost"),
    "issuer_unreachable":    No("issuer_unreachable", soft=True),
    "challenge_failed":      No("challenge_failed"),
    "released":              No("authorization_voided"),
    "authorisation_expired": No("authorization_expired"),
    "authorisation_closed":  No("authorization_closed"),
    "not_raisable":          No("increment_blocked"),
    "collection_blocked":    No("capture_blocked"),
    "exceeds_open":          No("exceeds_authorization"),
    "exceeds_collected":     No("exceeds_captured"),
    "disputed":              No(Reason.PAYMENT_DISPUTED),
    "unit_differs":          No("currency_differs"),
    "value_differs":         No("amount_differs"),
    "payer_account_closed":  No("payer_account_closed"),
    "account_closed":        No("account_closed_at_bank"),
    "beneficiary_unknown":   No("beneficiary_unknown"),
    "beneficiary_refused":   No("beneficiary_refused"),
    "recalled":              No(Reason.RECALLED),
    "already_arrived":       No("already_arrived"),
    "not_on_its_way":        No("not_in_transit"),
})  # fmt: skip
DECLINED = No("declined")  # a reason that is not listed is still a refusal: its phase says so

# (status, code): read, judged, and certainly without effect. 409 COLLECTION_UNDER_WAY is not here: it is undecided.
FAULTS_REFUSED: Mapping[tuple[int, str], str] = MappingProxyType({
    (400, "MALFORMED"): "rejected_as_malformed",
    (404, "NO_SUCH_AUTHORISATION"): "authorization_not_found",
    (404, "NO_SUCH_TRANSFER"): "payout_not_found",
})  # fmt: skip
FAULT_KEY_REUSED = (409, "KEY_REUSED")
FAULT_ABSENT = (404, "NO_SUCH_REFERENCE")
UNREADABLE = "unreadable"
STATUSES_ANSWERED = (200, 201, 202)


class _Said(BaseModel):
    """Their JSON: types are exact, what is added to it later is ignored."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class Value(_Said):
    """An amount in major units, as text."""

    amount: str
    unit: str


class Denial(_Said):
    """Why a record was denied, or has failed, or a transfer has come back."""

    reason: str


class Challenge(_Said):
    """Where the payer proves who they are."""

    url: str


class Record(_Said):
    """What they say of one thing."""

    kind: str
    id: str
    merchantRef: str
    phase: str
    value: Value | None = None  # what was asked for; a release asks for no amount
    denial: Denial | None = None
    validUntil: str | None = None  # of an authorisation
    challenge: Challenge | None = None  # of an authorisation, while it waits for the payer
    returnedAs: str | None = None  # of a transfer that came back after it had arrived: the id of that movement
    collected: Value | None = None  # of a release: all that had been collected by then
    collections: tuple[str, ...] = ()  # of a release: their ids


class Dispute(_Said):
    """One movement of a dispute."""

    id: str
    movement: str
    merchantRef: str  # of the authorisation or the collection that is disputed
    phase: str
    value: Value
    cause: Denial | None = None
    evidenceBy: str | None = None


class _Data(_Said):
    data: Record


class _FaultCode(_Said):
    code: str


class _Fault(_Said):
    fault: _FaultCode


def body(fields: Mapping[str, object]) -> bytes:
    """Write a request's body."""
    return json.dumps(fields, separators=(",", ":")).encode()


def value(profile: Profile, money: Money) -> dict[str, object]:
    """Write an amount."""
    return {"amount": encode(profile, money), "unit": money.currency}


def answered(verb: Verb, effect: Effect, reply: Reply) -> Answer:
    """Say what the answer to an effect means.

    Raises `Unknown` for what is unreadable or not in the tables, `Conflict` where it is about something else.
    """
    if reply.status in STATUSES_ANSWERED:
        record = _record(reply)
        _same(record, verb, effect.reference)
        if verb is not Verb.VOID:
            _same_money(record, effect)
        return meaning(record)
    fault = (reply.status, _fault(reply))
    if fault == FAULT_KEY_REUSED:
        raise Conflict("the simulator knows this reference with other content")
    if fault in FAULTS_REFUSED:
        return Answer(outcome=Outcome.REFUSED, reason=FAULTS_REFUSED[fault])
    raise Unknown(f"an answer that is not in the table: {fault}")


def inquired(inquiry: Inquiry, reply: Reply) -> Answer | None:
    """Say what the answer to a question means; None: nothing is known there under this reference. Raises as above."""
    if reply.status == 200:
        record = _record(reply)
        _same(record, inquiry.verb, inquiry.on)
        return meaning(record, ARRIVALS if inquiry.verb is Verb.ARRIVE else PHASES)
    fault = (reply.status, _fault(reply))
    if fault == FAULT_ABSENT:
        return None
    raise Unknown(f"an answer that is not in the table: {fault}")


def meaning(record: Record, table: Mapping[tuple[str, str], Outcome] = PHASES) -> Answer:
    """Say what a record means: the one reading that answers, inquiries and webhooks share (money rule 14).

    A phase that is not listed is unknown, and shows that they have it. Raises `Unknown` for an amount that cannot be.
    """
    outcome = table.get((record.kind, record.phase), Outcome.UNKNOWN)
    found, soft = _found(record), False
    if record.phase == "NOT_RELEASED" and found is None:
        outcome = Outcome.UNKNOWN  # refused by captures that it does not tell of
    match outcome:
        case Outcome.UNKNOWN:
            reason = f"a {record.kind} that is {record.phase}"
        case Outcome.REFUSED if found is not None:
            reason = Reason.ALREADY_CAPTURED
        case Outcome.REFUSED:
            no = REFUSALS.get(record.denial.reason, DECLINED) if record.denial else DECLINED
            reason, soft = no.reason, no.soft and record.kind == KINDS[Verb.AUTHORIZE]
        case _:
            reason = ""
    return Answer(
        outcome=outcome,
        reason=reason,
        provider_id=record.returnedAs if record.returnedAs and table is ARRIVALS else record.id,
        found=found,
        expires_seconds=_seconds_until(record.validUntil),
        challenge=record.challenge.url if record.challenge and outcome is Outcome.PENDING else "",
        soft=soft,
    )


def news(dispute: Dispute, source: str) -> DisputeNews | None:
    """Say what a movement of a dispute means; None for a phase that is not listed. `source` is the event's id.

    Raises `Unknown` for an amount that cannot be.
    """
    stage = STAGES.get(dispute.phase)
    if stage is None:
        return None
    return DisputeNews(
        dispute=dispute.id,
        key=dispute.movement,
        stage=stage,
        on=Reference(dispute.merchantRef),
        money=_money(dispute.value, dispute.merchantRef),
        source=source,
        evidence_due=_moment(dispute.evidenceBy),
        reason=CAUSES.get(dispute.cause.reason, OTHER_CAUSE) if dispute.cause else OTHER_CAUSE,
    )


def _found(record: Record) -> Found | None:
    """What a release met: told where a rest was given up too, so that a capture that we do not know of is booked."""
    if record.kind != KINDS[Verb.VOID] or record.collected is None:
        return None
    newest = record.collections[-1] if record.collections else record.id
    return Found(kind="captured", money=_money(record.collected, record.merchantRef), provider_id=newest)


def _record(reply: Reply) -> Record:
    try:
        return _Data.model_validate_json(reply.body).data
    except ValidationError as failure:
        raise Unknown(f"an unreadable answer with status {reply.status}") from failure


def _fault(reply: Reply) -> str:
    try:
        return _Fault.model_validate_json(reply.body).fault.code
    except ValidationError:
        return UNREADABLE


def _same(record: Record, verb: Verb, reference: Reference) -> None:
    """Compare the answer with what was asked: a changed body has been seen answered with the first result."""
    if record.merchantRef != reference:
        raise Conflict(f"asked about {reference}, told about {record.merchantRef}")
    if record.kind != KINDS[verb]:
        raise Conflict(f"{reference}: asked about a {KINDS[verb]}, told about a {record.kind}")


def _same_money(record: Record, effect: Effect) -> None:
    if record.value is None:
        raise Unknown(f"{effect.reference}: the answer names no amount", provider_id=record.id)
    if _money(record.value, effect.reference) != effect.money:
        told = f"{record.value.amount} {record.value.unit}"
        raise Conflict(f"{effect.reference}: asked for {effect.money}, told about {told}")


def _money(said: Value, reference: str) -> Money:
    try:
        return parse(said.amount, said.unit)
    except BadMoney as failure:
        raise Unknown(f"{reference}: an amount that cannot be: {failure}") from failure


def _seconds_until(moment: str | None) -> float | None:
    if not _moment(moment):
        return None  # our own window holds
    return max(0.0, (datetime.fromisoformat(moment or "") - datetime.now(UTC)).total_seconds())


def _moment(said: str | None) -> str:
    """A time as they say it; empty where it is none, or has no offset and so might be any of many."""
    try:
        return said if said and datetime.fromisoformat(said).tzinfo else ""
    except ValueError:
        return ""
