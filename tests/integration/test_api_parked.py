"""What waits for people, on a real Temporal: found by its search, asked itself, and answered once."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest
import pytest_asyncio
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from api.parked import TemporalParked, run_of, urgency
from api.ports import EngineUnavailable, ParkedRun
from api.runs import TemporalRuns
from contracts import queues, upkeep
from contracts.payloads import DATA_CONVERTER
from contracts.upkeep import Finding, Verified
from domain.commands import Payment
from domain.ids import Reference
from domain.outcomes import Decision, Outcome, Receipt
from tests.integration.test_api_runs import cable
from tests.support.engine import PROVIDER, capture, payment, void, worker
from tests.support.stack import TemporalServer
from tests.support.world import WORLDS
from workers.sandbox import SANDBOX
from workflows.upkeep import LedgerVerify

CREATED = "2026-11-25T12:00:00Z"
UNTIL_SECONDS = 20.0  # of a machine with much else to do


@pytest_asyncio.fixture
async def client(temporal: TemporalServer) -> Client:
    """A client as the API's process has it."""
    return await Client.connect(temporal.target, data_converter=DATA_CONVERTER)


@pytest.fixture
def waiting(client: Client) -> TemporalParked:
    """What is tested."""
    return TemporalParked(client)


@pytest_asyncio.fixture
async def held(client: Client, request: pytest.FixtureRequest) -> AsyncGenerator[Payment]:
    """A payment that risk holds, with a worker that performs it."""
    made = payment(f"parked {request.node.name}")  # pyright: ignore[reportUnknownMemberType]
    WORLDS[made.id].script["payment.prepare"] = ["reviewed"]
    async with worker(client):
        runs = TemporalRuns(client)
        heard = await runs.start(made, created_at=CREATED, wait_seconds=10)
        assert isinstance(heard, Receipt)
        assert heard.outcome is Outcome.PENDING
        yield made
        await runs.void(made.id, void(request.node.name, made), wait_seconds=10)  # pyright: ignore[reportUnknownMemberType]


def run(made: Payment) -> str:
    """Its workflow id."""
    return queues.workflow_id(made.id)


def hold(made: Payment) -> Reference:
    """What it waits for."""
    return Reference(f"{made.id}/hold")


def decision(made: Payment, *by: str, reference: str = "") -> Decision:
    """A decision that the fakes believe, unless one of the two is `nobody`."""
    one, other = by
    about = Reference(reference) if reference else hold(made)
    return Decision(reference=about, outcome=Outcome.DONE, evidence="called the payer", approvals=(one, other))


async def found(
    waiting: TemporalParked, of: str, true: Callable[[ParkedRun | None], bool] = bool, owner: str | None = None
) -> ParkedRun | None:
    """Look into the list until it is as awaited: Temporal's search lags behind its runs."""
    async with asyncio.timeout(UNTIL_SECONDS):
        while True:
            runs, _ = await waiting.waiting(owner)
            assert list(runs) == sorted(runs, key=urgency)
            one = next((each for each in runs if each.run == of), None)
            if true(one):
                return one
            await asyncio.sleep(0.1)


async def until(look: Callable[[], Awaitable[ParkedRun | None]], true: Callable[[ParkedRun | None], bool]) -> None:
    """Look until it is as awaited."""
    async with asyncio.timeout(UNTIL_SECONDS):
        while not true(await look()):
            await asyncio.sleep(0.05)


async def test_a_run_that_waits_is_listed_with_all_that_a_person_needs(waiting: TemporalParked, held: Payment) -> None:
    listed = await found(waiting, run(held))
    assert listed is not None
    assert listed.view is not None
    assert listed.view.attention is not None
    assert (listed.kind, listed.owner, listed.merchant, listed.provider, listed.money) == (
        "Payment", "risk-operations", held.merchant, PROVIDER, held.money,
    )  # fmt: skip
    assert listed.view.attention.reference == hold(held)
    mine = await found(waiting, run(held), owner="risk-operations")
    assert mine == listed
    others, _ = await waiting.waiting("treasury-operations")
    assert run(held) not in {each.run for each in others}


async def test_a_decision_is_taken_once_checked_and_the_wait_is_over(waiting: TemporalParked, held: Payment) -> None:
    refused = await waiting.resolve(run(held), decision(held, "ann", "nobody"))
    assert refused == "there is no such approval"
    assert "is not waiting" in await waiting.resolve(run(held), decision(held, "ann", "bob", reference="another"))
    made = decision(held, "ann", "bob")
    assert await waiting.resolve(run(held), made) == ""
    after = await waiting.decided(run(held), hold(held))
    assert after is not None
    assert after.view is not None
    assert after.view.attention is None
    await until(lambda: waiting.look(run(held)), lambda one: bool(one and one.view and one.view.state == "authorized"))
    assert await waiting.resolve(run(held), made) == ""  # the same decision: its first answer
    assert len(WORLDS[held.id].asked_at) == 1
    await found(waiting, run(held), lambda one: one is None)


async def test_a_run_looks_again_only_about_what_it_waits_for(waiting: TemporalParked, held: Payment) -> None:
    assert await waiting.retry(run(held), hold(held)) == ""
    assert "another is not waiting for a person" in await waiting.retry(run(held), Reference("another"))


async def test_what_has_ended_or_never_was_is_not_there_and_takes_nothing(
    waiting: TemporalParked, client: Client, held: Payment
) -> None:
    await waiting.resolve(run(held), decision(held, "ann", "bob"))
    await TemporalRuns(client).void(held.id, void("parked end", held), wait_seconds=10)
    await client.get_workflow_handle(run(held)).result()
    for name in (run(held), "payment/nowhere", "late/simulator/evt_nowhere"):
        assert await waiting.look(name) is None
        assert await waiting.decided(name, hold(held)) is None
        assert await waiting.retry(name, hold(held)) == "the run has ended"
        assert await waiting.resolve(name, decision(held, "cyd", "dan")) == "the run has ended"


async def test_without_a_worker_a_run_is_listed_by_what_the_search_says(
    waiting: TemporalParked, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = payment("parked, and its worker gone")
    WORLDS[made.id].script["payment.prepare"] = ["reviewed"]
    async with worker(client):
        await TemporalRuns(client).start(made, created_at=CREATED, wait_seconds=10)
        await found(waiting, run(made))
    monkeypatch.setattr("api.parked.ANSWER_SECONDS", 0.3)
    monkeypatch.setattr("api.parked.UPDATE_SECONDS", 0.3)
    listed = await found(waiting, run(made))
    assert listed is not None
    assert listed.view is None
    assert (listed.owner, listed.money) == ("risk-operations", made.money)
    with pytest.raises(EngineUnavailable):
        await waiting.retry(run(made), hold(made))
    with pytest.raises(EngineUnavailable):
        await waiting.resolve(run(made), decision(made, "ann", "bob"))
    monkeypatch.undo()
    async with worker(client):
        assert await waiting.resolve(run(made), decision(made, "ann", "bob")) == ""
        await TemporalRuns(client).void(made.id, void("worker gone", made), wait_seconds=10)


async def test_a_broken_book_is_listed_before_everything_with_what_is_broken(
    waiting: TemporalParked, client: Client, held: Payment
) -> None:
    @activity.defn(name="ledger.verify")
    async def verify() -> Verified:
        return Verified(checks=3, seconds=0.1, broken=Finding(what="a balance", subject="m_bakery", detail="5 for 4"))

    name = "upkeep/ledger-verify-parked"
    async with Worker(
        client, task_queue=upkeep.QUEUE, workflows=[LedgerVerify], activities=[verify], workflow_runner=SANDBOX
    ):
        handle = await client.start_workflow(LedgerVerify.run, id=name, task_queue=upkeep.QUEUE)
        listed = await found(waiting, name)
        assert listed is not None
        assert (listed.owner, listed.why, listed.money) == (upkeep.OWNER, "a balance, m_bakery: 5 for 4", None)
        await found(waiting, run(held))
        runs, _ = await waiting.waiting()
        ours = [each.run for each in runs if each.run in (name, run(held))]
        assert ours == [name, run(held)]
        assert await waiting.resolve(name, decision(held, "ann", "bob")) != ""
        await handle.terminate("the test is over")


async def test_an_engine_that_is_gone_is_said_so(temporal: TemporalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.parked.SEARCH_SECONDS", 0.5)
    monkeypatch.setattr("api.parked.UPDATE_SECONDS", 0.5)
    async with cable(temporal.target) as (target, cut):
        gone = TemporalParked(await Client.connect(target, data_converter=DATA_CONVERTER))
        await cut()
        for asking in (gone.waiting(), gone.look("payment/any"), gone.retry("payment/any", Reference("any"))):
            with pytest.raises(EngineUnavailable):
                await asking


def test_an_operation_names_its_run_and_a_part_of_one_does_not() -> None:
    made = payment("named")
    assert run_of(made.id) == f"payment/{made.id}"
    assert run_of("late/simulator/evt_1") == "late/simulator/evt_1"
    for name in (capture("named", made, 1).id, void("named", made).id, "pay_x", "x", ""):
        assert run_of(name) is None
