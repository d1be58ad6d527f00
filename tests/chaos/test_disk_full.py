"""A full disk under load: callers are told clearly, nothing acknowledged is lost, and with space all goes on.

Where the tables have no space, Postgres says so and stays. Where its own journal has none it ends itself at once, and
starts again when there is space: both are tried.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from ledger.journal import Journal
from tests.support.chaos_faults import fill
from tests.support.ledger_load import Load, under_load
from tests.support.ledger_server import Server, durable_server, give_to_postgres, small_disk

DISK_MEGABYTES = 96  # an empty database and some segments of the journal
CLIENTS = 16
LOAD_SECONDS = 0.5
NOTICED_SECONDS = 60  # until the segment of the journal that is open is full, too


@asynccontextmanager
async def server_on(disk: Path, what: str) -> AsyncGenerator[Server]:
    """A server whose tables, or whose own journal, are on the small disk."""
    place = disk / what
    place.mkdir()
    give_to_postgres(place)
    wal, tablespace = (place, None) if what == "journal" else (None, place)
    # Checkpoints come when they are asked for: they would free segments of the journal in the midst.
    async with durable_server("max_wal_size=48MB", "min_wal_size=32MB", wal=wal, tablespace=tablespace) as server:
        yield server


async def until_unavailable(load: Load) -> None:
    async with asyncio.timeout(NOTICED_SECONDS):
        while len(load.unavailable) < CLIENTS:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("what", ["tables", "journal"])
async def test_a_full_disk_is_said_loses_nothing_and_is_got_over(what: str) -> None:
    with small_disk(DISK_MEGABYTES) as disk:
        async with (
            server_on(disk, what) as server,
            asyncpg.create_pool(server.database.url, min_size=2, max_size=6) as pool,
            under_load(pool, clients=CLIENTS) as load,
        ):
            await asyncio.sleep(LOAD_SECONDS)
            before = len(load.acknowledged)
            assert before > 0
            ballast = fill(disk)
            await until_unavailable(load)
            for text in load.unavailable:
                assert "is not known. Post the same again" in text
            if what == "tables":
                assert server.is_up
                assert any("No space left on device" in text for text in load.unavailable), load.unavailable[-1]

            ballast.unlink()
            if not server.is_up:  # as whoever supervises it would
                await server.start()
            after = len(load.acknowledged)
            async with asyncio.timeout(NOTICED_SECONDS):
                while len(load.acknowledged) < after + CLIENTS:
                    await asyncio.sleep(0.01)
            assert await load.lost(pool) == 0
            load.stopping = True
            await asyncio.sleep(LOAD_SECONDS)
            assert load.contradictions == []
            broken = await Journal(pool).verify()
            assert broken is None, broken
            print(f"\n{what}: {len(load.acknowledged)} acknowledged, {len(load.unavailable)} times unavailable")  # noqa: T201
            print(f"    {load.unavailable[-1][:200]}")  # noqa: T201
