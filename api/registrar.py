"""The contract of every route, in one object that cannot be built without its parts.

An operation that changes state and lacks its authentication, scope, idempotency or audit is a `TypeError` at import,
not a finding of a review. The routes and the OpenAPI document are both made from these objects, and from nothing else.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from api.answers import Answer
from api.bodies import NoQuery
from api.ports import Claimed, Dependencies
from api.problems import SPECS, Code
from domain.ids import OperationId, Prefix
from identity.clients import Client, Scope
from identity.operators import Operator, OperatorScope

Body = TypeVar("Body", bound=BaseModel)

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
KEY_RETENTION = "P30D"  # ISO 8601; the derived id refuses a second effect for ever


class Auth(StrEnum):
    """How the caller is known."""

    BEARER = "bearer"
    OPERATOR = "operator"  # a person's token; no initiator's is taken for one, nor the other way round
    PROVIDER_SIGNATURE = "provider-signature"
    NONE = "none"


class Idempotency(StrEnum):
    """What makes a repetition harmless."""

    KEY = "idempotency-key"
    CONTENT = "content"  # the same words have the same effect, however often they are said
    EVENT = "provider-event-id"
    SAFE = "safe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(Generic[Body]):
    """A request that has passed the gate: authenticated, permitted, parsed, and claimed where it must be."""

    deps: Dependencies
    client: Client
    operator: Operator | None = None  # of the operations that are for people
    request_id: str
    path: Mapping[str, str]
    query: BaseModel
    body: Body | None = None
    raw: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    claimed: Claimed | None = None
    operation: OperationId | None = None  # what a keyed request asks for
    fingerprint: bytes = b""
    wait_seconds: float = 0


Perform = Callable[[Asked[Body]], Awaitable[Answer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Generic[Body]):
    """One route. `answers` maps each status of success to what it carries; `errors` are its own codes.

    Raises `TypeError` where an operation that changes state lacks a part of its contract.
    """

    id: str
    method: str
    path: str
    summary: str
    perform: Perform[Body]
    answers: Mapping[int, type[BaseModel]]
    auth: Auth
    scope: Scope | OperatorScope | None = None
    idempotency: Idempotency = Idempotency.SAFE
    audit: str | None = None
    makes: Prefix | None = None
    body: type[Body] | None = None
    body_optional: bool = False
    query: type[BaseModel] = NoQuery
    errors: tuple[Code, ...] = ()

    def __post_init__(self) -> None:
        scopes = _SCOPES_OF.get(self.auth)
        if scopes is not None and not isinstance(self.scope, scopes):
            raise TypeError(f"{self.id}: a token without a scope of its kind permits everything")
        if self.idempotency is Idempotency.KEY and (self.makes is None or self.body is None):
            raise TypeError(f"{self.id}: a key names an operation, and what is asked for has a body")
        if self.idempotency is Idempotency.CONTENT and self.body is None:
            raise TypeError(f"{self.id}: without a body there are no words to be the same")
        if not self.changes_state:
            return
        if self.auth is Auth.NONE:
            raise TypeError(f"{self.id}: changes state without authentication")
        if self.idempotency is Idempotency.SAFE:
            raise TypeError(f"{self.id}: changes state without saying what makes a repetition harmless")
        if not self.audit:
            raise TypeError(f"{self.id}: changes state without an audit event")

    @property
    def changes_state(self) -> bool:
        """Whether the method promises nothing about side effects (RFC 9110, 9.2.1)."""
        return self.method not in SAFE_METHODS

    @property
    def document_path(self) -> str:
        """The path as the OpenAPI document has it, where a parameter does not say that it may hold slashes."""
        return self.path.replace(":path}", "}")

    @property
    def codes(self) -> tuple[Code, ...]:
        """Every problem that the operation can answer, by status and name."""
        codes = {*self.errors, *_EVERYWHERE, *_OF_AUTH[self.auth], *_OF_IDEMPOTENCY[self.idempotency]}
        if self.body is not None:
            codes |= _OF_BODIES
        return tuple(sorted(codes, key=lambda code: (SPECS[code].status, code)))

    def document(self) -> dict[str, Any]:
        """Write what FastAPI cannot know into the OpenAPI document."""
        written: dict[str, Any] = {
            "parameters": self._parameters(),
            "security": [{str(self.auth): [str(self.scope)]}] if self.scope is not None else [],
            "x-auth": self.auth,
            "x-scope": self.scope if self.scope is not None else "none: only the signed provider may call",
            "x-idempotency": self._idempotency(),
            "x-audit": {"event": self.audit} if self.audit else None,
            "x-errors": list(self.codes),
        }
        if not self.changes_state:
            written = {name: value for name, value in written.items() if name != "x-audit"}
            if self.scope is None:
                del written["x-scope"]
        if self.body is not None:
            content = {"application/json": {"schema": self.body.model_json_schema()}}
            written["requestBody"] = {"required": not self.body_optional, "content": content}
        elif self.changes_state:
            content = {"application/json": {"schema": {"type": "object", "description": "As the provider sends it"}}}
            written["requestBody"] = {"required": True, "content": content}
        return written

    def _idempotency(self) -> dict[str, Any]:
        if self.idempotency is not Idempotency.KEY:
            return {"mode": self.idempotency}
        return {
            "mode": self.idempotency,
            "retention": KEY_RETENTION,
            "fingerprint": "SHA-256 of operation, path, query and the parsed body",
            "stored-statuses": [
                *self.answers,
                *sorted({SPECS[code].status for code in self.codes if SPECS[code].kept}),
            ],
        }

    def _parameters(self) -> list[dict[str, Any]]:
        names = [segment[1:-1] for segment in self.document_path.split("/") if segment.startswith("{")]
        parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
        schema = self.query.model_json_schema()
        parameters += [
            {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": inner}
            for name, inner in schema.get("properties", {}).items()
        ]
        if self.idempotency is Idempotency.KEY:
            parameters += [_KEY_PARAMETER, _PREFER_PARAMETER]
        return parameters


_KEY_PARAMETER: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "description": "One key for each thing that is wanted; the same key when it is repeated",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}
_PREFER_PARAMETER: dict[str, Any] = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": "`wait=N`: wait up to N seconds (at most 10, by default 5) for the outcome before a 202",
    "schema": {"type": "string", "examples": ["wait=10"]},
}

_EVERYWHERE = (Code.FIELD_UNKNOWN, Code.FIELD_INVALID, Code.INTERNAL_ERROR, Code.UNAVAILABLE)
_SCOPES_OF = {Auth.BEARER: Scope, Auth.OPERATOR: OperatorScope}
_OF_AUTH: Mapping[Auth, tuple[Code, ...]] = {
    Auth.BEARER: (Code.UNAUTHENTICATED, Code.SCOPE_MISSING, Code.CARD_NUMBER_SUSPECTED),
    Auth.OPERATOR: (Code.UNAUTHENTICATED, Code.SCOPE_MISSING, Code.CARD_NUMBER_SUSPECTED),
    Auth.PROVIDER_SIGNATURE: (Code.SIGNATURE_INVALID, Code.BODY_TOO_LARGE),
    Auth.NONE: (),
}
_OF_IDEMPOTENCY: Mapping[Idempotency, tuple[Code, ...]] = {
    Idempotency.KEY: (
        Code.IDEMPOTENCY_KEY_MISSING,
        Code.IDEMPOTENCY_KEY_INVALID,
        Code.IDEMPOTENCY_KEY_IN_FLIGHT,
        Code.IDEMPOTENCY_KEY_REUSED,
        Code.ENGINE_UNAVAILABLE,
    ),
    Idempotency.CONTENT: (Code.ENGINE_UNAVAILABLE,),
    Idempotency.EVENT: (Code.EVENT_ALTERED,),
    Idempotency.SAFE: (),
}
_OF_BODIES = {
    Code.MALFORMED_JSON,
    Code.DUPLICATE_JSON_KEY,
    Code.BODY_TOO_LARGE,
    Code.UNSUPPORTED_MEDIA_TYPE,
}
