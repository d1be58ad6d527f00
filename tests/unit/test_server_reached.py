"""A database that cannot answer now is unavailable, so that the same request is asked again; a bug is not."""

import asyncpg
import pytest

from domain.errors import Unavailable
from workers.server import available, reached

GONE: list[BaseException] = [
    OSError("connection refused"),
    TimeoutError(),
    asyncpg.ConnectionDoesNotExistError("closed in the middle"),
    asyncpg.InterfaceError("the pool is closing"),
    asyncpg.CannotConnectNowError("the database system is not yet accepting connections"),
    asyncpg.AdminShutdownError("terminating connection due to administrator command"),
    asyncpg.CrashShutdownError("terminating connection because of crash of another server process"),
    asyncpg.QueryCanceledError("canceling statement due to user request"),
    asyncpg.DiskFullError("No space left on device"),
    asyncpg.TooManyConnectionsError("sorry, too many clients already"),
    asyncpg.OutOfMemoryError("out of memory"),
]


async def _failing(failure: BaseException) -> None:
    raise failure


@pytest.mark.parametrize("failure", GONE, ids=lambda failure: type(failure).__name__)
async def test_a_database_that_cannot_answer_now_is_unavailable(failure: BaseException) -> None:
    with pytest.raises(Unavailable) as said:
        await reached(_failing(failure))
    assert said.value.__cause__ is failure


@pytest.mark.parametrize("bug", [asyncpg.UndefinedTableError("records.nothing"), asyncpg.CheckViolationError("no")])
async def test_a_mistake_of_ours_is_not_hidden_behind_it(bug: asyncpg.PostgresError) -> None:
    with pytest.raises(type(bug)):
        await reached(_failing(bug))


async def test_every_method_of_a_store_is_reached_so() -> None:
    class Store:
        async def find(self, name: str, *, limit: int) -> str:
            if limit == 0:
                raise asyncpg.CannotConnectNowError("the database system is starting up")
            return f"{name} {limit}"

    store = available(Store())
    assert await store.find("it", limit=1) == "it 1"
    with pytest.raises(Unavailable):
        await store.find("it", limit=0)
