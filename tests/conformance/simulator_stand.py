"""The conformance suite's stand for the simulator: its own process, its control API, a listener for its webhooks."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from adapters.port import PaymentProvider
from adapters.providers.simulator import client, webhooks
from adapters.resilience import wrap
from adapters.wire import Wire
from domain.ids import Reference, Verb
from domain.money import Money
from domain.outcomes import Answer, DisputeNews, DisputeStage
from tests.conformance.stand import Fault, Means, Stand
from tests.support.fault_server import Peer, fault_server
from tests.support.simulator import RunningSimulator

OPERATIONS: Mapping[Verb, str] = MappingProxyType({
    Verb.AUTHORIZE: "authorise",
    Verb.CAPTURE: "collect",
    Verb.VOID: "release",
    Verb.REFUND: "payback",
    Verb.PAY_OUT: "transfer",
    Verb.INCREMENT: "increment",
    Verb.RECALL: "recall",
    Verb.ARRIVE: "lookup",
})  # fmt: skip
BEHAVIOURS: Mapping[Fault, tuple[str, Mapping[str, Any]]] = MappingProxyType({
    Fault.LOST_BEFORE: ("lost_before", {}),
    Fault.LOST_AFTER: ("lost_after", {}),
    Fault.LATE: ("late", {"seconds": 5}),  # within the horizon of ten
    Fault.FAILS_AFTER: ("error", {"effect": True}),
    Fault.UNREADABLE: ("garbage", {}),
    Fault.CUT: ("truncated", {}),
    Fault.THROTTLED: ("throttle", {"retryAfter": 3}),
    Fault.UNAVAILABLE: ("unavailable", {}),
    Fault.OTHER_AMOUNT: ("wrong_amount", {}),
    Fault.UNLISTED: ("unlisted_phase", {}),
    Fault.DECIDED_LATER: ("pending", {"seconds": 5}),
    Fault.REFUSED: ("deny", {"reason": "for_no_reason_that_is_known"}),
})  # fmt: skip
DELIVERED_SECONDS = 5.0  # a busy machine


class SimulatorStand:
    """The simulator under the suite."""

    means = Means(
        approved="tok_visa",
        declined="tok_denied",
        declined_softly="tok_soft",
        challenged="tok_challenge",
        reached="acct_ok",
        bounced="acct_bounces",
        on_its_way="acct_slow",
    )

    def __init__(self, running: RunningSimulator, wire: Wire, received: list[bytes]) -> None:
        self.profile = wire.profile
        self.port = self._port(wire, running.secret)
        self._running, self._wire, self._received = running, wire, received

    def _port(self, wire: Wire, secret: str) -> PaymentProvider:
        return wrap(client.Simulator(wire, secret), wire.profile, _tell)

    def stranger(self) -> PaymentProvider:
        return self._port(self._wire, "not the secret")

    async def misbehave(self, verb: Verb, fault: Fault) -> None:
        do, fields = BEHAVIOURS[fault]
        await self._running.script(OPERATIONS[verb], do, **fields)

    async def pass_time(self, seconds: float) -> None:
        await self._running.advance(seconds)

    async def happened(self, reference: Reference) -> int:
        effects = (await self._running.books())["effects"]
        return sum(each["reference"] == reference and each["amountMinor"] > 0 for each in effects)

    async def end_challenge(self, reference: Reference, *, passed: bool) -> None:
        await self._running.end_challenge(reference, "pass" if passed else "fail")

    async def take_back(self, reference: Reference) -> None:
        await self._running.take_back(reference)

    async def dispute(self, reference: Reference, money: Money) -> str:
        return (await self._running.open_dispute(reference, amountMinor=money.minor))["dispute"]

    async def move_dispute(self, dispute: str, stage: DisputeStage) -> None:
        await self._running.move_dispute(dispute, stage.upper())

    async def told(self) -> Sequence[tuple[Reference, Answer]]:
        said = [webhooks.told(raw) for raw in await self._heard()]
        return [(each.reference, each.answer) for each in said if isinstance(each, webhooks.Told)]

    async def news(self) -> Sequence[DisputeNews]:
        said = [webhooks.told(raw) for raw in await self._heard()]
        return [each for each in said if isinstance(each, DisputeNews)]

    async def _heard(self) -> Sequence[bytes]:
        """The events so far, each verified, once all that is on its way has come."""
        async with asyncio.timeout(DELIVERED_SECONDS):
            while any(event["state"] == "waiting" for event in await self._running.events()):
                await asyncio.sleep(0.02)
        return [self._verified(received) for received in self._received]

    def forged(self, raw: bytes, headers: Mapping[str, str]) -> bool:
        return webhooks.event_id(raw, headers, self._running.secret, time.time()) is None

    def _verified(self, received: bytes) -> bytes:
        head, _, raw = received.partition(b"\r\n\r\n")
        lines = [line.partition(": ") for line in head.decode("latin-1").split("\r\n")[1:]]
        assert not self.forged(raw, {name.lower(): value for name, _, value in lines})
        return raw


@asynccontextmanager
async def stand(running: RunningSimulator) -> AsyncGenerator[Stand]:
    """Make the simulator as new, listen to its webhooks, and put an adapter of our own on a wire to it."""
    received = list[bytes]()

    async def listen(peer: Peer) -> None:
        await peer.request()
        received.append(peer.got)
        await peer.answer(b"200 OK")

    profile = client.profile(horizon=timedelta(seconds=10), attention_after=timedelta(minutes=15))
    async with fault_server(listen) as listener:
        await running.reset()
        await running.settings(webhooks={"url": listener.url, "enabled": True, "delaySeconds": 0})
        wire = Wire(profile, running.url)
        yield SimulatorStand(running, wire, received)
        await wire.aclose()
        await running.reset()


def _tell(_verb: Verb, _reference: str, _came: str, _seconds: float, /) -> None:
    return
