"""The simulator's webhooks: signed, repeated until taken, and held, dropped, repeated or reordered as a tester says."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest_asyncio

from simulator.wire import Answer, Request, Server
from tests.support.simulator import SECRET, RunningSimulator, running_simulator


class Receiver:
    """Takes events; answers the statuses that it was given first, and 204 after them."""

    def __init__(self) -> None:
        self.got: list[Request] = []
        self.statuses: list[int] = []
        self.server = Server(self._answer)

    def _answer(self, request: Request) -> Answer:
        self.got.append(request)
        return Answer(self.statuses.pop(0) if self.statuses else 204)

    def types(self) -> list[str]:
        return [json.loads(request.body)["type"] for request in self.got]


@pytest_asyncio.fixture(scope="module")
async def running() -> AsyncGenerator[tuple[RunningSimulator, Receiver]]:
    """A simulator and the receiver of its events."""
    receiver = Receiver()
    port = await receiver.server.listen(0)
    async with running_simulator(webhook_url=f"http://127.0.0.1:{port}/hooks") as simulator:
        yield simulator, receiver
    await receiver.server.close()


@pytest_asyncio.fixture
async def simulator(running: tuple[RunningSimulator, Receiver]) -> RunningSimulator:
    """The simulator, as new."""
    await running[0].reset()
    return running[0]


@pytest_asyncio.fixture
async def receiver(simulator: RunningSimulator, running: tuple[RunningSimulator, Receiver]) -> Receiver:
    """The receiver, empty."""
    running[1].got.clear()
    running[1].statuses.clear()
    return running[1]


async def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        await asyncio.sleep(0.01)


async def _authorise(simulator: RunningSimulator, reference: str, token: str = "tok_visa") -> None:
    body = {"merchantRef": reference, "value": {"amount": "10.50", "unit": "EUR"}, "source": {"token": token}}
    headers = {"Authorization": f"Bearer {SECRET}", "X-Request-Key": reference}
    (await simulator.http.post("/v2/authorisations", json=body, headers=headers)).raise_for_status()


async def test_every_new_phase_is_sent_with_the_record_and_a_signature(
    simulator: RunningSimulator, receiver: Receiver
) -> None:
    await _authorise(simulator, "pay_1.a1", "tok_review")
    await _until(lambda: len(receiver.got) == 1)
    await simulator.advance(1)
    await _until(lambda: len(receiver.got) == 2)
    assert receiver.types() == ["authorisation.in_review", "authorisation.approved"]
    sent = receiver.got[1]
    assert (sent.method, sent.path) == ("POST", "/hooks")
    event: dict[str, Any] = json.loads(sent.body)
    assert set(event) == {"eventId", "type", "at", "data"}
    assert event["eventId"].startswith("ev_")
    headers = {"Authorization": f"Bearer {SECRET}"}
    looked_up = await simulator.http.get("/v2/lookup", params={"merchantRef": "pay_1.a1"}, headers=headers)
    assert event["data"] == looked_up.json()["data"]
    at, _, digest = sent.headers["x-northbank-signature"].removeprefix("t=").partition(",v1=")
    assert abs(int(at) - time.time()) < 5, "signed by the real clock, however far the simulator's is ahead"
    assert digest == hmac.new(SECRET.encode(), f"{at}.".encode() + sent.body, hashlib.sha256).hexdigest()


async def test_an_event_is_sent_again_until_it_is_taken(simulator: RunningSimulator, receiver: Receiver) -> None:
    receiver.statuses = [500]
    await _authorise(simulator, "pay_1.a1")
    await _until(lambda: len(receiver.got) == 2)
    assert receiver.got[0].body == receiver.got[1].body
    await asyncio.sleep(0.05)
    (event,) = await simulator.events()
    assert (event["state"], event["tries"], event["lastStatus"]) == ("delivered", 2, 204)


async def test_what_is_due_happens_and_is_told_though_nobody_asks(
    simulator: RunningSimulator, receiver: Receiver
) -> None:
    await simulator.script("authorise", "pending", seconds=0.1)
    await _authorise(simulator, "pay_1.a1")
    await _until(lambda: len(receiver.got) == 2)
    assert receiver.types() == ["authorisation.in_review", "authorisation.approved"]


async def test_events_are_held_while_webhooks_are_off_and_sent_in_the_order_of_a_tester(
    simulator: RunningSimulator, receiver: Receiver
) -> None:
    await simulator.settings(webhooks={"enabled": False})
    await _authorise(simulator, "pay_1.a1", "tok_review")
    await simulator.advance(1)
    first, second = await simulator.events()
    assert (first["state"], second["state"]) == ("held", "held")
    await simulator.deliver_in_order(second["eventId"], first["eventId"])
    assert receiver.types() == ["authorisation.approved", "authorisation.in_review"]
    assert [event["state"] for event in await simulator.events()] == ["delivered", "delivered"]


async def test_an_event_can_be_repeated_as_it_was(simulator: RunningSimulator, receiver: Receiver) -> None:
    await _authorise(simulator, "pay_1.a1")
    await _until(lambda: len(receiver.got) == 1)
    (event,) = await simulator.events()
    await simulator.deliver(event["eventId"], "repeat")
    (await simulator.http.post(f"/control/webhooks/{event['eventId']}/repeat", json={"times": 2})).raise_for_status()
    assert len({request.body for request in receiver.got}) == 1
    assert len(receiver.got) == 4


async def test_an_event_can_be_delayed_and_dropped_or_sent_before_its_time(
    simulator: RunningSimulator, receiver: Receiver
) -> None:
    await simulator.settings(webhooks={"delaySeconds": 0.3})
    await _authorise(simulator, "pay_1.a1")
    await _authorise(simulator, "pay_2.a1", "tok_denied")
    await _authorise(simulator, "pay_3.a1", "tok_review")
    dropped, sent, waited = await simulator.events()
    assert {dropped["state"], sent["state"], waited["state"]} == {"waiting"}
    assert (await simulator.deliver(dropped["eventId"], "drop"))["state"] == "dropped"
    assert (await simulator.deliver(sent["eventId"], "send"))["state"] == "delivered"
    assert receiver.types() == ["authorisation.denied"]
    await _until(lambda: len(receiver.got) == 2)
    assert receiver.types() == ["authorisation.denied", "authorisation.in_review"]


async def test_a_receiver_that_is_away_costs_a_try_and_nothing_else(
    simulator: RunningSimulator, receiver: Receiver
) -> None:
    await simulator.settings(webhooks={"url": "http://127.0.0.1:9/", "delaySeconds": 60})
    await _authorise(simulator, "pay_1.a1")
    (event,) = await simulator.events()
    tried = await simulator.deliver(event["eventId"], "send")
    assert (tried["state"], tried["tries"], tried["lastStatus"]) == ("waiting", 1, None)
    assert receiver.got == []


async def test_an_event_that_nobody_knows_cannot_be_sent(simulator: RunningSimulator) -> None:
    assert (await simulator.http.post("/control/webhooks/ev_none/send")).status_code == 404
    assert (await simulator.http.post("/control/webhooks/order", json={"ids": ["ev_none"]})).status_code == 404
