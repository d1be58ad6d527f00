"""Ids and references (money rule 1): which operation, which effect, which try.

An operation id is a prefix and 26 characters of base32 (Crockford's alphabet, lower case) of a UUIDv8 (RFC 9562, 5.8)
made from a SHA-256, so that the same request meets the same run even when every row about it is lost.
A reference names one effect at a provider: `{operation id}.{verb}{attempt}`, at most 35 characters.
"""

import hashlib
import re
from enum import StrEnum
from typing import NewType

OperationId = NewType("OperationId", str)
Reference = NewType("Reference", str)
ClientId = NewType("ClientId", str)
MerchantId = NewType("MerchantId", str)

UNWRITTEN = Reference("")  # the saga engine writes references, nobody else
REFERENCE_LENGTH_MAX = 35  # the shortest field of the rails that we know holds 35 characters

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
ID_LENGTH = 26
_OPERATION = re.compile(rf"(pay|cap|vd|inc|rfd|po|dsp)_[{ALPHABET}]{{{ID_LENGTH}}}")
_MERCHANT = re.compile(r"[a-z][a-z0-9_]{2,31}")


class Prefix(StrEnum):
    """What kind of operation an id names; no two kinds share one."""

    PAYMENT = "pay"
    CAPTURE = "cap"
    VOID = "vd"
    INCREMENT = "inc"
    REFUND = "rfd"
    PAYOUT = "po"
    DISPUTE = "dsp"


class Verb(StrEnum):
    """What is asked of a provider. The first letters of those with an effect differ: they stand in references."""

    AUTHORIZE = "authorize"
    CAPTURE = "capture"
    VOID = "void"
    INCREMENT = "increment"
    REFUND = "refund"
    PAY_OUT = "pay_out"
    ARRIVE = "arrive"  # only inquired: has a payout that was accepted reached its account?
    RECALL = "recall"  # of a payout on its way, which knows no refund: the letter stays unambiguous


def derive(prefix: Prefix, *, client: str, mode: str, operation: str, key: str) -> OperationId:
    """Derive the id of the operation that `client` asks for under its idempotency `key`: always the same one."""
    digest = hashlib.sha256("\0".join(("holdfast-id-1", client, mode, operation, key)).encode()).digest()
    number = int.from_bytes(digest[:16], "big")
    number = number & ~(0xF << 76) | 8 << 76  # version 8
    number = number & ~(0x3 << 62) | 2 << 62  # variant of RFC 9562
    letters = [ALPHABET[number >> 5 * place & 31] for place in reversed(range(ID_LENGTH))]
    return OperationId(f"{prefix}_{''.join(letters)}")


def is_operation_id(text: str, prefix: Prefix) -> bool:
    """Tell whether `text` is the id of an operation of this kind."""
    return text.startswith(f"{prefix}_") and _OPERATION.fullmatch(text) is not None


def is_merchant_id(text: str) -> bool:
    """Tell whether `text` can name a merchant: 3 to 32 characters of a-z, 0-9 and _, a letter first."""
    return _MERCHANT.fullmatch(text) is not None


def effect_reference(operation: OperationId, verb: str, attempt: int) -> Reference:
    """Name one try of one effect; it is the provider's idempotency key, and what inquiry asks by."""
    assert attempt >= 1
    reference = Reference(f"{operation}.{verb[0]}{attempt}")
    assert len(reference) <= REFERENCE_LENGTH_MAX, reference
    return reference


def operation_of(reference: Reference) -> OperationId:
    """Tell the operation that a reference of an effect or of a ledger entry belongs to."""
    return OperationId(reference.replace("/", ".").split(".", 1)[0])
