"""A worker that stands still, is taken for dead, and goes on as if nothing had been."""

import asyncio
from contextlib import ExitStack

from tests.support.chaos_faults import attacked, held
from tests.support.chaos_shop import Shop
from tests.support.live import Live

CLEARED_UP_SECONDS = 90  # 6 s for the activity, 10 s to the horizon, and what sending again takes


async def test_a_call_that_a_frozen_worker_makes_past_its_horizon_moves_no_money(live: Live) -> None:
    payment = await live.pay(6_000)
    path = f"/v1/payments/{payment['id']}"
    await live.until(path, lambda read: read["status"] == "authorized")
    with attacked(Shop(live), seed=0) as faults, ExitStack() as until_thawed:
        async with held(live, "records.call", asking="begin_call") as somebody_waits:
            asking = asyncio.create_task(live.insist(f"{path}/captures", {"amount": 2_500, "currency": "EUR"}))
            await somebody_waits()
            until_thawed.enter_context(faults.frozen("worker"))  # the next thing that it would do is the call
        async with faults.second_worker():
            capture = f"/v1/captures/{(await asking)['id']}"
            await live.until(path, lambda read: read["amount_captured"] == 2_500, CLEARED_UP_SECONDS)
            assert (await live.get(capture))["status"] == "succeeded"
    # Whoever voids is the worker that was frozen, and it goes on with what it stood before first.
    await live.insist(f"{path}/void", {})
    read = await live.until(path, lambda read: read["status"] == "captured")
    assert read["amount_captured"] == 2_500
    await live.is_sound()
