"""A process without credentials says that it lives, and takes nothing."""

from typing import Any

import pytest

from api.app import OPERATIONS, build_closed
from api.problems import Code
from api.registrar import Operation
from tests.support.api import PAYMENT, http, key


async def test_it_lives() -> None:
    async with http(build_closed()) as client:
        answer = await client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "missing": []})


@pytest.mark.parametrize(
    "operation", [each for each in OPERATIONS if each.path != "/healthz"], ids=lambda each: each.id
)
async def test_it_answers_nothing_else(operation: Operation[Any]) -> None:
    async with http(build_closed()) as client:
        answer = await client.request(operation.method, operation.path, headers=key("k"))
    assert (answer.status_code, answer.json()["code"]) == (503, Code.CREDENTIALS_MISSING)


async def test_not_even_its_document() -> None:
    async with http(build_closed()) as client:
        assert (await client.get("/openapi.json")).status_code == 503
        assert (await client.post("/v1/payments", json=PAYMENT, headers=key("k"))).status_code == 503
