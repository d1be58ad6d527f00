"""From bytes to something that may be acted upon: who asks, may they, and is it well formed. No effect, no database.

The order is: token, scope, key, card numbers, body, schema. Whatever is refused here leaves the key free and nothing
stored. No value that was sent is echoed or logged.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import structlog
from fastapi import Request
from pydantic import BaseModel, ValidationError

from api import card_numbers, strict_json
from api.problems import Code, Flaw, Problem
from api.registrar import Operation
from domain.ids import ClientId
from identity.clients import Client, Clients
from identity.operators import Operator, Operators

WAIT_SECONDS = 5.0
WAIT_SECONDS_MAX = 10.0  # with the question whether it is taken, within the request's deadline

NOBODY = Client(id=ClientId(""), scopes=frozenset())

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)
Model = TypeVar("Model", bound=BaseModel)

_WAIT = re.compile(r"\s*wait\s*=\s*([0-9]{1,4})\s*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def authenticate(clients: Clients, request: Request) -> Client:
    """Tell who asks, by the one bearer token. Raises `Problem` with `unauthenticated`."""
    client = clients.authenticate(_token(request))
    if client is None:
        raise Problem(Code.UNAUTHENTICATED)
    return client


def authenticate_operator(operators: Operators, request: Request) -> Operator:
    """Tell which person asks. Raises `Problem` with `unauthenticated`."""
    operator = operators.authenticate(_token(request))
    if operator is None:
        raise Problem(Code.UNAUTHENTICATED)
    return operator


def permit(operation: Operation[Any], caller: Client | Operator) -> None:
    """Refuse a caller whose token does not have the operation's scope."""
    if operation.scope not in caller.scopes:
        raise Problem(Code.SCOPE_MISSING)


def _token(request: Request) -> str:
    lines = request.headers.getlist("authorization")
    scheme, _, token = lines[0].partition(" ") if len(lines) == 1 else ("", "", "")
    return token.strip() if scheme.lower() == "bearer" else ""


async def read(request: Request) -> bytes:
    """Read the body, and no more of it than is taken. Raises `Problem` with `body_too_large`."""
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > strict_json.BYTES_MAX:
            raise Problem(Code.BODY_TOO_LARGE)
    return bytes(raw)


def check_media_type(request: Request) -> None:
    """Refuse anything but plain JSON: what is compressed or multipart is not looked into."""
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.replace('"', "").strip().lower()
    is_json = media_type.strip().lower() == "application/json" and charset in ("", "charset=utf-8")
    if not is_json or request.headers.get("content-encoding", "identity") != "identity":
        raise Problem(Code.UNSUPPORTED_MEDIA_TYPE)


def parse_body(operation: Operation[Any], request: Request, raw: bytes) -> tuple[BaseModel, Any]:
    """Return the body as its model, and as it was parsed: the fingerprint is made of the latter."""
    assert operation.body is not None
    if not raw and operation.body_optional:
        return operation.body(), {}
    check_media_type(request)
    parsed = strict_json.parse(raw)
    if (place := card_numbers.in_json(parsed)) is not None:
        raise suspected(_pointer(place), "body")
    return _validate(operation.body, parsed, "body"), parsed


def parse_query(model: type[Model], request: Request) -> Model:
    """Return the query parameters, each of which may occur once."""
    pairs = request.query_params.multi_items()
    for name, value in pairs:
        if card_numbers.in_text(name) or card_numbers.in_text(value):
            raise suspected("", "query")
    query = dict(pairs)
    if len(query) != len(pairs):
        raise invalid(Code.FIELD_INVALID, "", "query")
    return _validate(model, query, "query")


def check_path(path: Mapping[str, str]) -> None:
    """Refuse a card number, and what cannot be stored as text, where an id belongs."""
    for name, value in path.items():
        if card_numbers.in_token(value):
            raise suspected(f"/{name}", "path")
        if not value.isprintable():
            raise invalid(Code.FIELD_INVALID, f"/{name}", "path")


def check_key_content(key: str) -> None:
    """Refuse a card number as idempotency key: keys are stored."""
    if card_numbers.in_token(key):
        raise suspected("/Idempotency-Key", "header")


def wait_seconds(request: Request) -> float:
    """Tell how long the initiator would wait (RFC 7240); what is not understood is no preference."""
    for preference in request.headers.get("prefer", "").split(","):
        if asked := _WAIT.fullmatch(preference):
            return min(float(asked[1]), WAIT_SECONDS_MAX)
    return WAIT_SECONDS


def suspected(pointer: str, where: str) -> Problem:
    """Make the refusal of what looks like a card number; the log says where, never what."""
    log.warning("card_number.suspected", where=where)
    return invalid(Code.CARD_NUMBER_SUSPECTED, pointer, where)


def invalid(code: Code, pointer: str, where: str = "body") -> Problem:
    """Make a refusal that points at one place."""
    return Problem(code, flaws=(Flaw(code=code, pointer=pointer, where=where),))


def _validate(model: type[Model], value: Any, where: str) -> Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
    flaws = tuple(_flaw(detail["type"], detail["loc"], where) for detail in details)
    raise Problem(flaws[0].code, flaws=flaws) from None


def _flaw(kind: str, place: tuple[int | str, ...], where: str) -> Flaw:
    """Translate pydantic's word into ours. An unknown name is the initiator's own text: only a tame one is shown."""
    is_amount = place[-1:] == ("amount",)
    match kind:
        case "missing":
            code = Code.FIELD_MISSING
        case "extra_forbidden":
            code = Code.FIELD_UNKNOWN
        case "currency_unknown":
            code = Code.CURRENCY_UNKNOWN
        case "greater_than" if is_amount:
            code = Code.AMOUNT_NOT_POSITIVE
        case "less_than_equal" if is_amount:
            code = Code.AMOUNT_TOO_LARGE
        case _ if is_amount:
            code = Code.AMOUNT_NOT_INTEGER
        case _:
            code = Code.FIELD_INVALID
    return Flaw(code=code, pointer=_pointer(place), where=where)


def _pointer(place: Iterable[int | str]) -> str:
    return "".join(f"/{part if _NAME.fullmatch(str(part)) else '?'}" for part in place)
