"""How commands and answers travel through Temporal: JSON, checked strictly against their types on arrival.

temporalio's own pydantic converter builds a type adapter for every payload; ours builds one per type and keeps it.
"""

from functools import lru_cache
from typing import Any

import pydantic_core
from pydantic import TypeAdapter
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    BinaryNullPayloadConverter,
    BinaryPlainPayloadConverter,
    BinaryProtoPayloadConverter,
    CompositePayloadConverter,
    DataConverter,
    EncodingPayloadConverter,
    JSONProtoPayloadConverter,
)


@lru_cache(maxsize=256)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


class StrictJson(EncodingPayloadConverter):
    """JSON by pydantic. Raises `pydantic.ValidationError` for a payload that is not of the type that was asked for."""

    @property
    def encoding(self) -> str:
        return "json/plain"

    def to_payload(self, value: Any) -> Payload | None:
        return Payload(metadata={"encoding": b"json/plain"}, data=pydantic_core.to_json(value))

    def from_payload(self, payload: Payload, type_hint: Any | None = None) -> Any:
        return _adapter(Any if type_hint is None else type_hint).validate_json(
            payload.data, strict=True, extra="forbid"
        )


class Converter(CompositePayloadConverter):
    """Temporal's own converters, with JSON replaced."""

    def __init__(self) -> None:
        super().__init__(
            BinaryNullPayloadConverter(),
            BinaryPlainPayloadConverter(),
            JSONProtoPayloadConverter(),
            BinaryProtoPayloadConverter(),
            StrictJson(),
        )


DATA_CONVERTER = DataConverter(payload_converter_class=Converter)
