"""The worker process: runs workflows and activities until it is asked to stop, then lets what is on the wire end."""

import asyncio
import contextlib
import os
import signal
import sys
from contextlib import AsyncExitStack

import structlog

from observability.logging import configure
from workers.providers import ports, routes, wires
from workers.relay import Relay
from workers.settings import Settings
from workers.wiring import carried, database, temporal, workers

log = structlog.get_logger()


async def main() -> None:
    """Run until SIGTERM or SIGINT."""
    settings = Settings()
    configure("worker", settings.log_level)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    opened = wires(settings)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(database(settings.worker_database_url, settings))
        for wire in opened.values():
            stack.push_async_callback(wire.aclose)
        client = await temporal(settings)
        parts = carried(pool, ports(settings, opened))
        places = {name: wire.profile.at_once for name, wire in opened.items()}
        for worker in workers(client, settings, parts, places):
            await stack.enter_async_context(worker)
        relay = Relay(client, pool, {promises.provider: promises for promises in routes(settings)})
        relaying = asyncio.create_task(relay.run())
        log.info("worker.started", queues=len(places) * 2 + 1)
        await stop.wait()
        log.info("worker.stopping")
        relaying.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await relaying


if __name__ == "__main__":
    asyncio.run(main())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # the Temporal client can abort at interpreter exit
