"""One server and one worker for all sagas of the tests: a run's clock is its own, and so is its world."""

import asyncio
from collections.abc import AsyncGenerator

import pytest_asyncio
from temporalio.client import Client

from tests.support.engine import skipping_server, worker

LOCAL_TIMERS_SECONDS = 2.1  # local activities leave timers of 2 s, which complain of a worker that is gone


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def client() -> AsyncGenerator[Client]:
    """A client of a server whose clock skips, with a worker on the product's queues."""
    async with skipping_server() as connected, worker(connected):
        yield connected
        await asyncio.sleep(LOCAL_TIMERS_SECONDS)
