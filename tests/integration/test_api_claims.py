"""Idempotency on the real database: many requests race for one key, owners freeze, and one effect happens."""

import asyncio
from typing import Any

import asyncpg
import pytest

from api import idempotency
from api.ports import EngineUnavailable
from records.claims import Claims
from tests.support.api import PAYMENT, SAMPLES, Edge, edge, key
from workers.server import KeptClaims

RACERS = 32
ROUNDS = 10


@pytest.fixture
def made(pool: asyncpg.Pool) -> Edge:
    """The API over real claims and counted runs."""
    made = edge()
    made.claims = KeptClaims(Claims(pool))
    return made


@pytest.mark.parametrize("operation", ["createPayment", "createCapture"])
async def test_of_many_requests_under_one_key_one_has_an_effect(made: Edge, operation: str) -> None:
    path, content = SAMPLES[operation]
    async with made.http() as client:
        for at in range(ROUNDS):
            asked = (client.post(path, json=content, headers=key(f"race-{at}")) for _ in range(RACERS))
            answers = await asyncio.gather(*asked)
            statuses = [answer.status_code for answer in answers]
            assert set(statuses) <= {201, 409}, statuses
            bodies = {answer.content for answer in answers if answer.status_code == 201}
            assert len(bodies) == 1
            again = await client.post(path, json=content, headers=key(f"race-{at}"))
            assert {again.content} == bodies
            assert again.headers["idempotency-replayed"] == "true"
    assert len(made.runs.effects) == len(made.runs.asked) == ROUNDS


async def test_many_requests_of_two_kinds_under_one_key_agree_on_which_came_first(made: Edge) -> None:
    other = {**PAYMENT, "amount": 7}
    async with made.http() as client:
        asked = (
            client.post("/v1/payments", json=other if at % 2 else PAYMENT, headers=key("k")) for at in range(RACERS)
        )
        answers = await asyncio.gather(*asked)
    amounts = {answer.json()["amount"] for answer in answers if answer.status_code == 201}
    assert len(amounts) == 1
    assert {answer.status_code for answer in answers} <= {201, 409, 422}
    assert len(made.runs.effects) == 1


async def test_a_dead_owners_key_is_taken_over_once_by_many_and_meets_the_same_run(
    made: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "LEASE_SECONDS", 0.2)
    made.runs.heard = [EngineUnavailable("killed after the effect")]
    async with made.http() as client:
        died = await client.post("/v1/payments", json=PAYMENT, headers=key("k"))
        await asyncio.sleep(0.3)
        monkeypatch.undo()
        asked = (client.post("/v1/payments", json=PAYMENT, headers=key("k")) for _ in range(RACERS))
        answers = await asyncio.gather(*asked)
    assert died.status_code == 503
    assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
    assert len(made.runs.effects) == 1
    assert len(made.runs.asked) == 2  # the dead owner, and the one that took over


async def test_a_frozen_owner_wakes_to_the_answer_that_was_given_meanwhile(
    made: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "LEASE_SECONDS", 0.2)
    gate, starting = asyncio.Event(), made.runs.start

    async def frozen(*of: Any, **how: Any) -> Any:
        made.runs.start = starting
        await gate.wait()
        return await starting(*of, **how)

    made.runs.start = frozen
    async with made.http() as client:
        first = asyncio.create_task(client.post("/v1/payments", json=PAYMENT, headers=key("k")))
        await asyncio.sleep(0.4)
        second = await client.post("/v1/payments", json=PAYMENT, headers=key("k"))
        gate.set()
        late = await first
    assert second.status_code == 201
    assert late.content == second.content
    assert late.headers["idempotency-replayed"] == "true"
    assert len(made.runs.effects) == 1


async def test_the_stored_answer_is_equal_byte_for_byte_with_its_headers(made: Edge) -> None:
    content = {**PAYMENT, "merchant_reference": "Bäckerei “Süß” 🥐"}
    async with made.http() as client:
        first = await client.post("/v1/payments", json=content, headers=key("!~k"))
        again = await client.post("/v1/payments", json=content, headers=key("!~k"))
    assert first.content == again.content
    for name in ("content-type", "location"):
        assert first.headers[name] == again.headers[name]


async def test_a_database_that_is_gone_is_said_as_what_it_is(made: Edge, pool: asyncpg.Pool) -> None:
    await pool.close()
    async with made.http() as client:
        answer = await client.post("/v1/payments", json=PAYMENT, headers=key("k"))
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert not made.runs.asked
