"""The wire against a peer that misbehaves at every moment of a call, on real sockets."""

import asyncio
import socket
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import httpx
import pytest

from adapters.port import PaymentProvider
from adapters.profile import PLACE_SECONDS, Deadlines, Profile
from adapters.providers.simulator import client
from adapters.resilience import wrap
from adapters.wire import Untrusted, Wire
from domain.commands import Effect, Inquiry
from domain.errors import Unavailable, Unknown
from domain.ids import Reference, Verb
from domain.money import Money
from domain.outcomes import Answer
from tests.support.fault_server import AFTER_SENDING, Fault, FaultServer, Peer, fault_server

QUICK = replace(
    client.profile(horizon=timedelta(seconds=30), attention_after=timedelta(minutes=15)),
    at_once=4,
    deadline=Deadlines(connect=0.3, write=0.3, total=0.3),
)
EFFECT = Effect(reference=Reference("pay_01.a1"), provider="simulator", money=Money(1000, "EUR"), instrument="tok_visa")
INQUIRY = Inquiry(on=EFFECT.reference, provider="simulator", verb=Verb.AUTHORIZE)


@dataclass
class Line:
    """An adapter on its wire, the peer at the other end, and what was told of the calls."""

    wire: Wire
    port: PaymentProvider
    peer: FaultServer
    told: list[str]

    async def attempt(self) -> Answer | Unavailable | Unknown:
        """Authorize once, an error being an answer here."""
        try:
            return await self.port.authorize(EFFECT)
        except (Unavailable, Unknown) as failure:
            return failure


@asynccontextmanager
async def line(fault: str | Fault, profile: Profile = QUICK, rest_seconds: float = 30.0) -> AsyncGenerator[Line]:
    async with fault_server(fault) as peer:
        wire, told = Wire(profile, peer.url, rest_seconds=rest_seconds), list[str]()

        def tell(_verb: Verb, _reference: str, came: str, _seconds: float, /) -> None:
            told.append(came)

        yield Line(wire, wrap(client.Simulator(wire, "secret"), profile, tell), peer, told)
    await wire.aclose()


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.mark.parametrize("fault", AFTER_SENDING)
async def test_whatever_happens_once_the_headers_began_to_leave_is_unknown_and_sent_once(fault: str) -> None:
    async with line(fault) as made:
        with pytest.raises(Unknown):
            await made.port.authorize(EFFECT)
        assert made.peer.connections == 1
        assert made.peer.whole <= 1
        assert made.told == ["unknown"]


@pytest.mark.parametrize(
    "fault", ["closes after the request", "answers 500", "cuts gzip", "answers 404 in nobody's words"]
)
async def test_an_inquiry_without_a_readable_answer_is_unknown_and_never_nothing_found(fault: str) -> None:
    async with line(fault) as made:
        with pytest.raises(Unknown):
            await made.port.inquire(INQUIRY)


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
async def test_what_could_not_connect_is_unavailable_after_one_try(host: str) -> None:
    wire = Wire(QUICK, f"http://{host}:{closed_port()}")
    began = time.monotonic()
    with pytest.raises(Unavailable) as failure:
        await client.Simulator(wire, "secret").authorize(EFFECT)
    assert not isinstance(failure.value, Untrusted)
    assert time.monotonic() - began < QUICK.deadline.call
    await wire.aclose()


async def test_a_handshake_that_is_never_answered_is_unavailable() -> None:
    async def mute(_: Peer) -> None:
        await asyncio.sleep(5)

    async with fault_server(mute) as peer:
        wire = Wire(QUICK, peer.url.replace("http:", "https:"))
        with pytest.raises(Unavailable):
            await client.Simulator(wire, "secret").authorize(EFFECT)
        await wire.aclose()


@pytest.mark.parametrize("fault", ["closes at the second request", "resets at the second request"])
async def test_a_kept_connection_that_breaks_as_we_send_is_unknown(fault: str) -> None:
    async with line(fault) as made:
        await made.wire.call(Verb.AUTHORIZE, "POST", "/", headers={}, content=b"1")
        with pytest.raises(Unknown):
            await made.wire.call(Verb.AUTHORIZE, "POST", "/", headers={}, content=b"2")
        assert made.peer.connections == 1


async def test_a_kept_connection_that_was_closed_while_idle_is_replaced_and_the_call_sent_once() -> None:
    async with line("closes when idle") as made:
        await made.wire.call(Verb.AUTHORIZE, "POST", "/", headers={}, content=b"1")
        await asyncio.sleep(0.1)
        await made.wire.call(Verb.AUTHORIZE, "POST", "/", headers={}, content=b"2")
        assert (made.peer.connections, made.peer.whole) == (2, 2)


@pytest.mark.parametrize("fault", ["drips", "drips its head", "is silent", "is silent after the answer's head"])
async def test_a_call_ends_by_its_own_deadline(fault: str) -> None:
    async with line(fault) as made:
        began = time.monotonic()
        with pytest.raises(Unknown):
            await made.port.authorize(EFFECT)
        assert time.monotonic() - began < QUICK.deadline.call + 0.5


async def test_an_answer_that_drips_is_cut_at_the_deadline_for_all_of_it() -> None:
    async with line("drips") as made:
        began = time.monotonic()
        with pytest.raises(Unknown, match="too slow"):
            await made.port.authorize(EFFECT)
        assert time.monotonic() - began < 2 * QUICK.deadline.total + 0.3


async def test_an_answer_without_end_is_cut_at_its_size() -> None:
    async with line("never ends", replace(QUICK, deadline=Deadlines(connect=0.3, total=10))) as made:
        with pytest.raises(Unknown, match="too long"):
            await made.port.authorize(EFFECT)


async def test_no_compression_is_asked_for_because_a_cut_one_looks_whole() -> None:
    heads = list[bytes]()

    async def answer(peer: Peer) -> None:
        heads.append(await peer.head())

    async with line(answer) as made:
        await made.attempt()
        assert b"accept-encoding: identity\r\n" in heads[0].lower()


async def test_a_throttled_provider_is_left_alone_for_as_long_as_it_asked() -> None:
    async with line("throttles") as made:
        for _ in range(10):
            failure = await made.attempt()
            assert isinstance(failure, Unavailable)
            assert failure.after_seconds is not None
            assert 0 < failure.after_seconds <= 0.4
        assert made.peer.whole == 1
        await asyncio.sleep(0.45)
        await made.attempt()
        assert made.peer.whole == 2
        assert made.wire.breaker.state == "closed"


async def test_a_listed_status_without_retry_after_is_unavailable_with_a_pause_of_ours() -> None:
    async with line("is unavailable") as made:
        failure = await made.attempt()
        assert isinstance(failure, Unavailable)
        assert failure.after_seconds == 1.0


@pytest.mark.parametrize("fault", ["refuses our credentials", "forbids"])
async def test_refused_credentials_had_no_effect_and_page_the_owner(fault: str) -> None:
    async with line(fault) as made:
        with pytest.raises(Untrusted):
            await made.port.authorize(EFFECT)
        assert made.told == ["untrusted"]
        assert made.wire.breaker.state == "closed"


@pytest.mark.parametrize("fault", ["closes after the request", "answers 500"])
async def test_the_call_that_trips_the_breaker_is_still_unknown_and_the_next_one_is_not_sent(fault: str) -> None:
    async with line(fault) as made:
        outcomes = [type(await made.attempt()) for _ in range(5)]
        assert outcomes == [Unknown] * 5
        assert made.wire.breaker.state == "open"
        refused = await made.attempt()
        assert isinstance(refused, Unavailable)
        assert refused.after_seconds is not None
        assert 29 < refused.after_seconds <= 30
        assert made.peer.whole == 5


async def test_a_rested_breaker_lets_one_of_many_callers_through() -> None:
    async with line("closes after the request", rest_seconds=0.2) as made:
        for _ in range(5):
            await made.attempt()
        await asyncio.sleep(0.25)
        outcomes = await asyncio.gather(*(made.attempt() for _ in range(4)))
        assert sorted(type(each).__name__ for each in outcomes) == ["Unavailable"] * 3 + ["Unknown"]
        assert made.peer.whole == 6


async def test_a_provider_that_cannot_be_reached_opens_the_breaker() -> None:
    wire = Wire(QUICK, f"http://127.0.0.1:{closed_port()}")
    simulator = client.Simulator(wire, "secret")
    for _ in range(5):
        with pytest.raises(Unavailable):
            await simulator.authorize(EFFECT)
    assert wire.breaker.state == "open"
    await wire.aclose()


async def test_canceled_callers_lose_no_place_and_their_calls_run_to_the_end() -> None:
    async with line("answers") as made:
        for turns in range(60):
            task = asyncio.create_task(made.wire.call(Verb.AUTHORIZE, "POST", "/", headers={}, content=b"x"))
            for _ in range(turns % 20):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0.2)
        whole = made.peer.whole
        for _ in range(QUICK.at_once):
            await made.wire.call(Verb.AUTHORIZE, "POST", "/", headers={}, content=b"x")
        assert made.peer.whole == whole + QUICK.at_once
        assert made.wire.pools == 1


async def test_a_canceled_caller_does_not_cut_the_call_short() -> None:
    async def slow(peer: Peer) -> None:
        while True:
            await peer.request()
            await asyncio.sleep(0.15)
            await peer.answer(b"200 OK", body=b"{}")

    async with line(slow) as made:
        task = asyncio.create_task(made.port.authorize(EFFECT))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert made.told == ["canceled"]
        await asyncio.sleep(0.2)
        await made.attempt()
        assert (made.peer.connections, made.peer.whole) == (1, 2)  # a call that is cut takes its connection with it


async def test_a_full_lane_is_unavailable_and_nothing_is_sent() -> None:
    slow = replace(QUICK, at_once=2, deadline=Deadlines(connect=0.3, total=PLACE_SECONDS + 0.5))
    async with line("is silent", slow) as made:
        outcomes = await asyncio.gather(*(made.attempt() for _ in range(4)))
        assert sorted(type(each).__name__ for each in outcomes) == ["Unavailable"] * 2 + ["Unknown"] * 2
        assert made.peer.whole == 2


async def test_payments_that_fill_their_places_do_not_keep_an_inquiry_or_an_undo_waiting() -> None:
    async def silent_to_payments(peer: Peer) -> None:
        head = await peer.head()
        if b" /v2/authorisations " not in head:
            await peer.answer(b"404 Not Found", body=b'{"fault":{"code":"NO_SUCH_REFERENCE"}}')
        else:
            await asyncio.sleep(5)

    slow = replace(QUICK, at_once=1, deadline=Deadlines(connect=0.3, total=0.8))
    async with line(silent_to_payments, slow) as made:
        payment = asyncio.create_task(made.attempt())
        await asyncio.sleep(0.1)
        began = time.monotonic()
        assert await made.port.inquire(INQUIRY) is None
        assert time.monotonic() - began < 0.5
        assert isinstance(await payment, Unknown)


async def test_a_pool_that_lost_its_places_is_replaced_and_nothing_was_sent() -> None:
    one = replace(QUICK, at_once=1)
    async with line("answers", one) as made:
        pool: httpx.AsyncClient = made.wire._client  # pyright: ignore[reportPrivateUsage]
        for turns in (10, 8):  # where httpcore loses a place when it is cancelled: on a new and on a kept connection
            for _ in range(40):
                task = asyncio.create_task(pool.post("/", content=b"x"))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        before = made.peer.whole
        failure = await made.attempt()
        assert isinstance(failure, Unavailable)
        assert "replaced" in str(failure)
        assert made.peer.whole == before
        assert isinstance(await made.attempt(), Unknown)  # it is answered again; `{}` is no word of the simulator's
        assert made.wire.pools == 2


async def test_closing_waits_for_the_calls_on_the_wire() -> None:
    async with line("is silent") as made:
        task = asyncio.create_task(made.attempt())
        await asyncio.sleep(0.05)
        await made.wire.aclose()
        assert task.done() or isinstance(await task, Unknown)
