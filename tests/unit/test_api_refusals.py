"""Requests that are refused before the key is claimed: each has its code, no echo, and no trace."""

import json
from typing import Any

import httpx
import pytest
import structlog

from api.ports import Audited
from api.problems import SPECS, Code
from identity.clients import Client, StaticClients
from tests.support.api import CLIENT, PAYMENT, PAYMENT_ID, SAMPLES, TOKEN, edge, http, key

CARD = "4111111111111111"
TWO_KEYS = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]


def body(**changes: Any) -> dict[str, Any]:
    """A good payment, with changes."""
    return {name: value for name, value in {**PAYMENT, **changes}.items() if value is not ...}


def raw(content: bytes, **headers: str) -> dict[str, Any]:
    """A body as it is."""
    return {"content": content, "headers": {"Content-Type": "application/json", **headers}}


# what is sent to POST /v1/payments, the code that it is refused with, and where that points
TABLE: list[tuple[dict[str, Any], Code, str | None]] = [
    (raw(b"{"), Code.MALFORMED_JSON, None),
    (raw(b""), Code.MALFORMED_JSON, None),
    (raw(b'{"amount":NaN}'), Code.MALFORMED_JSON, None),
    (raw(b'{"amount":1,"amount":2}'), Code.DUPLICATE_JSON_KEY, None),
    (raw(b" " * 70_000), Code.BODY_TOO_LARGE, None),
    ({"content": b"{}"}, Code.UNSUPPORTED_MEDIA_TYPE, None),
    ({"content": b"{}", "headers": {"Content-Type": "text/plain"}}, Code.UNSUPPORTED_MEDIA_TYPE, None),
    (raw(b"{}", **{"Content-Type": "application/json; charset=latin1"}), Code.UNSUPPORTED_MEDIA_TYPE, None),
    (raw(b"{}", **{"Content-Encoding": "gzip"}), Code.UNSUPPORTED_MEDIA_TYPE, None),
    ({"json": []}, Code.FIELD_INVALID, ""),
    ({"json": "payment"}, Code.FIELD_INVALID, ""),
    ({"json": body(amount=...)}, Code.FIELD_MISSING, "/amount"),
    ({"json": body(currency=...)}, Code.FIELD_MISSING, "/currency"),
    ({"json": body(merchant=...)}, Code.FIELD_MISSING, "/merchant"),
    ({"json": body(instrument=...)}, Code.FIELD_MISSING, "/instrument"),
    ({"json": body(pan="tok")}, Code.FIELD_UNKNOWN, "/pan"),
    ({"json": body(**{"a b": 1})}, Code.FIELD_UNKNOWN, "/?"),
    ({"json": body(amount=10.5)}, Code.AMOUNT_NOT_INTEGER, "/amount"),
    (raw(json.dumps(PAYMENT).replace("1050", "1050.0").encode()), Code.AMOUNT_NOT_INTEGER, "/amount"),
    (raw(json.dumps(PAYMENT).replace("1050", "1e3").encode()), Code.AMOUNT_NOT_INTEGER, "/amount"),
    (raw(json.dumps(PAYMENT).replace("1050", "1e400").encode()), Code.AMOUNT_NOT_INTEGER, "/amount"),
    ({"json": body(amount="1050")}, Code.AMOUNT_NOT_INTEGER, "/amount"),
    ({"json": body(amount=True)}, Code.AMOUNT_NOT_INTEGER, "/amount"),
    ({"json": body(amount=None)}, Code.AMOUNT_NOT_INTEGER, "/amount"),
    ({"json": body(amount=0)}, Code.AMOUNT_NOT_POSITIVE, "/amount"),
    ({"json": body(amount=-1)}, Code.AMOUNT_NOT_POSITIVE, "/amount"),
    ({"json": body(amount=10**15 + 1)}, Code.AMOUNT_TOO_LARGE, "/amount"),
    ({"json": body(amount=10**40)}, Code.AMOUNT_TOO_LARGE, "/amount"),
    ({"json": body(currency="EURO")}, Code.CURRENCY_UNKNOWN, "/currency"),
    ({"json": body(currency="eur")}, Code.CURRENCY_UNKNOWN, "/currency"),
    ({"json": body(currency="XAU")}, Code.CURRENCY_UNKNOWN, "/currency"),
    ({"json": body(currency=978)}, Code.FIELD_INVALID, "/currency"),
    ({"json": body(merchant="M")}, Code.FIELD_INVALID, "/merchant"),
    ({"json": body(instrument="tok visa")}, Code.FIELD_INVALID, "/instrument"),
    ({"json": body(instrument="tok_visa\n")}, Code.FIELD_INVALID, "/instrument"),
    ({"json": body(capture="later")}, Code.FIELD_INVALID, "/capture"),
    ({"json": body(merchant_reference="")}, Code.FIELD_INVALID, "/merchant_reference"),
    ({"json": body(merchant_reference="x" * 65)}, Code.FIELD_INVALID, "/merchant_reference"),
    ({"json": body(merchant_reference="a\nb")}, Code.FIELD_INVALID, "/merchant_reference"),
    ({"json": body(instrument=CARD)}, Code.CARD_NUMBER_SUSPECTED, "/instrument"),
    ({"json": body(instrument=int(CARD))}, Code.CARD_NUMBER_SUSPECTED, "/instrument"),
    ({"json": body(merchant_reference="card 4111 1111 1111 1111")}, Code.CARD_NUMBER_SUSPECTED, "/merchant_reference"),
    (raw(b'{"instrument":"\\u0034111111111111111"}'), Code.CARD_NUMBER_SUSPECTED, "/instrument"),
    ({"json": body(**{CARD: 1})}, Code.CARD_NUMBER_SUSPECTED, ""),
    ({"json": PAYMENT, "params": {"note": CARD}}, Code.CARD_NUMBER_SUSPECTED, ""),
    ({"json": PAYMENT, "params": {CARD: "1"}}, Code.CARD_NUMBER_SUSPECTED, ""),
    ({"json": PAYMENT, "params": {"note": "x"}}, Code.FIELD_UNKNOWN, "/note"),
    ({"json": PAYMENT, "headers": key(CARD)}, Code.CARD_NUMBER_SUSPECTED, "/Idempotency-Key"),
    ({"json": PAYMENT, "headers": key(f"order-{CARD}")}, Code.CARD_NUMBER_SUSPECTED, "/Idempotency-Key"),
    ({"json": PAYMENT, "headers": key("")}, Code.IDEMPOTENCY_KEY_INVALID, None),
    ({"json": PAYMENT, "headers": key("k" * 256)}, Code.IDEMPOTENCY_KEY_INVALID, None),
    ({"json": PAYMENT, "headers": key("two words")}, Code.IDEMPOTENCY_KEY_INVALID, None),
    ({"json": PAYMENT, "headers": TWO_KEYS}, Code.IDEMPOTENCY_KEY_INVALID, None),
    ({"json": PAYMENT, "headers": {"Idempotency-Key": "schlüssel".encode()}}, Code.IDEMPOTENCY_KEY_INVALID, None),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "code", "pointer"), TABLE)
async def test_a_bad_request_is_refused_with_its_code_and_leaves_no_trace(
    sent: dict[str, Any], code: Code, pointer: str | None
) -> None:
    made = edge()
    headers = httpx.Headers(sent.get("headers", {}))
    if "idempotency-key" not in headers:
        headers["Idempotency-Key"] = "k"
    with structlog.testing.capture_logs() as lines:
        async with made.http() as client:
            request: dict[str, Any] = {**sent, "headers": headers}
            answer = await client.post("/v1/payments", **request)
    told = answer.json()
    assert (told["code"], answer.status_code) == (code, SPECS[code].status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["request-id"] == told["request_id"]
    assert [flaw["pointer"] for flaw in told["errors"]][:1] == ([] if pointer is None else [pointer])
    assert not made.clock.entries
    assert not made.runs.asked
    [audited] = made.audit.written
    assert audited.code == code
    for kept in (answer.text, str(lines), str(audited)):
        assert CARD not in kept
        assert "4111 1111" not in kept


async def test_every_flaw_of_a_body_is_told_at_once() -> None:
    async with edge().http() as client:
        answer = await client.post("/v1/payments", json={"amount": -1, "what": 1}, headers=key("k"))
    told = {(flaw["code"], flaw["pointer"]) for flaw in answer.json()["errors"]}
    assert ("amount_not_positive", "/amount") in told
    assert ("field_missing", "/currency") in told
    assert ("field_unknown", "/what") in told


async def test_a_card_number_in_the_path_is_refused_and_not_looked_up() -> None:
    async with edge().http() as client:
        answer = await client.get(f"/v1/payments/{CARD}")
    assert answer.json()["code"] == Code.CARD_NUMBER_SUSPECTED
    assert CARD not in answer.text


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN])
@pytest.mark.parametrize("path", ["/v1/payments", "/v1/payouts", f"/v1/payments/{PAYMENT_ID}"])
async def test_nobody_reads_without_a_valid_token(authorization: str | None, path: str) -> None:
    async with http(edge().build(), token=None) as client:
        headers = {} if authorization is None else {"Authorization": authorization}
        answer = await client.get(path, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, Code.UNAUTHENTICATED)
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_two_authorizations_are_none() -> None:
    async with http(edge().build(), token=None) as client:
        token = ("Authorization", f"Bearer {TOKEN}")
        answer = await client.get("/v1/payments", headers=[token, token])
    assert answer.status_code == 401


async def test_a_client_of_one_merchant_acts_for_no_other() -> None:
    made = edge()
    mine = Client(id=CLIENT.id, scopes=CLIENT.scopes, merchants=frozenset({"m_bikes"}))  # pyright: ignore[reportArgumentType]
    made.clients = StaticClients(TOKEN, mine)
    async with made.http() as client:
        answer = await client.post("/v1/payments", json=PAYMENT, headers=key("k"))
        balance = await client.get("/v1/accounts/merchant:m_bakery:payable/balance", params={"currency": "EUR"})
        ours = await client.get("/v1/accounts/holdfast:fee_income/balance", params={"currency": "EUR"})
    assert answer.json()["code"] == Code.MERCHANT_NOT_PERMITTED
    assert balance.json()["code"] == ours.json()["code"] == Code.ACCOUNT_NOT_FOUND
    assert not made.runs.asked
    assert not made.balances.asked


async def test_what_is_not_routed_is_a_problem_too() -> None:
    async with edge().http() as client:
        nowhere = await client.get("/v2/payments")
        wrong = await client.delete("/v1/payments")
        slash = await client.post("/v1/payments/", json=PAYMENT)
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, Code.NOT_FOUND)
    assert (wrong.status_code, wrong.json()["code"]) == (405, Code.METHOD_NOT_ALLOWED)
    assert wrong.headers["allow"]
    assert slash.status_code == 404
    for answer in (nowhere, wrong, slash):
        assert answer.headers["request-id"] == answer.json()["request_id"]


async def test_an_empty_void_needs_no_body_and_no_media_type() -> None:
    path, _ = SAMPLES["voidPayment"]
    async with edge().http() as client:
        assert (await client.post(path, headers=key("k"))).status_code == 201
        refused = await client.post(path, json={"amount": 1}, headers=key("l"))
    assert refused.json()["code"] == Code.FIELD_UNKNOWN


async def test_each_change_that_is_asked_for_is_audited_once_without_keys_or_tokens() -> None:
    made = edge()
    async with made.http() as client:
        for name, (path, content) in SAMPLES.items():
            await client.post(path, json=content, headers=key(f"my-secret-key-{name}"))
        await client.get("/v1/payments")
    assert len(made.audit.written) == len(SAMPLES)
    for audited in made.audit.written:
        assert isinstance(audited, Audited)
        assert audited.status == 201, audited
        assert audited.client == CLIENT.id
        assert audited.resource
        assert "my-secret-key" not in str(audited)
        assert TOKEN not in str(audited)
