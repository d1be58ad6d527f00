"""Claims on the real database: one winner of any race, takeover after the lease, and the same bytes for ever after."""

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from datetime import timedelta

import asyncpg
import pytest
import pytest_asyncio

from domain.ids import ClientId, OperationId, Prefix, derive
from records.claims import Claimed, Claims, InFlight, Mismatch, StoredAnswer
from tests.support.cluster import Database, TestCluster

LEASE_SECONDS = 30.0
RACERS, ROUNDS = 32, 50
BODY = '{"name":"Bäckerei “Süß” 🥐",  "odd" : [1,2 ] }\n'.encode() + b"\x00\xff"
HEADERS = {"content-type": "application/json", "location": "/v1/payments/pay_1"}
ANSWER = StoredAnswer(status=201, headers=HEADERS, body=BODY)
NUMBERS = itertools.count(1)

Told = Claimed | InFlight | StoredAnswer | Mismatch


@dataclass(frozen=True)
class Shop:
    """One client's requests; "another request" differs in its fingerprint."""

    claims: Claims
    client: ClientId
    mode: str = "test"

    def resource(self, key: str) -> OperationId:
        return derive(Prefix.PAYMENT, client=self.client, mode=self.mode, operation="createPayment", key=key)

    async def claim(
        self,
        key: str = "k",
        *,
        asked: bytes = b"a" * 32,
        operation: str = "createPayment",
        lease: float = LEASE_SECONDS,
    ) -> Told:
        return await self.claims.claim(self.client, self.mode, key, operation, asked, self.resource(key), lease)

    async def claimed(self, key: str = "k", *, asked: bytes = b"a" * 32, lease: float = LEASE_SECONDS) -> Claimed:
        """Claim a key that can be had."""
        mine = await self.claim(key, asked=asked, lease=lease)
        assert isinstance(mine, Claimed), mine
        return mine

    async def finish(self, mine: Claimed, body: bytes = BODY, *, key: str = "k") -> StoredAnswer | None:
        return await self.claims.finish(self.client, self.mode, key, mine.fence, 201, HEADERS, body)

    async def release(self, mine: Claimed, key: str = "k") -> None:
        await self.claims.release(self.client, self.mode, key, mine.fence)


@pytest_asyncio.fixture(scope="module")
async def database(cluster: TestCluster) -> AsyncGenerator[Database]:
    """One database for all tests here: each has a client of its own."""
    made = await cluster.create()
    yield made
    await cluster.drop(made)


@pytest.fixture
def shop(pool: asyncpg.Pool) -> Shop:
    return Shop(Claims(pool), ClientId(f"shop-{next(NUMBERS)}"))


async def test_of_many_requests_that_race_for_a_key_exactly_one_gets_it(shop: Shop) -> None:
    for number in range(ROUNDS):
        key = f"race-{number}"
        outcomes = await asyncio.gather(*(shop.claim(key) for _ in range(RACERS)))
        winners = [each for each in outcomes if isinstance(each, Claimed)]
        assert len(winners) == 1
        assert not winners[0].taken_over
        assert sum(isinstance(each, InFlight) for each in outcomes) == RACERS - 1


async def test_of_many_that_race_for_a_lapsed_claim_exactly_one_takes_it_over(shop: Shop) -> None:
    for number in range(ROUNDS):
        key = f"lapsed-{number}"
        dead = await shop.claimed(key, lease=0)
        outcomes = await asyncio.gather(*(shop.claim(key) for _ in range(RACERS)))
        winners = [each for each in outcomes if isinstance(each, Claimed)]
        assert len(winners) == 1
        assert winners[0].taken_over
        assert winners[0].fence != dead.fence
        assert await shop.finish(dead, b"zombie", key=key) is None
        assert isinstance(await shop.claim(key), InFlight)  # nothing was stored


async def test_a_request_that_races_with_the_release_of_its_key_is_answered(shop: Shop) -> None:
    for number in range(ROUNDS):
        key = f"freed-{number}"
        mine = await shop.claimed(key)
        *outcomes, _ = await asyncio.gather(shop.claim(key), shop.claim(key), shop.release(mine, key))
        assert sum(isinstance(each, Claimed) for each in outcomes) <= 1
        assert all(isinstance(each, Claimed | InFlight) for each in outcomes)


async def test_a_request_under_way_is_told_how_long_the_key_may_be_held(shop: Shop) -> None:
    await shop.claimed(lease=20)
    waiting = await shop.claim()
    assert isinstance(waiting, InFlight)
    assert 15 < waiting.retry_after_seconds <= 20


async def test_the_end_of_the_lease_is_told_in_unix_seconds_by_the_databases_clock(
    shop: Shop, pool: asyncpg.Pool
) -> None:
    before = await pool.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
    mine = await shop.claimed(lease=20)
    assert before + 20 <= mine.lease_until <= before + 20 + 5
    assert abs(mine.created_at.timestamp() - before) < 5
    assert abs(mine.lease_until - 20 - time.time()) < 5  # one machine: the clocks are the same


async def test_a_takeover_keeps_the_time_of_the_first_claim(shop: Shop) -> None:
    dead = await shop.claimed(lease=0)
    heir = await shop.claimed()
    assert heir.taken_over
    assert heir.created_at == dead.created_at


async def test_a_repetition_gets_the_stored_answer_byte_for_byte(shop: Shop) -> None:
    assert await shop.finish(await shop.claimed()) is None
    for _ in range(2):
        assert await shop.claim() == ANSWER


async def test_an_answer_may_be_empty(shop: Shop) -> None:
    assert await shop.finish(await shop.claimed(), b"") is None
    assert await shop.claim() == StoredAnswer(status=201, headers=HEADERS, body=b"")


async def test_a_key_that_was_used_for_another_request_is_told_so_and_shows_nothing(shop: Shop) -> None:
    mine = await shop.claimed()
    for _ in ("while it is open", "when it is answered"):
        assert await shop.claim(asked=b"b" * 32) == Mismatch()
        assert await shop.claim(operation="createPayout") == Mismatch()
        await shop.finish(mine)


async def test_another_request_does_not_take_a_lapsed_claim_over(shop: Shop) -> None:
    await shop.claimed(lease=0)
    assert await shop.claim(asked=b"b" * 32) == Mismatch()
    assert (await shop.claimed()).taken_over


async def test_keys_are_apart_by_client_and_by_mode(shop: Shop) -> None:
    await shop.claimed()
    assert isinstance(await replace(shop, client=ClientId("other")).claim(asked=b"b" * 32), Claimed)
    assert isinstance(await replace(shop, mode="live").claim(asked=b"b" * 32), Claimed)


async def test_an_owner_whose_lease_has_ended_may_answer_while_nobody_has_taken_over(shop: Shop) -> None:
    late = await shop.claimed(lease=0)
    assert await shop.finish(late) is None
    assert await shop.claim() == ANSWER


async def test_an_owner_who_was_overtaken_gets_the_answer_that_was_given_instead_of_its_own(shop: Shop) -> None:
    frozen = await shop.claimed(lease=0)
    heir = await shop.claimed()
    await shop.finish(heir, b"the heir's")
    assert await shop.finish(frozen, b"the frozen one's") == StoredAnswer(
        status=201, headers=HEADERS, body=b"the heir's"
    )


async def test_an_answer_is_never_stored_over_another(shop: Shop) -> None:
    mine = await shop.claimed()
    await shop.finish(mine, b"first")
    again = await shop.finish(mine, b"second")
    assert again == StoredAnswer(status=201, headers=HEADERS, body=b"first")


async def test_a_released_key_is_free_for_any_request(shop: Shop) -> None:
    mine = await shop.claimed()
    await shop.release(mine)
    assert not (await shop.claimed(asked=b"b" * 32)).taken_over


async def test_an_overtaken_owner_frees_nothing(shop: Shop) -> None:
    frozen = await shop.claimed(lease=0)
    await shop.claimed()
    await shop.release(frozen)
    assert isinstance(await shop.claim(), InFlight)


async def test_an_answered_key_is_not_freed(shop: Shop) -> None:
    mine = await shop.claimed()
    await shop.finish(mine)
    await shop.release(mine)
    assert isinstance(await shop.claim(), StoredAnswer)


async def test_a_frozen_owner_does_not_answer_a_key_that_was_freed_and_claimed_afresh(shop: Shop) -> None:
    frozen = await shop.claimed(lease=0)
    heir = await shop.claimed()
    await shop.release(heir)
    other = b"b" * 32
    await shop.claimed(asked=other)
    await shop.finish(frozen, b"of another request")
    await shop.release(frozen)
    assert isinstance(await shop.claim(asked=other), InFlight)


async def test_expired_claims_go_a_chunk_at_a_time_and_those_under_way_stay(shop: Shop, pool: asyncpg.Pool) -> None:
    for number in range(5):
        await shop.finish(await shop.claimed(f"old-{number}"), key=f"old-{number}")
    await shop.claimed("given up", lease=0)
    await shop.claimed("under way")
    expire = "UPDATE records.claim SET expires_at = clock_timestamp() - interval '1 second' WHERE client = $1"
    await pool.execute(expire, shop.client)
    await shop.finish(await shop.claimed("fresh"), key="fresh")
    assert [await shop.claims.purge(4), await shop.claims.purge(4), await shop.claims.purge(4)] == [4, 2, 0]
    assert isinstance(await shop.claim("under way"), InFlight)
    assert isinstance(await shop.claim("fresh"), StoredAnswer)
    assert not (await shop.claimed("old-0")).taken_over


async def test_an_answer_is_kept_for_thirty_days(shop: Shop, pool: asyncpg.Pool) -> None:
    await shop.claimed()
    kept: timedelta = await pool.fetchval(
        "SELECT expires_at - created_at FROM records.claim WHERE client = $1", shop.client
    )
    assert abs(kept - timedelta(days=30)) < timedelta(seconds=1)


async def test_claims_that_nobody_answers_are_listed_when_their_lease_ended_long_enough_ago(shop: Shop) -> None:
    await shop.claimed("dead", lease=-7200)
    await shop.claimed("just lapsed", lease=0)
    await shop.claimed("under way")
    await shop.finish(await shop.claimed("answered", lease=-7200), key="answered")
    assert await shop.claims.unanswered(timedelta(hours=1)) == [shop.resource("dead")]
    assert await shop.claims.unanswered(timedelta(0), most=1) == [shop.resource("dead")]


async def test_a_key_of_the_greatest_length_is_kept(shop: Shop) -> None:
    key = "~" * 255
    await shop.finish(await shop.claimed(key), key=key)
    assert isinstance(await shop.claim(key), StoredAnswer)
