"""kill -9 of the worker with each step on its way: afterwards the money is the same on both sides, and nothing hangs.

The supervisor starts the worker again, as an orchestrator would. A step at the provider is held on its wire by the
simulator, a step in our own books by a lock on a table that it needs.
"""

import asyncio
import os
import signal

import pytest

from tests.support.chaos_faults import held
from tests.support.live import Json, Live
from workers.embedded.stack import Stack

SLOW_SECONDS = 1.5  # long enough to be found on the wire, shorter than the read deadline
SETTLED_SECONDS = 90  # a killed worker's call is given up after six seconds, its doubt cleared up within the horizon

AT_THE_PROVIDER = ("authorise", "collect", "release", "payback", "transfer")
IN_THE_BOOKS = {
    "payment.prepare: the row": "records.operation",
    "payment.prepare: the hold": "ledger.hold",
    "ledger.book_capture": "ledger.posting",
    "records.note": "records.event",
}


async def kill_worker(live: Live) -> None:
    """Kill the worker's process as the kernel would, and wait for its successor."""
    pid = Stack.read(live.home).pids["worker"]
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(30):
        while Stack.read(live.home).pids["worker"] == pid:
            await asyncio.sleep(0.05)


async def journey(live: Live, *, capture: bool = True) -> list[tuple[str, str]]:
    """A shop's journey through every step: what was made, and how each must end."""
    payment = await live.pay(6_000)
    path = f"/v1/payments/{payment['id']}"
    ends: list[tuple[str, str]] = []
    if capture:
        await live.until(path, lambda read: read["status"] == "authorized", SETTLED_SECONDS)
        taken = await live.insist(f"{path}/captures", {"amount": 2_500, "currency": "EUR"})
        await live.until(f"/v1/captures/{taken['id']}", lambda read: read["status"] == "succeeded", SETTLED_SECONDS)
    await live.insist(f"{path}/void", {})
    await live.until(path, lambda read: read["status"] == "captured", SETTLED_SECONDS)
    refund = await live.insist(f"{path}/refunds", {"amount": 700, "currency": "EUR"})
    ends.append((f"/v1/refunds/{refund['id']}", "succeeded"))
    body = {"amount": 300, "currency": "EUR", "merchant": "m_bakery", "destination": "acct_ok"}
    payout = await live.insist("/v1/payouts", body)
    ends.append((f"/v1/payouts/{payout['id']}", "paid"))
    for where, state in ends:
        await live.until(where, lambda read, state=state: read["status"] == state, SETTLED_SECONDS)
    return ends


@pytest.mark.parametrize("operation", AT_THE_PROVIDER)
async def test_a_worker_killed_with_a_call_on_the_wire_moves_the_money_once(live: Live, operation: str) -> None:
    await live.script(operation, {"do": "slow", "seconds": SLOW_SECONDS})
    known = len(await live.calls(""))

    async def strike() -> None:
        while not [call for call in (await live.calls(""))[known:] if call["operation"] == operation]:
            await asyncio.sleep(0.02)
        await kill_worker(live)

    striking = asyncio.create_task(strike())
    await _journey_that_may_decline(live, operation)
    await striking
    await live.is_sound()


async def _journey_that_may_decline(live: Live, operation: str) -> None:
    """An authorization whose worker dies may come too late for its payer; then it is declined, and that is right."""
    if operation != "authorise":
        await journey(live)
        return
    payment = await live.pay(6_000)
    read = await live.until(
        f"/v1/payments/{payment['id']}", lambda read: read["status"] in ("authorized", "declined"), SETTLED_SECONDS
    )
    if read["status"] == "authorized":
        await live.insist(f"/v1/payments/{payment['id']}/void", {})


@pytest.mark.parametrize("step", IN_THE_BOOKS)
async def test_a_worker_killed_while_it_writes_our_books_writes_once(live: Live, step: str) -> None:
    async with held(live, IN_THE_BOOKS[step]) as somebody_waits:

        async def strike() -> None:
            await somebody_waits()
            await kill_worker(live)

        striking = asyncio.create_task(strike())
        going = asyncio.create_task(journey(live))
        await striking
    await going
    await live.is_sound()


async def test_workers_killed_again_and_again_under_load_lose_and_double_nothing(live: Live) -> None:
    for operation in AT_THE_PROVIDER:
        await live.script(operation, {"do": "slow", "seconds": 0.2}, times=200)
    going = [asyncio.create_task(_whole(live)) for _ in range(12)]
    for _ in range(3):
        await asyncio.sleep(2.5)
        await kill_worker(live)
    ended = await asyncio.gather(*going)
    (await live.simulator.delete("/control/script")).raise_for_status()
    assert all(ended)
    await live.is_sound()


async def _whole(live: Live) -> Json:
    """An automatic payment to its end, whatever that is."""
    payment = await live.pay(1_000, capture="automatic")
    return await live.until(
        f"/v1/payments/{payment['id']}",
        lambda read: read["status"] in ("captured", "declined", "voided"),
        SETTLED_SECONDS,
    )
