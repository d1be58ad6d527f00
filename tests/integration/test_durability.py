"""Which commits wait for the disk: every one whose loss could not be made good."""

import asyncpg
import pytest

from records.calls import COMPLETE
from records.claims import FINISH


@pytest.mark.parametrize("statement", [COMPLETE, FINISH], ids=["a call's outcome", "an answer"])
async def test_what_is_not_waited_for_ends_with_its_own_statement(pool: asyncpg.Pool, statement: str) -> None:
    assert "set_config('synchronous_commit', 'off', true)" in statement
    async with pool.acquire() as connection:
        before = await connection.fetchval("SHOW synchronous_commit")
        await connection.fetchval("SELECT set_config('synchronous_commit', 'off', true)")
        assert await connection.fetchval("SHOW synchronous_commit") == before
