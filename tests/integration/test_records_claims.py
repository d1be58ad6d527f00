"""Claims on the real database: one winner of any race, takeover after the lease, and the same bytes for ever after."""

import asyncio
import secrets
import time
from datetime import timedelta

import asyncpg
import pytest

from domain.ids import ClientId, OperationId, Prefix, derive
from records.claims import Claimed, Claims, InFlight, Mismatch, StoredAnswer

CLIENT = ClientId("shop")
MODE = "test"
LEASE_SECONDS = 30.0
RACERS, ROUNDS = 32, 50
BODY = '{"name":"Bäckerei “Süß” 🥐",  "odd" : [1,2 ] }\n'.encode() + b"\x00\xff"
HEADERS = {"content-type": "application/json", "location": "/v1/payments/pay_1"}

Outcome = Claimed | InFlight | StoredAnswer | Mismatch


@pytest.fixture
def claims(pool: asyncpg.Pool) -> Claims:
    return Claims(pool)


def resource(key: str) -> OperationId:
    return derive(Prefix.PAYMENT, client=CLIENT, mode=MODE, operation="createPayment", key=key)


async def claim(
    claims: Claims,
    key: str = "k",
    *,
    asked: bytes = b"a" * 32,
    operation: str = "createPayment",
    lease: float = LEASE_SECONDS,
    client: ClientId = CLIENT,
    mode: str = MODE,
) -> Outcome:
    return await claims.claim(client, mode, key, operation, asked, resource(key), lease)


async def claimed(claims: Claims, key: str = "k", *, asked: bytes = b"a" * 32, lease: float = LEASE_SECONDS) -> Claimed:
    mine = await claim(claims, key, asked=asked, lease=lease)
    assert isinstance(mine, Claimed), mine
    return mine


async def finish(claims: Claims, mine: Claimed, body: bytes = BODY, *, key: str = "k") -> StoredAnswer | None:
    return await claims.finish(CLIENT, MODE, key, mine.fence, 201, HEADERS, body)


async def test_of_many_requests_that_race_for_a_key_exactly_one_gets_it(claims: Claims) -> None:
    for number in range(ROUNDS):
        key = f"race-{number}"
        outcomes = await asyncio.gather(*(claim(claims, key) for _ in range(RACERS)))
        winners = [each for each in outcomes if isinstance(each, Claimed)]
        assert len(winners) == 1
        assert not winners[0].taken_over
        assert sum(isinstance(each, InFlight) for each in outcomes) == RACERS - 1


async def test_of_many_that_race_for_a_lapsed_claim_exactly_one_takes_it_over(claims: Claims) -> None:
    for number in range(ROUNDS):
        key = f"lapsed-{number}"
        dead = await claimed(claims, key, lease=0)
        outcomes = await asyncio.gather(*(claim(claims, key) for _ in range(RACERS)))
        winners = [each for each in outcomes if isinstance(each, Claimed)]
        assert len(winners) == 1
        assert winners[0].taken_over
        assert winners[0].fence != dead.fence
        assert await finish(claims, dead, b"zombie", key=key) is None
        assert isinstance(await claim(claims, key), InFlight)  # nothing was stored


async def test_a_request_that_races_with_the_release_of_its_key_is_answered(claims: Claims) -> None:
    for number in range(ROUNDS):
        key = f"freed-{number}"
        mine = await claimed(claims, key)
        *outcomes, _ = await asyncio.gather(
            claim(claims, key), claim(claims, key), claims.release(CLIENT, MODE, key, mine.fence)
        )
        assert sum(isinstance(each, Claimed) for each in outcomes) <= 1
        assert all(isinstance(each, Claimed | InFlight) for each in outcomes)


async def test_a_request_under_way_is_told_how_long_the_key_may_be_held(claims: Claims) -> None:
    await claimed(claims, lease=20)
    waiting = await claim(claims)
    assert isinstance(waiting, InFlight)
    assert 15 < waiting.retry_after_seconds <= 20


async def test_the_end_of_the_lease_is_told_in_unix_seconds_by_the_databases_clock(
    claims: Claims, pool: asyncpg.Pool
) -> None:
    before = await pool.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
    mine = await claimed(claims, lease=20)
    assert before + 20 <= mine.lease_until <= before + 20 + 5
    assert abs(mine.created_at.timestamp() - before) < 5
    assert abs(mine.lease_until - 20 - time.time()) < 5  # one machine: the clocks are the same


async def test_a_takeover_keeps_the_time_of_the_first_claim(claims: Claims) -> None:
    dead = await claimed(claims, lease=0)
    heir = await claimed(claims)
    assert heir.taken_over
    assert heir.created_at == dead.created_at


async def test_a_repetition_gets_the_stored_answer_byte_for_byte(claims: Claims) -> None:
    assert await finish(claims, await claimed(claims)) is None
    for _ in range(2):
        assert await claim(claims) == StoredAnswer(status=201, headers=HEADERS, body=BODY)


async def test_an_answer_may_be_empty(claims: Claims) -> None:
    assert await finish(claims, await claimed(claims), b"") is None
    assert await claim(claims) == StoredAnswer(status=201, headers=HEADERS, body=b"")


async def test_a_key_that_was_used_for_another_request_is_told_so_and_shows_nothing(claims: Claims) -> None:
    mine = await claimed(claims)
    for _ in ("while it is open", "when it is answered"):
        assert await claim(claims, asked=b"b" * 32) == Mismatch()
        assert await claim(claims, operation="createPayout") == Mismatch()
        await finish(claims, mine)


async def test_another_request_does_not_take_a_lapsed_claim_over(claims: Claims) -> None:
    await claimed(claims, lease=0)
    assert await claim(claims, asked=b"b" * 32) == Mismatch()
    assert (await claimed(claims)).taken_over


async def test_keys_are_apart_by_client_and_by_mode(claims: Claims) -> None:
    await claimed(claims)
    assert isinstance(await claim(claims, client=ClientId("other"), asked=b"b" * 32), Claimed)
    assert isinstance(await claim(claims, mode="live", asked=b"b" * 32), Claimed)


async def test_an_owner_whose_lease_has_ended_may_answer_while_nobody_has_taken_over(claims: Claims) -> None:
    late = await claimed(claims, lease=0)
    assert await finish(claims, late) is None
    assert await claim(claims) == StoredAnswer(status=201, headers=HEADERS, body=BODY)


async def test_an_owner_who_was_overtaken_gets_the_answer_that_was_given_instead_of_its_own(claims: Claims) -> None:
    frozen = await claimed(claims, lease=0)
    heir = await claimed(claims)
    await finish(claims, heir, b"the heir's")
    assert await finish(claims, frozen, b"the frozen one's") == StoredAnswer(
        status=201, headers=HEADERS, body=b"the heir's"
    )


async def test_an_answer_is_never_stored_over_another(claims: Claims) -> None:
    mine = await claimed(claims)
    await finish(claims, mine, b"first")
    again = await finish(claims, mine, b"second")
    assert again == StoredAnswer(status=201, headers=HEADERS, body=b"first")


async def test_a_released_key_is_free_for_any_request(claims: Claims) -> None:
    mine = await claimed(claims)
    await claims.release(CLIENT, MODE, "k", mine.fence)
    assert not (await claimed(claims, asked=b"b" * 32)).taken_over


async def test_an_overtaken_owner_frees_nothing(claims: Claims) -> None:
    frozen = await claimed(claims, lease=0)
    await claimed(claims)
    await claims.release(CLIENT, MODE, "k", frozen.fence)
    assert isinstance(await claim(claims), InFlight)


async def test_an_answered_key_is_not_freed(claims: Claims) -> None:
    mine = await claimed(claims)
    await finish(claims, mine)
    await claims.release(CLIENT, MODE, "k", mine.fence)
    assert isinstance(await claim(claims), StoredAnswer)


async def test_a_frozen_owner_does_not_answer_a_key_that_was_freed_and_claimed_afresh(claims: Claims) -> None:
    frozen = await claimed(claims, lease=0)
    heir = await claimed(claims)
    await claims.release(CLIENT, MODE, "k", heir.fence)
    other = b"b" * 32
    await claimed(claims, asked=other)
    await finish(claims, frozen, b"of another request")
    await claims.release(CLIENT, MODE, "k", frozen.fence)
    assert isinstance(await claim(claims, asked=other), InFlight)


async def test_expired_claims_go_a_chunk_at_a_time_and_those_under_way_stay(
    claims: Claims, admin_pool: asyncpg.Pool
) -> None:
    for number in range(5):
        await finish(claims, await claimed(claims, f"old-{number}"), key=f"old-{number}")
    await claimed(claims, "given up", lease=0)
    await claimed(claims, "under way")
    await admin_pool.execute("UPDATE records.claim SET expires_at = clock_timestamp() - interval '1 second'")
    await finish(claims, await claimed(claims, "fresh"), key="fresh")
    assert [await claims.purge(4), await claims.purge(4), await claims.purge(4)] == [4, 2, 0]
    assert isinstance(await claim(claims, "under way"), InFlight)
    assert isinstance(await claim(claims, "fresh"), StoredAnswer)
    assert not (await claimed(claims, "old-0")).taken_over


async def test_an_answer_is_kept_for_thirty_days(claims: Claims, pool: asyncpg.Pool) -> None:
    await claimed(claims)
    kept: timedelta = await pool.fetchval("SELECT expires_at - created_at FROM records.claim")
    assert abs(kept - timedelta(days=30)) < timedelta(seconds=1)


async def test_claims_that_nobody_answers_are_listed_when_their_lease_ended_long_enough_ago(claims: Claims) -> None:
    await claimed(claims, "dead", lease=-60)
    await claimed(claims, "just lapsed", lease=0)
    await claimed(claims, "under way")
    await finish(claims, await claimed(claims, "answered", lease=-60), key="answered")
    assert await claims.unanswered(timedelta(seconds=45)) == [resource("dead")]
    assert await claims.unanswered(timedelta(0), most=1) == [resource("dead")]


async def test_a_key_of_the_greatest_length_is_kept(claims: Claims) -> None:
    key = secrets.token_hex(128)[:255]
    await finish(claims, await claimed(claims, key), key=key)
    assert isinstance(await claim(claims, key), StoredAnswer)
