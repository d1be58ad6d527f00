"""The simulator's webhooks: is one theirs, and what does it say? Whatever is malformed is refused, never an error.

Keeps nothing: that an event comes twice, late or out of order is the inbox's and the run's to bear (money rule 14).
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from adapters.providers.simulator.vocabulary import ARRIVALS, PHASES, Dispute, Record, meaning, news
from domain.errors import PaymentError
from domain.ids import Reference
from domain.outcomes import Answer, DisputeNews

SIGNATURE = "x-northbank-signature"
TOLERANCE_SECONDS = 300  # for clocks that differ; a replay within it meets the inbox's unique key
ENDS = frozenset(phase for _, phase in ARRIVALS) - {"ACCEPTED"}  # the phases of a transfer that end its way
DISPUTES = "dispute."  # how the types of their events begin


class _Event(BaseModel):
    """The body of a webhook."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)
    eventId: str
    type: str


class _OfRecord(_Event):
    data: Record


class _OfDispute(_Event):
    data: Dispute


@dataclass(frozen=True, slots=True)
class Told:
    """What a webhook says of one reference. A transfer's end is told under `{reference}/arrival`."""

    event_id: str
    reference: Reference
    answer: Answer


def event_id(raw: bytes, headers: Mapping[str, str], secret: str, now: float) -> str | None:
    """Tell the id of an event that is theirs; None for anything that does not verify.

    `headers` have lower-case names, `now` is unix seconds. The signature is `t=<unix>,v1=<hex>` over `t.body`.
    """
    parts: dict[str, str] = {}
    for part in headers.get(SIGNATURE, "").split(","):
        name, _, text = part.partition("=")
        parts[name.strip()] = text.strip()
    stamp, given = parts.get("t", ""), parts.get("v1", "")
    if not stamp.isascii() or not stamp.isdigit() or len(stamp) > 12 or abs(now - int(stamp)) > TOLERANCE_SECONDS:
        return None
    wanted = hmac.new(secret.encode(), stamp.encode() + b"." + raw, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(wanted.encode(), given.encode("utf-8", "replace")):
        return None
    try:
        return _Event.model_validate_json(raw).eventId
    except ValidationError:  # theirs, and nothing that we can read: kept under its digest
        return hashlib.sha256(raw).hexdigest()


def told(raw: bytes) -> Told | DisputeNews | None:
    """Say what a verified event means; None where it is of a kind that we do not know.

    What fails after it had succeeded is told as a refusal of the same reference.
    """
    try:
        if _Event.model_validate_json(raw).type.startswith(DISPUTES):
            dispute = _OfDispute.model_validate_json(raw)
            return news(dispute.data, dispute.eventId)
        event = _OfRecord.model_validate_json(raw)
        record = event.data
        end = record.kind == "transfer" and record.phase in ENDS
        answer = meaning(record, ARRIVALS if end else PHASES)
    except (ValidationError, PaymentError):
        return None
    return Told(event.eventId, Reference(f"{record.merchantRef}/arrival" if end else record.merchantRef), answer)
