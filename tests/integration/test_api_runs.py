"""The API's calls of a real Temporal: receipts, refusals, silence that is no answer, and one run for one id."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
import pytest_asyncio
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.common import TypedSearchAttributes
from temporalio.exceptions import ApplicationError

from api import runs as api_runs
from api.ports import EngineUnavailable, Refusal, Requested, Silence
from api.runs import CONFIRM_SECONDS, PaymentRun, TemporalRuns
from contracts import attributes, queues
from contracts.payloads import DATA_CONVERTER
from domain.commands import Capture, Payment
from domain.ids import Prefix, Reference
from domain.money import Money
from domain.outcomes import Outcome, Receipt
from tests.support.engine import PROMISES, capture, increment, operation, payment, payout, refund, void, worker
from tests.support.stack import TemporalServer
from tests.support.world import WORLDS

CREATED = "2026-11-25T12:00:00Z"
WAIT = 5.0


@pytest_asyncio.fixture
async def client(temporal: TemporalServer) -> Client:
    """A client as the API's process has it."""
    return await Client.connect(temporal.target, data_converter=DATA_CONVERTER)


@pytest.fixture
def runs(client: Client) -> TemporalRuns:
    """What is tested."""
    return TemporalRuns(client)


@pytest_asyncio.fixture
async def worked(client: Client) -> AsyncGenerator[None]:
    """A worker that performs the runs over fakes."""
    async with worker(client):
        yield


@pytest_asyncio.fixture
async def authorized(runs: TemporalRuns, worked: None, request: pytest.FixtureRequest) -> Payment:
    """An authorized payment with a world of its own."""
    made = payment(f"api {request.node.name}")  # pyright: ignore[reportUnknownMemberType]
    heard = await runs.start(made, created_at=CREATED, wait_seconds=WAIT)
    assert isinstance(heard, Receipt)
    assert heard.state == "authorized"
    return made


async def test_each_kind_of_start_is_answered_by_its_receipt(runs: TemporalRuns, worked: None) -> None:
    for made, state in (
        (payment("api p"), "authorized"),
        (refund("api r"), "succeeded"),
        (payout("api o"), "in_transit"),
    ):
        heard = await runs.start(made, created_at=CREATED, wait_seconds=WAIT)
        assert isinstance(heard, Receipt)
        assert (heard.state, heard.outcome, heard.fingerprint) == (state, Outcome.DONE, made.fingerprint)


async def test_the_same_start_meets_the_same_run_while_it_is_open(runs: TemporalRuns, authorized: Payment) -> None:
    again = await asyncio.gather(*(runs.start(authorized, created_at=CREATED, wait_seconds=WAIT) for _ in range(8)))
    assert {heard.fingerprint for heard in again if isinstance(heard, Receipt)} == {authorized.fingerprint}
    assert WORLDS[authorized.id].doubles == 0


async def test_another_command_under_the_id_gets_the_first_ones_receipt_and_can_tell(
    runs: TemporalRuns, authorized: Payment
) -> None:
    other = replace(authorized, money=Money(7, "EUR"), fingerprint="another")
    heard = await runs.start(other, created_at=CREATED, wait_seconds=WAIT)
    assert isinstance(heard, Receipt)
    assert heard.fingerprint == authorized.fingerprint


async def test_a_run_that_has_closed_is_never_started_again(runs: TemporalRuns, client: Client, worked: None) -> None:
    made = payment("api declined")
    WORLDS[made.id].script["provider.authorize"] = ["refused"]
    first = await runs.start(made, created_at=CREATED, wait_seconds=WAIT)
    assert isinstance(first, Receipt)
    assert first.state == "declined"
    await client.get_workflow_handle(queues.workflow_id(made.id)).result()
    again = await runs.start(made, created_at=CREATED, wait_seconds=WAIT)
    assert again in (first, Silence.CLOSED)
    assert len(WORLDS[made.id].sent) == 1


async def test_captures_and_voids_are_answered_by_their_receipts(runs: TemporalRuns, authorized: Payment) -> None:
    part = capture("api part", authorized, 40)
    captured = await runs.capture(authorized.id, part, wait_seconds=WAIT)
    assert isinstance(captured, Receipt)
    assert (captured.operation, captured.moved.minor, captured.state) == (part.id, 40, "partially_captured")
    assert await runs.capture(authorized.id, part, wait_seconds=WAIT) == captured
    rest = void("api rest", authorized)
    voided = await runs.void(authorized.id, rest, wait_seconds=WAIT)
    assert isinstance(voided, Receipt)
    assert (voided.state, voided.total.minor) == ("captured", 40)


async def test_an_authorization_is_raised_and_a_payout_called_back(runs: TemporalRuns, worked: None) -> None:
    raises = payment("api raised", promises=replace(PROMISES, increments=True))
    await runs.start(raises, created_at=CREATED, wait_seconds=WAIT)
    by = increment("api raise", raises, 40)
    raised = await runs.increment(raises.id, by, wait_seconds=WAIT)
    assert isinstance(raised, Receipt)
    assert (raised.operation, raised.moved.minor, raised.state) == (by.id, 40, "authorized")
    assert await runs.increment(raises.id, by, wait_seconds=WAIT) == raised
    view = await runs.view(raises.id)
    assert view is not None
    assert view.amount.minor == 140

    sent = payout("api recalled", promises=replace(PROMISES, recalls=True))
    WORLDS[sent.id].script["payout.arrival"] = ["pending"] * 100
    await runs.start(sent, created_at=CREATED, wait_seconds=WAIT)
    back = void("api recall", sent)
    recalled = await runs.recall(sent.id, back, wait_seconds=WAIT)
    assert isinstance(recalled, Receipt)
    assert (recalled.operation, recalled.outcome) == (back.id, Outcome.DONE)


async def test_what_a_provider_does_not_offer_is_refused_and_not_sent(runs: TemporalRuns, authorized: Payment) -> None:
    heard = await runs.increment(authorized.id, increment("api no raise", authorized, 40), wait_seconds=WAIT)
    assert heard is Refusal.NOT_SUPPORTED


async def test_a_payer_who_comes_back_ends_the_challenge_and_one_who_was_never_away_changes_nothing(
    runs: TemporalRuns, client: Client, worked: None
) -> None:
    made = payment("api challenged")
    world = WORLDS[made.id]
    world.script["provider.authorize"] = ["challenged"]
    heard = await runs.start(made, created_at=CREATED, wait_seconds=WAIT)
    assert isinstance(heard, Receipt)
    assert (heard.outcome, heard.state) == (Outcome.PENDING, "challenge_required")
    world.land(Reference(f"{made.id}.a1"))
    await runs.returned(made.id, wait_seconds=WAIT)
    for _ in range(2):
        view = await runs.view(made.id)
        assert view is not None
        assert (view.state, view.challenge) == ("authorized", "")
        await runs.returned(made.id, wait_seconds=WAIT)
    await runs.void(made.id, void("api challenged", made), wait_seconds=WAIT)
    await client.get_workflow_handle(queues.workflow_id(made.id)).result()
    await runs.returned(made.id, wait_seconds=WAIT)  # long closed


async def test_a_run_that_moves_on_is_asked_again_until_it_has(
    runs: TemporalRuns, authorized: Payment, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = capture("api moving", authorized, 40)
    came = iter([Moving, Moving])

    async def moving(run: PaymentRun, of: Capture) -> Receipt:
        if (failed := next(came, None)) is not None:
            raise failed()
        return await real(run, of)

    real = api_runs._capture  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(api_runs, "_capture", moving)
    heard = await runs.capture(authorized.id, part, wait_seconds=WAIT)
    assert isinstance(heard, Receipt)
    assert (heard.operation, heard.moved.minor) == (part.id, 40)
    assert next(came, None) is None


class Moving(WorkflowUpdateFailedError):
    """What a run answers that goes on under a new history this very moment."""

    def __init__(self) -> None:
        super().__init__(ApplicationError("ask again", type="Moving"))


async def test_what_a_validator_refuses_is_a_refusal_and_no_silence(runs: TemporalRuns, authorized: Payment) -> None:
    too_much = capture("api too much", authorized, 101)
    heard = await runs.capture(authorized.id, too_much, wait_seconds=WAIT)
    assert heard is Refusal.CAPTURE_EXCEEDS_AUTHORIZATION
    part = capture("api once", authorized, 40)
    await runs.capture(authorized.id, part, wait_seconds=WAIT)


async def test_while_a_capture_is_in_doubt_it_is_underway_and_others_are_refused(
    runs: TemporalRuns, authorized: Payment
) -> None:
    WORLDS[authorized.id].script["provider.capture"] = ["pending"]
    first = capture("api doubtful", authorized, 40)
    assert await runs.capture(authorized.id, first, wait_seconds=0.3) is Silence.UNDERWAY
    view = await runs.view(authorized.id)
    assert view is not None
    assert view.doubt is not None
    assert view.doubt.reference.startswith(first.id)
    second = capture("api impatient", authorized, 40)
    assert await runs.capture(authorized.id, second, wait_seconds=WAIT) is Refusal.IN_DOUBT
    heard = await runs.capture(authorized.id, first, wait_seconds=15)
    assert isinstance(heard, Receipt)
    assert heard.moved.minor == 40


async def test_what_comes_after_the_end_hears_that_the_run_has_closed(
    runs: TemporalRuns, client: Client, authorized: Payment
) -> None:
    await runs.void(authorized.id, void("api end", authorized), wait_seconds=WAIT)
    await client.get_workflow_handle(queues.workflow_id(authorized.id)).result()
    late = capture("api late", authorized, 1)
    assert await runs.capture(authorized.id, late, wait_seconds=WAIT) is Silence.CLOSED
    nowhere = operation(Prefix.PAYMENT, "api no such payment")
    assert await runs.capture(nowhere, late, wait_seconds=WAIT) is Silence.CLOSED


async def test_without_a_worker_a_start_is_taken_and_shown_and_a_capture_is_not(
    runs: TemporalRuns, client: Client
) -> None:
    made = payment("api alone")
    assert await runs.start(made, created_at=CREATED, wait_seconds=0.3) is Silence.UNDERWAY
    assert await runs.view(made.id) is None
    assert await runs.requested(made.id) == Requested(
        client=made.client,  # pyright: ignore[reportArgumentType]
        merchant=made.merchant,
        provider=made.promises.provider,
        money=made.money,
        merchant_reference="",
        created_at=CREATED,
    )
    part = capture("api lonely", made, 40)
    with pytest.raises(EngineUnavailable):
        await runs.capture(made.id, part, wait_seconds=0.3)
    async with worker(client):
        heard = await runs.start(made, created_at=CREATED, wait_seconds=WAIT)
        assert isinstance(heard, Receipt)
        assert isinstance(await runs.capture(made.id, part, wait_seconds=WAIT), Receipt)
    assert WORLDS[made.id].doubles == 0
    assert WORLDS[made.id].provider_total == 40


async def test_a_start_waits_for_a_worker_that_comes_in_time(runs: TemporalRuns, client: Client) -> None:
    made = payment("api patient")
    starting = asyncio.create_task(runs.start(made, created_at=CREATED, wait_seconds=10))
    await asyncio.sleep(0.5)
    async with worker(client):
        assert isinstance(await starting, Receipt)


async def test_an_operator_finds_the_run_by_what_it_is_about(
    runs: TemporalRuns, client: Client, authorized: Payment
) -> None:
    described = await client.get_workflow_handle(queues.workflow_id(authorized.id)).describe()
    found: TypedSearchAttributes = described.typed_search_attributes
    assert found.get(attributes.MERCHANT_ID) == authorized.merchant
    assert found.get(attributes.AMOUNT_MINOR) == 100
    assert found.get(attributes.NEEDS_ATTENTION) is False
    assert await described.static_summary() == "Payment 1.00 EUR for m_bakery via fake"


async def test_an_engine_that_is_gone_is_said_so_in_time(temporal: TemporalServer) -> None:
    async with cable(temporal.target) as (target, cut):
        runs = TemporalRuns(await Client.connect(target, data_converter=DATA_CONVERTER))
        await cut()
        made = payment("api gone")
        began = time.monotonic()
        with pytest.raises(EngineUnavailable):
            await runs.start(made, created_at=CREATED, wait_seconds=0.5)
        assert time.monotonic() - began < 0.5 + CONFIRM_SECONDS + 1
        assert await runs.view(made.id) is None
        assert await runs.requested(made.id) is None


async def test_a_request_that_is_cancelled_is_cancelled(runs: TemporalRuns) -> None:
    """Temporalio turns a cancellation into an error of its own; the API must not take it for an answer."""
    waiting = asyncio.create_task(runs.start(payment("api cancelled"), created_at=CREATED, wait_seconds=60))
    await asyncio.sleep(0.3)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@asynccontextmanager
async def cable(target: str) -> AsyncGenerator[tuple[str, Callable[[], Awaitable[None]]]]:
    """A way to the engine that can be cut."""
    host, _, port = target.partition(":")
    ends: list[asyncio.StreamWriter] = []
    pumps: list[asyncio.Task[None]] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while some := await reader.read(65_536):
                writer.write(some)
                await writer.drain()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(port))
        ends.extend((writer, back))
        pumps.extend((asyncio.create_task(pump(reader, back)), asyncio.create_task(pump(there, writer))))

    server = await asyncio.start_server(join, "127.0.0.1", 0)

    async def cut() -> None:
        server.close()
        for end in ends:
            end.transport.abort()
        await asyncio.gather(*pumps)

    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", cut
    finally:
        server.close()
