"""What Northbank can be asked, read from a request's body.

Knows the fields and their bounds; whether an order can be carried out is judged by the books.
"""

from dataclasses import dataclass
from enum import StrEnum

from simulator.fields import Fields, read
from simulator.units import minor_of

REFERENCE_LENGTH_MAX = 40  # of `merchantRef`, and of the header X-Request-Key that repeats it
MINOR_MIN = 1  # an order moves something


class Operation(StrEnum):
    """The calls, by the names that rules of a script use."""

    AUTHORISE = "authorise"
    COLLECT = "collect"
    RELEASE = "release"
    PAYBACK = "payback"
    TRANSFER = "transfer"
    INCREMENT = "increment"
    RECALL = "recall"
    LOOKUP = "lookup"


@dataclass(frozen=True, slots=True)
class Value:
    """An amount in minor units of an ISO 4217 currency."""

    minor: int
    unit: str


@dataclass(frozen=True, slots=True)
class Pointer:
    """Which authorisation or transfer: by its id, or by the merchant's reference of it. One of the two is empty."""

    id: str
    reference: str


@dataclass(frozen=True, slots=True)
class Authorise:
    """Promise the amount, from the source that the token stands for."""

    merchant_ref: str
    value: Value
    token: str


@dataclass(frozen=True, slots=True)
class Collect:
    """Take some of what an authorisation promises; `last` gives up the rest."""

    merchant_ref: str
    value: Value
    authorisation: Pointer
    last: bool


@dataclass(frozen=True, slots=True)
class Release:
    """See to it that nothing of an authorisation stands uncollected, whether or not it was ever made."""

    merchant_ref: str
    authorisation: Pointer


@dataclass(frozen=True, slots=True)
class PayBack:
    """Give back some of what was collected."""

    merchant_ref: str
    value: Value
    authorisation: Pointer


@dataclass(frozen=True, slots=True)
class Transfer:
    """Send an amount to an account elsewhere."""

    merchant_ref: str
    value: Value
    beneficiary: str


@dataclass(frozen=True, slots=True)
class Increment:
    """Promise that much more under an authorisation."""

    merchant_ref: str
    value: Value
    authorisation: Pointer


@dataclass(frozen=True, slots=True)
class Recall:
    """Call a transfer back that has not arrived: all of it, so the amount has to be its own."""

    merchant_ref: str
    value: Value
    transfer: Pointer


@dataclass(frozen=True, slots=True)
class Lookup:
    """Ask what became of a reference; changes nothing."""

    merchant_ref: str


Order = Authorise | Collect | Release | PayBack | Transfer | Increment | Recall


def read_order(operation: Operation, key: str, body: bytes) -> Order:
    """Read the order of a POST; `key` is its header X-Request-Key. Raises `Malformed` with all that is wrong."""
    fields = read(body)
    reference = fields.text("merchantRef", longest=REFERENCE_LENGTH_MAX)
    if reference and key != reference:
        fields.wrong("merchantRef", "must be the same as the header X-Request-Key", instead=None)
    order = _order(operation, reference, fields)
    fields.close(unknown_pass=True)  # as most providers do
    return order


def _order(operation: Operation, reference: str, fields: Fields) -> Order:
    match operation:
        case Operation.AUTHORISE:
            source = fields.inner("source")
            return Authorise(reference, _value(fields), source.text("token"))
        case Operation.COLLECT:
            pointer = _pointer(fields, "authorisation")
            return Collect(reference, _value(fields), pointer, fields.flag("last", default=False))
        case Operation.RELEASE:
            return Release(reference, _pointer(fields, "authorisation"))
        case Operation.PAYBACK:
            return PayBack(reference, _value(fields), _pointer(fields, "authorisation"))
        case Operation.TRANSFER:
            return Transfer(reference, _value(fields), fields.text("beneficiary"))
        case Operation.INCREMENT:
            return Increment(reference, _value(fields), _pointer(fields, "authorisation"))
        case Operation.RECALL:
            return Recall(reference, _value(fields), _pointer(fields, "transfer"))
        case Operation.LOOKUP:
            raise AssertionError("a lookup has no body")


def _value(fields: Fields) -> Value:
    value = fields.inner("value")
    amount, unit = value.text("amount"), value.text("unit")
    if not amount or not unit:
        return Value(MINOR_MIN, unit)
    try:
        minor = minor_of(amount, unit)
    except ValueError as why:
        return value.wrong("amount", str(why), instead=Value(MINOR_MIN, unit))
    return (
        Value(minor, unit)
        if minor >= MINOR_MIN
        else value.wrong("amount", "must be above 0", instead=Value(minor, unit))
    )


def _pointer(fields: Fields, name: str) -> Pointer:
    """Either field names what is meant; where both are sent the id decides, and the reference is ignored."""
    by_id, by_reference = fields.has(name), fields.has(f"{name}Ref")
    if not by_id and not by_reference:
        return fields.wrong(name, f"or {name}Ref must be given", instead=Pointer("", ""))
    found = fields.text(name) if by_id else ""
    reference = fields.text(f"{name}Ref", longest=REFERENCE_LENGTH_MAX) if by_reference else ""
    return Pointer(found, "" if by_id else reference)
