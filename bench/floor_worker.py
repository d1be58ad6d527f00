"""The worker of the floors: a process of its own, with the settings of the product's worker."""

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack
from datetime import timedelta

from temporalio.client import Client
from temporalio.worker import PollerBehaviorSimpleMaximum, Worker

from bench.floors import PROVIDER_QUEUE, Bare, Bares, Naive
from contracts.payloads import DATA_CONVERTER
from workers.sandbox import SANDBOX
from workers.settings import Settings

QUEUE = "bench"


async def main(target: str) -> None:
    """Run until SIGTERM."""
    settings = Settings()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    client = await Client.connect(target, data_converter=DATA_CONVERTER)
    bares, polls = Bares(), PollerBehaviorSimpleMaximum(settings.polls)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(
            Worker(
                client,
                task_queue=QUEUE,
                workflows=[Bare, Naive],
                activities=[bares.local, bares.regular],
                workflow_runner=SANDBOX,
                max_cached_workflows=settings.cached_workflows,
                max_concurrent_workflow_tasks=settings.workflow_tasks,
                max_concurrent_activities=settings.activities,
                workflow_task_poller_behavior=polls,
                activity_task_poller_behavior=polls,
                sticky_queue_schedule_to_start_timeout=timedelta(seconds=2),
            )
        )
        for queue in (PROVIDER_QUEUE, f"{PROVIDER_QUEUE}-repair"):
            await stack.enter_async_context(
                Worker(
                    client,
                    task_queue=queue,
                    activities=[bares.regular],
                    max_concurrent_activities=20,
                    activity_task_poller_behavior=polls,
                )
            )
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)
