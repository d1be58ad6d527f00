"""What a run says, as the initiator hears it: 201, 202 or a problem, and never more than is known."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from api.idempotency import LEASE_SECONDS
from api.ports import EngineUnavailable, Requested, Silence
from api.problems import Code
from domain.commands import Payment, Payout, Refund
from domain.ids import ClientId
from domain.money import Money
from domain.outcomes import Attention, Doubt, Outcome, Reason, Receipt, View
from tests.support.api import (
    AUTHORIZATION,
    BAKERY,
    CAPTURE_ID,
    CLIENT,
    DISPUTE_ID,
    EUR_1050,
    INCREMENT_ID,
    NOTHING,
    NOW,
    PAYMENT,
    PAYMENT_ID,
    PAYOUT,
    PAYOUT_ID,
    PROVIDER,
    REFUND_ID,
    SAMPLES,
    TERMS,
    Command,
    Edge,
    FakeMoment,
    StoredRow,
    edge,
    http,
    key,
)

DOUBT = Doubt(reference=AUTHORIZATION, since="2026-11-25T12:00:00+00:00", next_check="2026-11-25T12:00:05+00:00")
ATTENTION = Attention(
    reference=AUTHORIZATION,
    reason="undecided: pending",
    owner="payments-operations",
    since=DOUBT.since,
    deadline="2026-11-25T16:00:00+00:00",
    update="resolve",
    payload="{}",
)


def refused(state: str, reason: str, total: Money = NOTHING) -> Receipt:
    """A receipt of a refusal; its operation and fingerprint are those of whatever is asked."""
    return Receipt(
        operation=PAYMENT_ID,
        fingerprint="of the command",
        outcome=Outcome.REFUSED,
        state=state,
        moved=NOTHING,
        total=total,
        reason=reason,
    )


async def ask(made: Edge, operation: str, heard: Receipt | Silence | None = None) -> tuple[int, dict[str, Any], str]:
    """Ask for something once; tell status, body and location."""
    path, content = SAMPLES[operation]
    if heard is not None:
        made.runs.heard = [
            lambda of: replace(heard, fingerprint=of.fingerprint) if isinstance(heard, Receipt) else heard
        ]
    async with made.http() as client:
        answer = await client.post(path, json=content, headers=key("k"))
    return answer.status_code, answer.json(), answer.headers.get("location", "")


# what is asked, how it ended, and what the initiator is told
ENDS: list[tuple[str, Receipt, int, dict[str, Any]]] = [
    ("createPayment", refused("declined", "do_not_honor"), 201, {"status": "declined", "decline_code": "do_not_honor"}),
    ("createPayment", refused("declined", Reason.INSUFFICIENT_FUNDS), 201, {"decline_code": "insufficient_funds"}),
    ("createPayment", refused("blocked", Reason.BLOCKED_BY_RISK), 201, {"status": "blocked"}),
    ("createPayment", refused("voided", "refused"), 201, {"status": "voided", "decline_code": "refused"}),
    (
        "createPayment",
        refused("captured", Reason.CANCELED, EUR_1050),
        201,
        {"status": "captured", "decline_code": None, "amount_captured": 1_050},
    ),
    ("createPayment", refused("not_started", Reason.CANCELED), 201, {"status": "not_started"}),
    ("createPayment", refused("not_started", Reason.STALE), 409, {"code": Code.NOT_STARTED}),
    ("createCapture", refused("authorized", "do_not_honor"), 201, {"status": "failed", "failure_code": "do_not_honor"}),
    (
        "createCapture",
        refused("authorized", Reason.CAPTURE_EXCEEDS_AUTHORIZATION),
        422,
        {"code": Code.CAPTURE_EXCEEDS_AUTHORIZATION},
    ),
    ("createCapture", refused("voided", Reason.PAYMENT_CLOSED), 409, {"code": Code.INVALID_STATE}),
    (
        "voidPayment",
        refused("captured", Reason.ALREADY_CAPTURED, EUR_1050),
        201,
        {
            "status": "failed",
            "failure_code": "already_captured",
            "payment_status": "captured",
            "amount_captured": 1_050,
        },
    ),
    ("voidPayment", refused("captured", Reason.PAYMENT_CLOSED), 409, {"code": Code.INVALID_STATE}),
    ("createRefund", refused("failed", "expired_card"), 201, {"status": "failed", "failure_code": "expired_card"}),
    ("createRefund", refused("rejected", Reason.HOLD_NOT_OPEN), 201, {"status": "rejected"}),
    (
        "createRefund",
        refused("rejected", Reason.REFUND_EXCEEDS_CAPTURED),
        422,
        {"code": Code.REFUND_EXCEEDS_CAPTURED},
    ),
    ("createRefund", refused("not_started", Reason.STALE), 409, {"code": Code.NOT_STARTED}),
    ("createRefund", refused("rejected", Reason.PAYMENT_DISPUTED), 409, {"code": Code.PAYMENT_DISPUTED}),
    ("createRefund", refused("failed", Reason.PAYMENT_DISPUTED), 201, {"status": "failed"}),  # the provider's word
    ("createPayment", refused("blocked", Reason.REVIEW_TIMED_OUT), 201, {"status": "blocked"}),
    ("createPayment", refused("voided", Reason.CHALLENGE_ABANDONED), 201, {"decline_code": "challenge_abandoned"}),
    (
        "createIncrement",
        refused("authorized", "do_not_honor"),
        201,
        {"status": "failed", "failure_code": "do_not_honor"},
    ),
    ("createIncrement", refused("authorized", Reason.NOT_SUPPORTED), 409, {"code": Code.NOT_SUPPORTED}),
    ("createIncrement", refused("voided", Reason.PAYMENT_CLOSED), 409, {"code": Code.INVALID_STATE}),
    ("createPayout", refused("denied", Reason.NOT_REPLACEABLE), 409, {"code": Code.NOT_REPLACEABLE}),
    ("createPayout", refused("denied", Reason.REFUSED_BY_OPERATORS), 201, {"status": "denied"}),
    (
        "recallPayout",
        refused("in_transit", "too_late"),
        201,
        {"status": "failed", "failure_code": "too_late", "payout_status": "in_transit"},
    ),
    ("recallPayout", refused("in_transit", Reason.NOT_SUPPORTED), 409, {"code": Code.NOT_SUPPORTED}),
    ("recallPayout", refused("paid", Reason.PAYMENT_CLOSED), 409, {"code": Code.INVALID_STATE}),
    ("createPayout", refused("denied", Reason.INSUFFICIENT_FUNDS), 409, {"code": Code.INSUFFICIENT_FUNDS}),
    ("createPayout", refused("denied", Reason.BLOCKED_BY_RISK), 201, {"status": "denied"}),
    ("createPayout", refused("failed", "insufficient_funds"), 201, {"status": "failed"}),  # the provider's word
    ("createPayout", refused("not_started", Reason.STALE), 409, {"code": Code.NOT_STARTED}),
]


@pytest.mark.parametrize(("operation", "heard", "status", "told"), ENDS)
async def test_each_end_of_an_operation_is_told_as_what_it_is(
    operation: str, heard: Receipt, status: int, told: dict[str, Any]
) -> None:
    got, content, _ = await ask(edge(), operation, heard)
    assert got == status, content
    assert {name: content[name] for name in told} == told


async def test_a_payment_shows_all_that_an_initiator_needs() -> None:
    _, content, location = await ask(edge(), "createPayment")
    assert content == {
        "id": content["id"],
        "object": "payment",
        "status": "authorized",
        "amount": 1_050,
        "currency": "EUR",
        "amount_captured": 0,
        "merchant": "m_bakery",
        "provider": PROVIDER,
        "capture": "manual",
        "decline_code": None,
        "challenge": None,
        "merchant_reference": None,
        "created_at": "2026-11-25T12:00:00Z",
        "livemode": False,
        "in_doubt": None,
        "attention": None,
    }
    assert location == f"/v1/payments/{content['id']}"


async def test_a_capture_and_a_void_show_what_became_of_them_and_of_their_payment() -> None:
    _, captured, location = await ask(edge(), "createCapture")
    assert captured["object"] == "capture"
    assert captured["payment"] == PAYMENT_ID
    assert (captured["status"], captured["payment_status"]) == ("succeeded", "partially_captured")
    assert captured["amount"] == 400
    assert location == f"/v1/captures/{captured['id']}"
    _, voided, location = await ask(edge(), "voidPayment")
    assert (voided["status"], voided["payment_status"], voided["amount_captured"]) == ("succeeded", "voided", 0)
    assert location == f"/v1/payments/{PAYMENT_ID}"


async def test_a_refund_acts_upon_the_payments_authorization() -> None:
    made = edge()
    status, content, location = await ask(made, "createRefund")
    assert status == 201
    [command] = made.runs.asked
    assert isinstance(command, Refund)
    assert (command.on, command.on_provider_id) == (AUTHORIZATION, "psp_1")
    assert (content["payment"], content["status"]) == (PAYMENT_ID, "succeeded")
    assert location == f"/v1/refunds/{content['id']}"


@pytest.mark.parametrize("operation", SAMPLES)
async def test_what_is_not_known_within_the_wait_is_202_and_says_where_to_look(operation: str) -> None:
    made = edge()
    status, content, location = await ask(made, operation, Silence.UNDERWAY)
    assert status == 202
    assert content["status"] in ("requested", "pending")
    owners = {"recallPayout": f"/v1/payouts/{PAYOUT_ID}"} | dict.fromkeys(
        ("createCapture", "createIncrement", "voidPayment"), f"/v1/payments/{PAYMENT_ID}"
    )
    assert location == owners.get(operation, location)
    async with made.http() as client:
        assert (await client.get(location)).status_code == 200


@pytest.mark.parametrize("operation", SAMPLES)
async def test_a_receipt_that_lets_its_initiator_go_is_202_and_not_yet_an_outcome(operation: str) -> None:
    pending = replace(refused("approval", Reason.RISK_REVIEW), outcome=Outcome.PENDING)
    status, content, _ = await ask(edge(), operation, pending)
    assert status == 202
    assert content["status"] in ("requested", "pending")


async def test_such_a_receipt_of_another_command_is_no_answer_to_this_one() -> None:
    made = edge()
    pending = replace(refused("requested", Reason.RISK_REVIEW), outcome=Outcome.PENDING, fingerprint="another's")
    for operation in SAMPLES:
        made.runs.heard = [pending]
        path, content = SAMPLES[operation]
        async with made.http() as client:
            answer = await client.post(path, json=content, headers=key(operation))
        assert (answer.status_code, answer.json()["code"]) == (422, Code.IDEMPOTENCY_KEY_REUSED), operation


async def test_while_the_payer_has_to_prove_who_they_are_the_payment_says_where() -> None:
    made = edge()
    challenged = View(
        state="challenge_required",
        amount=EUR_1050,
        total=NOTHING,
        reason="",
        doubt=replace(DOUBT, accepted=True),
        attention=None,
        challenge="https://bank.example/3ds?x=1",
    )

    def challenge(command: Command) -> Receipt:
        made.runs.views[command.id] = challenged
        return replace(refused("challenge_required", ""), outcome=Outcome.PENDING, fingerprint=command.fingerprint)

    made.runs.heard = [challenge]
    status, content, _ = await ask(made, "createPayment")
    assert (status, content["status"]) == (202, "challenge_required")
    assert content["challenge"] == {"url": "https://bank.example/3ds?x=1"}
    assert content["in_doubt"]["accepted"] is True
    assert content["decline_code"] is None


async def test_a_payer_who_has_come_back_is_told_to_the_run_and_the_payment_is_shown() -> None:
    made = edge()
    path = f"/v1/payments/{PAYMENT_ID}/challenge-return"
    async with made.http() as client:
        returned = await client.post(path)
        shown = await client.get(f"/v1/payments/{PAYMENT_ID}")
        nobody = await client.post(path.replace(PAYMENT_ID, REFUND_ID), json={})
        chatty = await client.post(path, json={"outcome": "passed"})
    assert returned.json() == shown.json()
    assert made.runs.back == [PAYMENT_ID]
    assert (nobody.status_code, nobody.json()["code"]) == (404, Code.PAYMENT_NOT_FOUND)
    assert (chatty.status_code, chatty.json()["code"]) == (422, Code.FIELD_UNKNOWN)


async def test_a_payment_takes_the_terms_country_and_routes_along() -> None:
    made = edge()
    second = replace(TERMS.promises, provider="other")
    made.terms = replace(TERMS, routes=(second,), warning_seconds=86_400)
    async with made.http() as client:
        await client.post("/v1/payments", json={**PAYMENT, "country": "DE"}, headers=key("a"))
        made.terms = replace(made.terms, window_seconds=3_600)
    async with made.http() as client:
        await client.post("/v1/payments", json=PAYMENT, headers=key("b"))
        for country in ("de", "DEU", "", 7):
            refused_ = await client.post("/v1/payments", json={**PAYMENT, "country": country}, headers=key("c"))
            assert refused_.status_code == 422, country
    first, shorter = made.runs.asked
    assert isinstance(first, Payment)
    assert isinstance(shorter, Payment)
    assert (first.country, first.routes, first.warn_before_seconds) == ("DE", (second,), 86_400)
    assert (shorter.country, shorter.warn_before_seconds) == ("", 0)  # the warning would come with the authorization


async def test_a_refund_goes_to_the_provider_that_took_the_money() -> None:
    made = edge(StoredRow(id=PAYMENT_ID, state="captured", provider="other"))
    made.terms = replace(TERMS, routes=(replace(TERMS.promises, provider="other"),))
    status, content, _ = await ask(made, "createRefund")
    [command] = made.runs.asked
    assert isinstance(command, Refund)
    assert (status, content["provider"], command.promises.provider) == (201, "other", "other")


async def test_a_payout_may_try_an_earlier_one_again() -> None:
    made = edge()
    async with made.http() as client:
        tried = await client.post("/v1/payouts", json={**PAYOUT, "replaces": PAYOUT_ID}, headers=key("a"))
        wrong = await client.post("/v1/payouts", json={**PAYOUT, "replaces": PAYMENT_ID}, headers=key("b"))
    [command] = made.runs.asked
    assert isinstance(command, Payout)
    assert (tried.status_code, command.replaces) == (201, PAYOUT_ID)
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/replaces")


async def test_a_raised_authorization_shows_what_it_was_raised_to() -> None:
    made = edge(StoredRow(id=INCREMENT_ID, state="succeeded", payment=PAYMENT_ID, money=Money(400, "EUR")))
    made.runs.views[PAYMENT_ID] = View(
        state="authorized", amount=Money(1_450, "EUR"), total=NOTHING, reason="", doubt=None, attention=None
    )
    status, raised, location = await ask(made, "createIncrement")
    assert (status, raised["amount"], raised["status"]) == (201, 400, "succeeded")
    assert location == f"/v1/increments/{raised['id']}"
    async with made.http() as client:
        payment = (await client.get(f"/v1/payments/{PAYMENT_ID}")).json()
        shown = (await client.get(f"/v1/increments/{INCREMENT_ID}")).json()
    assert payment["amount"] == 1_450
    assert (shown["payment"], shown["amount"], shown["timeline"]) == (PAYMENT_ID, 400, [])


async def test_a_dispute_is_shown_and_listed() -> None:
    row = StoredRow(id=DISPUTE_ID, state="funds_withdrawn", payment=PAYMENT_ID, reason="fraud")
    made = edge(row)
    async with made.http() as client:
        shown = (await client.get(f"/v1/disputes/{DISPUTE_ID}")).json()
        listed = (await client.get("/v1/disputes")).json()
    assert (shown["payment"], shown["status"], shown["reason"]) == (PAYMENT_ID, "funds_withdrawn", "fraud")
    assert shown.pop("timeline") == []
    assert listed["data"] == [shown]


async def test_a_202_tells_the_doubt_that_the_run_is_in() -> None:
    made = edge()

    def in_doubt(command: Command) -> Silence:
        made.runs.views[command.id] = View(
            state="authorizing", amount=EUR_1050, total=NOTHING, reason="", doubt=DOUBT, attention=ATTENTION
        )
        return Silence.UNDERWAY

    made.runs.heard = [in_doubt]
    _, content, _ = await ask(made, "createPayment")
    assert content["status"] == "authorizing"
    assert content["in_doubt"] == {
        "reference": AUTHORIZATION,
        "since": DOUBT.since,
        "next_check": DOUBT.next_check,
        "accepted": False,
    }
    assert content["attention"]["owner"] == "payments-operations"


@pytest.mark.parametrize(
    ("operation", "row", "status", "told"),
    [
        ("createPayment", {"state": "captured", "total": EUR_1050}, 201, {"status": "captured"}),
        ("createPayment", {"state": "not_started", "reason": "stale"}, 409, {"code": Code.NOT_STARTED}),
        ("createRefund", {"state": "succeeded", "payment": PAYMENT_ID}, 201, {"status": "succeeded"}),
        ("createPayout", {"state": "paid"}, 201, {"status": "paid"}),
        ("createCapture", {"state": "succeeded", "payment": PAYMENT_ID}, 201, {"payment_status": "authorized"}),
        ("createCapture", {"state": "failed", "reason": "no", "payment": PAYMENT_ID}, 201, {"failure_code": "no"}),
        ("voidPayment", {"state": "succeeded", "payment": PAYMENT_ID}, 201, {"status": "succeeded"}),
        ("createIncrement", {"state": "succeeded", "payment": PAYMENT_ID}, 201, {"payment_status": "authorized"}),
        ("recallPayout", {"state": "succeeded", "payment": PAYOUT_ID}, 201, {"payout_status": "in_transit"}),
    ],
)
async def test_where_the_run_has_closed_its_row_answers(
    operation: str, row: dict[str, Any], status: int, told: dict[str, Any]
) -> None:
    made = edge()

    def close(command: Command) -> Silence:
        made.reads.put(StoredRow(id=command.id, fingerprint=command.fingerprint, **row))
        return Silence.CLOSED

    made.runs.heard = [close]
    got, content, _ = await ask(made, operation)
    assert got == status, content
    assert {name: content[name] for name in told} == told


@pytest.mark.parametrize("operation", ["createCapture", "createIncrement", "recallPayout", "voidPayment"])
async def test_what_comes_after_the_run_has_closed_is_refused_for_good(operation: str) -> None:
    status, content, _ = await ask(edge(), operation, Silence.CLOSED)
    assert (status, content["code"]) == (409, Code.INVALID_STATE)


@pytest.mark.parametrize("operation", ["createPayment", "createRefund", "createPayout"])
async def test_a_run_that_our_books_do_not_know_is_no_answer(operation: str) -> None:
    status, content, _ = await ask(edge(), operation, Silence.CLOSED)
    assert (status, content["code"]) == (503, Code.ENGINE_UNAVAILABLE)


async def test_the_currency_must_be_the_payments() -> None:
    made = edge()
    async with made.http() as client:
        for name in ("captures", "increments", "refunds"):
            path = f"/v1/payments/{PAYMENT_ID}/{name}"
            answer = await client.post(path, json={"amount": 1, "currency": "JPY"}, headers=key(name))
            assert (answer.status_code, answer.json()["code"]) == (422, Code.CURRENCY_MISMATCH)
            assert answer.json()["errors"][0]["pointer"] == "/currency"
    assert not made.runs.asked


async def test_a_refund_of_more_than_is_left_starts_nothing() -> None:
    made = edge()
    made.balances.left = 399
    status, content, _ = await ask(made, "createRefund")
    assert (status, content["code"]) == (422, Code.REFUND_EXCEEDS_CAPTURED)
    assert not made.runs.asked


async def test_a_refund_that_has_reserved_what_was_left_is_not_refused_for_its_own_reserve() -> None:
    made = edge()
    async with made.http() as client:
        path, content = SAMPLES["createRefund"]
        first = await client.post(path, json=content, headers=key("k"))
        [command] = made.runs.asked
        made.balances.left = 0
        reserved = StoredRow(id=command.id, state="submitting", payment=PAYMENT_ID, fingerprint=command.fingerprint)
        made.reads.put(reserved)
        made.clock.entries.clear()
        again = await client.post(path, json=content, headers=key("k"))
    assert first.content == again.content


async def test_a_refund_that_was_taken_over_is_left_to_the_ledgers_gate() -> None:
    """Its first owner may reserve between our looks at the sum and at the row: only the gate can tell."""
    made = edge()
    made.runs.heard = [EngineUnavailable("its first owner is frozen")]
    path, content = SAMPLES["createRefund"]
    async with made.http() as client:
        await client.post(path, json=content, headers=key("k"))
        made.balances.left = 0
        made.clock.now += LEASE_SECONDS + 1
        taken_over = await client.post(path, json=content, headers=key("k"))
    assert taken_over.status_code == 201
    assert len(made.runs.asked) == 2


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/payments/{}", Code.PAYMENT_NOT_FOUND),
        ("/v1/payments/{}/timeline", Code.PAYMENT_NOT_FOUND),
        ("/v1/captures/{}", Code.CAPTURE_NOT_FOUND),
        ("/v1/refunds/{}", Code.REFUND_NOT_FOUND),
        ("/v1/payouts/{}", Code.PAYOUT_NOT_FOUND),
        ("/v1/increments/{}", Code.INCREMENT_NOT_FOUND),
        ("/v1/disputes/{}", Code.DISPUTE_NOT_FOUND),
    ],
)
async def test_what_is_not_there_or_anothers_is_not_found(path: str, code: Code) -> None:
    theirs = ClientId("somebody else")
    made = edge()
    ids = (PAYMENT_ID, CAPTURE_ID, INCREMENT_ID, REFUND_ID, PAYOUT_ID, DISPUTE_ID)
    made.reads.rows.clear()
    made.reads.put(*(StoredRow(id=each, state="captured", payment=PAYMENT_ID, client=theirs) for each in ids))
    async with made.http() as client:
        for name in (*ids, "pay_x", "%00", "pay_" + "z" * 26):
            answer = await client.get(path.format(name))
            assert answer.status_code in (404, 422), name
            assert answer.json()["code"] in (code, Code.FIELD_INVALID)


@pytest.mark.parametrize("operation", ["createCapture", "createIncrement", "voidPayment", "createRefund"])
async def test_nothing_is_done_to_anothers_payment_and_the_key_stays_free(operation: str) -> None:
    made = edge(StoredRow(id=PAYMENT_ID, state="captured", client=ClientId("somebody else")))
    status, content, _ = await ask(made, operation)
    assert (status, content["code"]) == (404, Code.PAYMENT_NOT_FOUND)
    assert not made.runs.asked
    assert not made.clock.entries


async def test_a_payment_not_at_rest_is_asked_itself_and_one_at_rest_is_not() -> None:
    made = edge(StoredRow(id=REFUND_ID, state="failed", payment=PAYMENT_ID))
    captured = Money(400, "EUR")
    made.runs.views[PAYMENT_ID] = View(
        state="partially_captured", amount=EUR_1050, total=captured, reason="", doubt=DOUBT, attention=None
    )
    made.runs.views[REFUND_ID] = View(
        state="submitting", amount=EUR_1050, total=NOTHING, reason="", doubt=None, attention=None
    )
    made.reads.moments = [FakeMoment(PAYMENT_ID, "payment.authorized")]
    async with made.http() as client:
        payment = (await client.get(f"/v1/payments/{PAYMENT_ID}")).json()
        timeline = (await client.get(f"/v1/payments/{PAYMENT_ID}/timeline")).json()
        listed = (await client.get("/v1/payments")).json()
        refund = (await client.get(f"/v1/refunds/{REFUND_ID}")).json()
    assert (payment["status"], payment["amount_captured"]) == ("partially_captured", 400)
    assert payment["in_doubt"]["reference"] == AUTHORIZATION
    moment = {
        "at": "2026-11-25T12:00:00.000Z",
        "operation": PAYMENT_ID,
        "what": "payment.authorized",
        "detail": "",
    }
    assert payment["timeline"] == timeline["data"] == [moment]
    assert listed["data"][0]["status"] == "authorized"
    assert refund["status"] == "failed"


async def test_a_run_whose_row_is_not_written_yet_is_shown_by_what_it_was_started_with() -> None:
    made = edge()
    made.reads.rows.clear()
    made.runs.known[PAYMENT_ID] = Requested(
        client=CLIENT.id,
        merchant=BAKERY,
        provider=PROVIDER,
        money=EUR_1050,
        merchant_reference="order 7",
        created_at="2026-11-25T12:00:00Z",
        automatic=True,
    )
    async with made.http() as client:
        shown = (await client.get(f"/v1/payments/{PAYMENT_ID}")).json()
        made.runs.known[PAYMENT_ID] = replace(made.runs.known[PAYMENT_ID], client=ClientId("somebody else"))
        hidden = await client.get(f"/v1/payments/{PAYMENT_ID}")
    assert (shown["status"], shown["capture"], shown["merchant_reference"]) == ("requested", "automatic", "order 7")
    assert hidden.status_code == 404


async def test_a_capture_that_is_known_has_a_page() -> None:
    made = edge(StoredRow(id=CAPTURE_ID, state="failed", reason="expired_card", payment=PAYMENT_ID))
    async with made.http() as client:
        shown = (await client.get(f"/v1/captures/{CAPTURE_ID}")).json()
    assert (shown["status"], shown["failure_code"], shown["payment"]) == ("failed", "expired_card", PAYMENT_ID)


async def test_lists_are_paged_without_gaps_or_repetitions() -> None:
    made = edge()
    made.reads.rows.clear()
    async with made.http() as client:
        for at in range(7):
            answer = await client.post("/v1/payments", json=PAYMENT, headers=key(f"k{at}"))
            name = answer.json()["id"]
            made.reads.put(StoredRow(id=name, state="authorized", created_at=NOW + timedelta(seconds=at // 2)))
        seen: list[str] = []
        query: dict[str, Any] = {"limit": 3}
        while True:
            page = (await client.get("/v1/payments", params=query)).json()
            seen += [each["id"] for each in page["data"]]
            if not page["has_more"]:
                break
            query["starting_after"] = seen[-1]
    assert len(seen) == len(set(seen)) == 7
    assert page["object"] == "list"


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "limit=x", "limit=1&limit=2", "starting_after=x", f"starting_after={PAYOUT_ID}", "page=2"],
)
async def test_a_page_that_cannot_be_is_refused(query: str) -> None:
    async with edge().http() as client:
        answer = await client.get(f"/v1/payments?{query}")
    assert answer.status_code == 422


async def test_a_balance_is_told_now_and_as_of_an_instant() -> None:
    made = edge()
    path = "/v1/accounts/merchant:m_bakery:payable/balance"
    async with made.http() as client:
        now = (await client.get(path, params={"currency": "EUR"})).json()
        then = (await client.get(path, params={"currency": "EUR", "as_of": "2026-11-25T13:00:00+01:00"})).json()
        naive = await client.get(path, params={"currency": "EUR", "as_of": "2026-11-25T13:00:00"})
        without = await client.get(path)
        archived = await client.get(path, params={"currency": "EUR", "as_of": "2019-12-31T23:59:59Z"})
        nowhere = await client.get("/v1/accounts/merchant:m_other:payable/balance", params={"currency": "EUR"})
    assert (now["posted"], now["available"], now["as_of"]) == (-900, 800, None)
    assert then["as_of"] == "2026-11-25T12:00:00.000Z"
    assert made.balances.asked[1] == ("merchant:m_bakery:payable", "EUR", NOW)
    assert (naive.status_code, without.json()["code"]) == (422, Code.FIELD_MISSING)
    assert nowhere.json()["code"] == Code.ACCOUNT_NOT_FOUND
    assert (archived.status_code, archived.json()["code"]) == (410, Code.INSTANT_ARCHIVED)


async def test_a_webhook_is_kept_once_and_an_altered_one_raises_the_alarm() -> None:
    made = edge()
    path, signed = f"/v1/webhooks/{PROVIDER}", {"X-Signature": "good", "X-Event-Id": "evt_1"}
    raw = b'{"any": "bytes", "even": "4111111111111111"}  '
    async with http(made.build(), token=None) as client:
        first = await client.post(path, content=raw, headers=signed)
        again = await client.post(path, content=raw, headers=signed)
        altered = await client.post(path, content=raw + b" ", headers=signed)
        forged = await client.post(path, content=raw, headers={**signed, "X-Signature": "bad"})
        unknown = await client.post("/v1/webhooks/nobody", content=raw, headers=signed)
    assert first.status_code == again.status_code == 200
    assert (altered.status_code, altered.json()["code"]) == (409, Code.EVENT_ALTERED)
    assert (forged.status_code, forged.json()["code"]) == (401, Code.SIGNATURE_INVALID)
    assert unknown.status_code == 404
    assert made.inbox.events == {(PROVIDER, "evt_1"): raw}
    assert [audited.status for audited in made.audit.written] == [200, 200, 409, 401, 404]


async def test_the_process_lives_while_its_parts_do_not() -> None:
    made = edge()

    async def well() -> None:
        pass

    async def ill() -> None:
        raise OSError("connection refused")

    made.probes = {"postgres": well, "temporal": ill}
    async with http(made.build(), token=None) as client:
        lives, ready = await client.get("/healthz"), await client.get("/readyz")
    assert (lives.status_code, lives.json()["status"]) == (200, "ok")
    assert (ready.status_code, ready.json()) == (503, {"status": "unavailable", "missing": ["temporal"]})
