"""One key, one effect, one answer: what is stored, what is not, and who may take a key over."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from api import idempotency
from api.ports import EngineUnavailable, Refusal, Silence
from api.problems import Code
from domain.commands import Payment
from domain.errors import Unavailable
from domain.ids import ClientId
from identity.clients import StaticClients
from tests.support.api import (
    CLIENT,
    PAYMENT,
    PAYMENT_ID,
    SAMPLES,
    StoredRow,
    edge,
    key,
    receipt,
)


@pytest.mark.parametrize("operation", SAMPLES)
async def test_the_same_key_gets_the_same_bytes_and_one_effect(operation: str) -> None:
    path, content = SAMPLES[operation]
    made = edge()
    async with made.http() as client:
        first = await client.post(path, json=content, headers=key("k"))
        again = await client.post(path, json=content, headers=key("k"))
    assert first.status_code == again.status_code == 201
    assert first.content == again.content
    assert first.headers["location"] == again.headers["location"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert first.headers["request-id"] != again.headers["request-id"]
    assert len(made.runs.asked) == 1


@pytest.mark.parametrize("operation", SAMPLES)
async def test_the_same_key_for_another_request_is_refused(operation: str) -> None:
    path, content = SAMPLES[operation]
    made = edge()
    async with made.http() as client:
        await client.post("/v1/payments", json={**PAYMENT, "amount": 7}, headers=key("k"))
        refused = await client.post(path, json=content, headers=key("k"))
    assert (refused.status_code, refused.json()["code"]) == (422, Code.IDEMPOTENCY_KEY_REUSED)
    assert len(made.runs.effects) == 1


async def test_spaces_and_the_order_of_names_do_not_make_another_request() -> None:
    made = edge()
    async with made.http() as client:
        await client.post("/v1/payments", json=PAYMENT, headers=key("k"))
        shuffled = b'{ "instrument":"tok_visa", "merchant" : "m_bakery","currency":"EUR","amount":1050 }'
        again = await client.post(
            "/v1/payments", content=shuffled, headers={**key("k"), "Content-Type": "application/json"}
        )
    assert again.headers["idempotency-replayed"] == "true"


async def test_equal_requests_under_two_keys_are_two_operations() -> None:
    path, content = SAMPLES["createCapture"]
    made = edge()
    async with made.http() as client:
        ids = {(await client.post(path, json=content, headers=key(text))).json()["id"] for text in "ab"}
    assert len(ids) == len(made.runs.effects) == 2


async def test_a_request_in_flight_keeps_the_others_waiting() -> None:
    made, gate = edge(), asyncio.Event()
    starting = made.runs.start

    async def slow(*of: Any, **how: Any) -> Any:
        await gate.wait()
        return await starting(*of, **how)

    made.runs.start = slow
    async with made.http() as client:
        first = asyncio.create_task(client.post("/v1/payments", json=PAYMENT, headers=key("k")))
        await asyncio.sleep(0.05)
        second = await client.post("/v1/payments", json=PAYMENT, headers=key("k"))
        gate.set()
        await first
    assert (second.status_code, second.json()["code"]) == (409, Code.IDEMPOTENCY_KEY_IN_FLIGHT)
    assert int(second.headers["retry-after"]) == idempotency.LEASE_SECONDS
    assert second.json()["retryable"] is True
    assert len(made.runs.effects) == 1


@pytest.mark.parametrize("operation", SAMPLES)
async def test_a_claim_whose_owner_died_is_taken_over_and_meets_the_same_run(operation: str) -> None:
    path, content = SAMPLES[operation]
    made = edge()
    made.runs.heard = [EngineUnavailable("the process dies after the effect")]
    async with made.http() as client:
        died = await client.post(path, json=content, headers=key("k"))
        early = await client.post(path, json=content, headers=key("k"))
        made.clock.now += idempotency.LEASE_SECONDS + 1
        taken_over = await client.post(path, json=content, headers=key("k"))
    assert (died.status_code, died.json()["code"]) == (503, Code.ENGINE_UNAVAILABLE)
    assert died.headers["retry-after"]
    assert early.status_code == 409
    assert taken_over.status_code == 201
    assert len(made.runs.effects) == 1
    assert {command.id for command in made.runs.asked} == set(made.runs.effects)


async def test_an_answer_that_comes_after_a_takeover_gives_way_to_the_stored_one() -> None:
    made, gate = edge(), asyncio.Event()
    starting = made.runs.start

    async def frozen(*of: Any, **how: Any) -> Any:
        made.runs.start = starting
        await gate.wait()
        return receipt(of[0], state="declined")

    made.runs.start = frozen
    async with made.http() as client:
        first = asyncio.create_task(client.post("/v1/payments", json=PAYMENT, headers=key("k")))
        await asyncio.sleep(0.05)
        made.clock.now += idempotency.LEASE_SECONDS + 1
        second = await client.post("/v1/payments", json=PAYMENT, headers=key("k"))
        gate.set()
    late = await first
    assert second.json()["status"] == "authorized"
    assert late.content == second.content
    assert late.headers["idempotency-replayed"] == "true"


async def test_what_is_true_is_said_even_where_it_cannot_be_stored() -> None:
    made = edge()
    made.clock.broken_at_finish = True
    async with made.http() as client:
        first = await client.post("/v1/payments", json=PAYMENT, headers=key("k"))
        made.clock.broken_at_finish = False
        made.clock.now += idempotency.LEASE_SECONDS + 1
        again = await client.post("/v1/payments", json=PAYMENT, headers=key("k"))
    assert first.status_code == again.status_code == 201
    assert first.content == again.content
    assert len(made.runs.effects) == 1


async def test_a_refusal_that_nothing_can_change_is_stored() -> None:
    path, content = SAMPLES["createCapture"]
    made = edge()
    made.runs.heard = [Refusal.CAPTURE_EXCEEDS_AUTHORIZATION]
    async with made.http() as client:
        first = await client.post(path, json=content, headers=key("k"))
        again = await client.post(path, json=content, headers=key("k"))
    assert first.status_code == 422
    assert first.content == again.content
    assert again.headers["idempotency-replayed"] == "true"
    assert len(made.runs.asked) == 1


async def test_a_refusal_that_time_changes_frees_the_key() -> None:
    path, content = SAMPLES["createCapture"]
    made = edge()
    made.runs.heard = [Refusal.IN_DOUBT]
    async with made.http() as client:
        first = await client.post(path, json=content, headers=key("k"))
        again = await client.post(path, json=content, headers=key("k"))
    assert (first.status_code, first.json()["code"]) == (409, Code.OPERATION_IN_DOUBT)
    assert int(first.headers["retry-after"]) > 0
    assert again.status_code == 201


async def test_what_was_accepted_is_replayed_as_accepted() -> None:
    made = edge()
    made.runs.heard = [Silence.UNDERWAY]
    async with made.http() as client:
        first = await client.post("/v1/payments", json=PAYMENT, headers=key("k"))
        again = await client.post("/v1/payments", json=PAYMENT, headers=key("k"))
    assert first.status_code == again.status_code == 202
    assert first.content == again.content


@pytest.mark.parametrize("failure", [RuntimeError("a bug"), Unavailable("the database is gone")])
async def test_a_failure_of_ours_is_never_stored_and_keeps_the_claim(failure: Exception) -> None:
    made = edge()
    made.runs.heard = [failure]
    async with made.http() as client:
        failed = await client.post("/v1/payments", json=PAYMENT, headers=key("k"))
        early = await client.post("/v1/payments", json=PAYMENT, headers=key("k"))
        made.clock.now += idempotency.LEASE_SECONDS + 1
        later = await client.post("/v1/payments", json=PAYMENT, headers=key("k"))
    assert failed.status_code >= 500
    assert failed.json()["retryable"] is True
    assert "gone" not in failed.text
    assert "bug" not in failed.text
    assert early.status_code == 409
    assert later.status_code == 201


async def test_a_request_that_takes_too_long_ends_before_its_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    assert idempotency.DEADLINE_SECONDS < idempotency.LEASE_SECONDS
    monkeypatch.setattr(idempotency, "DEADLINE_SECONDS", 0.05)
    made = edge()

    async def forever(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    made.runs.start = forever
    async with made.http() as client:
        answer = await client.post("/v1/payments", json=PAYMENT, headers=key("k"))
    assert (answer.status_code, answer.json()["code"]) == (503, Code.ENGINE_UNAVAILABLE)


async def test_where_claims_are_lost_the_receipt_still_tells_a_reused_key() -> None:
    made = edge()
    async with made.http() as client:
        await client.post("/v1/payments", json=PAYMENT, headers=key("k"))
        made.clock.entries.clear()
        other = await client.post("/v1/payments", json={**PAYMENT, "amount": 7}, headers=key("k"))
        made.clock.entries.clear()
        same = await client.post("/v1/payments", json=PAYMENT, headers=key("k"))
    assert (other.status_code, other.json()["code"]) == (422, Code.IDEMPOTENCY_KEY_REUSED)
    assert same.status_code == 201
    assert len(made.runs.effects) == 1


async def test_where_claims_are_lost_a_captures_row_tells_a_reused_key() -> None:
    path, content = SAMPLES["createCapture"]
    made = edge()
    async with made.http() as client:
        captured = (await client.post(path, json=content, headers=key("k"))).json()["id"]
        made.reads.put(StoredRow(id=captured, state="succeeded", payment=PAYMENT_ID, fingerprint="another"))
        made.clock.entries.clear()
        refused = await client.post(path, json=content, headers=key("k"))
    assert refused.json()["code"] == Code.IDEMPOTENCY_KEY_REUSED
    assert len(made.runs.asked) == 1


async def test_a_start_is_wanted_until_long_after_the_lease() -> None:
    made = edge()
    async with made.http() as client:
        await client.post("/v1/payments", json=PAYMENT, headers=key("k"))
    [command] = made.runs.asked
    assert isinstance(command, Payment)
    lease_until = made.clock.now + idempotency.LEASE_SECONDS
    assert command.admit_until == lease_until + idempotency.ADMIT_SECONDS


async def test_the_id_depends_on_the_client_and_the_key() -> None:
    made, other = edge(), edge()
    other.clients = StaticClients("another", replace(CLIENT, id=ClientId("two")))
    async with made.http() as client:
        one = (await client.post("/v1/payments", json=PAYMENT, headers=key("k"))).json()["id"]
        two = (await client.post("/v1/payments", json=PAYMENT, headers=key("l"))).json()["id"]
    async with other.http() as client:
        client.headers["Authorization"] = "Bearer another"
        three = (await client.post("/v1/payments", json=PAYMENT, headers=key("k"))).json()["id"]
    assert len({one, two, three}) == 3


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [(None, 5), ("wait=1", 1), ("respond-async, wait=3", 3), ("wait=99", 10), ("wait=-1", 5), ("wait=x", 5), ("", 5)],
)
async def test_an_initiator_says_how_long_it_waits(prefer: str | None, seconds: float) -> None:
    made = edge()
    headers = key("k") if prefer is None else {**key("k"), "Prefer": prefer}
    async with made.http() as client:
        await client.post("/v1/payments", json=PAYMENT, headers=headers)
    assert made.runs.waits == [seconds]
