"""The relay of the inbox over a real server and a real database: every event finds its run, once (money rule 14)."""

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import asyncpg
import pytest
import pytest_asyncio
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from contracts import queues
from contracts.payloads import DATA_CONVERTER
from domain.ids import Prefix, Reference, Verb, operation_of
from domain.outcomes import Answer, DisputeNews, DisputeStage, Fact, Outcome, Reason
from ledger.postings import Told as Kind
from ledger.postings import told_reference
from records.calls import CallJournal
from records.inbox import Inbox
from tests.support.booked_shop import Shop, euro, open_shop
from tests.support.cluster import Database, TestCluster
from tests.support.stack import running_temporal
from tests.support.told import PROMISES, PROVIDER, Settling, settling
from workers import relay
from workers.relay import Relay, dispute_id

NUMBERS = itertools.count(1)
LISTENERS = "listeners"  # the queue of runs that only listen


@workflow.defn(name="Listener")
class Listener:
    """A run that is told one fact."""

    def __init__(self) -> None:
        self._fact: Fact | None = None

    @workflow.run
    async def run(self) -> Fact:
        await workflow.wait_condition(lambda: self._fact is not None)
        assert self._fact is not None
        return self._fact

    @workflow.signal
    def observe(self, fact: Fact) -> None:
        self._fact = fact


@dataclass(frozen=True)
class Told:
    """As an adapter would say it."""

    event_id: str
    reference: Reference
    answer: Answer


def tells(raw: bytes) -> Told | DisputeNews | None:
    """Read the events of these tests."""
    event = json.loads(raw)
    match event["kind"]:
        case "effect":
            answer = Answer(outcome=Outcome(event["outcome"]), reason=event["reason"])
            return Told(event["id"], Reference(event["on"]), answer)
        case "dispute":
            return DisputeNews(
                dispute=event["dispute"], key=event["key"], stage=DisputeStage(event["stage"]),
                on=Reference(event["on"]), money=euro(event["minor"]), source=event["id"],
            )  # fmt: skip
        case _:
            return None


@dataclass(frozen=True)
class Desk:
    """An inbox with its relay, and what stands behind."""

    settling: Settling
    inbox: Inbox
    relay: Relay
    calls: CallJournal

    @property
    def shop(self) -> Shop:
        return self.settling.shop

    async def sent(self, reference: str, run: str) -> None:
        """Have an effect that a run has sent."""
        await self.calls.begin(PROVIDER, Reference(reference), Verb.CAPTURE, b"a" * 32, run)

    async def receive(self, **event: object) -> str:
        """Have the inbox receive an event; return its id."""
        name = f"ev_{self.shop.merchant}_{next(NUMBERS)}"
        await self.inbox.receive(PROVIDER, name, json.dumps({"id": name, **event}).encode())
        return name

    async def note(self, event: str) -> tuple[str | None, bool]:
        row = await self.shop.pool.fetchrow("SELECT note, unexplained FROM records.inbox WHERE event_id = $1", event)
        assert row is not None
        return row["note"], row["unexplained"]

    async def result(self, run: str) -> str:
        return await self.settling.client.get_workflow_handle(run, result_type=str).result()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server() -> AsyncGenerator[Client]:
    async with running_temporal() as running:
        yield await Client.connect(running.target, data_converter=DATA_CONVERTER)


@pytest_asyncio.fixture
async def shop(pool: asyncpg.Pool, database: Database, cluster: TestCluster) -> AsyncGenerator[Shop]:
    async with open_shop(cluster, database, pool, f"relay_{next(NUMBERS)}") as opened:
        yield opened


@pytest_asyncio.fixture
async def desk(server: Client, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Desk]:
    monkeypatch.setattr(relay, "TELLS", {PROVIDER: tells})
    async with settling(server, shop) as running:
        yield Desk(running, Inbox(shop.own), Relay(server, shop.own, {PROVIDER: PROMISES}), CallJournal(shop.own))


def effect(on: str, outcome: str = "done", reason: str = "") -> dict[str, object]:
    return {"kind": "effect", "on": on, "outcome": outcome, "reason": reason}


async def test_an_open_run_is_signaled_with_what_it_sent(desk: Desk, server: Client) -> None:
    run, on = f"listener/{desk.shop.merchant}", f"{desk.shop.pay}.a1"
    listening = Worker(
        server, task_queue=LISTENERS, workflows=[Listener], workflow_runner=UnsandboxedWorkflowRunner()
    )  # fmt: skip
    async with listening:
        await desk.sent(on, run)
        handle = await server.start_workflow(Listener.run, id=run, task_queue=LISTENERS)
        event = await desk.receive(**effect(f"{on}/arrival", "refused", "no"))
        assert await desk.relay.round() == 1
        fact = await handle.result()
    assert fact.reference == f"{on}/arrival"  # told under the payout's own, and said as it was told
    assert (fact.answer.outcome, fact.answer.reason, fact.source) == (Outcome.REFUSED, "no", event)
    assert await desk.note(event) == (f"signaled {run}", False)


async def test_a_fact_that_our_books_know_starts_nothing(desk: Desk) -> None:
    (on,) = await desk.shop.captured(1_000)
    await desk.sent(on, f"payment/{desk.shop.pay}")
    event = await desk.receive(**effect(on))
    await desk.relay.round()
    assert await desk.note(event) == (f"payment/{desk.shop.pay} is closed, and our books agree", False)


async def test_a_fact_that_a_closed_run_was_not_told_is_settled_by_a_run_of_its_own(desk: Desk) -> None:
    (on,) = await desk.shop.captured(1_000)
    await desk.sent(on, f"payment/{desk.shop.pay}")
    event = await desk.receive(**effect(on, "refused", "bank_says_no"))
    await desk.relay.round()
    run = queues.late_id(PROVIDER, event)
    assert await desk.note(event) == (f"payment/{desk.shop.pay} is closed: started {run}", False)
    assert await desk.result(run) == "settled"
    assert await desk.shop.stored(operation_of(Reference(on))) == ("failed", 0, "bank_says_no")


async def test_an_event_that_is_handed_on_again_settles_nothing_twice(desk: Desk, admin_pool: asyncpg.Pool) -> None:
    await desk.shop.ended("declined", authorized=False)
    on = f"{desk.shop.pay}.a1"
    await desk.sent(on, f"payment/{desk.shop.pay}")
    event = await desk.receive(**effect(on))
    await desk.relay.round()
    run = queues.late_id(PROVIDER, event)
    assert await desk.result(run) == "settled"
    await admin_pool.execute("UPDATE records.inbox SET handled_at = NULL WHERE event_id = $1", event)
    await desk.relay.round()  # a relay that died before it noted what it had done
    assert await desk.note(event) == (f"{run} has settled it", False)
    assert desk.settling.provider.asked == [f"{desk.shop.pay}.v91"]


@pytest.mark.parametrize(
    ("event", "note"),
    [
        ({"kind": "gossip"}, "of a kind that is not known"),
        (effect("pay_00000000000000000000000000.a1"), "about a reference that was never sent"),
        (
            {"kind": "dispute", "dispute": "d", "key": "k", "stage": "opened", "minor": 1,
             "on": "pay_00000000000000000000000000.a1"},
            "a dispute about pay_00000000000000000000000000.a1, which is of no payment of ours",
        ),
    ],
)  # fmt: skip
async def test_what_fits_nothing_is_kept_for_reconciliation(desk: Desk, event: dict[str, object], note: str) -> None:
    name = await desk.receive(**event)
    await desk.relay.round()
    assert await desk.note(name) == (note, True)
    assert [each.event_id for each in await desk.inbox.unexplained()] == [name]
    assert await desk.relay.round() == 0


async def test_a_reference_without_a_row_is_kept_for_reconciliation(desk: Desk) -> None:
    on = f"{desk.shop.id(Prefix.CAPTURE, 'unknown')}.c1"
    await desk.sent(on, "payment/gone")
    name = await desk.receive(**effect(on))
    await desk.relay.round()
    note, unexplained = await desk.note(name)
    assert note is not None
    assert unexplained
    assert note.endswith("has no row")


async def test_an_event_that_cannot_be_handed_on_holds_no_other_up(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, admin_pool: asyncpg.Pool
) -> None:
    def breaks_on_gossip(raw: bytes) -> Told | DisputeNews | None:
        told = tells(raw)
        if told is None:
            raise ValueError("a bug of the adapter")
        return told

    monkeypatch.setattr(relay, "TELLS", {PROVIDER: breaks_on_gossip})
    broken = await desk.receive(kind="gossip")
    (on,) = await desk.shop.captured(1_000)
    await desk.sent(on, f"payment/{desk.shop.pay}")
    fine = await desk.receive(**effect(on))
    assert await desk.relay.round() == 2
    assert await desk.note(broken) == (None, False)
    assert (await desk.note(fine))[0] is not None
    monkeypatch.setattr(relay, "TELLS", {PROVIDER: tells})  # it is corrected
    await admin_pool.execute("UPDATE records.inbox SET next_at = NULL")
    await desk.relay.round()
    assert await desk.note(broken) == ("of a kind that is not known", True)


# Disputes


def dispute(desk: Desk, stage: str, key: str, minor: int = 300) -> dict[str, object]:
    return {
        "kind": "dispute", "dispute": f"d-{desk.shop.merchant}", "key": f"{desk.shop.merchant}-{key}", "stage": stage,
        "minor": minor, "on": f"{desk.shop.pay}.a1",
    }  # fmt: skip


async def test_the_first_news_starts_a_disputes_run_and_the_others_are_told_to_it(desk: Desk) -> None:
    await desk.shop.captured(1_000)
    told = (("lost", "l"), ("opened", "o"), ("withdrawn", "w"))
    events = [await desk.receive(**dispute(desk, stage, key)) for stage, key in told]
    await desk.relay.round()
    operation = dispute_id(PROVIDER, f"d-{desk.shop.merchant}")
    run = queues.workflow_id(operation)
    assert [await desk.note(event) for event in events] == [(f"signaled {run}", False)] * 3
    assert await desk.result(run) == "lost"
    row = await desk.shop.operations.dispute(operation)
    assert row is not None
    assert (row.state, row.payment, row.money, row.client) == ("lost", desk.shop.pay, euro(300), "books")


async def test_what_is_told_of_a_dispute_after_its_end_agrees_or_is_kept(desk: Desk) -> None:
    await desk.shop.captured(1_000)
    for stage, key in (("withdrawn", "w"), ("lost", "l")):
        await desk.receive(**dispute(desk, stage, key))
    await desk.relay.round()
    run = queues.workflow_id(dispute_id(PROVIDER, f"d-{desk.shop.merchant}"))
    await desk.result(run)
    again = await desk.receive(**dispute(desk, "lost", "l"))
    opened = await desk.receive(**dispute(desk, "opened", "o"))
    won = await desk.receive(**dispute(desk, "won", "appeal"))
    await desk.relay.round()
    assert await desk.note(again) == (f"{run} is closed, and our books agree", False)
    assert await desk.note(opened) == (f"{run} is closed", False)
    assert await desk.note(won) == (f"{run} is closed, and won {desk.shop.merchant}-appeal is not booked", True)
    booked = told_reference(PROVIDER, f"{desk.shop.merchant}-l", Kind.LOST)
    assert booked in await desk.shop.journal.standing(booked)


async def test_a_refund_of_what_a_dispute_of_a_capture_concerns_is_refused(desk: Desk) -> None:
    (capture,) = await desk.shop.captured(1_000)
    await desk.receive(**{**dispute(desk, "opened", "o"), "on": capture})
    await desk.relay.round()
    async with asyncio.timeout(30):
        while not await desk.shop.operations.disputed(desk.shop.pay):
            await asyncio.sleep(0.05)
    answer = await desk.shop.books.prepare_refund(desk.shop.prepare(Prefix.REFUND, 1, payment=desk.shop.pay))
    assert answer.reason == Reason.PAYMENT_DISPUTED
    for stage, key in (("withdrawn", "w"), ("lost", "l")):
        await desk.receive(**dispute(desk, stage, key))
    await desk.relay.round()
    assert await desk.result(queues.workflow_id(dispute_id(PROVIDER, f"d-{desk.shop.merchant}"))) == "lost"


def test_a_disputes_id_is_made_of_what_its_provider_calls_it() -> None:
    first = dispute_id("simulator", "d_1")
    assert first == dispute_id("simulator", "d_1")
    assert len({first, dispute_id("simulator", "d_2"), dispute_id("simulator_b", "d_1")}) == 3
    assert first.startswith("dsp_")
