"""One request from its arrival to its answer: the same order for every route, and one audit event for every change.

Knows no route by name. What went wrong leaves here as a problem; what was not foreseen as `internal_error`, logged.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import structlog
from fastapi import Request, Response

from api import idempotency, intake
from api.answers import Answer
from api.ports import Audited, Claimed, Dependencies, EngineUnavailable
from api.problems import Code, Problem
from api.registrar import Asked, Auth, Idempotency, Operation
from domain.errors import Unavailable
from domain.ids import OperationId, derive
from identity.clients import Client
from identity.operators import Operator

Endpoint = Callable[[Request], Awaitable[Response]]

REQUEST_ID = "Request-Id"
REPLAYED = "Idempotency-Replayed"

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(slots=True)
class Trail:
    """What has become known of a request on its way: what the audit event says, however far it came."""

    request_id: str
    client: str = intake.NOBODY.id
    key_digest: str = ""
    fingerprint: str = ""
    resource: str = ""


def endpoint(operation: Operation[Any], deps: Dependencies) -> Endpoint:
    """Make the function that FastAPI calls for this operation."""

    async def answer(request: Request) -> Response:
        trail = Trail(new_request_id())
        answered = await _answer(operation, deps, request, trail)
        if operation.audit is not None:
            deps.audit.write(_audited(operation, operation.audit, trail, answered))
        return respond(answered, trail.request_id)

    return answer


async def _answer(operation: Operation[Any], deps: Dependencies, request: Request, trail: Trail) -> Answer:
    try:
        return await _perform(operation, deps, request, trail)
    except Problem as problem:
        return problem.answer(trail.request_id)
    except Unavailable:
        log.warning("books.unavailable", operation=operation.id, request_id=trail.request_id)
        code = Code.UNAVAILABLE
    except EngineUnavailable:
        code = Code.ENGINE_UNAVAILABLE
    except Exception:
        log.exception("request.failed", operation=operation.id, request_id=trail.request_id)
        code = Code.INTERNAL_ERROR
    return Problem(code, retry_after_seconds=1).answer(trail.request_id)


async def _perform(operation: Operation[Any], deps: Dependencies, request: Request, trail: Trail) -> Answer:
    client, operator = intake.NOBODY, None
    if operation.auth is Auth.BEARER:
        client = intake.authenticate(deps.clients, request)
        trail.client = client.id
        intake.permit(operation, client)
    elif operation.auth is Auth.OPERATOR:
        operator = intake.authenticate_operator(deps.operators, request)
        trail.client = f"operator:{operator.name}"
        intake.permit(operation, operator)
    match operation.idempotency:
        case Idempotency.SAFE:
            return await operation.perform(_asked(operation, deps, request, trail, client, operator=operator))
        case Idempotency.CONTENT:
            return await _by_its_content(operation, deps, request, trail, client, operator)
        case Idempotency.EVENT:
            asked = _asked(operation, deps, request, trail, client, raw=await intake.read(request))
            return await operation.perform(asked)
        case Idempotency.KEY:
            return await _under_its_key(operation, deps, request, trail, client)


async def _by_its_content(
    operation: Operation[Any],
    deps: Dependencies,
    request: Request,
    trail: Trail,
    client: Client,
    operator: Operator | None,
) -> Answer:
    asked = _asked(operation, deps, request, trail, client, operator=operator)
    body, parsed = intake.parse_body(operation, request, await intake.read(request))
    fingerprint = idempotency.fingerprint(operation.id, request.path_params, dict(request.query_params), parsed)
    trail.fingerprint, trail.resource = fingerprint.hex(), "/".join(request.path_params.values())
    asked = replace(asked, body=body, fingerprint=fingerprint, wait_seconds=intake.wait_seconds(request))
    try:
        async with asyncio.timeout(idempotency.DEADLINE_SECONDS):
            return await operation.perform(asked)
    except TimeoutError:  # it may have been taken: the same words again meet what they have done
        raise EngineUnavailable(trail.resource) from None


async def _under_its_key(
    operation: Operation[Any], deps: Dependencies, request: Request, trail: Trail, client: Client
) -> Answer:
    assert operation.makes is not None
    key = idempotency.check_key(request.headers.getlist("idempotency-key"))
    intake.check_key_content(key)
    trail.key_digest = hashlib.sha256(key.encode()).hexdigest()
    asked = _asked(operation, deps, request, trail, client)
    body, parsed = intake.parse_body(operation, request, await intake.read(request))
    fingerprint = idempotency.fingerprint(operation.id, request.path_params, dict(request.query_params), parsed)
    resource = derive(operation.makes, client=client.id, mode=deps.terms.mode, operation=operation.id, key=key)
    trail.fingerprint, trail.resource = fingerprint.hex(), resource

    async def effect(claimed: Claimed) -> Answer:
        return await operation.perform(
            Asked(
                deps=deps,
                client=client,
                request_id=trail.request_id,
                path=asked.path,
                query=asked.query,
                body=body,
                claimed=claimed,
                operation=OperationId(resource),
                fingerprint=fingerprint,
                wait_seconds=intake.wait_seconds(request),
            )
        )

    keyed = idempotency.Keyed(
        client=client.id,
        mode=deps.terms.mode,
        key=key,
        operation=operation.id,
        fingerprint=fingerprint,
        resource=resource,
    )
    return await idempotency.once(deps.claims, keyed, effect, trail.request_id)


def _asked(
    operation: Operation[Any],
    deps: Dependencies,
    request: Request,
    trail: Trail,
    client: Client,
    raw: bytes = b"",
    operator: Operator | None = None,
) -> Asked[Any]:
    intake.check_path(request.path_params)
    return Asked(
        deps=deps,
        client=client,
        operator=operator,
        request_id=trail.request_id,
        path=request.path_params,
        query=intake.parse_query(operation.query, request),
        raw=raw,
        headers=request.headers,
    )


def respond(answer: Answer, request_id: str) -> Response:
    """Send an answer, with the headers that are about this request alone."""
    response = Response(answer.body, answer.status)
    for name, value in (*answer.headers, (REQUEST_ID, request_id)):
        response.headers[name] = value
    if answer.replayed:
        response.headers[REPLAYED] = "true"
    return response


def new_request_id() -> str:
    """Name a request: 96 random bits, so that none ever meets another."""
    return f"req_{secrets.token_hex(12)}"


def _audited(operation: Operation[Any], event: str, trail: Trail, answer: Answer) -> Audited:
    return Audited(
        event=event,
        operation=operation.id,
        client=trail.client,
        scope=operation.scope or "",
        request_id=trail.request_id,
        key_digest=trail.key_digest,
        fingerprint=trail.fingerprint,
        resource=trail.resource,
        status=answer.status,
        code=answer.code,
        replayed=answer.replayed,
    )
