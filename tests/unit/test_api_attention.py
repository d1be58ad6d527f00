"""What waits for people, over the API: one approval moves nothing, and two people's make one decision."""

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest

from api.ports import EngineUnavailable
from api.problems import Code
from domain.ids import Reference
from domain.outcomes import Outcome
from tests.support.api import (
    ANN,
    APPROVAL,
    BOB,
    CAPTURE_ID,
    CYD,
    EUR_1050,
    NOW,
    PARKED,
    PARKED_ON,
    PAYMENT_ID,
    PAYOUT_ID,
    Edge,
    attention,
    edge,
    parked,
)

PATH = f"/v1/attention/{PARKED}/approvals"


async def approve(made: Edge, token: str, path: str = PATH, **changes: str) -> httpx.Response:
    """Give an approval."""
    async with made.of(token) as client:
        return await client.post(path, json={**APPROVAL, **changes})


async def test_one_approval_is_kept_under_its_givers_name_and_moves_nothing() -> None:
    made = edge()
    answer = await approve(made, ANN)
    content = answer.json()
    assert (answer.status_code, content["decision"], content["run"]["status"]) == (201, "waiting", "capturing")
    [given] = made.approvals.given
    assert (given.actor, given.run, given.reference, given.outcome) == ("ann", PARKED, PARKED_ON, Outcome.DONE)
    assert [(each["actor"], each["made_a_decision"]) for each in content["run"]["approvals"]] == [("ann", False)]
    assert not made.parked.decisions


async def test_the_same_person_again_is_one_person() -> None:
    made = edge()
    first, again = await approve(made, ANN), await approve(made, ANN)
    assert first.json()["id"] == again.json()["id"]
    assert not made.parked.decisions


async def test_with_another_persons_the_decision_goes_to_the_run() -> None:
    made = edge()
    ann, bob = (await approve(made, ANN)).json(), (await approve(made, BOB)).json()
    [(run, decision)] = made.parked.decisions
    assert run == PARKED
    assert (decision.reference, decision.outcome, decision.evidence) == (PARKED_ON, Outcome.DONE, APPROVAL["evidence"])
    assert set(decision.approvals) == {ann["id"], bob["id"]}
    assert (bob["decision"], bob["run"]["status"], bob["run"]["reference"]) == ("decided", "partially_captured", None)


@pytest.mark.parametrize("change", [{"outcome": "refused"}, {"evidence": "something else"}])
async def test_two_people_who_say_different_things_decide_nothing(change: dict[str, str]) -> None:
    made = edge()
    await approve(made, ANN)
    assert (await approve(made, BOB, **change)).json()["decision"] == "waiting"
    assert not made.parked.decisions


async def test_two_at_the_same_moment_make_one_decision() -> None:
    made = edge()
    given = await asyncio.gather(approve(made, ANN), approve(made, BOB))
    assert "decided" in {answer.json()["decision"] for answer in given}
    assert len({decision.approvals for _, decision in made.parked.decisions}) == 1


async def test_whoever_did_not_hear_the_answer_asks_again_and_hears_that_it_is_decided() -> None:
    made = edge()
    await approve(made, ANN)
    first = await approve(made, BOB)
    for token in (ANN, BOB):
        assert (await approve(made, token)).json()["decision"] == "decided"
    assert (await approve(made, BOB)).json() == first.json()
    assert len(made.parked.decisions) == 1
    made.parked.runs.clear()
    assert (await approve(made, BOB)).json()["run"] is None


async def test_what_has_made_a_decision_makes_no_second_one_with_a_third_persons_word() -> None:
    made = edge()
    await approve(made, ANN)
    await approve(made, BOB)
    made.parked.runs[PARKED] = parked(wanted=attention())  # it waits again, about the same
    answer = await approve(made, CYD)  # in the words that have made a decision already
    assert (answer.status_code, answer.json()["decision"]) == (201, "waiting")
    assert len(made.parked.decisions) == 1


async def test_an_engine_that_does_not_answer_leaves_the_approvals_standing() -> None:
    made = edge()
    await approve(made, ANN)
    made.parked.why_not = EngineUnavailable(PARKED)
    lost = await approve(made, BOB)
    assert (lost.status_code, lost.json()["code"], lost.json()["retryable"]) == (503, Code.ENGINE_UNAVAILABLE, True)
    made.parked.why_not = ""
    assert (await approve(made, ANN)).json()["decision"] == "decided"
    assert len({decision.approvals for _, decision in made.parked.decisions}) == 1  # whoever of the two asks again


async def test_why_a_run_does_not_take_a_decision_is_said() -> None:
    made = edge()
    await approve(made, ANN)
    made.parked.why_not = "the approval apr_0 has made another decision"
    refused = await approve(made, BOB)
    assert (refused.status_code, refused.json()["code"]) == (409, Code.DECISION_REFUSED)
    assert refused.json()["detail"] == made.parked.why_not


@pytest.mark.parametrize(
    ("run", "code"),
    [
        (parked(), Code.NOT_PARKED),
        (parked(wanted=attention(Reference(f"{CAPTURE_ID}.v1"))), Code.NOT_PARKED),
        (parked(wanted=replace(attention(), update="evidence")), Code.NOT_PARKED),
        (replace(parked(), view=None), Code.ENGINE_UNAVAILABLE),
        (replace(parked(), view=None, kind="LedgerVerify", why="a balance is wrong"), Code.NOT_PARKED),
        (None, Code.RUN_NOT_FOUND),
    ],
    ids=["at work", "about something else", "for something else", "silent", "upkeep", "ended"],
)
async def test_nothing_is_approved_of_a_run_that_does_not_ask_for_it(run: Any, code: Code) -> None:
    made = edge()
    made.parked.runs = {PARKED: run} if run else {}
    assert (await approve(made, ANN)).json()["code"] == code
    assert not made.approvals.given


@pytest.mark.parametrize(
    "change",
    [{"outcome": "unknown"}, {"evidence": ""}, {"evidence": "a\nb"}, {"evidence": "x" * 1001}, {"reference": ""},
     {"evidence": "card 4111 1111 1111 1111"}],
)  # fmt: skip
async def test_what_is_no_decision_is_not_kept(change: dict[str, str]) -> None:
    made = edge()
    assert (await approve(made, ANN, **change)).status_code == 422
    assert not made.approvals.given


async def test_a_run_is_named_by_its_operation_or_by_its_workflow_id() -> None:
    made = edge()
    late = "late/simulator/evt_1"
    made.parked.runs[late] = parked(late, attention(Reference("late.x1")))
    async with made.of(ANN) as client:
        by_operation = (await client.get(f"/v1/attention/{PAYMENT_ID}")).json()
        by_workflow = (await client.get(f"/v1/attention/{PARKED}")).json()
        of_late = (await client.get(f"/v1/attention/{late}")).json()
        unknown = [await client.get(f"/v1/attention/{name}") for name in (CAPTURE_ID, "x", "pay_x", PAYOUT_ID)]
    assert by_operation == by_workflow
    assert (by_operation["run"], of_late["run"]) == (PARKED, late)
    assert {answer.json()["code"] for answer in unknown} == {Code.RUN_NOT_FOUND}
    decided = f"/v1/attention/{late}/approvals"
    for token in (ANN, BOB):
        assert (await approve(made, token, decided, reference="late.x1")).status_code == 201
    assert [run for run, _ in made.parked.decisions] == [late]


async def test_the_list_is_everybodys_or_one_owners() -> None:
    made = edge()
    broken = replace(
        parked("upkeep/ledger-verify-1"), view=None, kind="LedgerVerify", owner="ledger-operations", why="a"
    )
    made.parked.runs[broken.run] = broken
    await approve(made, ANN)
    async with made.of(ANN) as client:
        everybody = (await client.get("/v1/attention")).json()["data"]
        mine = (await client.get("/v1/attention?owner=ledger-operations")).json()["data"]
        nobody = await client.get("/v1/attention?owner=x' OR 1=1")
    assert {each["run"] for each in everybody} == {PARKED, broken.run}
    [waiting] = [each for each in everybody if each["run"] == PARKED]
    assert (waiting["amount"], waiting["currency"], waiting["deadline"]) == (
        EUR_1050.minor, "EUR", "2026-11-25T16:00:00+00:00",
    )  # fmt: skip
    assert [each["actor"] for each in waiting["approvals"]] == ["ann"]
    assert mine == [
        {
            **waiting, "run": broken.run, "kind": "LedgerVerify", "status": "", "reference": None, "reason": "a",
            "owner": "ledger-operations", "since": NOW.strftime("%Y-%m-%dT%H:%M:%SZ"), "deadline": None, "update": None,
            "payload": None, "amount": None, "currency": None, "approvals": [],
        }
    ]  # fmt: skip
    assert nobody.status_code == 422


async def test_a_run_is_told_to_look_again_about_what_it_waits_for_or_about_what_is_named() -> None:
    made = edge()
    async with made.of(ANN) as client:
        asked = await client.post(f"/v1/attention/{PAYMENT_ID}/retry")
        named = await client.post(f"/v1/attention/{PARKED}/retry", json={"reference": "another"})
        made.parked.why_not = "another is not waiting for a person"
        refused = await client.post(f"/v1/attention/{PARKED}/retry", json={"reference": "another"})
    assert (asked.status_code, named.status_code) == (200, 200)
    assert asked.json()["run"]["run"] == PARKED
    assert made.parked.retried[:2] == [(PARKED, PARKED_ON), (PARKED, "another")]
    assert (refused.status_code, refused.json()["code"]) == (409, Code.NOT_PARKED)


async def test_the_audit_names_the_person_and_the_run() -> None:
    made = edge()
    await approve(made, BOB)
    [written] = made.audit.written
    assert (written.event, written.client, written.resource, written.scope) == (
        "attention.approval.given", "operator:bob", PARKED, "operations:approve",
    )  # fmt: skip
