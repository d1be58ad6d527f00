"""The contract: the committed document is the emitted one, every change of state declares what it must, and does it."""

import json
import re
from typing import Any

import httpx
import pytest
from pydantic import BaseModel, ValidationError

from api.app import OPERATIONS, build
from api.problems import SPECS, Code
from api.registrar import Auth, Idempotency, Operation
from identity import operators
from identity.clients import Client, Scope, StaticClients
from identity.operators import OperatorScope
from tests.support import openapi
from tests.support.api import ANN, CLIENT, PROVIDER, REPEATABLE, SAMPLES, TOKEN, Edge, edge, http, key

EXTENSIONS = ("x-auth", "x-scope", "x-idempotency", "x-audit")
SAFE = {"get", "head", "options"}

CHANGES = [operation for operation in OPERATIONS if operation.changes_state]
KEYED = [operation for operation in OPERATIONS if operation.idempotency is Idempotency.KEY]
CONTENT = [operation for operation in OPERATIONS if operation.idempotency is Idempotency.CONTENT]
WITH_TOKEN = [operation for operation in OPERATIONS if operation.auth is Auth.BEARER]
OF_PEOPLE = [operation for operation in OPERATIONS if operation.auth is Auth.OPERATOR]


def name(operation: Operation[Any]) -> str:
    """What a test is called after."""
    return operation.id


def emitted() -> dict[str, Any]:
    """The document as the API serves it."""
    return edge().build().openapi()


def sample(operation: Operation[Any]) -> tuple[str, dict[str, Any] | None]:
    """A path and a body that are well formed."""
    if known := {**SAMPLES, **REPEATABLE}.get(operation.id):
        return known
    path = operation.document_path.replace("{id}", "x").replace("{code}", "x").replace("{run}", "x")
    return path.replace("{provider}", PROVIDER), None


async def ask(client: httpx.AsyncClient, operation: Operation[Any], **headers: str) -> httpx.Response:
    """Ask for an operation."""
    path, content = sample(operation)
    return await client.request(operation.method, path, json=content, headers=headers)


def allowed(made: Edge, operation: Operation[Any]) -> httpx.AsyncClient:
    """A client of whoever may ask for it."""
    return made.of(ANN) if operation.auth is Auth.OPERATOR else made.http()


def test_the_committed_document_is_the_emitted_one() -> None:
    """The difference is what a review looks at."""
    assert openapi.DOCUMENT.read_text() == openapi.text(), "run `python -m tests.support.openapi`"


def test_the_guides_tables_say_what_the_code_says() -> None:
    guide = openapi.GUIDE.read_text()
    assert guide == openapi.with_tables(guide), "run `python -m tests.support.openapi`"


def test_the_guides_examples_are_requests_that_the_api_takes() -> None:
    bodies = re.findall(r"-d '(.*?)'", openapi.GUIDE.read_text(), flags=re.DOTALL)
    models = [operation.body for operation in (*KEYED, *CONTENT) if operation.body is not None]
    assert len(bodies) >= len([operation for operation in KEYED if not operation.body_optional])
    for content in bodies:
        fitting = [model for model in models if _fits(model, content)]
        assert fitting, content


def _fits(model: type[BaseModel], content: str) -> bool:
    try:
        model.model_validate_json(content)
    except ValidationError:
        return False
    return True


async def test_the_document_is_served_to_anybody() -> None:
    async with http(edge().build(), token=None) as client:
        assert (await client.get("/openapi.json")).json() == emitted()


def test_every_change_of_state_in_the_document_declares_auth_scope_idempotency_and_audit() -> None:
    found = 0
    for path, item in emitted()["paths"].items():
        for method, written in item.items():
            if method not in SAFE:
                found += 1
                for extension in EXTENSIONS:
                    assert written.get(extension), f"{method} {path} lacks {extension}"
    assert found == len(CHANGES)


def test_there_is_no_route_outside_the_registry() -> None:
    app = build(None)  # pyright: ignore[reportArgumentType]
    routes = {
        (method, getattr(route, "path", ""))
        for route in app.routes
        for method in getattr(route, "methods", ())
        if method != "HEAD"
    }
    assert routes == {(each.method, each.path) for each in OPERATIONS} | {("GET", "/openapi.json")}


def test_every_problem_of_an_operation_is_in_its_document() -> None:
    paths = emitted()["paths"]
    for operation in OPERATIONS:
        written = paths[operation.document_path][operation.method.lower()]
        assert written["operationId"] == operation.id
        for code in operation.codes:
            assert str(SPECS[code].status) in written["responses"], (operation.id, code)
        assert written["x-errors"] == list(operation.codes)


def test_every_reference_in_the_document_leads_somewhere() -> None:
    document = emitted()
    references = re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(document))
    assert len(references) > 50
    assert set(references) <= set(document["components"]["schemas"])


@pytest.mark.parametrize("operation", [*WITH_TOKEN, *OF_PEOPLE], ids=name)
async def test_without_a_token_401(operation: Operation[Any]) -> None:
    made = edge()
    async with http(made.build(), token=None) as client:
        answer = await ask(client, operation, **key("k"))
    assert (answer.status_code, answer.json()["code"]) == (401, Code.UNAUTHENTICATED)
    assert not made.runs.asked


@pytest.mark.parametrize("operation", WITH_TOKEN, ids=name)
async def test_with_every_scope_but_its_own_403(operation: Operation[Any]) -> None:
    made = edge()
    lacking = Client(id=CLIENT.id, scopes=frozenset(Scope) - {operation.scope})
    made.clients = StaticClients(TOKEN, lacking)
    async with made.http() as client:
        answer = await ask(client, operation, **key("k"))
    assert (answer.status_code, answer.json()["code"]) == (403, Code.SCOPE_MISSING)
    assert not made.runs.asked


@pytest.mark.parametrize("operation", WITH_TOKEN, ids=name)
async def test_with_no_scope_but_its_own_it_is_let_in(operation: Operation[Any]) -> None:
    made = edge()
    assert isinstance(operation.scope, Scope)
    made.clients = StaticClients(TOKEN, Client(id=CLIENT.id, scopes=frozenset({operation.scope})))
    async with made.http() as client:
        answer = await ask(client, operation, **key("k"))
    assert answer.status_code not in (401, 403)


@pytest.mark.parametrize("operation", [*WITH_TOKEN, *OF_PEOPLE], ids=name)
async def test_an_initiators_token_is_no_operators_and_an_operators_no_initiators(operation: Operation[Any]) -> None:
    made = edge()
    async with made.of(TOKEN if operation.auth is Auth.OPERATOR else ANN) as client:
        answer = await ask(client, operation, **key("k"))
    assert (answer.status_code, answer.json()["code"]) == (401, Code.UNAUTHENTICATED)
    assert not made.runs.asked
    assert not made.approvals.given


@pytest.mark.parametrize("operation", OF_PEOPLE, ids=name)
async def test_an_operator_with_every_scope_but_its_own_403(operation: Operation[Any]) -> None:
    made = edge()
    lacking = "+".join(str(each).removeprefix("operations:") for each in OperatorScope if each is not operation.scope)
    made.people = operators.parse(f"{operators.entry('ann', ANN)}:{lacking}")
    async with made.of(ANN) as client:
        answer = await ask(client, operation)
    assert (answer.status_code, answer.json()["code"]) == (403, Code.SCOPE_MISSING)
    assert not made.approvals.given
    assert not made.parked.retried


@pytest.mark.parametrize("operation", CONTENT, ids=name)
async def test_the_same_words_twice_have_one_effect_and_an_audit_event_each(operation: Operation[Any]) -> None:
    made = edge()
    async with allowed(made, operation) as client:
        first = await ask(client, operation)
        again = await ask(client, operation)
    assert first.status_code in operation.answers, first.text
    assert first.content == again.content
    assert len(made.approvals.given) == (operation.id == "createApproval")
    assert [(each.event, each.scope) for each in made.audit.written] == [(operation.audit, operation.scope)] * 2
    assert all(each.resource and each.fingerprint for each in made.audit.written)


@pytest.mark.parametrize("operation", KEYED, ids=name)
async def test_without_a_key_400(operation: Operation[Any]) -> None:
    made = edge()
    async with made.http() as client:
        answer = await ask(client, operation)
    assert (answer.status_code, answer.json()["code"]) == (400, Code.IDEMPOTENCY_KEY_MISSING)
    assert not made.runs.asked


@pytest.mark.parametrize("operation", KEYED, ids=name)
async def test_the_same_key_twice_gives_the_same_bytes_and_exactly_one_audit_event_each(
    operation: Operation[Any],
) -> None:
    made = edge()
    async with made.http() as client:
        first = await ask(client, operation, **key("k"))
        again = await ask(client, operation, **key("k"))
    assert first.status_code == 201, first.text
    assert first.content == again.content
    assert len(made.runs.asked) == 1
    assert [(each.event, each.replayed) for each in made.audit.written] == [
        (operation.audit, False),
        (operation.audit, True),
    ]


@pytest.mark.parametrize("operation", [each for each in CHANGES if each.auth is Auth.PROVIDER_SIGNATURE], ids=name)
async def test_what_a_provider_sends_needs_its_signature(operation: Operation[Any]) -> None:
    made = edge()
    async with made.http() as client:
        answer = await ask(client, operation, **key("k"))
    assert (answer.status_code, answer.json()["code"]) == (401, Code.SIGNATURE_INVALID)
    assert not made.inbox.events


@pytest.mark.parametrize("operation", [*KEYED, *CONTENT], ids=name)
async def test_what_is_answered_is_what_the_document_says(operation: Operation[Any]) -> None:
    made = edge()
    async with allowed(made, operation) as client:
        answer = await ask(client, operation, **key("k"))
    model = operation.answers[answer.status_code]
    assert set(answer.json()) == set(model.model_fields)
    model.model_validate_json(answer.content)


def test_each_code_has_a_meaning_and_is_used_by_an_operation_or_by_the_edge_itself() -> None:
    assert set(SPECS) == set(Code)
    used = {code for operation in OPERATIONS for code in operation.codes}
    assert set(Code) - used == {Code.METHOD_NOT_ALLOWED, Code.CREDENTIALS_MISSING}
    for code, spec in SPECS.items():
        assert spec.title[0].isupper(), code
        assert spec.advice.endswith("."), code
        assert not (spec.kept and spec.status >= 500), f"{code}: what is our fault is never stored"
        assert not (spec.kept and spec.retryable), f"{code}: what is stored never changes"
