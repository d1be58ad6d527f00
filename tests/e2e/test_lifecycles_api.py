"""What a payment and a payout may meet on their way, as a shop sees it: the running stack and its public API."""

from tests.support.live import Live


async def test_a_payer_proves_who_they_are_and_the_payment_is_authorized(live: Live) -> None:
    body = {
        "amount": 2_000, "currency": "EUR", "merchant": "m_bakery", "instrument": "tok_challenge", "country": "DE",
    }  # fmt: skip
    answer = await live.ask("/v1/payments", body)
    made = answer.json()
    assert (answer.status_code, made["status"]) == (202, "challenge_required")
    assert made["challenge"]["url"].startswith("http")
    path = f"/v1/payments/{made['id']}"
    away = await live.http.post(f"{path}/challenge-return", headers={"Prefer": "wait=1"})
    assert away.json()["status"] == "challenge_required"  # the payer says that they are back, and are not
    passed = await live.simulator.post(f"/control/challenges/{made['id']}.a1", json={"outcome": "pass"})
    passed.raise_for_status()
    await live.http.post(f"{path}/challenge-return")
    back = await live.until(path, lambda shown: shown["status"] == "authorized")
    assert back["challenge"] is None
    voided = await live.ask(f"{path}/void", {})
    assert (voided.status_code, voided.json()["status"]) == (201, "succeeded")


async def test_an_authorization_is_raised_and_captured_in_full(live: Live) -> None:
    made = await live.pay(1_000)
    path = f"/v1/payments/{made['id']}"
    key = live.key()
    raised = await live.ask(f"{path}/increments", {"amount": 500, "currency": "EUR"}, key=key)
    assert (raised.status_code, raised.json()["status"]) == (201, "succeeded"), raised.text
    again = await live.ask(f"{path}/increments", {"amount": 500, "currency": "EUR"}, key=key)
    assert (again.content, again.headers["Idempotency-Replayed"]) == (raised.content, "true")
    assert (await live.get(path))["amount"] == 1_500
    assert (await live.get(f"/v1/increments/{raised.json()['id']}"))["amount"] == 500
    captured = await live.ask(f"{path}/captures", {"amount": 1_500, "currency": "EUR"})
    assert (captured.status_code, captured.json()["payment_status"]) == (201, "captured"), captured.text
    late = await live.ask(f"{path}/increments", {"amount": 1, "currency": "EUR"})
    assert (late.status_code, late.json()["code"]) == (409, "invalid_state")


async def test_a_payout_is_called_back_on_its_way_and_tried_again_to_another_account(live: Live) -> None:
    body = {"amount": 700, "currency": "EUR", "merchant": "m_bakery", "destination": "acct_slow"}
    sent = (await live.ask("/v1/payouts", body)).json()
    assert sent["status"] == "in_transit"
    path = f"/v1/payouts/{sent['id']}"
    early = await live.ask("/v1/payouts", {**body, "destination": "acct_ok", "replaces": sent["id"]})
    assert (early.status_code, early.json()["code"]) == (409, "not_replaceable")
    recalled = await live.ask(f"{path}/recall", {})
    assert (recalled.status_code, recalled.json()["status"]) == (201, "succeeded"), recalled.text
    failed = await live.until(path, lambda shown: shown["status"] == "failed")
    assert failed["failure_code"] == "recalled"
    again = (await live.ask("/v1/payouts", {**body, "destination": "acct_ok", "replaces": sent["id"]})).json()
    await live.until(f"/v1/payouts/{again['id']}", lambda shown: shown["status"] == "paid")
    late = await live.ask(f"/v1/payouts/{again['id']}/recall", {})
    assert (late.status_code, late.json()["code"]) == (409, "invalid_state")


async def test_a_dispute_is_shown_and_its_payment_is_not_refunded(live: Live) -> None:
    made = await live.pay(3_000, capture="automatic")
    opened = await live.simulator.post("/control/disputes", json={"merchantRef": f"{made['id']}.c1", "reason": "fraud"})
    opened.raise_for_status()
    dispute = opened.json()["dispute"]
    page = await live.until(
        "/v1/disputes?limit=100", lambda shown: [each for each in shown["data"] if each["payment"] == made["id"]]
    )
    [shown] = [each for each in page["data"] if each["payment"] == made["id"]]
    assert (shown["amount"], shown["object"]) == (3_000, "dispute")
    refused = await live.ask(f"/v1/payments/{made['id']}/refunds", {"amount": 100, "currency": "EUR"})
    assert (refused.status_code, refused.json()["code"]) == (409, "payment_disputed"), refused.text
    for phase, status in (("WITHDRAWN", "funds_withdrawn"), ("LOST", "lost")):
        (await live.simulator.post(f"/control/disputes/{dispute}", json={"phase": phase})).raise_for_status()
        await live.until(f"/v1/disputes/{shown['id']}", lambda now, status=status: now["status"] == status)
