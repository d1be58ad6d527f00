"""The upkeep process: seals, verifies and archives the ledger, makes its months, removes stale claims, on schedules.

A process of its own, because it holds what no other may: the key that signs seals, and the right to take months out.
It cannot post. Any number may run; Temporal gives each task to one of them.
"""

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack

import structlog

from observability.logging import configure
from workers import schedules
from workers.settings import UpkeepSettings
from workers.wiring import temporal, upkeep, upkeep_database, upkeep_worker

log = structlog.get_logger()


async def main() -> None:
    """Run until SIGTERM or SIGINT."""
    settings = UpkeepSettings()
    configure("upkeep", settings.log_level)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(upkeep_database(settings))
        client = await temporal(settings)
        await stack.enter_async_context(upkeep_worker(client, settings, upkeep(pool, settings)))
        await schedules.ensure(client)
        log.info("upkeep.started")
        await stop.wait()
        log.info("upkeep.stopping")


if __name__ == "__main__":
    asyncio.run(main())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # the Temporal client can abort at interpreter exit
