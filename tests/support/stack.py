"""A Temporal server for a test session."""

import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from workers.embedded import temporal
from workers.embedded.processes import Nursery, free_port


@dataclass(frozen=True)
class TemporalServer:
    """A running server: `target` is its host and port."""

    target: str


@asynccontextmanager
async def running_temporal() -> AsyncGenerator[TemporalServer]:
    """Run a server in memory, its namespace and search attributes ready, and remove it without a trace."""
    with tempfile.TemporaryDirectory(prefix="holdfast-test-") as folder:
        nursery = Nursery(Path(folder) / "logs")
        try:
            port = free_port()
            nursery.start(
                "temporal",
                temporal.command(port=port, ui_port=None, database=None),
                environment=temporal.ENVIRONMENT,
            )
            target = f"127.0.0.1:{port}"
            await temporal.make_ready(target)
            yield TemporalServer(target)
        finally:
            nursery.close()
