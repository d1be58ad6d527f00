"""Reads JSON objects field by field and says of every field what is wrong with it, all at once.

Knows shapes only: what a field means is for those who ask for it.
"""

import json
from collections.abc import Collection, Mapping
from typing import TypeVar, cast

T = TypeVar("T")
Json = Mapping[str, object]

_ABSENT = object()


class Malformed(Exception):
    """The input cannot be read; `faults` holds a sentence for each field."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name} {why}" for name, why in faults.items()))
        self.faults = faults


class Fields:
    """One JSON object. Each reader returns its fallback where the field is wrong; `close` raises for all of them."""

    def __init__(self, data: object, *, path: str = "", faults: dict[str, str] | None = None) -> None:
        self._path = path
        self._faults: dict[str, str] = {} if faults is None else faults
        self._inner: list[Fields] = []
        if isinstance(data, dict):
            self._left = dict(cast("dict[str, object]", data))
        else:
            self._left = {}
            self._faults[path.rstrip(".") or "body"] = "must be an object"

    def text(self, name: str, *, default: str | None = None, longest: int = 200) -> str:
        """A string that is not empty. The usual bound is far above any name, and far below an attack."""
        value = self._take(name, default)
        if isinstance(value, str) and (value == default or 0 < len(value) <= longest):
            return value
        return self.wrong(name, f"must be a string of 1 to {longest} characters", instead="")

    def number(self, name: str, *, default: float | None = None, most: float = 1e9) -> float:
        """A number from 0 on, in whatever unit the field's name tells; the usual bound is thirty years of seconds."""
        value = self._take(name, default)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most:
            return float(value)
        return self.wrong(name, f"must be a number from 0 to {most:g}", instead=0.0)

    def whole(self, name: str, *, least: int, most: int, default: int | None = None) -> int:
        """An integer within bounds."""
        value = self._take(name, default)
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        return self.wrong(name, f"must be an integer from {least} to {most}", instead=least)

    def flag(self, name: str, *, default: bool) -> bool:
        """True or false."""
        value = self._take(name, default)
        return value if isinstance(value, bool) else self.wrong(name, "must be true or false", instead=default)

    def choice(self, name: str, among: Collection[str], *, default: str | None = None) -> str:
        """One of a few words."""
        value = self._take(name, default)
        if isinstance(value, str) and value in among:
            return value
        return self.wrong(name, f"must be one of {', '.join(among)}", instead=next(iter(among)))

    def texts(self, name: str) -> list[str]:
        """A list of strings."""
        value = self._take(name, None)
        if isinstance(value, list):
            each = cast("list[object]", value)
            if all(isinstance(text, str) for text in each):
                return cast("list[str]", value)
        return self.wrong(name, "must be a list of strings", instead=list[str]())

    def inner(self, name: str) -> "Fields":
        """An object inside this one; its faults are reported under the dotted name."""
        found = Fields(self._take(name, None), path=f"{self._path}{name}.", faults=self._faults)
        self._inner.append(found)
        return found

    def has(self, name: str) -> bool:
        """Tell whether the field is there, and not null."""
        return not self.null(name) and name in self._left

    def null(self, name: str) -> bool:
        """Take the field if it is there and null, where that means something else than its absence; tell if so."""
        if self._left.get(name, _ABSENT) is not None:
            return False
        del self._left[name]
        return True

    def wrong(self, name: str, why: str, *, instead: T) -> T:
        """Note what is wrong with a field (the first fault stands), and go on with `instead`."""
        self._faults.setdefault(self._path + name, why)
        return instead

    def given(self) -> Json:
        """The fields that nobody has read yet, as they were given."""
        return dict(self._left)

    def close(self, *, unknown_pass: bool = False) -> None:
        """Raise `Malformed` if any field was wrong or, unless unknown ones pass, is not known here."""
        for fields in () if unknown_pass else (self, *self._inner):
            for name in fields._left:
                fields.wrong(name, "is not known here", instead=None)
        if self._faults:
            raise Malformed(self._faults)

    def _take(self, name: str, default: object) -> object:
        value = self._left.pop(name, None)
        return default if value is None else value


def read(body: bytes) -> Fields:
    """Read a request's body; an empty one is an empty object. Raises `Malformed` where it is no JSON."""
    try:
        return Fields(json.loads(body or b"{}"))
    except (ValueError, RecursionError):
        raise Malformed({"body": "must be JSON"}) from None
