"""How long nobody is served when the only worker is killed, measured on a stack that has nothing else to do.

Three initiators wait at the moment of the kill -9, and each is timed from there to its answer:

- one has just asked for a payment, which the dead worker never saw;
- one has just asked for a capture of a payment whose run the dead worker kept in its memory, so that Temporal looks for
  that worker first;
- one has its call on the provider's wire, which nobody will ever report on: the call must first be given up, and then
  the provider be asked what became of it.

The recovery of a kill is the time until the first two have their answers: from then on everything is served as before.
The third is told apart, since its figure is the deadline of a provider's call and not the worker's absence.
"""

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass

from tests.support.chaos_faults import Faults
from tests.support.chaos_shop import Shop
from tests.support.live import TERMINAL

WAIT_SECONDS = 10  # the longest that the API waits, so that the figure is not rounded up to a repetition
SLOW_SECONDS = 1.5  # on the wire when the worker dies, answered within the deadline
STARTED = b"worker.started"


@dataclass(frozen=True)
class Recovery:
    """Seconds from one kill: until another worker polls, and until each of the three had its answer."""

    polls: float
    asked_afresh: float
    asked_of_the_dead: float
    on_the_wire: float

    @property
    def seconds(self) -> float:
        """Until everything is served as before."""
        return max(self.asked_afresh, self.asked_of_the_dead)


async def recoveries(faults: Faults, shop: Shop, times: int) -> list[Recovery]:
    """Kill the only worker so often, and time what follows."""
    await faults.ready()
    return [await _recovery(faults, shop) for _ in range(times)]


async def _recovery(faults: Faults, shop: Shop) -> Recovery:
    kept = f"/v1/payments/{(await shop.pay(5_000))['id']}"
    assert await shop.ended(kept, {"authorized", *TERMINAL}) == "authorized"
    rule = await faults.misbehave("collect", {"do": "slow", "seconds": SLOW_SECONDS})
    wired = asyncio.create_task(_bought(shop))
    await faults.on_the_wire(rule)
    starts, kills = _starts(faults), len(faults.killed_at)
    killing = asyncio.create_task(faults.kill("worker"))
    while len(faults.killed_at) == kills:
        await asyncio.sleep(0)
    killed = faults.killed_at[-1]

    async def seconds(answered: Awaitable[object]) -> float:
        await answered
        return time.monotonic() - killed

    authorizing = asyncio.create_task(_authorized(shop))
    polls, afresh, dead, wire = await asyncio.gather(
        seconds(_started(faults, starts)), seconds(authorizing), seconds(_captured(shop, kept)), seconds(wired)
    )
    await killing
    await shop.want(f"{authorizing.result()}/void", {})
    faults.struck["worker killed, nobody else there"] += 1
    return Recovery(polls, afresh, dead, wire)


async def _bought(shop: Shop) -> None:
    made = await shop.pay(3_000, capture="automatic")
    assert await shop.ended(f"/v1/payments/{made['id']}", TERMINAL) == "captured"


async def _authorized(shop: Shop) -> str:
    body = {"amount": 2_000, "currency": "EUR", "merchant": "m_bakery", "instrument": "tok_visa", "capture": "manual"}
    made = await shop.want("/v1/payments", body, wait=WAIT_SECONDS)
    path = f"/v1/payments/{made['id']}"
    if made["status"] != "authorized":
        assert await shop.ended(path, {"authorized", *TERMINAL}) == "authorized"
    return path


async def _captured(shop: Shop, path: str) -> None:
    made = await shop.want(f"{path}/captures", {"amount": 5_000, "currency": "EUR"}, wait=WAIT_SECONDS)
    if made["status"] != "succeeded":
        await shop.ended(path, TERMINAL)


async def _started(faults: Faults, before: int) -> None:
    while _starts(faults) == before:
        await asyncio.sleep(0.02)


def _starts(faults: Faults) -> int:
    return (faults.live.home / "logs" / "worker.log").read_bytes().count(STARTED)
