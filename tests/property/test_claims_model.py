"""Claims beside an independent table of them: whatever is done in whatever order, both say the same.

A lease is either over at once (its owner has died or is frozen) or outlives the test, so that no clock is waited for.
Few keys and requests are drawn, so that repetitions, takeovers and late owners are common.
"""

import itertools
from dataclasses import dataclass, field

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.ids import ClientId, OperationId
from records.claims import Claimed, Claims, InFlight, Mismatch, StoredAnswer

EXAMPLES = 150  # some seconds on a small machine; the fence that is used again is found within thirty
CLIENT, MODE = ClientId("shop"), "test"
NUMBERS = itertools.count(1)
EXPIRE = "UPDATE records.claim SET expires_at = clock_timestamp() - interval '1 second'"


@dataclass(frozen=True)
class Event:
    """One thing that happens to a key; `owner` counts back from the latest claim of any key."""

    kind: str
    asked: int
    is_dead: bool
    owner: int


EVENTS = st.builds(
    Event,
    kind=st.sampled_from(["claim", "claim", "finish", "release", "purge"]),
    asked=st.integers(0, 1),
    is_dead=st.booleans(),
    owner=st.integers(1, 3),
)


@dataclass(frozen=True)
class Owner:
    """Somebody who was told that the key is its own. `number` is the model's own count, never the database's fence."""

    number: int
    asked: int
    is_dead: bool
    claimed: Claimed


@dataclass
class Table:
    """One key as it should be: who has it, and what was answered."""

    owner: Owner | None = None
    answer: bytes | None = None
    owners: list[Owner] = field(default_factory=list[Owner])

    def expected(self, asked: int) -> str:
        """What a claim should be told."""
        if self.owner is None:
            return "claimed"
        if self.owner.asked != asked:
            return "mismatch"
        if self.answer is not None:
            return "replay"
        return "taken over" if self.owner.is_dead else "in flight"

    def is_held_by(self, owner: Owner) -> bool:
        return self.owner is owner and self.answer is None

    def free(self) -> None:
        self.owner, self.answer = None, None


@pytest.fixture
def claims(pool: asyncpg.Pool) -> Claims:
    return Claims(pool)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(events=st.lists(EVENTS, min_size=4, max_size=20))
async def test_whatever_happens_to_a_key_the_claims_and_an_independent_table_agree(
    claims: Claims, pool: asyncpg.Pool, events: list[Event]
) -> None:
    key, table = f"key-{next(NUMBERS)}", Table()
    for event in events:
        match event.kind:
            case "claim":
                await _claim(claims, key, table, event)
            case "purge":
                await pool.execute(EXPIRE)
                await claims.purge()
                if table.owner and (table.answer is not None or table.owner.is_dead):
                    table.free()
            case _ if len(table.owners) >= event.owner:
                act = _finish if event.kind == "finish" else _release
                await act(claims, key, table, table.owners[-event.owner])
            case _:
                pass


async def _claim(claims: Claims, key: str, table: Table, event: Event) -> None:
    asked = bytes([event.asked]) * 32
    lease = 0.0 if event.is_dead else 3600.0
    told = await claims.claim(CLIENT, MODE, key, "createPayment", asked, OperationId("pay_1"), lease)
    expected = table.expected(event.asked)
    match told:
        case Claimed():
            assert expected == ("taken over" if told.taken_over else "claimed")
            assert all(told.fence != earlier.claimed.fence for earlier in table.owners)
            table.owner = Owner(len(table.owners), event.asked, event.is_dead, told)
            table.owners.append(table.owner)
        case StoredAnswer():
            assert (expected, told.body) == ("replay", table.answer)
        case InFlight():
            assert expected == "in flight"
        case Mismatch():
            assert expected == "mismatch"


async def _finish(claims: Claims, key: str, table: Table, owner: Owner) -> None:
    said = f"the answer of owner {owner.number}".encode()
    instead = await claims.finish(CLIENT, MODE, key, owner.claimed.fence, 201, {}, said)
    if table.is_held_by(owner):
        assert instead is None
        table.answer = said
    else:
        assert (instead.body if instead else None) == table.answer


async def _release(claims: Claims, key: str, table: Table, owner: Owner) -> None:
    await claims.release(CLIENT, MODE, key, owner.claimed.fence)
    if table.is_held_by(owner):
        table.free()
