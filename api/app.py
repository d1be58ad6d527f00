"""The application: the operations, registered; what FastAPI would answer by itself, made ours; the OpenAPI document.

Knows nothing of any route but its contract. There is no route outside `OPERATIONS`, and no `yield` dependency: FastAPI
would run its end after the answer has been sent.
"""

from typing import Any

from fastapi import FastAPI, Request, Response
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException

from api.answers import JSON, Answer
from api.endpoint import endpoint, new_request_id, respond
from api.ports import Dependencies
from api.problems import PROBLEM_JSON, SPECS, TYPE, Code, Problem
from api.registrar import Operation
from api.routes import accounts, attention, captures, disputes, health, increments, payments, payouts, refunds, webhooks
from identity.clients import Scope
from identity.operators import OperatorScope

TITLE = "Holdfast"
VERSION = "1"
DOCUMENT = "/openapi.json"
SCHEMAS = "#/components/schemas/"

OPERATIONS: tuple[Operation[Any], ...] = (
    *payments.OPERATIONS,
    *captures.OPERATIONS,
    *increments.OPERATIONS,
    *refunds.OPERATIONS,
    *payouts.OPERATIONS,
    *disputes.OPERATIONS,
    *accounts.OPERATIONS,
    *webhooks.OPERATIONS,
    *attention.OPERATIONS,
    *health.OPERATIONS,
)


class Application(FastAPI):
    """FastAPI, with the parts of the OpenAPI document that stand beside the routes."""

    def openapi(self) -> dict[str, Any]:
        """Write the document once; it is the same for every process of this version."""
        if self.openapi_schema is None:
            document = super().openapi()
            components = document.setdefault("components", {})
            components["schemas"] = {**_schemas(), "Problem": _problem_schema()}
            components["securitySchemes"] = {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An initiator's token. Scopes: " + ", ".join(Scope),
                },
                "operator": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A person's token. Scopes: " + ", ".join(OperatorScope),
                },
            }
            self.openapi_schema = document
        return self.openapi_schema


def build(deps: Dependencies) -> FastAPI:
    """Build the API over its dependencies."""
    app = _application(openapi_url=DOCUMENT)
    for operation in OPERATIONS:
        _register(app, operation, deps)
    return app


def build_closed() -> FastAPI:
    """Build the API of a process that has no credentials: it says that it lives, and takes nothing."""
    app = _application(openapi_url=None)

    async def live(_: Request) -> Response:
        return respond(Answer(status=200, body=b'{"status":"ok","missing":[]}'), new_request_id())

    async def closed(_: Request) -> Response:
        request_id = new_request_id()
        return respond(Problem(Code.CREDENTIALS_MISSING).answer(request_id), request_id)

    app.add_route(health.HEALTHZ.path, live, methods=[health.HEALTHZ.method])
    app.add_route("/{path:path}", closed, methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
    return app


def _application(openapi_url: str | None) -> Application:
    return Application(
        title=TITLE,
        version=VERSION,
        summary="Payments as durable sagas",
        openapi_url=openapi_url,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # a redirected POST is sent twice
        exception_handlers={HTTPException: _not_routed},
    )


def _register(app: FastAPI, operation: Operation[Any], deps: Dependencies) -> None:
    app.add_api_route(
        operation.path,
        endpoint(operation, deps),
        methods=[operation.method],
        operation_id=operation.id,
        name=operation.id,
        summary=operation.summary,
        response_model=None,
        status_code=next(iter(operation.answers)),
        responses={**_answers(operation), **_refusals(operation)},
        openapi_extra=operation.document(),
    )


def _answers(operation: Operation[Any]) -> dict[int | str, dict[str, Any]]:
    """What the operation answers, by status. Named by reference: FastAPI would make a serializer for each."""
    return {
        status: {
            "description": _DESCRIPTIONS[status],
            "content": {JSON: {"schema": {"$ref": f"{SCHEMAS}{model.__name__}"}}},
            "headers": _HEADERS,
        }
        for status, model in operation.answers.items()
    }


def _refusals(operation: Operation[Any]) -> dict[int | str, dict[str, Any]]:
    """The problems of an operation, by status: each names its codes."""
    content = {PROBLEM_JSON: {"schema": {"$ref": f"{SCHEMAS}Problem"}}}
    by_status: dict[int, list[Code]] = {}
    for code in operation.codes:
        by_status.setdefault(SPECS[code].status, []).append(code)
    return {
        status: {"description": ", ".join(codes), "content": content, "headers": _HEADERS}
        for status, codes in by_status.items()
        if status not in operation.answers
    }


async def _not_routed(request: Request, error: Exception) -> Response:
    """Answer what reached no operation: no such path, or not this method."""
    assert isinstance(error, HTTPException)
    request_id = new_request_id()
    code = Code.METHOD_NOT_ALLOWED if error.status_code == 405 else Code.NOT_FOUND
    response = respond(Problem(code).answer(request_id), request_id)
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


_DESCRIPTIONS = {
    200: "Here it is",
    201: "The outcome is known",
    202: "It is taken and its outcome is not known yet; `Location` says where to look",
    503: "Something is missing",
}
_HEADERS = {"Request-Id": {"description": "Name it when you ask us", "schema": {"type": "string"}}}


def _schemas() -> dict[str, Any]:
    models = {model for operation in OPERATIONS for model in operation.answers.values()}
    by_name = sorted(models, key=lambda model: model.__name__)
    _, document = models_json_schema([(model, "serialization") for model in by_name], ref_template=SCHEMAS + "{model}")
    return document["$defs"]


def _problem_schema() -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "type": "object",
        "description": f"RFC 9457 problem details; `type` is `{TYPE}` and the code",
        "required": ["type", "title", "status", "detail", "code", "request_id", "retryable", "errors"],
        "properties": {
            "type": text,
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "code": {"type": "string", "enum": [str(code) for code in Code]},
            "request_id": text,
            "retryable": {"type": "boolean"},
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["code", "in", "pointer"],
                    "properties": {"code": text, "in": text, "pointer": text},
                },
            },
        },
    }
