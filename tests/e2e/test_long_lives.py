"""What happens to real payments beyond the till, over the public API against the whole stack.

A payer who is challenged, an authorization that is raised, a success that is taken back after its run has closed,
disputes, recalls, what risk holds and two people decide, and another provider that is asked.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.support.live import Json, Live, connected, running_stack
from workers.embedded.stack import Stack, read_operators, read_settings

SOON_SECONDS = 60  # webhook, relay, run, entry: a second, and as many more as a busy machine takes
GATES = [  # of a fresh installation
    {"name": "merchant-known", "kind": "kyc", "applies_to": ["payouts"], "verdict": "refuse", "timeout_ms": 100,
     "if_absent": "review"},
    {"name": "merchant-not-sanctioned", "kind": "sanctions", "applies_to": ["payouts"], "verdict": "refuse",
     "timeout_ms": 100, "if_absent": "review"},
]  # fmt: skip
LARGE = {
    "name": "large", "kind": "amount_limit", "applies_to": ["payments"], "verdict": "review", "timeout_ms": 50,
    "if_absent": "review", "amount_max": {"EUR": 500_000},
}  # fmt: skip


async def control(live: Live, path: str, body: Json) -> Json:
    """Have the payer, the bank or the beneficiary do something."""
    answer = await live.simulator.post(f"/control/{path}", json=body)
    answer.raise_for_status()
    made: Json = answer.json()
    return made


async def captured(live: Live, amount: int) -> Json:
    """A payment that is captured whole, and whose run has closed."""
    payment = await live.pay(amount, capture="automatic")
    return await live.until(f"/v1/payments/{payment['id']}", lambda read: read["status"] == "captured", SOON_SECONDS)


def effect(payment: Json) -> str:
    """The reference of an automatic payment's capture."""
    return f"{payment['id']}.c1"


async def payable(live: Live) -> int:
    read = await live.get("/v1/accounts/merchant:m_bakery:payable/balance?currency=EUR")
    return -int(read["posted"])


# At the till


async def test_a_challenged_payer_proves_who_they_are_and_the_payment_goes_on(live: Live) -> None:
    payment = await live.pay(4_200, instrument="tok_challenge")
    read = await live.get(f"/v1/payments/{payment['id']}")
    assert read["status"] == "challenge_required"
    async with httpx.AsyncClient() as browser:
        (await browser.post(f"{read['challenge']['url']}/pass")).raise_for_status()
    back = await live.ask(f"/v1/payments/{payment['id']}/challenge-return", {})
    assert back.status_code in (200, 201, 202), back.text
    read = await live.until(f"/v1/payments/{payment['id']}", lambda read: read["status"] == "authorized", SOON_SECONDS)
    assert read["challenge"] is None
    taken = await live.insist(f"/v1/payments/{payment['id']}/captures", {"amount": 4_200, "currency": "EUR"})
    assert taken["status"] == "succeeded"
    await live.is_sound()


async def test_an_authorization_is_raised_and_captured_above_its_first_amount(live: Live) -> None:
    payment = await live.pay(3_000)
    more = await live.insist(f"/v1/payments/{payment['id']}/increments", {"amount": 1_500, "currency": "EUR"})
    assert more["status"] == "succeeded"
    taken = await live.insist(f"/v1/payments/{payment['id']}/captures", {"amount": 4_500, "currency": "EUR"})
    assert taken["status"] == "succeeded"
    read = await live.get(f"/v1/payments/{payment['id']}")
    assert (read["amount"], read["amount_captured"], read["status"]) == (4_500, 4_500, "captured")
    await live.is_sound()


# After the run has closed


async def test_a_capture_that_fails_days_later_is_taken_out_of_books_and_rows(live: Live) -> None:
    payment = await captured(live, 2_600)
    await control(live, "failures", {"merchantRef": effect(payment), "reason": "payer_account_closed"})
    path = f"/v1/payments/{payment['id']}"
    read = await live.until(path, lambda read: read["amount_captured"] == 0, SOON_SECONDS)
    assert read["status"] == "captured"
    assert "capture.reversed" in [each["what"] for each in read["timeline"]]
    await live.is_sound()


async def test_a_refund_that_fails_after_it_was_done_is_owed_to_the_merchant_again(live: Live) -> None:
    payment, before = await captured(live, 2_700), await payable(live)
    refund = await live.insist(f"/v1/payments/{payment['id']}/refunds", {"amount": 700, "currency": "EUR"})
    assert refund["status"] == "succeeded"
    await control(live, "failures", {"merchantRef": f"{refund['id']}.r1", "reason": "payer_account_closed"})
    await live.until(f"/v1/refunds/{refund['id']}", lambda read: read["status"] == "reversed", SOON_SECONDS)
    assert await payable(live) == before
    again = await live.insist(f"/v1/payments/{payment['id']}/refunds", {"amount": 2_700, "currency": "EUR"})
    assert again["status"] == "succeeded"
    await live.is_sound()


async def test_a_payout_that_comes_back_is_tried_again_to_another_account_once(live: Live) -> None:
    before = await payable(live)
    body = {"amount": 900, "currency": "EUR", "merchant": "m_bakery", "destination": "acct_returns"}
    returned = await live.insist("/v1/payouts", body)
    await live.until(f"/v1/payouts/{returned['id']}", lambda read: read["status"] == "returned", SOON_SECONDS)
    assert await payable(live) == before
    again = {**body, "destination": "acct_ok", "replaces": returned["id"]}
    second = await live.insist("/v1/payouts", again)
    await live.until(f"/v1/payouts/{second['id']}", lambda read: read["status"] == "paid", SOON_SECONDS)
    third = await live.ask("/v1/payouts", again)
    assert third.status_code in (201, 409, 422), third.text
    if third.status_code == 201:
        assert third.json()["status"] == "denied"
    assert await payable(live) == before - 900


async def test_a_payout_on_its_way_is_called_back(live: Live) -> None:
    before = await payable(live)
    body = {"amount": 800, "currency": "EUR", "merchant": "m_bakery", "destination": "acct_slow"}
    payout = await live.insist("/v1/payouts", body)
    recall = await live.insist(f"/v1/payouts/{payout['id']}/recall", {})
    assert recall["status"] == "succeeded"
    await live.until(f"/v1/payouts/{payout['id']}", lambda read: read["status"] == "failed", SOON_SECONDS)
    assert await payable(live) == before


async def test_a_dispute_is_followed_to_its_end_and_its_payment_is_not_refunded_meanwhile(live: Live) -> None:
    payment = await captured(live, 3_300)
    opened = await control(live, "disputes", {"merchantRef": effect(payment), "amountMinor": 3_300})

    async def phase(name: str, status: str) -> Json:
        await control(live, f"disputes/{opened['dispute']}", {"phase": name})
        return await live.until(f"/v1/disputes/{mine['id']}", lambda read: read["status"] == status, SOON_SECONDS)

    async def of_payment() -> Json:
        async with asyncio.timeout(SOON_SECONDS):
            while True:
                for each in (await live.get("/v1/disputes"))["data"]:
                    if each["payment"] == payment["id"]:
                        found: Json = each
                        return found
                await asyncio.sleep(0.2)

    mine = await of_payment()
    refused = await live.ask(f"/v1/payments/{payment['id']}/refunds", {"amount": 100, "currency": "EUR"})
    assert (refused.status_code, "disputed" in refused.text) in ((409, True), (422, True), (201, True)), refused.text
    await phase("WITHDRAWN", "funds_withdrawn")
    await phase("WON", "won")
    await phase("WITHDRAWN", "funds_withdrawn")
    read = await phase("LOST", "lost")
    assert [each["what"] for each in read["timeline"]][-1] == "dispute.lost"
    theirs = (await live.books())["totals"]["EUR"]
    ours = await live.pool.fetchval("SELECT sum(disputed) FROM ledger.refundable WHERE currency = 'EUR'")
    assert theirs["withdrawn"] - theirs["given_back"] == ours
    assert await live.pool.fetchrow("SELECT * FROM ledger.verify()") is None


# What risk holds


async def test_what_risk_holds_waits_for_two_people_and_one_alone_moves_nothing(live: Live, tmp_path: Path) -> None:
    file = tmp_path / "rules.json"
    await install(live, file, [*GATES, LARGE])
    try:
        payment = await live.pay(600_000)
        path = f"/v1/payments/{payment['id']}"
        ann, bob = ({"Authorization": f"Bearer {token}"} for token in read_operators(live.home).values())
        waiting = await live.http.get("/v1/attention", headers=ann)
        (parked,) = [each for each in waiting.json()["data"] if each["run"] == f"payment/{payment['id']}"]
        assert parked["owner"] == "risk-operations"
        word = {"reference": parked["reference"], "outcome": "done", "evidence": "called the payer, ticket 4711"}
        approvals = f"/v1/attention/payment/{payment['id']}/approvals"
        for _ in range(2):  # the same person twice is still one
            alone = await live.http.post(approvals, json=word, headers={**ann, "Idempotency-Key": live.key()})
            assert alone.json()["decision"] == "waiting", alone.text
        assert (await live.get(path))["status"] == "requested"
        second = await live.http.post(approvals, json=word, headers={**bob, "Idempotency-Key": live.key()})
        assert second.json()["decision"] == "decided", second.text
        await live.until(path, lambda read: read["status"] == "authorized", SOON_SECONDS)
        await live.insist(f"{path}/void", {})
    finally:
        await install(live, file, GATES)
    code, said = await holdfast(live, "risk", "explain", payment["id"])
    assert code == 0
    assert "large" in said
    await live.is_sound()


async def install(live: Live, file: Path, rules: list[Json]) -> None:
    """Put a rule set in force."""
    file.write_text(json.dumps({"rules": rules}))
    code, said = await holdfast(live, "risk", "rules", "--set", str(file), "--why", "a test", "--as", "ann")
    assert code == 0, said


async def holdfast(live: Live, *words: str) -> tuple[int, str]:
    """Run a command of `holdfast` beside the stack; its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "workers.command_line",
        *words,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **read_settings(live.home)},
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


# Another provider


@pytest.fixture(scope="module")
def two_accounts() -> Generator[tuple[Stack, Path]]:
    """A stack whose simulator is two providers."""
    with running_stack(second_account=True) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def routed(two_accounts: tuple[Stack, Path]) -> AsyncGenerator[Live]:
    """A client of it."""
    async with connected(*two_accounts) as live:
        yield live


@pytest.mark.parametrize("instrument", ["tok_visa", "tok_soft"])
async def test_a_payment_is_taken_elsewhere_where_the_first_provider_certainly_did_nothing(
    routed: Live, instrument: str
) -> None:
    if instrument == "tok_visa":
        await routed.script("authorise", {"do": "unavailable"}, times=1_000)
    else:
        await routed.script("authorise", {"do": "deny", "reason": "issuer_unreachable"})
    payment = await routed.pay(1_900, instrument="tok_visa")
    path = f"/v1/payments/{payment['id']}"
    read = await routed.until(path, lambda read: read["status"] == "authorized", SOON_SECONDS)
    (await routed.simulator.delete("/control/script")).raise_for_status()
    assert read["provider"] == "simulator_b"
    taken = await routed.insist(f"{path}/captures", {"amount": 1_900, "currency": "EUR"})
    assert taken["status"] == "succeeded"
    refund = await routed.insist(f"{path}/refunds", {"amount": 400, "currency": "EUR"})
    assert refund["status"] == "succeeded"
    first = (await routed.simulator.get("/control/books")).json()
    second = (await routed.simulator.get("/b/control/books")).json()
    assert not [each for each in first["effects"] if each["reference"].startswith(payment["id"])]
    assert f"{payment['id']}.a2" in [each["reference"] for each in second["effects"]]
    owed = await routed.get("/v1/accounts/provider:simulator_b:receivable/balance?currency=EUR")
    totals = second["totals"]["EUR"]
    assert int(owed["posted"]) == totals["collected"] - totals["paid_back"]


async def test_a_payment_in_doubt_is_never_taken_elsewhere(routed: Live) -> None:
    await routed.script("authorise", {"do": "lost_after", "seconds": 0.1})
    payment = await routed.pay(1_100)
    path = f"/v1/payments/{payment['id']}"
    read = await routed.until(path, lambda read: read["status"] == "authorized", SOON_SECONDS)
    assert read["provider"] == "simulator"
    second = (await routed.simulator.get("/b/control/calls")).json()
    assert not [each for each in second if (each["merchantRef"] or "").startswith(payment["id"])]
    await routed.insist(f"{path}/void", {})
