"""What a person or an initiator may ask of a run, what it refuses before history, and what can be seen of it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from temporalio.client import Client
from temporalio.common import TypedSearchAttributes

from contracts import attributes
from domain.commands import Capture, Payment, Void
from domain.ids import Reference
from domain.money import Money
from domain.outcomes import Attention, Decision, Moment, Outcome, Receipt, View
from tests.saga.grid import unfit
from tests.support.engine import (
    PROMISES,
    Asked,
    Handle,
    ask,
    begin,
    capture,
    handle_of,
    payment,
    payout,
    refund,
    refusal,
    resolve,
    retry,
    start,
    submit,
    void,
)
from tests.support.world import WORLDS, World
from workflows import payment as payment_module
from workflows import payout as payout_module

pytestmark = pytest.mark.usefixtures("nobody_else_is_asked")
PATIENCE_SECONDS = 20  # of the wall clock, for something that takes milliseconds


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that the run tells nobody."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await true():
            await asyncio.sleep(0.02)


async def view(handle: Handle) -> View:
    return await handle.query("view", result_type=View)


async def parked(handle: Handle) -> Attention:
    """Wait until the run asks for a person."""

    async def asks() -> bool:
        return (await view(handle)).attention is not None

    await until(asks)
    attention = (await view(handle)).attention
    assert attention is not None
    return attention


class Till:
    """One payment whose authorization stays on the wire until everything that a test wants has been asked."""

    def __init__(self, client: Client, key: str, *, behaviour: str = "done", automatic: bool = False) -> None:
        self.payment: Payment = payment(key, automatic=automatic)
        self.world: World = WORLDS[self.payment.id]
        self.world.script["provider.capture"] = [behaviour]
        self.handle: Handle = handle_of(client, self.payment)
        self.asked: list[Asked] = []
        self._client = client
        self.world.tell = lambda fact: self.handle.signal("observe", fact)

    async def open(self, *operations: Capture | Void) -> Receipt:
        async def queue() -> None:
            for each in operations:
                self.asked.append(await submit(self.handle, "void" if isinstance(each, Void) else "capture", each))

        self.world.during("provider.authorize", queue)
        return await (await begin(self._client, self.payment)).result()

    def capture(self, minor: int, *, final: bool = False) -> Capture:
        return capture(f"{self.payment.fingerprint}{len(WORLDS)}", self.payment, minor, final=final)

    def void(self) -> Void:
        return void(f"{self.payment.fingerprint}{len(WORLDS)}", self.payment)


async def test_a_receipt_carries_the_fingerprint_of_its_command(client: Client) -> None:
    till = Till(client, "fingerprints")
    take, rest = till.capture(40), till.void()
    receipts = [await till.open(take, rest), *[await each.result() for each in till.asked]]
    assert [each.fingerprint for each in receipts] == [till.payment.fingerprint, take.fingerprint, rest.fingerprint]
    assert [each.operation for each in receipts] == [till.payment.id, take.id, rest.id]
    assert [each.moved.minor for each in receipts] == [100, 40, 60]
    assert [each.total.minor for each in receipts] == [0, 40, 40]


async def test_the_same_update_id_gets_the_first_receipt_whatever_it_carries(client: Client) -> None:
    till = Till(client, "same update id")
    take = till.capture(40)
    await till.open(take, till.void())
    first = await till.asked[0].result()
    changed = replace(take, money=Money(20, "EUR"), fingerprint="of another command")
    again = await ask(till.handle, "capture", changed)
    assert again == first
    assert again.fingerprint != changed.fingerprint  # by which the caller sees that it is not the answer to its command


async def test_more_than_is_authorized_is_refused_before_history(client: Client) -> None:
    till = Till(client, "over-capture")
    refusals: list[str | None] = []

    async def too_much() -> None:
        wrong = [till.capture(minor) for minor in (101, 0, -1)]
        refusals.extend([(await refusal(ask(till.handle, "capture", each))).type for each in wrong])

    till.world.during("provider.authorize", too_much)
    await till.open(till.void())
    assert await till.handle.result() == "voided"
    assert refusals == ["CaptureExceedsAuthorization"] * 3
    history = await till.handle.fetch_history()
    accepted = [each for each in history.events if each.HasField("workflow_execution_update_accepted_event_attributes")]
    assert len(accepted) == 2  # the authorization and the void


async def test_a_run_in_doubt_takes_nothing_else(client: Client) -> None:
    till = Till(client, "in doubt", behaviour="pending, told")
    take = till.capture(40)
    refusals: list[str | None] = []

    async def meanwhile() -> None:
        refusals.append((await refusal(ask(till.handle, "capture", till.capture(10)))).type)
        refusals.append((await refusal(ask(till.handle, "void", till.void()))).type)
        assert (await view(till.handle)).doubt is not None

    till.world.during("provider.inquire", meanwhile)
    await till.open(take)
    assert (await till.asked[0].result()).outcome is Outcome.DONE
    assert refusals == ["InDoubt", "InDoubt"]


async def test_a_known_operation_is_answered_even_in_doubt(client: Client) -> None:
    till = Till(client, "known in doubt", behaviour="pending, told")
    take = till.capture(40)
    again: list[Asked] = []

    async def meanwhile() -> None:
        again.append(await submit(till.handle, "capture", take, update_id=f"{take.id}-again"))

    till.world.during("provider.inquire", meanwhile)
    await till.open(take)
    receipt = await till.asked[0].result()
    assert await again[0].result() == receipt


async def test_an_update_can_come_before_the_first_line_of_the_run(client: Client) -> None:
    for each in (payment("first", automatic=True), refund("first"), payout("first")):
        asked = await begin(client, each)  # one call: the update is in the run's first task
        assert (await asked.result()).outcome is Outcome.DONE


async def test_a_closed_run_has_one_answer_for_whoever_was_late(client: Client) -> None:
    till = Till(client, "late")
    await till.open(till.void(), till.capture(40))
    late = await till.asked[1].result()
    assert (late.outcome, late.reason, late.state) == (Outcome.REFUSED, "payment_closed", "voided")


async def test_only_what_is_parked_can_be_retried(client: Client) -> None:
    till = Till(client, "retry", behaviour="conflict")
    take = till.capture(40)
    await till.open(take, till.void())
    attention = await parked(till.handle)
    assert (await refusal(retry(till.handle, Reference("pay_of_somebody_else.a1")))).type == "NotParked"
    assert attention.reference == f"{take.id}.c1"
    await retry(till.handle, attention.reference)  # asked again, it finds nothing: proven absent, and sent once more
    assert (await till.asked[0].result()).outcome is Outcome.DONE
    assert till.world.provider_total == till.world.ledger_total == 40


DECISION = Decision(
    reference=Reference("the parked one"), outcome=Outcome.REFUSED, evidence="their books", approvals=("ann", "bob")
)


@pytest.mark.parametrize(
    "wrong",
    [
        replace(DECISION, approvals=("ann", "ann")),
        replace(DECISION, approvals=("ann", " ann ")),
        replace(DECISION, approvals=("ann", "")),
        replace(DECISION, approvals=("ann", "…")),
        replace(DECISION, evidence=""),
        replace(DECISION, evidence=" … "),
        replace(DECISION, outcome=Outcome.UNKNOWN),
    ],
    ids=lambda wrong: f"{wrong.outcome} {wrong.evidence} {wrong.approvals}",
)
async def test_a_decision_needs_two_people_and_evidence(client: Client, wrong: Decision) -> None:
    till = Till(client, f"decision {wrong}", behaviour="conflict")
    await till.open(till.capture(40), till.void())
    attention = await parked(till.handle)
    assert (await refusal(resolve(till.handle, replace(wrong, reference=attention.reference)))).type == "BadDecision"
    assert (await refusal(resolve(till.handle, DECISION))).type == "NotParked"
    await resolve(till.handle, replace(DECISION, reference=attention.reference))
    assert (await till.asked[0].result()).outcome is Outcome.REFUSED
    assert await till.handle.result() == "voided"


async def test_the_page_of_a_parked_run_can_be_acted_upon_as_it_stands(client: Client) -> None:
    till = Till(client, "page", behaviour="conflict")
    await till.open(till.capture(40), till.void())
    attention = await parked(till.handle)
    page = await till.handle.query("explain", result_type=str)
    assert not unfit(attention)
    assert attention.owner in page
    assert f"{attention.deadline[:10]} {attention.deadline[11:19]}" in page
    assert f'"{attention.reference}"' in page  # what `retry` takes
    filled = {**json.loads(attention.payload), "evidence": "their books", "approvals": ["ann", "bob"]}
    assert attention.payload in page
    filled["outcome"] = "refused"
    await till.handle.execute_update("resolve", filled)  # pyright: ignore[reportUnknownMemberType]
    assert await till.handle.result() == "voided"
    decided = [each.what for each in await till.handle.query("timeline", result_type=list[Moment])]
    assert "resolved as refused by ann, bob" in decided


async def test_the_timeline_tells_what_happened_by_the_clock_of_the_run(client: Client) -> None:
    till = Till(client, "timeline", behaviour="lost after")
    take = till.capture(40)
    await till.open(take, till.void())
    await till.handle.result()
    moments = await till.handle.query("timeline", result_type=list[Moment])
    assert [datetime.fromisoformat(each.at) for each in moments] == sorted(
        datetime.fromisoformat(each.at) for each in moments
    )
    told = [each.what for each in moments if each.reference == f"{take.id}.c1"]
    assert told == ["in doubt: unknown", "done"]
    assert [each.what for each in moments if each.what.startswith("is ")] == [
        f"is {state}"
        for state in ("authorizing", "authorized", "capturing", "partially_captured", "voiding", "captured")
    ]


async def test_doubt_and_attention_can_be_searched_for(client: Client) -> None:
    till = Till(client, "search", behaviour="conflict")
    await till.open(till.capture(40), till.void())
    attention = await parked(till.handle)
    found = await _search_attributes(till.handle)
    assert found.get(attributes.PAYMENT_STATE) == "capturing"
    assert found.get(attributes.NEEDS_ATTENTION) is True
    assert found.get(attributes.OWNER) == attention.owner == "payments-operations"
    doubt = (await view(till.handle)).doubt
    assert doubt is not None
    since = found.get(attributes.UNKNOWN_SINCE)
    assert since is not None
    assert abs(since - datetime.fromisoformat(doubt.since)) < timedelta(milliseconds=1)
    await retry(till.handle, attention.reference)
    assert await till.handle.result() == "captured"
    found = await _search_attributes(till.handle)
    assert found.get(attributes.PAYMENT_STATE) == "captured"
    assert found.get(attributes.NEEDS_ATTENTION) is False
    assert found.get(attributes.OWNER) is None
    assert found.get(attributes.UNKNOWN_SINCE) is None


async def _search_attributes(handle: Handle) -> TypedSearchAttributes:
    return (await handle.describe()).typed_search_attributes


async def test_a_second_cancellation_while_unwinding_loses_no_undo(client: Client) -> None:
    till = Till(client, "twice")

    async def cancel() -> None:
        await till.handle.cancel()

    till.world.during("provider.authorize", cancel)
    till.world.during("provider.void", cancel, cancel)
    till.world.during("ledger.release", cancel)
    receipt = await till.open()
    assert (receipt.outcome, receipt.reason) == (Outcome.REFUSED, "canceled")
    assert await till.handle.result() == "voided"
    assert till.world.trace == ["hold", "authorize", "void", "release", "note"]


async def test_an_authorization_that_expires_is_voided_at_the_provider_first(client: Client) -> None:
    till = Till(client, "expiry")
    await till.open()
    began = (await till.handle.describe()).start_time
    assert await till.handle.result() == "expired"
    assert till.world.trace == ["hold", "authorize", "note", "void", "release", "note"]
    (voided,) = till.world.sent[Reference(f"{till.payment.id}.v1")]
    assert voided - began >= timedelta(seconds=till.payment.window_seconds)


async def test_a_bug_stops_the_task_and_undoes_nothing(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    till = Till(client, "bug")
    with monkeypatch.context() as patch:
        patch.setattr(payment_module, "POST", None)
        take = till.capture(40)
        await till.open(take, till.void())

        async def failed() -> bool:
            pending = (await till.handle.describe()).raw_description.pending_workflow_task
            return pending.attempt > 1

        await until(failed)
        assert till.world.trace == ["hold", "authorize", "note", "capture"]
    receipt = await till.asked[0].result()
    assert receipt.outcome is Outcome.DONE
    assert await till.handle.result() == "captured"
    assert till.world.trace == ["hold", "authorize", "note", "capture", "post", "void", "release", "note"]
    assert till.world.provider_total == till.world.ledger_total == 40


async def test_an_undo_without_an_answer_asks_for_a_person_and_goes_on_by_itself(client: Client) -> None:
    impatient = payment("no answer", promises=replace(PROMISES, attention_after_seconds=1))
    world, handle = WORLDS[impatient.id], handle_of(client, impatient)
    world.script["provider.void"] = ["unavailable"] * 4  # Temporal's pauses between five tries last 1.5 seconds
    await begin(client, impatient)
    assert await handle.result() == "expired"
    wanted = [
        each for each in await handle.query("timeline", result_type=list[Moment]) if each.what == "needs attention"
    ]
    assert {each.reference for each in wanted} == {f"{impatient.id}.v1"}
    assert all(each.detail.startswith("no answer") for each in wanted)
    assert not world.authorized
    assert not world.open_holds


async def test_a_doubt_that_an_outage_has_parked_is_looked_at_again_without_a_person(client: Client) -> None:
    till = payment("outage over", automatic=True, promises=replace(PROMISES, attention_after_seconds=1))
    world, handle = WORLDS[till.id], handle_of(client, till)
    world.script["provider.capture"] = ["lost after"]
    world.script["provider.inquire"] = ["unavailable"] * 8  # two inquiries of four tries each end without an answer
    receipt = await (await begin(client, till)).result()
    assert (receipt.outcome, receipt.total.minor) == (Outcome.DONE, 100)
    said = [each.what for each in await handle.query("timeline", result_type=list[Moment])]
    assert "needs attention" in said
    assert not any("a person" in each for each in said)
    assert world.moved == {Reference(f"{till.id}.c1"): 100}


async def test_a_refund_that_the_provider_has_not_decided_is_submitted(client: Client) -> None:
    back = refund("submitted")
    world, handle = WORLDS[back.id], handle_of(client, back)
    world.script["provider.refund"] = ["pending"]
    states: list[str] = []

    async def look() -> None:
        states.append((await view(handle)).state)

    world.during("provider.inquire", look)
    await begin(client, back)
    assert await handle.result() == "succeeded"
    assert states == ["submitted"]


async def test_a_payout_is_answered_when_the_rail_has_it_not_when_it_has_arrived(client: Client) -> None:
    out = payout("early answer")
    world, handle = WORLDS[out.id], handle_of(client, out)
    world.script["payout.arrival"] = ["bounced"]
    receipt = await (await begin(client, out)).result()
    assert (receipt.outcome, receipt.state, receipt.total.minor) == (Outcome.DONE, "in_transit", 0)
    assert await handle.result() == "failed"
    assert (await view(handle)).reason == "beneficiary unknown"
    assert list(world.entries.values()) == [100, -100]


async def test_a_payout_that_nobody_decides_is_a_persons_case_after_five_days(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    seldom = replace(payout_module.ARRIVAL, longest_pause=timedelta(days=1))  # a question an hour would be 120
    monkeypatch.setattr(payout_module, "ARRIVAL", seldom)
    out = payout("five days")
    world, handle = WORLDS[out.id], handle_of(client, out)
    world.script["payout.arrival"] = ["pending"] * 1000
    await start(client, out)
    attention = await parked(handle)
    assert attention.owner == "treasury-operations"
    began = (await handle.describe()).start_time
    assert datetime.fromisoformat(attention.since) - began >= timedelta(days=5)
    await resolve(handle, Decision(
        reference=attention.reference, outcome=Outcome.DONE, evidence="the bank's letter", approvals=("ann", "bob"),
    ))  # fmt: skip
    assert await handle.result() == "paid"
