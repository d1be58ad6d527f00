"""An operation that lacks a part of its contract cannot be made."""

from typing import Any

import pytest
from pydantic import BaseModel

from api.answers import Answer
from api.app import OPERATIONS
from api.bodies import VoidBody
from api.registrar import Asked, Auth, Idempotency, Operation
from api.resources import VoidResource
from domain.ids import Prefix
from identity.clients import Scope
from identity.operators import OperatorScope


async def perform(_: Asked[BaseModel]) -> Answer:
    return Answer(status=201, body=b"")


COMPLETE: dict[str, Any] = {
    "id": "tryIt",
    "method": "POST",
    "path": "/v1/tries",
    "summary": "Try it",
    "perform": perform,
    "answers": {201: VoidResource},
    "auth": Auth.BEARER,
    "scope": Scope.PAYMENTS_VOID,
    "idempotency": Idempotency.KEY,
    "audit": "try.requested",
    "makes": Prefix.VOID,
    "body": VoidBody,
}


def operation(**parts: Any) -> Operation[Any]:
    """Make an operation of exactly these parts."""
    return Operation(**parts)


def test_a_complete_operation_can_be_made() -> None:
    assert operation(**COMPLETE).changes_state


@pytest.mark.parametrize(
    "lacking",
    [
        {"auth": Auth.NONE},
        {"scope": None},
        {"idempotency": Idempotency.SAFE},
        {"audit": None},
        {"audit": ""},
        {"makes": None},
        {"body": None},
        {"auth": Auth.PROVIDER_SIGNATURE, "idempotency": Idempotency.EVENT, "audit": None},
        {"auth": Auth.OPERATOR},  # with the scope of an initiator
        {"scope": OperatorScope.ACT},
        {"idempotency": Idempotency.CONTENT, "body": None},
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_an_operation_that_lacks_a_part_of_its_contract_cannot(lacking: dict[str, Any], method: str) -> None:
    with pytest.raises(TypeError, match="tryIt"):
        operation(**{**COMPLETE, "method": method, **lacking})


@pytest.mark.parametrize("part", ["auth", "summary", "answers", "perform"])
def test_an_operation_says_how_its_caller_is_known_and_what_it_answers(part: str) -> None:
    with pytest.raises(TypeError):
        operation(**{name: given for name, given in COMPLETE.items() if name != part})


def test_a_token_without_a_scope_reads_nothing() -> None:
    with pytest.raises(TypeError, match="scope"):
        operation(**{**COMPLETE, "method": "GET", "scope": None})


def test_ids_and_routes_are_used_once() -> None:
    assert len({each.id for each in OPERATIONS}) == len(OPERATIONS)
    assert len({(each.method, each.path) for each in OPERATIONS}) == len(OPERATIONS)


def test_reading_and_moving_money_never_share_a_scope() -> None:
    reading = {each.scope for each in OPERATIONS if not each.changes_state} - {None}
    moving = {each.scope for each in OPERATIONS if each.changes_state} - {None}
    assert not reading & moving
    assert reading | moving == {*Scope, *OperatorScope}
