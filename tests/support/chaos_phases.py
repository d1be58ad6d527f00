"""The phases of the soak: what is done to the stack while shops buy, and how often.

A phase strikes, mends everything, and lasts until whatever was begun in it has ended or waits for a person.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass

from tests.support.chaos_faults import Faults, held
from tests.support.live import Json

SLOW_SECONDS = 1.5  # long enough to be found on the wire, shorter than the read deadline of 2 s
# What an activity at the simulator is given is 6 s (adapters/profile.py): a worker that stands still longer is taken
# for dead, and its calls are cleared up while it still has them.
FROZEN_SECONDS = 8.0
PAST_THE_HORIZON_SECONDS = 24.0  # 6 s for the activity, 10 s to the horizon, and what sending again takes
TRIES = 5  # where it is for the traffic to say whether what was struck was in the state that was meant
NOTICED_SECONDS = 2.0  # until what a killed process has asked of Postgres is done or given up there
CUT_SECONDS, SILENT_SECONDS = 3.0, 12.0  # a silence must outlast a statement's deadline, 10 s (workers/wiring.py)

AT_THE_PROVIDER = ("authorise", "collect", "release", "payback", "transfer")
IN_THE_BOOKS = ("records.operation", "ledger.hold", "ledger.posting", "records.call", "records.event")
BOUNDARIES = [pair for both in zip(AT_THE_PROVIDER, IN_THE_BOOKS, strict=True) for pair in both]

Strike = Callable[[Faults, int], Awaitable[None]]


@dataclass(frozen=True)
class Phase:
    """One phase. `strikes` in the soak, `few` where it only has to be kept from rotting; 0: the phase is left out."""

    name: str
    strike: Strike
    strikes: int
    few: int
    needs_disk: bool = False


async def calm(_: Faults, __: int) -> None:
    """Do nothing: what everything else is compared with."""


async def workers_at_boundaries(faults: Faults, times: int) -> None:
    """Kill the worker with a call on each wire, and at each of its tables."""
    for turn in range(times):
        where = BOUNDARIES[turn % len(BOUNDARIES)]
        if where in AT_THE_PROVIDER:
            await faults.on_the_wire(await faults.misbehave(where, {"do": "slow", "seconds": SLOW_SECONDS}))
            await faults.kill("worker")
        else:
            async with held(faults.live, where) as somebody_waits:
                await somebody_waits()
                await faults.kill("worker")
        faults.struck[f"worker killed at {where}"] += 1


async def workers_at_random(faults: Faults, times: int) -> None:
    """Kill the worker whenever chance says so."""
    for _ in range(times):
        await asyncio.sleep(faults.chance.uniform(1, 4))
        await faults.kill("worker")
        faults.struck["worker killed at random"] += 1


def killed(part: str) -> Strike:
    """Kill a part of the stack again and again, each time when it is back and chance says so."""

    async def strike(faults: Faults, times: int) -> None:
        for _ in range(times):
            await faults.ready()
            await asyncio.sleep(faults.chance.uniform(0.5, 2))
            await faults.kill(part)
            faults.struck[f"{part} killed"] += 1
        await faults.ready()

    return strike


async def api_in_the_midst(faults: Faults, times: int) -> None:
    """Kill the API between claim and start, between start and answer, and between the answer and its keeping."""
    for turn in range(times):
        kind, kill = API_MOMENTS[turn % len(API_MOMENTS)]
        hit = False
        for _ in range(TRIES):
            await faults.ready()
            pid = faults.pid("api")
            hit = await kill(faults, pid)
            await faults.succeeded("api", pid)
            if hit:
                break
        assert hit, kind
        faults.struck[kind] += 1
    await faults.ready()


async def _before_start(faults: Faults, pid: int) -> bool:
    """Its claims wait in Postgres, and are made after the API has gone: claimed for certain, started by nobody."""
    known = await faults.unanswered()
    async with held(faults.live, "records.claim", login="holdfast_api", asking="make_claim") as somebody_waits:
        faults.shop.one_more()
        await somebody_waits()
        await faults.strike(pid)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(NOTICED_SECONDS):
            while not any(not at for each, at in (await faults.unanswered()).items() if each not in known):
                await asyncio.sleep(0.05)
            return True
    return False  # all that waited were repetitions of what had been claimed before


async def _before_answer(faults: Faults, pid: int) -> bool:
    known = await faults.unanswered()
    faults.shop.one_more()
    await faults.on_the_wire(await faults.misbehave("authorise", {"do": "slow", "seconds": SLOW_SECONDS}))
    await faults.strike(pid)
    return any(at for each, at in (await faults.unanswered()).items() if each not in known)


async def _before_keeping(faults: Faults, pid: int) -> bool:
    """Its answer waits in Postgres, and is given to nobody: who asks again is answered from what was kept."""
    rule = await faults.misbehave("authorise", {"do": "slow", "seconds": SLOW_SECONDS})
    await faults.on_the_wire(rule)  # its claim was made before, so that only its end can wait for the table
    async with held(
        faults.live, "records.claim", login="holdfast_api", asking="UPDATE records.claim"
    ) as somebody_waits:
        await somebody_waits()
        await faults.strike(pid)
    return True


API_MOMENTS = (
    ("API killed between claim and start", _before_start),
    ("API killed between start and answer", _before_answer),
    ("API killed before its answer was kept", _before_keeping),
)


async def zombies(faults: Faults, times: int) -> None:
    """Freeze the worker with calls on the wire until others have cleared them up, then let it go on."""
    for _ in range(times):
        await faults.on_the_wire(await faults.misbehave("collect", {"do": "slow", "seconds": SLOW_SECONDS}))
        with faults.frozen("worker"):
            async with faults.second_worker():
                await asyncio.sleep(FROZEN_SECONDS)
                faults.struck["worker frozen with a call on its wire"] += 1


async def late_senders(faults: Faults, times: int) -> None:
    """Freeze the worker between its journal and its wire until the absence of the call has been taken for proven."""
    for _ in range(times):
        with ExitStack() as until_thawed:
            async with held(faults.live, "records.call") as somebody_waits:
                await somebody_waits()
                until_thawed.enter_context(faults.frozen("worker"))
            async with faults.second_worker():
                await asyncio.sleep(PAST_THE_HORIZON_SECONDS)
        faults.struck["worker frozen between journal and wire"] += 1


async def links_cut(faults: Faults, times: int) -> None:
    """Cut a worker off from Temporal and from Postgres, with an error and in silence."""
    async with faults.worker_on_links() as (to_engine, to_books):
        for turn in range(times):
            link, name = ((to_engine, "Temporal"), (to_books, "Postgres"))[turn % 2]
            carried = link.carried
            while link.carried == carried:
                await asyncio.sleep(0.1)
            if turn % 4 < 2:
                link.cut()
                await asyncio.sleep(CUT_SECONDS)
                kind = "cut"
            else:
                link.swallow()
                await asyncio.sleep(SILENT_SECONDS)
                kind = "silent"
            link.mend()
            faults.struck[f"link of a worker to {name} {kind}"] += 1
            await asyncio.sleep(CUT_SECONDS)


STORM: tuple[tuple[str, Json], ...] = (
    ("503", {"do": "unavailable"}),
    ("500 with its effect", {"do": "error", "effect": True}),
    ("500 without effect", {"do": "error", "effect": False}),
    ("429", {"do": "throttle", "retryAfter": 1}),
    ("slow, in time", {"do": "slow", "seconds": SLOW_SECONDS}),
    ("too slow", {"do": "slow", "seconds": 3}),  # past the deadline of 2 s
    ("answer lost", {"do": "lost_after", "seconds": 0}),
    ("call lost", {"do": "lost_before", "seconds": 0}),
    ("effect 5 s late", {"do": "late", "seconds": 5}),  # the horizon is 10 s
    ("garbage", {"do": "garbage", "effect": True}),
    ("half an answer", {"do": "truncated", "effect": True}),
)

IN_THE_STORM = 24  # journeys beside the others: one in doubt makes no calls for ten seconds
STORM_SECONDS = 45.0  # a rare call may not come by in that time: what it would have met is not counted


async def provider_storm(faults: Faults, times: int) -> None:
    """Have every third call misbehave until each way has been met; each kind of call begins with a different one.

    Were there more of them, the breaker would let none through: that is `provider_down`.
    """
    for turn in range(times):
        rules: dict[int, str] = {}
        for layer in range(len(STORM)):
            for place, operation in enumerate(AT_THE_PROVIDER):
                kind, behaviour = STORM[(layer * len(AT_THE_PROVIDER) + place + turn) % len(STORM)]
                rules[await faults.misbehave(operation, behaviour, nth=3 * (layer + 1))] = kind
            await faults.misbehave("lookup", {"do": "unavailable"}, nth=3 * (layer + 1))
        for _ in range(IN_THE_STORM):
            faults.shop.one_more()
        until, met = time.monotonic() + STORM_SECONDS, set[int]()
        while len({rules[rule] for rule in met}) < len(STORM) and time.monotonic() < until:
            await asyncio.sleep(0.5)
            met = await faults.met(rules)
        (await faults.live.simulator.delete("/control/script")).raise_for_status()
        faults.struck.update(f"provider: {rules[rule]}" for rule in met)


async def provider_down(faults: Faults, times: int) -> None:
    """Let the provider answer nothing but 503 for some seconds."""
    for _ in range(times):
        rule = await faults.misbehave("*", {"do": "unavailable"}, times=None)
        await faults.on_the_wire(rule)
        await asyncio.sleep(faults.chance.uniform(2, 5))
        (await faults.live.simulator.delete("/control/script")).raise_for_status()
        faults.struck["provider: all 503"] += 1
        await asyncio.sleep(2)


async def webhooks_astray(faults: Faults, times: int) -> None:
    """Drop webhooks, delay them, send them twice and in the wrong order."""
    for _ in range(times):
        await faults.webhooks(delaySeconds=2)
        await asyncio.sleep(3)
        faults.struck["webhooks delayed"] += 1
        await faults.webhooks(enabled=False, delaySeconds=0)
        await asyncio.sleep(3)
        kept = await faults.events("held")
        for event in kept[::2]:
            await faults.tell(event, "drop")
        faults.struck["webhooks dropped"] += 1
        await faults.webhooks(enabled=True)
        for event in reversed(kept[1::2]):
            await faults.tell(event, "send")
        faults.struck["webhooks in the wrong order"] += 1
        for event in (await faults.events("delivered"))[-20:]:
            await faults.tell(event, "repeat")
        faults.struck["webhooks repeated"] += 1


async def disk_full(faults: Faults, times: int) -> None:
    """Let Postgres have no space for its own journal until it gives up, and some again."""
    for _ in range(times):
        await faults.ready()
        await faults.fill_the_disk()
        faults.struck["disk of Postgres full"] += 1
        await faults.ready()


PHASES = (
    Phase("calm", calm, strikes=1, few=0),
    Phase("worker killed at its boundaries", workers_at_boundaries, strikes=10, few=2),
    Phase("worker killed at random", workers_at_random, strikes=8, few=0),
    Phase("Temporal killed", killed("temporal"), strikes=4, few=1),
    Phase("Postgres killed", killed("postgres"), strikes=5, few=1),
    Phase("API killed in the midst", api_in_the_midst, strikes=6, few=1),
    Phase("API killed at random", killed("api"), strikes=3, few=0),
    Phase("a worker comes back from the dead", zombies, strikes=2, few=1),
    Phase("a worker sends past the horizon", late_senders, strikes=1, few=0),
    Phase("network cut", links_cut, strikes=4, few=2),
    Phase("the provider misbehaves", provider_storm, strikes=2, few=0),
    Phase("the provider is down", provider_down, strikes=3, few=1),
    Phase("webhooks go astray", webhooks_astray, strikes=2, few=1),
    Phase("disk full", disk_full, strikes=2, few=1, needs_disk=True),
    Phase("calm again", calm, strikes=1, few=0),
)
