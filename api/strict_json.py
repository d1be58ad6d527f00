"""One reading of a body, so that nobody after us can read another: strict JSON (RFC 8259, and I-JSON's names).

Refuses what common parsers let pass: duplicate names (the last one silently wins), NaN and Infinity, lone surrogates,
a byte order mark, depth. Numbers with a fraction or an exponent become floats, which no amount accepts.
"""

import json
from typing import Any, NoReturn

from api.problems import Code, Problem

BYTES_MAX = 64 * 1024  # far above any body that we know, far below what hurts to parse
DEPTH_MAX = 8  # our bodies have one level; the rest is room for what comes


class _DuplicateName(ValueError):
    """A name occurs twice in one object."""


def parse(raw: bytes) -> Any:
    """Read one JSON value. Raises `Problem` with `malformed_json`, `duplicate_json_key` or `body_too_large`."""
    if len(raw) > BYTES_MAX:
        raise Problem(Code.BODY_TOO_LARGE)
    try:
        value: Any = json.loads(raw.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse_constant)
    except _DuplicateName:
        raise Problem(Code.DUPLICATE_JSON_KEY) from None
    except (ValueError, RecursionError):  # ValueError: no UTF-8, no JSON, or an integer of thousands of digits
        raise Problem(Code.MALFORMED_JSON) from None
    _inspect(value)
    return value


def canonical(value: Any) -> bytes:
    """Write a parsed value so that equal values have equal bytes: names sorted, nothing between."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _DuplicateName
    return made


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _inspect(value: Any) -> None:
    """Refuse depth, and characters that cannot be written again: lone surrogates and NUL."""
    level: list[Any] = [value]
    for _ in range(DEPTH_MAX + 1):
        below: list[Any] = []
        for each in level:
            match each:
                case dict():
                    for name, inner in each.items():  # pyright: ignore[reportUnknownVariableType]
                        _inspect_text(name)
                        below.append(inner)
                case list():
                    below.extend(each)  # pyright: ignore[reportUnknownArgumentType]
                case str():
                    _inspect_text(each)
                case _:
                    pass
        if not below:
            return
        level = below
    raise Problem(Code.MALFORMED_JSON)


def _inspect_text(text: Any) -> None:
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise Problem(Code.MALFORMED_JSON)
