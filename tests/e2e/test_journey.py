"""Journeys over the public API against the whole stack, with the provider misbehaving as told."""

import asyncio

import pytest
from temporalio.client import WorkflowExecutionStatus

from contracts.queues import workflow_id
from domain.ids import OperationId
from tests.support.live import Json, Live


async def test_a_payment_is_captured_in_two_equal_parts_voided_and_refunded(live: Live) -> None:
    payment = await live.pay(10_000)
    assert payment["status"] == "authorized"
    parts = [
        await live.insist(f"/v1/payments/{payment['id']}/captures", {"amount": 4_000, "currency": "EUR"})
        for _ in range(2)
    ]
    assert [part["status"] for part in parts] == ["succeeded", "succeeded"]
    voided = await live.insist(f"/v1/payments/{payment['id']}/void", {})
    assert (voided["status"], voided["payment_status"]) == ("succeeded", "captured")
    refund = await live.insist(f"/v1/payments/{payment['id']}/refunds", {"amount": 1_500, "currency": "EUR"})
    assert refund["status"] == "succeeded"
    read = await live.get(f"/v1/payments/{payment['id']}")
    assert (read["status"], read["amount_captured"]) == ("captured", 8_000)
    run = live.temporal.get_workflow_handle(workflow_id(payment["id"]))
    async with asyncio.timeout(10):  # it has answered, and closes after that
        await run.result()
    assert (await run.describe()).status is WorkflowExecutionStatus.COMPLETED
    await live.is_sound()


async def test_a_payout_arrives_and_one_that_bounces_is_owed_again(live: Live) -> None:
    before = await _payable(live)
    body = {"amount": 7_000, "currency": "EUR", "merchant": "m_bakery", "destination": "acct_ok"}
    paid = await live.insist("/v1/payouts", body)
    bounced = await live.insist("/v1/payouts", {**body, "destination": "acct_bounces"})
    refused = await live.insist("/v1/payouts", {**body, "destination": "acct_closed"})
    for made, state in ((paid, "paid"), (bounced, "failed"), (refused, "failed")):
        await live.until(f"/v1/payouts/{made['id']}", lambda read, state=state: read["status"] == state)
    assert await _payable(live) == before - 7_000
    await _transfers_agree(live)


async def _payable(live: Live) -> int:
    read = await live.get("/v1/accounts/merchant:m_bakery:payable/balance?currency=EUR")
    return -int(read["posted"])


async def _transfers_agree(live: Live) -> None:
    """What bounced was booked and reversed, so the entries' kinds tell it, not their sum."""
    broken = await live.pool.fetchrow("SELECT * FROM ledger.verify()")
    assert broken is None


async def test_a_hundred_duplicates_at_once_are_one_payment(live: Live) -> None:
    body = {"amount": 1_234, "currency": "EUR", "merchant": "m_bakery", "instrument": "tok_visa"}
    key = live.key()
    answers = await asyncio.gather(*(live.ask("/v1/payments", body, key=key) for _ in range(100)))
    made = {answer.content for answer in answers if answer.status_code == 201}
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len(made) == 1
    assert all(answer.headers.get("Retry-After") for answer in answers if answer.status_code == 409)
    again = [await live.ask("/v1/payments", body, key=key) for _ in range(3)]
    assert {answer.content for answer in again} == made
    assert all(answer.headers["Idempotency-Replayed"] == "true" for answer in again)
    payment = again[0].json()["id"]
    sent = [call for call in await live.calls(payment) if call["operation"] == "authorise"]
    assert len(sent) == 1
    other = await live.ask("/v1/payments", {**body, "amount": 1_235}, key=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_hundred_captures_under_one_key_take_the_money_once(live: Live) -> None:
    payment = await live.pay(5_000)
    path, key, body = f"/v1/payments/{payment['id']}/captures", live.key(), {"amount": 2_000, "currency": "EUR"}
    answers = await asyncio.gather(*(live.ask(path, body, key=key) for _ in range(100)))
    assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
    read = await live.get(f"/v1/payments/{payment['id']}")
    assert read["amount_captured"] == 2_000
    await live.insist(f"/v1/payments/{payment['id']}/void", {})
    await live.is_sound()


LOST: list[Json] = [
    {"do": "lost_after"},
    {"do": "lost_before"},
    {"do": "late", "seconds": 1.0},
    {"do": "garbage"},
    {"do": "truncated"},
    {"do": "error", "effect": True},
    {"do": "unlisted_phase"},
    {"do": "unavailable"},
    {"do": "throttle", "retryAfter": 1},
]


@pytest.mark.parametrize("behaviour", LOST, ids=lambda each: each["do"])
async def test_whatever_becomes_of_an_answer_to_a_capture_the_money_moves_once(live: Live, behaviour: Json) -> None:
    payment = await live.pay(3_000)
    await live.script("collect", behaviour)
    await live.insist(f"/v1/payments/{payment['id']}/captures", {"amount": 3_000, "currency": "EUR", "final": True})
    read = await live.until(f"/v1/payments/{payment['id']}", lambda read: read["status"] == "captured")
    assert (read["amount_captured"], read["in_doubt"]) == (3_000, None)
    effects = [each for each in (await live.books())["effects"] if each["authorisation"] == f"{payment['id']}.a1"]
    assert [each["amountMinor"] for each in effects if each["kind"] == "collection"] == [3_000]


@pytest.mark.parametrize("behaviour", LOST[:3], ids=lambda each: each["do"])
@pytest.mark.parametrize("operation", ["payback", "transfer"])
async def test_whatever_becomes_of_an_answer_to_a_refund_or_payout_the_money_moves_once(
    live: Live, operation: str, behaviour: Json
) -> None:
    if operation == "payback":
        payment = await live.pay(2_000, capture="automatic")
        await live.script(operation, behaviour)
        made = await live.insist(f"/v1/payments/{payment['id']}/refunds", {"amount": 500, "currency": "EUR"})
        path, end = f"/v1/refunds/{made['id']}", "succeeded"
    else:
        await live.script(operation, behaviour)
        body = {"amount": 500, "currency": "EUR", "merchant": "m_bakery", "destination": "acct_ok"}
        made = await live.insist("/v1/payouts", body)
        path, end = f"/v1/payouts/{made['id']}", "paid"
    await live.until(path, lambda read: read["status"] == end)
    effects = [each for each in (await live.books())["effects"] if each["reference"].startswith(made["id"])]
    assert [each["amountMinor"] for each in effects] == [500]


async def test_an_authorization_that_nobody_waits_for_any_more_is_declined_and_nothing_stands(live: Live) -> None:
    await live.script("authorise", {"do": "lost_before"})
    payment = await live.pay(900)
    read = await live.until(f"/v1/payments/{payment['id']}", lambda read: read["status"] == "declined")
    assert read["decline_code"] == "not_authorized_in_time"
    await live.is_sound()


async def test_a_lost_authorization_is_found_and_goes_on(live: Live) -> None:
    await live.script("authorise", {"do": "lost_after"})
    payment = await live.pay(901)
    await live.until(f"/v1/payments/{payment['id']}", lambda read: read["status"] == "authorized")
    await live.insist(f"/v1/payments/{payment['id']}/void", {})
    assert len([each for each in await live.calls(payment["id"]) if each["operation"] == "authorise"]) == 1


async def test_a_webhook_tells_what_was_pending(live: Live) -> None:
    await live.script("lookup", {"do": "unavailable"}, times=50)
    payment = await live.pay(1_100, instrument="tok_review")
    await live.until(f"/v1/payments/{payment['id']}", lambda read: read["status"] == "authorized")
    (await live.simulator.delete("/control/script")).raise_for_status()
    await live.insist(f"/v1/payments/{payment['id']}/void", {})


async def test_a_refused_capture_in_automatic_mode_is_compensated(live: Live) -> None:
    payment = await live.pay(7_700, instrument="tok_uncollectable", capture="automatic")
    assert (payment["status"], payment["amount_captured"]) == ("voided", 0)
    calls = [each["operation"] for each in await live.calls(payment["id"])]
    assert calls == ["authorise", "collect", "release"]
    await live.is_sound()


async def test_cancel_in_the_ui_voids_what_is_not_captured(live: Live) -> None:
    payment = await live.pay(4_400)
    await live.temporal.get_workflow_handle(workflow_id(payment["id"])).cancel()
    await live.until(f"/v1/payments/{payment['id']}", lambda read: read["status"] == "voided")
    await live.is_sound()


async def test_while_a_capture_is_in_doubt_nothing_else_is_taken_and_the_page_says_why(live: Live) -> None:
    payment = await live.pay(6_000)
    await live.webhooks(sent=False)
    await live.script("collect", {"do": "lost_after"})
    await live.script("lookup", {"do": "unavailable"}, times=3)
    path, body = f"/v1/payments/{payment['id']}/captures", {"amount": 1_000, "currency": "EUR"}
    first = await live.ask(path, body, wait=0)
    assert first.status_code == 202
    read = await live.until(f"/v1/payments/{payment['id']}", lambda read: read["in_doubt"])
    reference = read["in_doubt"]["reference"]
    second = await live.ask(path, body)
    assert (second.status_code, second.json()["code"]) == (409, "operation_in_doubt")
    assert second.headers["Retry-After"]
    run = live.temporal.get_workflow_handle(workflow_id(OperationId(payment["id"])))
    page = await run.query("explain", result_type=str)
    assert "money may have moved" in page
    assert reference in page
    await live.until(f"/v1/payments/{payment['id']}", lambda read: read["amount_captured"] == 1_000)
    await live.webhooks(sent=True)
    await live.insist(f"/v1/payments/{payment['id']}/void", {})
    await live.is_sound()


BAD: list[tuple[Json, str]] = [
    ({"amount": 10.5}, "amount_not_integer"),
    ({"amount": -1}, "amount_not_positive"),
    ({"amount": 0}, "amount_not_positive"),
    ({"amount": 10**16}, "amount_too_large"),
    ({"currency": "XXX"}, "currency_unknown"),
    ({"instrument": "4242424242424242"}, "card_number_suspected"),
    ({"surprise": 1}, "field_unknown"),
]


async def test_bad_input_writes_nothing(live: Live) -> None:
    count = "SELECT (SELECT count(*) FROM records.operation) + (SELECT count(*) FROM records.claim)"
    before = await live.pool.fetchval(count)
    good = {"amount": 100, "currency": "EUR", "merchant": "m_bakery", "instrument": "tok_visa"}
    for change, code in BAD:
        answer = await live.ask("/v1/payments", {**good, **change})
        assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    assert await live.pool.fetchval(count) == before


async def test_more_than_was_authorized_or_captured_is_refused_before_the_provider_is_asked(live: Live) -> None:
    payment = await live.pay(1_000)
    over = await live.ask(f"/v1/payments/{payment['id']}/captures", {"amount": 1_001, "currency": "EUR"})
    assert (over.status_code, over.json()["code"]) == (422, "capture_exceeds_authorization")
    await live.insist(f"/v1/payments/{payment['id']}/captures", {"amount": 600, "currency": "EUR", "final": True})
    refund = await live.ask(f"/v1/payments/{payment['id']}/refunds", {"amount": 601, "currency": "EUR"})
    assert (refund.status_code, refund.json()["code"]) == (422, "refund_exceeds_captured")
    assert [each["operation"] for each in await live.calls(payment["id"])] == ["authorise"]


async def test_refunds_that_race_never_exceed_what_was_captured(live: Live) -> None:
    payment = await live.pay(1_000, capture="automatic")
    path = f"/v1/payments/{payment['id']}/refunds"
    answers = await asyncio.gather(*(live.ask(path, {"amount": 400, "currency": "EUR"}) for _ in range(5)))
    succeeded = [each for each in answers if each.status_code == 201 and each.json()["status"] == "succeeded"]
    assert len(succeeded) == 2
    await live.is_sound()


async def test_a_webhook_ends_the_doubt_about_a_capture_that_no_inquiry_can(live: Live) -> None:
    payment = await live.pay(1_300)
    await live.script("collect", {"do": "lost_after"})
    await live.script("lookup", {"do": "unavailable"}, times=200)
    path = f"/v1/payments/{payment['id']}"
    await live.insist(f"{path}/captures", {"amount": 1_300, "currency": "EUR", "final": True})
    read = await live.until(path, lambda read: read["status"] == "captured", 15)
    (await live.simulator.delete("/control/script")).raise_for_status()
    assert read["amount_captured"] == 1_300
    await live.is_sound()
