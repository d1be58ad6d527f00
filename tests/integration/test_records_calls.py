"""The call journal on the real database: which calls may be made, and that no answer changes (money rule 5)."""

import asyncio
import itertools
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
import pytest_asyncio

from domain.ids import Prefix, Reference, Verb, derive, effect_reference
from domain.money import MINOR_MAX, Money
from domain.outcomes import DONE, Answer, Found, Outcome, refused
from records.calls import CallJournal, Differs, Go, Known, Withheld
from tests.support.cluster import Database, TestCluster

PROVIDER = "simulator"
CONTENT, OTHER = b"a" * 32, b"b" * 32
RACERS = 32
NUMBERS = itertools.count(1)

EFFECTS = (Verb.AUTHORIZE, Verb.CAPTURE, Verb.INCREMENT, Verb.REFUND, Verb.PAY_OUT)
NEVER_WITHHELD = (Verb.VOID, "inquire")


@dataclass(frozen=True)
class Calls:
    """The calls under one reference."""

    journal: CallJournal
    reference: Reference
    run: str

    async def begin(
        self, verb: str = Verb.AUTHORIZE, *, content: bytes = CONTENT, provider: str = PROVIDER
    ) -> Go | Known | Withheld | Differs:
        return await self.journal.begin(provider, self.reference, verb, content, self.run)

    async def complete(self, number: int, answer: Answer, verb: str = Verb.AUTHORIZE) -> None:
        await self.journal.complete(PROVIDER, self.reference, verb, number, answer, 0.01)

    async def make(self, answer: Answer, verb: str = Verb.AUTHORIZE) -> None:
        """Make a call that is answered so."""
        gate = await self.begin(verb)
        assert isinstance(gate, Go), gate
        await self.complete(gate.number, answer, verb)


@pytest_asyncio.fixture(scope="module")
async def database(cluster: TestCluster) -> AsyncGenerator[Database]:
    """One database for all tests here: each has a reference of its own."""
    made = await cluster.create()
    yield made
    await cluster.drop(made)


@pytest.fixture
def calls(pool: asyncpg.Pool) -> Calls:
    payment = derive(Prefix.PAYMENT, client="shop", mode="test", operation="createPayment", key=f"{next(NUMBERS)}")
    return Calls(CallJournal(pool), effect_reference(payment, Verb.AUTHORIZE, 1), f"payment/{payment}")


async def test_the_first_send_of_an_effect_may_be_made(calls: Calls) -> None:
    for verb in EFFECTS:
        assert await calls.begin(verb) == Go(1)


@pytest.mark.parametrize(
    "final",
    [
        DONE,
        Answer(
            outcome=Outcome.DONE,
            provider_id="ch_1",
            expires_seconds=0.1 + 0.2,
            found=Found(kind="capture", money=Money(MINOR_MAX, "JPY"), provider_id="ch_2"),
        ),
        Answer(outcome=Outcome.REFUSED, reason="do_not_honour “Süß”", provider_id="ch_1"),
    ],
    ids=["done", "done with all there is to say", "refused"],
)
async def test_a_final_answer_is_given_again_without_a_call(calls: Calls, final: Answer) -> None:
    await calls.make(final)
    for _ in range(2):
        assert await calls.begin() == Known(final)


async def test_what_certainly_had_no_effect_may_be_sent_again_until_it_had_one(calls: Calls) -> None:
    for _ in range(3):
        await calls.make(Answer(outcome=Outcome.UNAVAILABLE, reason="connection refused"))
    assert await calls.begin() == Go(4)
    await calls.complete(4, DONE)
    assert await calls.begin() == Known(DONE)


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.PENDING, Outcome.CONFLICT])
async def test_what_may_have_happened_is_withheld(calls: Calls, outcome: Outcome) -> None:
    await calls.make(Answer(outcome=outcome))
    assert isinstance(await calls.begin(), Withheld)


async def test_a_call_whose_answer_was_never_noted_is_withheld_since_it_was_sent(calls: Calls) -> None:
    before = datetime.now(UTC)
    await calls.begin()
    await asyncio.sleep(0.05)
    gate = await calls.begin()
    assert isinstance(gate, Withheld)
    assert before - timedelta(seconds=1) <= gate.since < datetime.now(UTC) - timedelta(seconds=0.05)


@pytest.mark.parametrize(
    "said", [None, DONE, refused("declined"), Answer(outcome=Outcome.UNAVAILABLE), Answer(outcome=Outcome.UNKNOWN)]
)
async def test_the_same_reference_with_other_content_differs_whatever_was_answered(
    calls: Calls, said: Answer | None
) -> None:
    if said is None:
        await calls.begin()
    else:
        await calls.make(said)
    assert await calls.begin(content=OTHER) == Differs()
    assert await calls.begin(content=CONTENT) != Differs()


@pytest.mark.parametrize("verb", NEVER_WITHHELD)
async def test_undos_and_inquiries_are_journalled_and_never_withheld(
    calls: Calls, pool: asyncpg.Pool, verb: str
) -> None:
    assert await calls.begin(verb) == Go(1)  # whose answer is lost
    for outcome in Outcome:
        await calls.make(Answer(outcome=outcome), verb)
    assert await calls.begin(verb, content=OTHER) == Go(len(Outcome) + 2)
    assert (
        await pool.fetchval("SELECT count(*) FROM records.call WHERE reference = $1", calls.reference)
        == len(Outcome) + 2
    )


async def test_an_inquiry_frees_no_effect_and_holds_none_up(calls: Calls) -> None:
    await calls.make(Answer(outcome=Outcome.UNKNOWN))
    await calls.make(Answer(outcome=Outcome.UNAVAILABLE), "inquire")
    assert isinstance(await calls.begin(), Withheld)
    assert await calls.begin(provider="northbank") == Go(1)  # another provider's journal is another one


async def test_of_many_that_would_send_one_effect_exactly_one_may(calls: Calls) -> None:
    for number in range(1, 4):
        gates = await asyncio.gather(*(calls.begin() for _ in range(RACERS)))
        assert gates.count(Go(number)) == 1
        assert sum(isinstance(each, Withheld) for each in gates) == RACERS - 1
        await calls.complete(number, Answer(outcome=Outcome.UNAVAILABLE))


async def test_inquiries_at_the_same_moment_have_rows_of_their_own(calls: Calls) -> None:
    gates = await asyncio.gather(*(calls.begin("inquire") for _ in range(RACERS)))
    assert {each.number for each in gates if isinstance(each, Go)} == set(range(1, RACERS + 1))


async def test_the_run_that_a_reference_was_sent_for_is_known(calls: Calls) -> None:
    await calls.begin()
    assert await calls.journal.run_of(PROVIDER, calls.reference) == calls.run
    assert await calls.journal.run_of("northbank", calls.reference) is None
    assert await calls.journal.run_of(PROVIDER, Reference("pay_unheard_of.a1")) is None


async def test_a_call_is_completed_once_and_only_if_it_was_begun(calls: Calls) -> None:
    await calls.make(refused("declined"))
    with pytest.raises(asyncpg.RestrictViolationError):
        await calls.complete(1, DONE)
    with pytest.raises(AssertionError, match="never begun"):
        await calls.complete(2, DONE)
    assert await calls.begin() == Known(refused("declined"))


async def test_nobody_rewrites_or_removes_a_call_not_even_a_superuser(
    calls: Calls, pool: asyncpg.Pool, admin_pool: asyncpg.Pool
) -> None:
    await calls.make(DONE)
    await calls.begin(Verb.CAPTURE)  # open
    for change in (
        "UPDATE records.call SET outcome = 'refused' WHERE outcome IS NOT NULL",
        "UPDATE records.call SET outcome = NULL, answered_at = NULL WHERE outcome IS NOT NULL",
        "UPDATE records.call SET content = sha256('other')",
        "UPDATE records.call SET sent_at = sent_at - interval '1 day' WHERE outcome IS NULL",
        "UPDATE records.call SET run = 'payment/another' WHERE outcome IS NULL",
        "DELETE FROM records.call",
        "TRUNCATE records.call",
    ):
        with pytest.raises(asyncpg.RestrictViolationError):
            await admin_pool.execute(change)
        with pytest.raises((asyncpg.RestrictViolationError, asyncpg.InsufficientPrivilegeError)):
            await pool.execute(change)
