"""kill -9 of Postgres and all its processes while clients post: nothing acknowledged is lost, and the book adds up.

This is the death of the processes, not of the machine: what the kernel has taken for the disk survives it.
"""

import asyncio
import statistics
import sys
import time

import asyncpg
import pytest

from ledger.journal import Journal
from tests.support.ledger_load import Load, under_load
from tests.support.ledger_server import Server, durable_server

ROUNDS = 20
CLIENTS = 24
LOAD_SECONDS = 0.3  # of each round: some hundred commits
BACK_SECONDS = 60
# After a crash every file of the server is synced: as one file system, not file by file, of which there are thousands.
SYNC_AT_START = "recovery_init_sync_method=syncfs"


async def acknowledged_again(load: Load) -> None:
    """Wait until a client has been told something new."""
    before = len(load.acknowledged)
    async with asyncio.timeout(BACK_SECONDS):
        while len(load.acknowledged) == before:
            await asyncio.sleep(0.005)


async def verified(pool: asyncpg.Pool) -> None:
    broken = await Journal(pool).verify()
    assert broken is None, broken


@pytest.mark.skipif(sys.platform != "linux", reason="all processes of a server are found and killed by /proc")
@pytest.mark.timeout(400)  # under a minute where nobody else is busy
async def test_nothing_acknowledged_is_lost_when_postgres_is_killed_mid_load() -> None:
    async with (
        durable_server(SYNC_AT_START) as server,
        asyncpg.create_pool(server.database.url, min_size=4, max_size=8) as pool,
    ):
        assert await durability(pool) == {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
        ready, answered = await killed_again_and_again(server, pool)
    print(  # noqa: T201  shown by -s
        f"recovery over {ROUNDS} kills: takes connections after {statistics.median(ready):.2f} s"
        f" (at most {max(ready):.2f}), acknowledges again after {statistics.median(answered):.2f} s"
        f" (at most {max(answered):.2f})"
    )


async def killed_again_and_again(server: Server, pool: asyncpg.Pool) -> tuple[list[float], list[float]]:
    ready: list[float] = []
    answered: list[float] = []
    processes = 0
    async with under_load(pool, clients=CLIENTS) as load:
        await acknowledged_again(load)
        for turn in range(ROUNDS):
            await asyncio.sleep(LOAD_SECONDS)
            processes += await server.kill()
            killed = time.monotonic()
            await server.start()
            ready.append(time.monotonic() - killed)
            await acknowledged_again(load)
            answered.append(time.monotonic() - killed)
            assert await load.lost(pool) == 0, f"acknowledged and lost, in round {turn}"
            if turn % 10 == 9:
                await verified(pool)
    assert load.contradictions == []
    assert await load.lost(pool) == 0
    entries: int = await pool.fetchval("SELECT count(*) FROM ledger.entry")
    rejections: int = await pool.fetchval("SELECT count(*) FROM ledger.rejection")
    stand = sum(stands for _, stands in load.acknowledged.values())
    assert (entries, rejections) == (stand, len(load.acknowledged) - stand), "the book has what nobody was told of"
    await verified(pool)
    print(f"\n{processes} processes killed, {len(load.acknowledged)} acknowledged, {dict(load.said)}")  # noqa: T201
    return ready, answered


async def durability(pool: asyncpg.Pool) -> dict[str, str]:
    rows = await pool.fetch(
        "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit')"
    )
    return {row["name"]: row["setting"] for row in rows}
