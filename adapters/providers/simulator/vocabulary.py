"""The simulator's words and what they mean to us: pure tables. A word or status that is not listed is unknown.

Knows their records and faults; what is sent, and whether a call could be made, is for others.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict, ValidationError

from adapters.profile import Profile, encode
from adapters.wire import Reply
from domain.commands import Effect, Inquiry
from domain.errors import BadMoney, Conflict, Unknown
from domain.ids import Reference, Verb
from domain.money import Money, parse
from domain.outcomes import Answer, Found, Outcome, Reason

KINDS: Mapping[Verb, str] = MappingProxyType({
    Verb.AUTHORIZE: "authorisation",
    Verb.CAPTURE:   "collection",
    Verb.VOID:      "release",
    Verb.REFUND:    "payback",
    Verb.PAY_OUT:   "transfer",
    Verb.ARRIVE:    "transfer",
})  # fmt: skip

# (kind, phase): what became of what was asked. A transfer's arrival is another question than its acceptance.
PHASES: Mapping[tuple[str, str], Outcome] = MappingProxyType({
    ("authorisation", "APPROVED"): Outcome.DONE,
    ("authorisation", "IN_REVIEW"): Outcome.PENDING,
    ("authorisation", "DENIED"): Outcome.REFUSED,
    ("collection", "COLLECTED"): Outcome.DONE,
    ("collection", "QUEUED"): Outcome.PENDING,
    ("collection", "DENIED"): Outcome.REFUSED,
    ("release", "RELEASED"): Outcome.DONE,
    ("release", "NOT_RELEASED"): Outcome.REFUSED,
    ("payback", "PAID_BACK"): Outcome.DONE,
    ("payback", "QUEUED"): Outcome.PENDING,
    ("payback", "DENIED"): Outcome.REFUSED,
    ("transfer", "ACCEPTED"): Outcome.DONE,
    ("transfer", "ARRIVED"): Outcome.DONE,
    ("transfer", "BOUNCED"): Outcome.DONE,  # it was accepted before it came back
    ("transfer", "DENIED"): Outcome.REFUSED,
})  # fmt: skip

ARRIVALS: Mapping[tuple[str, str], Outcome] = MappingProxyType({
    ("transfer", "ACCEPTED"): Outcome.PENDING,
    ("transfer", "ARRIVED"): Outcome.DONE,
    ("transfer", "BOUNCED"): Outcome.REFUSED,
})  # fmt: skip

# Why they say no, in words that stay the same whoever the provider is.
REASONS: Mapping[str, str] = MappingProxyType({
    "insufficient_credit": "insufficient_credit",
    "card_reported_lost": "card_lost",
    "released": "authorization_voided",
    "authorisation_expired": "authorization_expired",
    "collection_blocked": "capture_blocked",
    "exceeds_open": "exceeds_authorization",
    "exceeds_collected": "exceeds_captured",
    "unit_differs": "currency_differs",
    "account_closed": "account_closed_at_bank",
    "beneficiary_unknown": "beneficiary_unknown",
})  # fmt: skip
DECLINED = "declined"  # a reason that is not listed is still a refusal: its phase says so

# (status, code): read, judged, and certainly without effect. 409 COLLECTION_UNDER_WAY is not here: it is undecided.
FAULTS_REFUSED: Mapping[tuple[int, str], str] = MappingProxyType({
    (400, "MALFORMED"): "rejected_as_malformed",
    (404, "NO_SUCH_AUTHORISATION"): "authorization_not_found",
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
    """Why a record was denied, or a transfer has come back."""

    reason: str


class Record(_Said):
    """What they say of one thing."""

    kind: str
    id: str
    merchantRef: str
    phase: str
    value: Value | None = None  # what was asked for; a release asks for no amount
    denial: Denial | None = None
    validUntil: str | None = None  # of an authorisation
    collected: Value | None = None  # of a release: all that had been collected by then
    collections: tuple[str, ...] = ()  # of a release: their ids


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
    found = _found(record)
    if record.phase == "NOT_RELEASED" and found is None:
        outcome = Outcome.UNKNOWN  # refused by captures that it does not tell of
    match outcome:
        case Outcome.UNKNOWN:
            reason = f"a {record.kind} that is {record.phase}"
        case Outcome.REFUSED if found is not None:
            reason = Reason.ALREADY_CAPTURED
        case Outcome.REFUSED:
            reason = REASONS.get(record.denial.reason, DECLINED) if record.denial else DECLINED
        case _:
            reason = ""
    return Answer(
        outcome=outcome,
        reason=reason,
        provider_id=record.id,
        found=found,
        expires_seconds=_seconds_until(record.validUntil),
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
    if moment is None:
        return None
    try:
        return max(0.0, (datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # unreadable, or without an offset: our own window holds
        return None
