"""The gate against card numbers: Holdfast takes tokens, and stays out of the scope of card data (PCI DSS 3.5.1).

A suspect is a run of 13 to 19 digits with an issuer's prefix, a length that this issuer uses, and a valid Luhn check
digit (ISO/IEC 7812). Luhn alone would refuse every tenth order number; the three together about one in fifty of those
with 16 digits. Grouped as on the card (4-4-4-4, 4-6-5) it is looked for in text only: joined across other separators,
random UUIDs would be hit. Digests, signatures, trace ids and our own ids are not scanned: they are random by design.
Says where, and never what.
"""

import re
from typing import Any

from domain.ids import Prefix, is_operation_id

Place = tuple[int | str, ...]  # names and positions, from the outside in

_RUN = re.compile(r"(?<![0-9])[0-9]{13,19}(?![0-9])")
_GROUPED = re.compile(
    r"(?<![0-9])(?:[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}|[0-9]{4}([ -])[0-9]{6}\2[0-9]{5})(?![0-9])"
)

# First and last prefix, and the lengths in use, as the card schemes publish them. A range that is missing here lets a
# number through; one that is too broad refuses honest requests.
_ISSUERS: tuple[tuple[str, str, tuple[int, ...]], ...] = (
    ("4", "4", (13, 16, 19)),  # Visa
    ("51", "55", (16,)),  # Mastercard
    ("2221", "2720", (16,)),  # Mastercard
    ("34", "34", (15,)),  # American Express
    ("37", "37", (15,)),  # American Express
    ("6011", "6011", (16, 17, 18, 19)),  # Discover
    ("644", "649", (16, 17, 18, 19)),  # Discover
    ("65", "65", (16, 17, 18, 19)),  # Discover, RuPay
    ("300", "305", (14, 16, 17, 18, 19)),  # Diners Club
    ("3095", "3095", (14, 16, 17, 18, 19)),  # Diners Club
    ("36", "36", (14, 15, 16, 17, 18, 19)),  # Diners Club
    ("38", "39", (14, 16, 17, 18, 19)),  # Diners Club
    ("3528", "3589", (16, 17, 18, 19)),  # JCB
    ("62", "62", (16, 17, 18, 19)),  # UnionPay
    ("81", "82", (16, 17, 18, 19)),  # UnionPay, RuPay
    ("508", "508", (16,)),  # RuPay
    ("606", "608", (16,)),  # RuPay
    ("2200", "2204", (16, 17, 18, 19)),  # Mir
    ("5018", "5018", (13, 14, 15, 16, 17, 18, 19)),  # Maestro
    ("5020", "5020", (13, 14, 15, 16, 17, 18, 19)),  # Maestro
    ("5038", "5038", (13, 14, 15, 16, 17, 18, 19)),  # Maestro
    ("5893", "5893", (13, 14, 15, 16, 17, 18, 19)),  # Maestro
    ("6304", "6304", (13, 14, 15, 16, 17, 18, 19)),  # Maestro
    ("6759", "6759", (13, 14, 15, 16, 17, 18, 19)),  # Maestro
    ("6761", "6763", (13, 14, 15, 16, 17, 18, 19)),  # Maestro
)


def in_token(text: str) -> bool:
    """Tell whether a key, a path segment or a name holds a suspect; our own ids never do."""
    if any(is_operation_id(text, prefix) for prefix in Prefix):
        return False
    return any(_is_card_number(run) for run in _RUN.findall(text))


def in_text(text: str) -> bool:
    """Tell whether free text holds a suspect, written in one run or grouped as on the card."""
    grouped = (re.sub(r"[ -]", "", match.group()) for match in _GROUPED.finditer(text))
    return in_token(text) or any(_is_card_number(digits) for digits in grouped)


def in_json(value: Any, place: Place = ()) -> Place | None:
    """Tell the place of the first suspect in a parsed body; None where there is none.

    Amounts are not scanned: an integer of 13 digits is money in some currencies, and amounts are bounded on their own.
    The place of a name that is itself a suspect stops at its object.
    """
    match value:
        case str():
            return place if in_text(value) else None
        case int() | float():
            return place if in_token(str(value)) else None
        case _:
            pass
    for name, inner in _members(value):
        if isinstance(name, str) and in_text(name):
            return place
        if name == "amount" and type(inner) is int:
            continue
        if (found := in_json(inner, (*place, name))) is not None:
            return found
    return None


def _members(value: Any) -> list[tuple[int | str, Any]]:
    match value:
        case dict():
            return list(value.items())  # pyright: ignore[reportUnknownArgumentType,reportUnknownVariableType]
        case list():
            return list(enumerate(value))  # pyright: ignore[reportUnknownArgumentType,reportUnknownVariableType]
        case _:
            return []


def _is_card_number(digits: str) -> bool:
    return _has_issuer(digits) and _passes_luhn(digits)


def _has_issuer(digits: str) -> bool:
    return any(first <= digits[: len(first)] <= last and len(digits) in lengths for first, last, lengths in _ISSUERS)


def _passes_luhn(digits: str) -> bool:
    total = 0
    for at, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (2 if at % 2 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0
