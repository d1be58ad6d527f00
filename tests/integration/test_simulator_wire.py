"""The simulator's process, met over sockets: its calls, each of its bad habits, and how it ends."""

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.support.simulator import ROOT, SECRET, RunningSimulator, running_simulator

Json = dict[str, Any]


@pytest_asyncio.fixture(scope="module")
async def process() -> AsyncGenerator[RunningSimulator]:
    """One process for this file."""
    async with running_simulator() as running:
        yield running


@pytest_asyncio.fixture
async def simulator(process: RunningSimulator) -> RunningSimulator:
    """The process, as new."""
    await process.reset()
    return process


def _headers(reference: str, secret: str = SECRET) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}", "X-Request-Key": reference}


def _order(reference: str, **fields: object) -> Json:
    return {"merchantRef": reference, "value": {"amount": "10.50", "unit": "EUR"}, **fields}


async def _authorise(simulator: RunningSimulator, reference: str = "pay_1.a1", token: str = "tok_visa") -> Any:
    return await _send(simulator, "authorisations", _order(reference, source={"token": token}))


async def _collect(simulator: RunningSimulator, reference: str = "pay_1.c1") -> Any:
    return await _send(simulator, "collections", _order(reference, authorisationRef="pay_1.a1"))


async def _send(simulator: RunningSimulator, path: str, order: Json) -> httpx.Response:
    return await simulator.http.post(f"/v2/{path}", json=order, headers=_headers(order["merchantRef"]))


async def _lookup(simulator: RunningSimulator, reference: str) -> httpx.Response:
    return await simulator.http.get("/v2/lookup", params={"merchantRef": reference}, headers=_headers(""))


async def _phase(simulator: RunningSimulator, reference: str) -> str | None:
    answer = await _lookup(simulator, reference)
    return answer.json()["data"]["phase"] if answer.status_code == 200 else None


def _fault(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["fault"]["code"]


async def test_a_payment_takes_its_usual_way(simulator: RunningSimulator) -> None:
    authorised = await _authorise(simulator)
    assert authorised.status_code == 201
    data = authorised.json()["data"]
    assert data | {"id": "", "at": "", "validUntil": ""} == {
        "kind": "authorisation",
        "id": "",
        "merchantRef": "pay_1.a1",
        "phase": "APPROVED",
        "at": "",
        "value": {"amount": "10.50", "unit": "EUR"},
        "validUntil": "",
    }
    assert data["id"].startswith("au_")
    order = {"merchantRef": "pay_1.c1", "value": {"amount": "4.00", "unit": "EUR"}, "authorisation": data["id"]}
    collected = await _send(simulator, "collections", order)
    assert (collected.status_code, collected.json()["data"]["phase"]) == (201, "COLLECTED")
    released = await _send(simulator, "releases", {"merchantRef": "pay_1.v1", "authorisationRef": "pay_1.a1"})
    assert released.json()["data"]["collected"] == {"amount": "4.00", "unit": "EUR"}
    assert released.json()["data"]["released"] == {"amount": "6.50", "unit": "EUR"}
    order = {"merchantRef": "rfd_1.r1", "value": {"amount": "1.50", "unit": "EUR"}, "authorisationRef": "pay_1.a1"}
    paid_back = await _send(simulator, "paybacks", order)
    assert (paid_back.status_code, paid_back.json()["data"]["id"][:3]) == (201, "pb_")
    books = await simulator.books()
    assert books["totals"]["EUR"] == {
        "authorised_open": 0,
        "collected": 400,
        "paid_back": 150,
        "transferred": 0,
        "withdrawn": 0,
        "given_back": 0,
    }
    assert [(each["reference"], each["amountMinor"]) for each in books["effects"]] == [
        ("pay_1.a1", 1050),
        ("pay_1.c1", 400),
        ("pay_1.v1", 650),
        ("rfd_1.r1", 150),
    ]


async def test_a_transfer_arrives_by_itself(simulator: RunningSimulator) -> None:
    accepted = await _send(simulator, "transfers", _order("po_1.p1", beneficiary="acct_ok"))
    assert (accepted.status_code, accepted.json()["data"]["phase"]) == (201, "ACCEPTED")
    await simulator.advance(0.3)
    assert await _phase(simulator, "po_1.p1") == "ARRIVED"


async def test_statuses_tell_yes_no_and_later_apart(simulator: RunningSimulator) -> None:
    assert (await _authorise(simulator, "pay_1.a1")).status_code == 201
    denied = await _authorise(simulator, "pay_2.a1", "tok_denied")
    assert (denied.status_code, denied.json()["data"]["denial"]) == (200, {"reason": "insufficient_credit"})
    assert (await _authorise(simulator, "pay_3.a1", "tok_review")).status_code == 202
    assert await _phase(simulator, "pay_2.a1") == "DENIED"


async def test_what_cannot_be_taken_is_a_fault_and_leaves_nothing(simulator: RunningSimulator) -> None:
    stranger = await simulator.http.post("/v2/authorisations", json={}, headers=_headers("x", "wrong"))
    assert _fault(stranger) == (401, "BAD_CREDENTIALS")
    assert _fault(await _lookup(simulator, "nobody")) == (404, "NO_SUCH_REFERENCE")
    assert _fault(await _collect(simulator)) == (404, "NO_SUCH_AUTHORISATION")
    malformed = await _send(simulator, "transfers", {"merchantRef": "po_1.p1", "value": {"amount": "1", "unit": "EUR"}})
    assert _fault(malformed) == (400, "MALFORMED")
    assert set(malformed.json()["fault"]["fields"]) == {"value.amount", "beneficiary"}
    await _authorise(simulator)
    assert _fault(await _authorise(simulator, token="tok_other")) == (409, "KEY_REUSED")
    assert (await simulator.http.get("/v2/nowhere")).status_code == 404
    assert (await simulator.http.delete("/v2/lookup")).status_code == 405
    assert len((await simulator.books())["effects"]) == 1


async def test_a_call_is_listed_with_its_answer_and_its_behaviour(simulator: RunningSimulator) -> None:
    await simulator.script("collect", "lost_before")
    await _authorise(simulator)
    with pytest.raises(httpx.RemoteProtocolError):
        await _collect(simulator)
    received = await simulator.calls()
    calls = [(call["operation"], call["merchantRef"], call["status"], call["behaviour"]) for call in received]
    assert calls == [("authorise", "pay_1.a1", 201, None), ("collect", "pay_1.c1", None, "lost_before")]


async def test_deduplication_can_be_switched_off_and_doubles_are_counted(simulator: RunningSimulator) -> None:
    await _authorise(simulator)
    first = (await _collect(simulator)).json()
    assert (await _collect(simulator)).json() == first
    assert (await simulator.books())["doubles"] == []
    await simulator.settings(deduplicate=False)
    await _authorise(simulator)
    assert (await simulator.books())["doubles"] == ["pay_1.a1"]


# Behaviours


@pytest.mark.parametrize(
    ("do", "fields", "status", "code", "effect"),
    [
        ("throttle", {"retryAfter": 7}, 429, "TOO_MANY_CALLS", False),
        ("unavailable", {}, 503, "UNAVAILABLE", False),
        ("error", {}, 500, "INTERNAL", False),
        ("error", {"effect": True}, 500, "INTERNAL", True),
        ("status", {"status": 418, "code": "TEAPOT"}, 418, "TEAPOT", False),
        ("status", {"status": 409, "effect": True}, 409, "SCRIPTED", True),
    ],
)
async def test_a_fault_answers_with_or_without_the_effect(
    simulator: RunningSimulator, do: str, fields: Json, status: int, code: str, effect: bool
) -> None:
    await simulator.script("authorise", do, **fields)
    answer = await _authorise(simulator)
    assert _fault(answer) == (status, code)
    assert answer.headers.get("retry-after") == ("7" if do == "throttle" else None)
    assert (await _phase(simulator, "pay_1.a1") == "APPROVED") is effect


@pytest.mark.parametrize(("do", "phase"), [("lost_before", None), ("lost_after", "APPROVED")])
async def test_a_lost_answer_comes_with_or_without_the_effect(
    simulator: RunningSimulator, do: str, phase: str | None
) -> None:
    await simulator.script("authorise", do, seconds=0.05)
    began = time.monotonic()
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        await _authorise(simulator)
    assert time.monotonic() - began >= 0.05
    assert await _phase(simulator, "pay_1.a1") == phase


async def test_a_late_effect_lands_by_the_clock_of_the_simulator(simulator: RunningSimulator) -> None:
    await simulator.script("authorise", "late", seconds=100)
    with pytest.raises(httpx.RemoteProtocolError):
        await _authorise(simulator)
    await simulator.advance(98)
    assert await _phase(simulator, "pay_1.a1") is None
    await simulator.advance(2)
    assert await _phase(simulator, "pay_1.a1") == "APPROVED"


async def test_a_late_effect_after_a_release_is_denied(simulator: RunningSimulator) -> None:
    await simulator.script("authorise", "late", seconds=100)
    with pytest.raises(httpx.RemoteProtocolError):
        await _authorise(simulator)
    released = await _send(simulator, "releases", {"merchantRef": "pay_1.v1", "authorisationRef": "pay_1.a1"})
    assert released.json()["data"]["phase"] == "RELEASED"
    await simulator.advance(100)
    assert await _phase(simulator, "pay_1.a1") == "DENIED"


async def test_a_late_effect_that_was_sent_again_meanwhile_happens_once(simulator: RunningSimulator) -> None:
    await simulator.script("authorise", "late", seconds=100)
    with pytest.raises(httpx.RemoteProtocolError):
        await _authorise(simulator)
    assert (await _authorise(simulator)).status_code == 201
    await simulator.advance(100)
    assert (await simulator.books())["doubles"] == []


async def test_a_slow_answer_is_a_usual_one(simulator: RunningSimulator) -> None:
    await simulator.script("authorise", "slow", seconds=0.1)
    began = time.monotonic()
    assert (await _authorise(simulator)).status_code == 201
    assert time.monotonic() - began >= 0.1


async def test_a_slow_call_has_its_effect_though_its_caller_has_gone(simulator: RunningSimulator) -> None:
    await simulator.script("authorise", "slow", seconds=0.2)
    async with httpx.AsyncClient(base_url=simulator.url, timeout=0.05, trust_env=False) as hasty:
        with pytest.raises(httpx.ReadTimeout):
            await hasty.post(
                "/v2/authorisations", json=_order("pay_1.a1", source={"token": "t"}), headers=_headers("pay_1.a1")
            )
    assert await _phase(simulator, "pay_1.a1") is None
    await asyncio.sleep(0.3)
    assert await _phase(simulator, "pay_1.a1") == "APPROVED"


@pytest.mark.parametrize(("fields", "end"), [({}, "APPROVED"), ({"then": "denied", "reason": "no"}, "DENIED")])
async def test_a_pending_answer_is_decided_later(simulator: RunningSimulator, fields: Json, end: str) -> None:
    await simulator.script("authorise", "pending", seconds=50, **fields)
    answer = await _authorise(simulator)
    assert (answer.status_code, answer.json()["data"]["phase"]) == (202, "IN_REVIEW")
    await simulator.advance(50)
    assert await _phase(simulator, "pay_1.a1") == end


async def test_a_scripted_denial_names_its_reason(simulator: RunningSimulator) -> None:
    await _authorise(simulator)
    await simulator.script("collect", "deny", reason="because")
    assert (await _collect(simulator)).json()["data"]["denial"] == {"reason": "because"}


@pytest.mark.parametrize(("do", "end"), [("arrive", "ARRIVED"), ("bounce", "BOUNCED")])
async def test_a_transfer_ends_as_scripted(simulator: RunningSimulator, do: str, end: str) -> None:
    await simulator.script("transfer", do, seconds=1000)
    await _send(simulator, "transfers", _order("po_1.p1", beneficiary="acct_ok"))
    await simulator.advance(990)
    assert await _phase(simulator, "po_1.p1") == "ACCEPTED"
    await simulator.advance(10)
    assert await _phase(simulator, "po_1.p1") == end


@pytest.mark.parametrize(("effect", "phase"), [(True, "APPROVED"), (False, None)])
async def test_garbage_is_answered_with_or_without_the_effect(
    simulator: RunningSimulator, effect: bool, phase: str | None
) -> None:
    await simulator.script("authorise", "garbage", effect=effect)
    answer = await _authorise(simulator)
    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r"codec|Expecting"):
        answer.json()
    assert await _phase(simulator, "pay_1.a1") == phase


async def test_a_truncated_answer_promises_more_than_it_sends(simulator: RunningSimulator) -> None:
    await simulator.script("authorise", "truncated")
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        await _authorise(simulator)
    assert await _phase(simulator, "pay_1.a1") == "APPROVED"


async def test_a_wrong_amount_is_a_lie_about_a_right_effect(simulator: RunningSimulator) -> None:
    await simulator.script("authorise", "wrong_amount")
    answer = await _authorise(simulator)
    assert (answer.status_code, answer.json()["data"]["value"]["amount"]) == (201, "10.51")
    assert (await _lookup(simulator, "pay_1.a1")).json()["data"]["value"]["amount"] == "10.50"


async def test_an_unlisted_phase_is_a_lie_about_a_right_effect(simulator: RunningSimulator) -> None:
    await simulator.script("authorise", "unlisted_phase")
    assert (await _authorise(simulator)).json()["data"]["phase"] == "HOVERING"
    assert await _phase(simulator, "pay_1.a1") == "APPROVED"


@pytest.mark.parametrize("do", ["unavailable", "garbage", "wrong_amount", "unlisted_phase"])
async def test_a_lookup_misbehaves_too(simulator: RunningSimulator, do: str) -> None:
    await _authorise(simulator)
    usual = (await _lookup(simulator, "pay_1.a1")).content
    await simulator.script("lookup", do)
    assert (await _lookup(simulator, "pay_1.a1")).content != usual
    assert (await _lookup(simulator, "pay_1.a1")).content == usual


async def test_a_rule_finds_a_collection_by_the_token_of_its_authorisation(simulator: RunningSimulator) -> None:
    await simulator.script("collect", "deny", token="tok_x")
    await _authorise(simulator, token="tok_x")
    assert (await _collect(simulator)).json()["data"]["phase"] == "DENIED"


# What payers, banks and beneficiaries do


async def _challenged(simulator: RunningSimulator) -> str:
    answer = await _authorise(simulator, token="tok_challenge")
    assert (answer.status_code, answer.json()["data"]["phase"]) == (202, "CHALLENGED")
    return answer.json()["data"]["challenge"]["url"]


@pytest.mark.parametrize(("end", "phase"), [("pass", "APPROVED"), ("fail", "DENIED")])
async def test_a_payer_ends_a_challenge_on_the_page_that_is_named(
    simulator: RunningSimulator, end: str, phase: str
) -> None:
    page = await _challenged(simulator)
    assert page.startswith(f"{simulator.url}/challenges/au_")
    shown = await simulator.http.get(page)
    assert (shown.status_code, shown.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "Pay 10.50 EUR?" in shown.text
    assert f'action="{page}/{end}"' in shown.text
    assert await _phase(simulator, "pay_1.a1") == "CHALLENGED", "looking changes nothing"
    assert (await simulator.http.post(f"{page}/{end}")).status_code == 200
    assert await _phase(simulator, "pay_1.a1") == phase
    assert "wait for you any more" in (await simulator.http.get(page)).text
    assert (await simulator.http.post(f"{page}/pass")).status_code == 409
    assert await _phase(simulator, "pay_1.a1") == phase


async def test_a_page_that_nobody_was_sent_to_ends_nothing(simulator: RunningSimulator) -> None:
    page = await _challenged(simulator)
    assert (await simulator.http.post("/challenges/au_none/pass")).status_code == 404
    for method, path in (("GET", f"{page}/pass"), ("POST", page), ("POST", f"{page}/perhaps")):
        assert (await simulator.http.request(method, path)).status_code == 405
    assert await _phase(simulator, "pay_1.a1") == "CHALLENGED"


async def test_a_tester_ends_a_challenge_in_the_payers_place(simulator: RunningSimulator) -> None:
    await _challenged(simulator)
    await simulator.end_challenge("pay_1.a1", "pass")
    assert await _phase(simulator, "pay_1.a1") == "APPROVED"
    again = await simulator.http.post("/control/challenges/pay_1.a1", json={"outcome": "fail"})
    assert _fault(again) == (409, "NOT_CHALLENGED")


async def test_an_increment_and_a_recall_are_calls_like_the_others(simulator: RunningSimulator) -> None:
    await _authorise(simulator)
    raised = await _send(simulator, "increments", _order("inc_1.i1", authorisationRef="pay_1.a1"))
    assert (raised.status_code, raised.json()["data"]["phase"]) == (201, "RAISED")
    assert (await simulator.books())["totals"]["EUR"]["authorised_open"] == 2100
    await _send(simulator, "transfers", _order("po_1.p1", beneficiary="acct_slow"))
    recalled = await _send(simulator, "recalls", _order("po_1.r1", transferRef="po_1.p1"))
    assert (recalled.status_code, recalled.json()["data"]["phase"]) == (201, "RECALLED")
    assert await _phase(simulator, "po_1.p1") == "RECALLED"
    late = await _send(simulator, "recalls", _order("po_2.r1", transferRef="po_2.p1"))
    assert _fault(late) == (404, "NO_SUCH_TRANSFER")


@pytest.mark.parametrize("path", ["increments", "recalls"])
@pytest.mark.parametrize(("do", "phase"), [("deny", "DENIED"), ("pending", "QUEUED"), ("lost_after", None)])
async def test_an_increment_and_a_recall_go_wrong_like_the_others(
    simulator: RunningSimulator, path: str, do: str, phase: str | None
) -> None:
    await _authorise(simulator)
    await _send(simulator, "transfers", _order("po_1.p1", beneficiary="acct_slow"))
    await simulator.script(path.removesuffix("s"), do)
    order = _order("x_1.x1", authorisationRef="pay_1.a1", transferRef="po_1.p1")
    if phase is None:
        with pytest.raises(httpx.RemoteProtocolError):
            await _send(simulator, path, order)
        assert await _phase(simulator, "x_1.x1") in {"RAISED", "RECALLED"}
    else:
        assert (await _send(simulator, path, order)).json()["data"]["phase"] == phase


async def test_a_success_is_taken_back_by_a_tester_or_by_the_script(simulator: RunningSimulator) -> None:
    await _authorise(simulator)
    await _collect(simulator)
    await simulator.take_back("pay_1.c1", "no_money")
    failed = (await _lookup(simulator, "pay_1.c1")).json()["data"]
    assert (failed["phase"], failed["denial"]) == ("FAILED", {"reason": "no_money"})
    again = await simulator.http.post("/control/failures", json={"merchantRef": "pay_1.c1"})
    assert _fault(again) == (409, "NOTHING_TO_TAKE_BACK")
    await simulator.script("transfer", "fail_later", seconds=100)
    await _send(simulator, "transfers", _order("po_1.p1", beneficiary="acct_ok"))
    await simulator.advance(50)
    assert await _phase(simulator, "po_1.p1") == "ARRIVED"
    await simulator.advance(100)
    returned = (await _lookup(simulator, "po_1.p1")).json()["data"]
    assert returned["phase"] == "RETURNED"
    assert returned["returnedAs"].startswith("rt_")


async def test_a_dispute_is_opened_and_moved_by_a_tester_and_stands_in_the_books(simulator: RunningSimulator) -> None:
    await _authorise(simulator)
    await _collect(simulator)
    opened = await simulator.open_dispute("pay_1.c1", amountMinor=400, reason="not_received", evidenceSeconds=60)
    assert (opened["state"], opened["amountMinor"], opened["takenMinor"]) == ("OPENED", 400, 0)
    assert await simulator.move_dispute(opened["dispute"], "WITHDRAWN") != opened
    won = await simulator.move_dispute(opened["dispute"], "WON")
    books = await simulator.books()
    assert [(each["state"], each["takenMinor"]) for each in books["disputes"]] == [
        ("OPENED", 0),
        ("WITHDRAWN", 400),
        ("WON", -400),
    ]
    assert books["disputes"][-1] == won
    assert (books["totals"]["EUR"]["withdrawn"], books["totals"]["EUR"]["given_back"]) == (400, 400)
    types = [event["type"] for event in await simulator.events()]
    assert types[-3:] == ["dispute.opened", "dispute.withdrawn", "dispute.won"]
    lost = await simulator.http.post(f"/control/disputes/{opened['dispute']}", json={"phase": "LOST"})
    assert _fault(lost) == (409, "NO_SUCH_STEP")
    more = await simulator.http.post("/control/disputes", json={"merchantRef": "pay_1.c1", "amountMinor": 1051})
    assert _fault(more) == (409, "EXCEEDS_COLLECTED")


# Control


async def test_the_script_is_listed_and_cleared(simulator: RunningSimulator) -> None:
    number = await simulator.script("collect", "slow", merchant_ref="pay_1*", nth=2, times=None, seconds=3)
    rules = (await simulator.http.get("/control/script")).json()
    assert rules == [
        {
            "id": number,
            "operation": "collect",
            "merchantRef": "pay_1*",
            "token": None,
            "nth": 2,
            "times": None,
            "behaviour": {"do": "slow", "seconds": 3},
            "matched": 0,
            "used": 0,
        }
    ]
    await simulator.clear_script()
    assert (await simulator.http.get("/control/script")).json() == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("script", {"operation": "collect", "behaviour": {"do": "explode"}}),
        ("settings", {"dedupe": False}),
        ("settings", {"webhooks": {"url": "https://example.org"}}),
        ("challenges/pay_1.a1", {"outcome": "perhaps"}),
        ("failures", {}),
        ("disputes", {"merchantRef": "pay_1.c1", "amountMinor": 0}),
        ("disputes/di_1", {"phase": "HOVERING"}),
        ("clock", {"advanceSeconds": -1}),
        ("clock", {}),
        ("webhooks/order", {"ids": "ev_1"}),
    ],
)
async def test_a_control_call_that_is_wrong_says_so(simulator: RunningSimulator, path: str, body: Json) -> None:
    assert _fault(await simulator.http.post(f"/control/{path}", json=body)) == (400, "MALFORMED")


async def test_a_reset_makes_everything_new(simulator: RunningSimulator) -> None:
    await simulator.script("*", "unavailable", times=None)
    await simulator.settings(deduplicate=False, webhooks={"enabled": False})
    await simulator.advance(1e6)
    await _authorise(simulator)
    await simulator.reset()
    assert (await simulator.books())["effects"] == []
    assert list(await simulator.calls()) == []
    assert (await simulator.http.get("/control/script")).json() == []
    assert (await simulator.http.get("/control/settings")).json() == {
        "deduplicate": True,
        "webhooks": {"url": "", "enabled": True, "delaySeconds": 0},
    }
    clock = (await simulator.http.post("/control/clock", json={"advanceSeconds": 0})).json()
    assert clock["aheadSeconds"] == 0


# The wire itself


async def _raw(simulator: RunningSimulator, *parts: bytes) -> bytes:
    """Send bytes as they are, with a pause between the parts, and read until the simulator closes or falls silent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(simulator.url.rpartition(":")[2]))
    try:
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0.02)
        got = b""
        while True:
            try:
                more = await asyncio.wait_for(reader.read(65536), 0.2)
            except TimeoutError:
                return got
            if not more:
                return got
            got += more
    finally:
        writer.close()


async def test_requests_in_pieces_and_in_a_row_are_answered_in_turn(simulator: RunningSimulator) -> None:
    order = json.dumps(_order("pay_1.a1", source={"token": "tok_visa"})).encode()
    head = f"POST /v2/authorisations HTTP/1.1\r\nAuthorization: Bearer {SECRET}\r\nX-Request-Key: pay_1.a1\r\n"
    whole = f"{head}Content-Length: {len(order)}\r\n\r\n".encode() + order
    health = b"GET /healthz HTTP/1.1\r\n\r\n"
    got = await _raw(simulator, whole[:30], whole[30:-7], whole[-7:] + health + health[:5], health[5:])
    assert re.findall(rb"HTTP/1.1 (\d+)", got) == [b"201", b"200", b"200"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\n\r\n", 400),
        (b"POST /v2/transfers HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST /v2/transfers HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST /v2/transfers HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000, 431),
    ],
)
async def test_what_is_no_request_is_answered_once_and_closed(
    simulator: RunningSimulator, sent: bytes, status: int
) -> None:
    got = await _raw(simulator, sent)
    assert got.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"Connection: close" in got


async def test_clients_that_vanish_harm_nobody(simulator: RunningSimulator) -> None:
    await simulator.script("authorise", "slow", times=None, seconds=0.05)
    order = json.dumps(_order("pay_1.a1", source={"token": "tok_visa"})).encode()
    head = f"POST /v2/authorisations HTTP/1.1\r\nAuthorization: Bearer {SECRET}\r\nX-Request-Key: pay_1.a1\r\n"
    whole = f"{head}Content-Length: {len(order)}\r\n\r\n".encode() + order
    for length in (0, 10, len(whole) - 1, len(whole)):
        _, writer = await asyncio.open_connection("127.0.0.1", int(simulator.url.rpartition(":")[2]))
        writer.write(whole[:length])
        writer.transport.abort() if length < len(whole) else writer.close()
    await asyncio.sleep(0.2)
    assert (await simulator.http.get("/healthz")).status_code == 200
    assert await _phase(simulator, "pay_1.a1") == "APPROVED"


# The process


async def test_a_signal_ends_it_at_once_even_with_callers_waiting() -> None:
    async with running_simulator() as simulator:
        await simulator.script("authorise", "slow", seconds=60)
        waiting = asyncio.create_task(_authorise(simulator))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        os.kill(simulator.pid, signal.SIGTERM)
        with pytest.raises(httpx.HTTPError):
            await waiting
    assert time.monotonic() - began < 2, "it takes 0.1 s; a busy machine is given more"


async def test_it_ends_when_its_parent_does() -> None:
    lifeline, held = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "simulator", "--port", "0", "--secret", "s", "--parent-pipe", str(lifeline)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        pass_fds=(lifeline,),
    )
    os.close(lifeline)
    assert process.stdout is not None
    assert (await process.stdout.readline()).startswith(b"listening on http://127.0.0.1:")
    os.close(held)
    assert await asyncio.wait_for(process.wait(), 2) == 0


async def test_a_port_that_is_taken_is_said_in_a_sentence(process: RunningSimulator) -> None:
    port = process.url.rpartition(":")[2]
    second = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "simulator", "--port", port, "--secret", "s"), cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    _, said = await second.communicate()
    assert second.returncode == 3
    assert said.decode().startswith(f"the simulator cannot listen on port {port}")
