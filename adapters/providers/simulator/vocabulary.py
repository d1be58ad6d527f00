"""The simulator's words and what they mean to us: pure tables. A word or status that is not listed is unknown."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict, ValidationError

from adapters.profile import Profile, encode
from adapters.wire import Reply
from domain.commands import Effect
from domain.errors import BadMoney, Conflict, Unavailable, Unknown
from domain.ids import Verb
from domain.money import Money, parse
from domain.outcomes import Answer, Found, Outcome, Reason

PHASES: Mapping[str, Outcome] = MappingProxyType({
    "APPROVED": Outcome.DONE,
    "COLLECTED": Outcome.DONE,
    "RELEASED": Outcome.DONE,
    "PAID_BACK": Outcome.DONE,
    "ACCEPTED": Outcome.DONE,  # a transfer that the rail has taken; its arrival is another question
    "ARRIVED": Outcome.DONE,
    "BOUNCED": Outcome.DONE,  # it was accepted before it came back
    "IN_REVIEW": Outcome.PENDING,
    "QUEUED": Outcome.PENDING,
    "DENIED": Outcome.REFUSED,
    "NOT_RELEASED": Outcome.REFUSED,
})  # fmt: skip

ARRIVALS: Mapping[str, Outcome] = MappingProxyType({
    "ACCEPTED": Outcome.PENDING,
    "ARRIVED": Outcome.DONE,
    "BOUNCED": Outcome.REFUSED,
})  # fmt: skip

REASONS: Mapping[str, str] = MappingProxyType({
    "insufficient_credit": "insufficient_credit",
    "card_reported_lost": "card_lost",
    "collection_blocked": "capture_blocked",
    "exceeds_open": "exceeds_authorization",
    "exceeds_collected": "exceeds_captured",
    "account_closed": "account_closed_at_bank",
    "beneficiary_unknown": "beneficiary_unknown",
})  # fmt: skip
DECLINED = "declined"  # a reason that is not listed is still a refusal: its phase says so

FAULTS_REFUSED = frozenset({"NO_SUCH_AUTHORISATION", "MALFORMED"})  # read, judged, and certainly without effect
FAULT_ABSENT = "NO_SUCH_REFERENCE"
FAULT_KEY_REUSED = "KEY_REUSED"
UNAUTHENTICATED = (401, 403)  # nothing was done; the owner of the credentials is paged


class Value(BaseModel):
    """An amount in their writing."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)
    amount: str
    unit: str


class Denial(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)
    reason: str


class Record(BaseModel):
    """What they say of one thing."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)
    kind: str
    id: str
    merchantRef: str
    phase: str
    value: Value | None = None  # a release has none
    denial: Denial | None = None
    validUntil: str | None = None
    collected: Value | None = None


class Data(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)
    data: Record


class FaultCode(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)
    code: str


class Fault(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)
    fault: FaultCode


def body(fields: Mapping[str, object]) -> bytes:
    """Write a request's body."""
    return json.dumps(fields, separators=(",", ":")).encode()


def value(profile: Profile, money: Money) -> dict[str, object]:
    """Write an amount."""
    return {"amount": encode(profile, money), "unit": money.currency}


def answered(effect: Effect, reply: Reply) -> Answer:
    """Say what an answer to an effect means; raises as the port says."""
    if reply.status in (200, 201, 202):
        record = _record(reply)
        _same(record, effect.reference, effect.money)
        return meaning(record, PHASES)
    fault = _fault(reply)
    if reply.status in UNAUTHENTICATED:
        raise Unavailable(f"the simulator refuses our credentials ({reply.status} {fault})", after_seconds=30.0)
    if fault == FAULT_KEY_REUSED:
        raise Conflict("the simulator knows this reference with other content")
    if fault in FAULTS_REFUSED:
        return Answer(outcome=Outcome.REFUSED, reason=fault.lower())
    raise Unknown(f"an answer that is not in the table: {reply.status} {fault}")


def inquired(verb: Verb, reference: str, reply: Reply) -> Answer | None:
    """Say what an answer to a question means."""
    if reply.status == 200:
        record = _record(reply)
        if record.merchantRef != reference:
            raise Conflict(f"asked about {reference}, told about {record.merchantRef}")
        return meaning(record, ARRIVALS if verb is Verb.ARRIVE else PHASES)
    fault = _fault(reply)
    if reply.status == 404 and fault == FAULT_ABSENT:
        return None
    if reply.status in UNAUTHENTICATED:
        raise Unavailable(f"the simulator refuses our credentials ({reply.status} {fault})", after_seconds=30.0)
    raise Unknown(f"an answer that is not in the table: {reply.status} {fault}")


def meaning(record: Record, phases: Mapping[str, Outcome]) -> Answer:
    """Say what a record means; a phase that is not listed is unknown, and shows that they have it."""
    outcome = phases.get(record.phase, Outcome.UNKNOWN)
    if outcome is Outcome.UNKNOWN:
        return Answer(outcome=outcome, reason=f"unlisted phase {record.phase}", provider_id=record.id)
    found = None
    if record.phase == "NOT_RELEASED" and record.collected is not None:
        found = Found(kind="captured", money=_money(record.collected), provider_id=record.id)
    reason = REASONS.get(record.denial.reason, DECLINED) if record.denial else ""
    return Answer(
        outcome=outcome,
        reason=Reason.ALREADY_CAPTURED if found else reason,
        provider_id=record.id,
        found=found,
        expires_seconds=_seconds_until(record.validUntil),
    )


def _record(reply: Reply) -> Record:
    try:
        return Data.model_validate_json(reply.body).data
    except ValidationError as failure:
        raise Unknown(f"an unreadable answer with status {reply.status}") from failure


def _fault(reply: Reply) -> str:
    try:
        return Fault.model_validate_json(reply.body).fault.code
    except ValidationError:
        return "unreadable"


def _same(record: Record, reference: str, money: Money) -> None:
    """Compare the answer with what was asked: a changed body has been seen answered with the first result."""
    if record.merchantRef != reference:
        raise Conflict(f"asked for {reference}, answered about {record.merchantRef}")
    if record.value is not None and _money(record.value) != money:
        raise Conflict(f"{reference}: asked for {money}, answered {record.value.amount} {record.value.unit}")


def _money(said: Value) -> Money:
    try:
        return parse(said.amount, said.unit)
    except BadMoney as failure:
        raise Unknown(f"an amount that cannot be: {failure}") from failure


def _seconds_until(moment: str | None) -> float | None:
    if moment is None:
        return None
    try:
        return max(0.0, (datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # unreadable, or without an offset: our own window holds
        return None
