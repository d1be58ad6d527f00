"""Beyond authorize, capture and void: challenges, reviews, routes, increments, setbacks, recalls, long lives.

What people decide is tried beside a clock that runs as clocks do; what time decides, beside one that skips.
"""

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any, SupportsIndex

import pytest
import pytest_asyncio
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus

from contracts import attributes, queues
from contracts.payloads import DATA_CONVERTER
from domain.commands import LateFact
from domain.ids import Prefix, Reference
from domain.outcomes import Decision, Fact, Outcome, Reason, refused
from tests.saga.test_updates import parked, until, view
from tests.support.engine import (
    ANOTHER,
    PROMISES,
    PROVIDER,
    Handle,
    ask,
    begin,
    capture,
    handle_of,
    increment,
    operation,
    payment,
    payout,
    refund,
    refusal,
    resolve,
    submit,
    void,
    worker,
)
from tests.support.stack import TemporalServer
from tests.support.world import WORLDS, World
from workflows import run as run_module

RAISES = replace(PROMISES, increments=True)
RECALLS = replace(PROMISES, recalls=True)
TASK_COMPLETED = "workflow_task_completed_event_attributes"
A_SECOND_ROUTE = (replace(PROMISES, provider=ANOTHER),)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def steady(temporal: TemporalServer) -> AsyncGenerator[Client]:
    """A client of a server whose clock runs, with a worker on the product's queues."""
    client = await Client.connect(temporal.target, data_converter=DATA_CONVERTER, identity="holdfast-tests")
    async with worker(client):
        yield client


def decision(reference: str, outcome: Outcome, by: tuple[str, str] = ("ann", "bob")) -> Decision:
    return Decision(reference=Reference(reference), outcome=outcome, evidence="called the payer", approvals=by)


async def fact(handle: Handle, reference: str, answer: Any, source: str = "ev_9") -> None:
    await handle.signal("observe", Fact(reference=Reference(reference), answer=answer, source=source))


# A payer proves who they are


async def test_a_challenge_sends_the_payer_on_and_ends_authorized_when_they_return(steady: Client) -> None:
    start = payment("challenge")
    world, handle = WORLDS[start.id], handle_of(steady, start)
    world.script["provider.authorize"] = ["challenged"]
    receipt = await (await begin(steady, start)).result()
    assert (receipt.outcome, receipt.state) == (Outcome.PENDING, "challenge_required")
    assert (await view(handle)).challenge == "https://bank.example/prove"
    world.land(Reference(f"{start.id}.a1"))
    await handle.execute_update("look_again", start.id)  # pyright: ignore[reportUnknownMemberType]

    async def authorized() -> bool:
        return (await view(handle)).state == "authorized"

    await until(authorized)
    assert (await view(handle)).challenge == ""
    assert (await ask(handle, "capture", capture("challenge", start, 100))).outcome is Outcome.DONE
    assert await handle.result() == "captured"


async def test_a_challenge_that_the_payer_fails_is_a_decline(steady: Client) -> None:
    start = payment("challenge failed")
    world, handle = WORLDS[start.id], handle_of(steady, start)
    world.script["provider.authorize"] = ["challenged"]
    await (await begin(steady, start)).result()
    world.waiting.clear()
    await fact(handle, f"{start.id}.a1", refused("not_authenticated"))
    assert await handle.result() == "declined"
    assert (world.open_holds, world.authorized) == (0, {})


async def test_a_payer_who_stays_away_is_waited_for_a_quarter_of_an_hour_and_voided(client: Client) -> None:
    start = payment("challenge abandoned")
    world, handle = WORLDS[start.id], handle_of(client, start)
    world.script["provider.authorize"] = ["challenged"]
    await begin(client, start)
    assert await handle.result() == "voided"
    assert (await view(handle)).reason == Reason.CHALLENGE_ABANDONED
    assert world.trace[-2:] == ["release", "note"]
    assert "void" in world.trace


async def test_an_initiator_may_give_up_a_payer_who_is_away(steady: Client) -> None:
    start = payment("challenge given up")
    world, handle = WORLDS[start.id], handle_of(steady, start)
    world.script["provider.authorize"] = ["challenged"]
    await (await begin(steady, start)).result()
    refused_meanwhile = await refusal(ask(handle, "capture", capture("challenge given up", start, 10)))
    receipt = await ask(handle, "void", void("challenge given up", start))
    assert refused_meanwhile.type == "InDoubt"
    assert receipt.outcome is Outcome.DONE
    assert await handle.result() == "voided"
    assert (world.open_holds, world.waiting) == (0, {})


async def test_what_a_bank_has_accepted_is_waited_for_for_days_before_a_person_is_asked(client: Client) -> None:
    start = refund("decided in days")
    world, handle = WORLDS[start.id], handle_of(client, start)
    world.script["provider.refund"] = ["pending"]
    world.asked[Reference(f"{start.id}.r1")] = -40  # found done by the fortieth question
    await begin(client, start)
    assert await handle.result() == "succeeded"
    found = (await handle.describe()).typed_search_attributes
    assert found.get(attributes.NEEDS_ATTENTION) is None


# Risk holds it


@pytest.mark.parametrize(("outcome", "state"), [(Outcome.DONE, "authorized"), (Outcome.REFUSED, "blocked")])
async def test_a_payment_that_risk_holds_goes_on_as_two_people_decide(
    steady: Client, outcome: Outcome, state: str
) -> None:
    start = payment(f"held {outcome}")
    world, handle = WORLDS[start.id], handle_of(steady, start)
    world.script["payment.prepare"] = ["reviewed"]
    receipt = await (await begin(steady, start)).result()
    attention = await parked(handle)
    assert (receipt.outcome, receipt.reason) == (Outcome.PENDING, Reason.RISK_REVIEW)
    assert (attention.owner, attention.reference) == ("risk-operations", f"{start.id}/hold")
    assert world.asked_at == []
    await resolve(handle, decision(attention.reference, outcome))

    async def decided() -> bool:
        return (await view(handle)).state == state

    await until(decided)
    if state == "authorized":
        assert world.holds[Reference(f"{start.id}/hold")] == 100
        await ask(handle, "void", void("held", start))
    await handle.result()
    assert world.open_holds == 0


async def test_a_review_that_nobody_decides_ends_blocked_after_a_day_and_was_escalated(client: Client) -> None:
    start = payment("held, nobody")
    world, handle = WORLDS[start.id], handle_of(client, start)
    world.script["payment.prepare"] = ["reviewed"]
    await begin(client, start)
    assert await handle.result() == "blocked"
    assert (await view(handle)).reason == Reason.REVIEW_TIMED_OUT
    timeline: list[dict[str, str]] = await handle.query("timeline")
    assert [each["detail"] for each in timeline if each["what"] == "escalated"] == ["to risk-operations-lead"] * 5
    assert world.asked_at == []


async def test_a_payout_that_risk_holds_waits_in_approval(steady: Client) -> None:
    start = payout("held payout")
    world, handle = WORLDS[start.id], handle_of(steady, start)
    world.script["payout.prepare"] = ["reviewed"]
    receipt = await (await begin(steady, start)).result()
    assert receipt.state == "approval"
    attention = await parked(handle)
    await resolve(handle, decision(attention.reference, Outcome.DONE))
    assert await handle.result() == "paid"
    assert world.provider_total == 100


async def test_a_canceled_review_sends_nothing(steady: Client) -> None:
    start = payment("held, canceled")
    world, handle = WORLDS[start.id], handle_of(steady, start)
    world.script["payment.prepare"] = ["reviewed"]
    await (await begin(steady, start)).result()
    await parked(handle)
    await handle.cancel()
    assert await handle.result() == "not_started"
    assert (world.asked_at, world.open_holds) == ([], 0)


async def test_a_decision_without_two_known_approvals_decides_nothing(steady: Client) -> None:
    start = payment("unproven")
    WORLDS[start.id].script["payment.prepare"] = ["reviewed"]
    handle = handle_of(steady, start)
    await (await begin(steady, start)).result()
    attention = await parked(handle)
    unproven = decision(attention.reference, Outcome.DONE, ("ann", "nobody"))
    refused_by_books = await refusal(resolve(handle, unproven))
    alone = await refusal(resolve(handle, decision(attention.reference, Outcome.DONE, ("ann", "ann"))))
    assert (refused_by_books.type, alone.type) == ("NotApproved", "BadDecision")
    assert (await view(handle)).attention is not None
    await handle.cancel()
    await handle.result()


async def test_a_deadline_that_passes_gives_a_parked_run_to_the_next_one_up(client: Client) -> None:
    start = payout("escalated")
    world, handle = WORLDS[start.id], handle_of(client, start)
    world.script["payout.arrival"] = ["pending"] * 150  # by the hour: a day and more beyond its five days
    await begin(client, start)
    assert await handle.result() == "paid"
    timeline: list[dict[str, str]] = await handle.query("timeline")
    assert "to treasury-operations-lead" in [each["detail"] for each in timeline if each["what"] == "escalated"]


# Another provider


@pytest.mark.parametrize("first", ["unavailable", "soft"])
async def test_another_provider_is_asked_where_the_first_certainly_did_nothing(client: Client, first: str) -> None:
    start = replace(payment(f"routed {first}"), routes=A_SECOND_ROUTE)
    world, handle = WORLDS[start.id], handle_of(client, start)
    world.script["provider.authorize"] = AtTheFirst(world, first)

    async def queue() -> None:
        await submit(handle, "capture", capture(f"routed {first}", start, 100))

    world.during("provider.authorize", queue)
    await begin(client, start)
    assert await handle.result() == "captured"
    assert list(dict.fromkeys(world.asked_at)) == ["fake", ANOTHER]
    assert world.effects[Reference(f"{start.id}.a2")] == 1
    assert world.effects[Reference(f"{start.id}.a1")] == 0
    assert (world.provider_total, world.ledger_total, world.open_holds) == (100, 100, 0)
    found = (await handle.describe()).typed_search_attributes
    assert found.get(attributes.PROVIDER) == ANOTHER


class AtTheFirst(list[str]):
    """A behaviour for as long as the first provider is asked."""

    def __init__(self, world: World, behaviour: str) -> None:
        super().__init__([behaviour])
        self._world = world

    def pop(self, _: SupportsIndex = -1) -> str:
        return self[0] if self._world.asked_at[-1] == PROVIDER else "done"


@pytest.mark.parametrize("first", ["lost before", "lost after", "refused", "late"])
async def test_no_other_provider_is_asked_after_a_doubt_or_a_plain_refusal(client: Client, first: str) -> None:
    start = replace(payment(f"not routed {first}"), routes=A_SECOND_ROUTE)
    world, handle = WORLDS[start.id], handle_of(client, start)
    world.script["provider.authorize"] = [first, "refused"]
    await begin(client, start)
    await handle.result()
    assert set(world.asked_at) == {"fake"}
    assert (world.open_holds, world.authorized) == (0, {})


# More than was authorized at first


async def test_an_increment_raises_what_can_be_captured_and_one_hold_covers_all_of_it(steady: Client) -> None:
    start = payment("raised", promises=RAISES)
    world, handle = WORLDS[start.id], handle_of(steady, start)
    await (await begin(steady, start)).result()
    await ask(handle, "capture", capture("raised 1", start, 30))
    more = increment("raised", start, 50)
    receipt = await ask(handle, "increment", more)
    assert (receipt.outcome, receipt.moved.minor) == (Outcome.DONE, 50)
    assert world.holds == {Reference(f"{start.id}/hold"): 0, Reference(f"{more.id}/hold"): 120}
    assert (await view(handle)).amount.minor == 150
    assert (await ask(handle, "capture", capture("raised 2", start, 110))).outcome is Outcome.DONE
    await ask(handle, "void", void("raised", start))
    assert await handle.result() == "captured"
    assert (world.provider_total, world.ledger_total, world.open_holds, world.authorized) == (140, 140, 0, {})
    assert world.trace.index("release") < len(world.trace) - 1
    assert world.states[more.id] == "succeeded"


@pytest.mark.parametrize("behaviour", ["refused", "lost after", "lost before", "late"])
async def test_an_increment_leaves_one_hold_whatever_becomes_of_it(client: Client, behaviour: str) -> None:
    start = payment(f"raise {behaviour}", promises=RAISES)
    world, handle = WORLDS[start.id], handle_of(client, start)
    world.script["provider.increment"] = [behaviour]
    held: list[int] = []

    async def ask_for_more() -> None:
        await submit(handle, "capture", capture(f"raise {behaviour}", start, 10))

    async def raise_it() -> None:
        await submit(handle, "increment", increment(f"raise {behaviour}", start, 50))

    async def look() -> None:
        held.append(world.open_holds)
        await submit(handle, "void", void(f"raise {behaviour}", start))

    world.during("provider.authorize", ask_for_more)
    world.during("provider.capture", raise_it)
    world.during("provider.increment", look)
    await begin(client, start)
    assert await handle.result() == "captured"
    assert held == [2]  # the present one, and the one that is to take its place
    assert (world.open_holds, world.authorized, world.provider_total) == (0, {}, 10)


async def test_an_increment_that_the_provider_does_not_know_is_refused_before_history(steady: Client) -> None:
    start = payment("cannot raise")
    handle = handle_of(steady, start)
    await (await begin(steady, start)).result()
    assert (await refusal(ask(handle, "increment", increment("cannot raise", start, 50)))).type == "NotSupported"
    await ask(handle, "void", void("cannot raise", start))
    await handle.result()


# A provider says otherwise than before


async def test_a_capture_that_fails_after_it_was_done_is_taken_out_of_the_books(steady: Client) -> None:
    start = payment("set back")
    world, handle = WORLDS[start.id], handle_of(steady, start)
    await (await begin(steady, start)).result()
    first, second = capture("set back 1", start, 30), capture("set back 2", start, 20)
    await ask(handle, "capture", first)
    await ask(handle, "capture", second)
    failed = Reference(f"{first.id}.c1")
    world.moved.pop(failed)
    for source in ("ev_1", "ev_2", "ev_1"):  # told again, and again
        await fact(handle, failed, refused("account_closed_at_bank"), source)

    async def corrected() -> bool:
        return (await view(handle)).total.minor == 20

    await until(corrected)
    await ask(handle, "void", void("set back", start))
    assert await handle.result() == "captured"
    assert (world.provider_total, world.ledger_total) == (20, 20)
    assert world.events == ["capture.reversed"]
    assert world.states[first.id] == "failed"


async def test_a_refused_capture_that_happened_after_all_is_settled_by_a_run_of_its_own(steady: Client) -> None:
    start = payment("after all")
    handle = handle_of(steady, start)
    WORLDS[start.id].script["provider.capture"] = ["refused"]
    await (await begin(steady, start)).result()
    taken = capture("after all", start, 30)
    await ask(handle, "capture", taken)
    told = Fact(reference=Reference(f"{taken.id}.c1"), answer=replace(refused(""), outcome=Outcome.DONE), source="ev_7")
    for _ in range(2):
        await handle.signal("observe", told)
    late = steady.get_workflow_handle(queues.late_id("fake", "ev_7"))

    async def begun() -> bool:
        try:
            return (await late.describe()).status is WorkflowExecutionStatus.RUNNING
        except Exception:  # noqa: BLE001 - not begun yet
            return False

    await until(begun)
    given = (await late.fetch_history()).events[0].workflow_execution_started_event_attributes.input
    (carried,) = await DATA_CONVERTER.decode(given.payloads, [LateFact])
    assert (carried.fact, carried.source, carried.merchant) == (told, "ev_7", start.merchant)
    await late.terminate("the test is over")
    await ask(handle, "void", void("after all", start))
    await handle.result()


async def test_a_webhook_that_says_what_is_known_says_nothing_new(steady: Client) -> None:
    start = payment("nothing new")
    world, handle = WORLDS[start.id], handle_of(steady, start)
    await (await begin(steady, start)).result()
    await fact(handle, f"{start.id}.a1", replace(refused(""), outcome=Outcome.DONE))
    taken = await ask(handle, "capture", capture("nothing new", start, 100))
    assert taken.outcome is Outcome.DONE
    assert await handle.result() == "captured"
    assert world.provider_total == world.ledger_total == 100


# A payout called back


@pytest.mark.parametrize(("behaviour", "state", "moved"), [("done", "failed", 0), ("refused", "paid", 100)])
async def test_a_payout_on_its_way_is_called_back_or_goes_on(
    client: Client, behaviour: str, state: str, moved: int
) -> None:
    start = payout(f"recalled {behaviour}", promises=RECALLS)
    world, handle = WORLDS[start.id], handle_of(client, start)
    world.script["payout.arrival"] = ["pending"] * 3
    world.script["provider.recall"] = [behaviour]
    back = void(f"recalled {behaviour}", start)
    asked: list[Any] = []

    async def call_back() -> None:
        asked.append(await submit(handle, "recall", back))

    world.during("payout.arrival", call_back)
    await begin(client, start)
    assert await handle.result() == state
    receipt = await asked[0].result()
    assert (receipt.outcome is Outcome.DONE) == (behaviour == "done")
    assert (world.provider_total, world.ledger_total, world.open_holds) == (moved, moved, 0)
    assert world.states[back.id] == ("succeeded" if behaviour == "done" else "failed")


async def test_a_payout_that_has_not_left_is_not_called_back(steady: Client) -> None:
    start = payout("recalled too soon", promises=RECALLS)
    world, handle = WORLDS[start.id], handle_of(steady, start)
    kinds: list[str | None] = []

    async def call_back() -> None:
        kinds.append((await refusal(ask(handle, "recall", void("recalled too soon", start)))).type)

    world.during("provider.pay_out", call_back)
    await begin(steady, start)
    assert await handle.result() == "paid"
    assert kinds == ["InvalidState"]


# Long lives


async def test_an_initiator_is_warned_once_before_the_window_closes(client: Client) -> None:
    start = replace(payment("warned"), warn_before_seconds=86_400)
    world, handle = WORLDS[start.id], handle_of(client, start)
    await begin(client, start)
    assert await handle.result() == "expired"
    assert world.events == ["payment.expiring"]


async def test_a_run_with_a_long_history_goes_on_under_a_new_one_and_forgets_nothing(
    steady: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = replace(payment("moved on", promises=RAISES), warn_before_seconds=60)
    world, handle = WORLDS[start.id], handle_of(steady, start)
    await (await begin(steady, start)).result()
    first = capture("moved on 1", start, 30)
    await ask(handle, "capture", first)
    await ask(handle, "increment", increment("moved on", start, 50))
    before = (await handle.describe()).run_id
    suggested = True

    def must_go_on_anew(self: Any) -> bool:
        self.draining = self.draining or (suggested and self._start.id == start.id)
        return self.draining

    monkeypatch.setattr(run_module.Run, "must_go_on_anew", must_go_on_anew)
    await handle.signal("observe", Fact(reference=Reference("x"), answer=refused("x"), source="ev_0"))  # wakes it

    async def moved() -> bool:
        return (await handle.describe()).run_id != before

    await until(moved)
    suggested = False
    again = await ask(handle, "capture", first, update_id=f"{first.id}-again")
    assert (again.outcome, again.moved.minor) == (Outcome.DONE, 30)  # its receipt has come along
    changed = replace(first, fingerprint="of another command")
    assert (await refusal(ask(handle, "capture", changed, update_id="changed"))).type == "Conflict"
    seen = await view(handle)
    assert (seen.state, seen.total.minor, seen.amount.minor) == ("partially_captured", 30, 150)
    world.moved.pop(Reference(f"{first.id}.c1"))
    await fact(handle, f"{first.id}.c1", refused("account_closed_at_bank"))
    await ask(handle, "capture", capture("moved on 2", start, 40))
    await ask(handle, "void", void("moved on", start))
    assert await handle.result() == "captured"
    assert (world.provider_total, world.ledger_total, world.open_holds, world.authorized) == (40, 40, 0, {})
    assert world.doubles == 0


@pytest.mark.parametrize("first", ["done", "soft"])
async def test_a_run_that_is_reset_and_canceled_leaves_nothing_at_any_provider(steady: Client, first: str) -> None:
    start = replace(payment(f"reset {first}"), routes=A_SECOND_ROUTE)
    world, handle = WORLDS[start.id], handle_of(steady, start)
    world.script["provider.authorize"] = AtTheFirst(world, first)
    await (await begin(steady, start)).result()
    assert len(world.authorized) == 1
    described = await handle.describe()
    history = await handle.fetch_history()
    first_task = next(event.event_id for event in history.events if event.HasField(TASK_COMPLETED))
    await handle.cancel()
    await steady.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=steady.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=described.run_id),
            reason="a person resets it to its beginning",
            workflow_task_finish_event_id=first_task,
            request_id=f"reset {first}",
        )
    )
    await handle_of(steady, start).cancel()
    assert await handle_of(steady, start).result() == "voided"
    assert (world.authorized, world.open_holds) == ({}, 0)


async def test_what_is_told_of_an_effect_that_the_run_does_not_know_is_settled_at_its_end(steady: Client) -> None:
    start = payment("told of something else")
    handle = handle_of(steady, start)
    await (await begin(steady, start)).result()
    unknown = f"{operation(Prefix.CAPTURE, 'forgotten')}.c1"
    await fact(handle, unknown, replace(refused(""), outcome=Outcome.DONE), "ev_8")
    await ask(handle, "void", void("told of something else", start))
    assert await handle.result() == "voided"
    late = steady.get_workflow_handle(queues.late_id(PROVIDER, "ev_8"))
    assert (await late.describe()).status is WorkflowExecutionStatus.RUNNING
    await late.terminate("the test is over")
