"""Payloads that keep their objects aside: a payload is the number of a value, so that nothing is written as JSON.

Equal values of the same type have the same number, since commands are compared byte for byte on replay. One schedule
in a hundred uses the product's own strict converter instead, and what it has written is searched for secrets.
"""

from typing import Any, cast

import pydantic_core
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadConverter

from contracts.payloads import Converter

ENCODING = b"aside"


class Exact(Converter):
    """The product's own converter, which keeps what it has written, to be searched for secrets."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def to_payloads(self, values: Any) -> list[Payload]:
        payloads = super().to_payloads(values)
        self.written += [payload.data for payload in payloads]
        return payloads


class Aside(PayloadConverter):
    """Keeps the values of one schedule."""

    def __init__(self) -> None:
        self._values: list[Any] = []
        self._payloads: dict[tuple[Any, Any], Payload] = {}

    def to_payloads(self, values: Any) -> list[Payload]:
        return [self._payload(value) for value in values]

    def from_payloads(self, payloads: Any, type_hints: Any = None) -> list[Any]:
        return [self._values[int(payload.data)] for payload in payloads]

    def _payload(self, value: Any) -> Payload:
        key: Any = (cast("Any", type(value)), value)
        try:
            found = self._payloads.get(key)
        except TypeError:  # it holds a dictionary, or a list
            key = (cast("Any", type(value)), pydantic_core.to_json(value))
            found = self._payloads.get(key)
        if found is None:
            found = Payload(metadata={"encoding": ENCODING}, data=b"%d" % len(self._values))
            self._values.append(value)
            self._payloads[key] = found
        return found
