"""What Northbank writes down about one thing that it was asked to do, and how it shows that.

Knows words and their shapes; when a record changes is the books' business.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType

from simulator.fields import Json
from simulator.units import amount_of


class Kind(StrEnum):
    """What a record is of."""

    AUTHORISATION = "authorisation"
    COLLECTION = "collection"
    RELEASE = "release"
    PAYBACK = "payback"
    TRANSFER = "transfer"
    INCREMENT = "increment"
    RECALL = "recall"
    DISPUTE = "dispute"


class Phase(StrEnum):
    """How far it has come."""

    APPROVED = "APPROVED"
    IN_REVIEW = "IN_REVIEW"
    CHALLENGED = "CHALLENGED"  # until the payer has proven who they are, or a release gives it up
    RAISED = "RAISED"
    COLLECTED = "COLLECTED"
    QUEUED = "QUEUED"
    RELEASED = "RELEASED"
    NOT_RELEASED = "NOT_RELEASED"
    PAID_BACK = "PAID_BACK"
    ACCEPTED = "ACCEPTED"
    ARRIVED = "ARRIVED"
    BOUNCED = "BOUNCED"
    RETURNED = "RETURNED"  # after it had arrived
    RECALLED = "RECALLED"
    FAILED = "FAILED"  # after it had been COLLECTED or PAID_BACK
    DENIED = "DENIED"
    OPENED = "OPENED"  # this and the next three: of disputes
    WITHDRAWN = "WITHDRAWN"
    WON = "WON"
    LOST = "LOST"


class Closed(StrEnum):
    """Why nothing more can be collected of an authorisation, though some was left."""

    NOT = ""
    RELEASED = "released"
    LAST = "last"  # a collection that said so was the last one


ID_PREFIX: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.AUTHORISATION: "au",
        Kind.COLLECTION: "co",
        Kind.RELEASE: "re",
        Kind.PAYBACK: "pb",
        Kind.TRANSFER: "tr",
        Kind.INCREMENT: "in",
        Kind.RECALL: "rc",
    }
)

# The HTTP status of a POST's answer. What a thing becomes later is told by lookups and webhooks alone.
STATUS: Mapping[Phase, int] = MappingProxyType(
    {
        Phase.APPROVED: 201,
        Phase.COLLECTED: 201,
        Phase.RELEASED: 201,
        Phase.PAID_BACK: 201,
        Phase.ACCEPTED: 201,
        Phase.RAISED: 201,
        Phase.RECALLED: 201,
        Phase.IN_REVIEW: 202,
        Phase.CHALLENGED: 202,
        Phase.QUEUED: 202,
        Phase.DENIED: 200,
        Phase.NOT_RELEASED: 200,
    }
)

UNDER_WAY = frozenset({Phase.IN_REVIEW, Phase.CHALLENGED, Phase.QUEUED})
WITHOUT_EFFECT = frozenset({Phase.DENIED, Phase.NOT_RELEASED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One state of one thing. A new phase is a new `Record` under the same id; `at` is when that phase began."""

    kind: Kind
    id: str
    merchant_ref: str
    phase: Phase
    at: float  # seconds since 1970 by the simulator's clock, as all times here
    minor: int = 0  # of a release: what it released
    unit: str = ""  # empty: the release of an authorisation that was never made, so in no currency
    denial: str = ""  # why it was DENIED, has BOUNCED, come back or FAILED, or is disputed
    authorisation: str = ""  # id of the authorisation that it belongs to
    authorisation_ref: str = ""
    transfer: str = ""  # of a recall: the id of what is called back
    transfer_ref: str = ""
    token: str = ""  # of an authorisation
    valid_until: float = 0.0  # of an authorisation, once approved
    closed: Closed = Closed.NOT  # of an authorisation
    challenge: str = ""  # of an authorisation that is CHALLENGED: where the payer goes
    last: bool = False  # of a collection
    collected: int = 0  # of a release: all that had been collected by then
    collections: tuple[str, ...] = ()  # of a release: their ids
    returned_as: str = ""  # of a transfer that is RETURNED: the id of that movement
    movement: str = ""  # of a dispute: the id of the step that it has taken
    evidence_by: float = 0.0  # of a dispute: until when the merchant may answer it


def rfc3339(seconds: float) -> str:
    """Write a time as in RFC 3339, with milliseconds, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def shown(record: Record) -> Json:
    """The record as callers and webhooks see it."""
    seen: dict[str, object] = {
        "kind": record.kind,
        "id": record.id,
        "merchantRef": record.merchant_ref,
        "phase": record.phase,
        "at": rfc3339(record.at),
    }
    if record.unit and (record.kind is not Kind.RELEASE or record.minor):
        name = "released" if record.kind is Kind.RELEASE else "value"  # a value is what was asked for
        seen[name] = {"amount": amount_of(record.minor, record.unit), "unit": record.unit}
    if record.denial:
        seen["cause" if record.kind is Kind.DISPUTE else "denial"] = {"reason": record.denial}
    if record.authorisation:
        seen["authorisation"] = record.authorisation
    if record.authorisation_ref:
        seen["authorisationRef"] = record.authorisation_ref
    if record.transfer:
        seen |= {"transfer": record.transfer, "transferRef": record.transfer_ref}
    if record.challenge:
        seen["challenge"] = {"url": record.challenge}
    if record.returned_as:
        seen["returnedAs"] = record.returned_as
    if record.kind is Kind.DISPUTE:
        seen |= {"movement": record.movement, "evidenceBy": rfc3339(record.evidence_by)}
    if record.valid_until:
        seen["validUntil"] = rfc3339(record.valid_until)
    if record.collected:
        seen["collected"] = {"amount": amount_of(record.collected, record.unit), "unit": record.unit}
        seen["collections"] = list(record.collections)
    return seen
