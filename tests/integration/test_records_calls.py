"""The call journal on the real database: which calls may be made, and that nothing written in it changes (money rule 5)."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from domain.ids import Prefix, Reference, Verb, derive, effect_reference
from domain.money import Money
from domain.outcomes import DONE, Answer, Found, Outcome, refused
from records.calls import CallJournal, Differs, Go, Known, Withheld

PAYMENT = derive(Prefix.PAYMENT, client="shop", mode="test", operation="createPayment", key="k")
EFFECT = effect_reference(PAYMENT, Verb.AUTHORIZE, 1)
PROVIDER = "simulator"
RUN = f"payment/{PAYMENT}"
CONTENT, OTHER = b"a" * 32, b"b" * 32
RACERS = 32

EFFECTS = (Verb.AUTHORIZE, Verb.CAPTURE, Verb.INCREMENT, Verb.REFUND, Verb.PAY_OUT)
NEVER_WITHHELD = (Verb.VOID, "inquire")


@pytest.fixture
def calls(pool: asyncpg.Pool) -> CallJournal:
    return CallJournal(pool)


async def begin(
    calls: CallJournal, verb: str = Verb.AUTHORIZE, *, content: bytes = CONTENT, provider: str = PROVIDER
) -> Go | Known | Withheld | Differs:
    return await calls.begin(provider, EFFECT, verb, content, RUN)


async def answered(calls: CallJournal, answer: Answer, verb: str = Verb.AUTHORIZE) -> None:
    """Make a call that is answered so."""
    gate = await begin(calls, verb)
    assert isinstance(gate, Go), gate
    await calls.complete(PROVIDER, EFFECT, verb, gate.number, answer, 0.01)


async def test_the_first_send_of_an_effect_may_be_made(calls: CallJournal) -> None:
    for verb in EFFECTS:
        assert await begin(calls, verb) == Go(1)


@pytest.mark.parametrize(
    "final",
    [
        DONE,
        Answer(
            outcome=Outcome.DONE,
            provider_id="ch_1",
            expires_seconds=0.1 + 0.2,
            found=Found(kind="capture", money=Money(2**53 + 1, "JPY"), provider_id="ch_2"),
        ),
        Answer(outcome=Outcome.REFUSED, reason="do_not_honour “Süß”", provider_id="ch_1"),
    ],
    ids=["done", "done with all there is to say", "refused"],
)
async def test_a_final_answer_is_given_again_without_a_call(calls: CallJournal, final: Answer) -> None:
    await answered(calls, final)
    for _ in range(2):
        assert await begin(calls) == Known(final)


async def test_what_certainly_had_no_effect_may_be_sent_again_until_it_had_one(calls: CallJournal) -> None:
    for _ in range(3):
        await answered(calls, Answer(outcome=Outcome.UNAVAILABLE, reason="connection refused"))
    assert await begin(calls) == Go(4)
    await calls.complete(PROVIDER, EFFECT, Verb.AUTHORIZE, 4, DONE, 0.01)
    assert await begin(calls) == Known(DONE)


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.PENDING, Outcome.CONFLICT])
async def test_what_may_have_happened_is_withheld(calls: CallJournal, outcome: Outcome) -> None:
    await answered(calls, Answer(outcome=outcome))
    assert isinstance(await begin(calls), Withheld)


async def test_a_call_whose_answer_was_never_noted_is_withheld_since_it_was_sent(calls: CallJournal) -> None:
    before = datetime.now(UTC)
    await begin(calls)
    await asyncio.sleep(0.05)
    gate = await begin(calls)
    assert isinstance(gate, Withheld)
    assert before - timedelta(seconds=1) <= gate.since < datetime.now(UTC) - timedelta(seconds=0.05)


@pytest.mark.parametrize(
    "said", [None, DONE, refused("declined"), Answer(outcome=Outcome.UNAVAILABLE), Answer(outcome=Outcome.UNKNOWN)]
)
async def test_the_same_reference_with_other_content_differs_whatever_was_answered(
    calls: CallJournal, said: Answer | None
) -> None:
    if said is None:
        await begin(calls)
    else:
        await answered(calls, said)
    assert await begin(calls, content=OTHER) == Differs()
    assert await begin(calls, content=CONTENT) != Differs()


@pytest.mark.parametrize("verb", NEVER_WITHHELD)
async def test_undos_and_inquiries_are_journalled_and_never_withheld(
    calls: CallJournal, pool: asyncpg.Pool, verb: str
) -> None:
    assert await begin(calls, verb) == Go(1)  # whose answer is lost
    for outcome in Outcome:
        await answered(calls, Answer(outcome=outcome), verb)
    assert await begin(calls, verb, content=OTHER) == Go(len(Outcome) + 2)
    assert await pool.fetchval("SELECT count(*) FROM records.call WHERE verb = $1", verb) == len(Outcome) + 2


async def test_an_inquiry_frees_no_effect_and_holds_none_up(calls: CallJournal) -> None:
    await answered(calls, Answer(outcome=Outcome.UNKNOWN))
    await answered(calls, Answer(outcome=Outcome.UNAVAILABLE), "inquire")
    assert isinstance(await begin(calls), Withheld)
    assert await begin(calls, provider="northbank") == Go(1)  # another provider's journal is another one


async def test_of_many_that_would_send_one_effect_exactly_one_may(calls: CallJournal) -> None:
    for number in range(1, 4):
        gates = await asyncio.gather(*(begin(calls) for _ in range(RACERS)))
        assert gates.count(Go(number)) == 1
        assert sum(isinstance(each, Withheld) for each in gates) == RACERS - 1
        await calls.complete(PROVIDER, EFFECT, Verb.AUTHORIZE, number, Answer(outcome=Outcome.UNAVAILABLE), 0.01)


async def test_inquiries_at_the_same_moment_have_rows_of_their_own(calls: CallJournal) -> None:
    gates = await asyncio.gather(*(begin(calls, "inquire") for _ in range(RACERS)))
    assert {each.number for each in gates if isinstance(each, Go)} == set(range(1, RACERS + 1))


async def test_the_run_that_a_reference_was_sent_for_is_known(calls: CallJournal) -> None:
    await begin(calls)
    assert await calls.run_of(PROVIDER, EFFECT) == RUN
    assert await calls.run_of("northbank", EFFECT) is None
    assert await calls.run_of(PROVIDER, Reference("pay_unheard_of.a1")) is None


async def test_a_call_is_completed_once_and_only_if_it_was_begun(calls: CallJournal) -> None:
    await answered(calls, refused("declined"))
    with pytest.raises(asyncpg.RestrictViolationError):
        await calls.complete(PROVIDER, EFFECT, Verb.AUTHORIZE, 1, DONE, 0.01)
    with pytest.raises(AssertionError, match="never begun"):
        await calls.complete(PROVIDER, EFFECT, Verb.AUTHORIZE, 2, DONE, 0.01)
    assert await begin(calls) == Known(refused("declined"))


async def test_nobody_rewrites_or_removes_a_call_not_even_a_superuser(
    calls: CallJournal, pool: asyncpg.Pool, admin_pool: asyncpg.Pool
) -> None:
    await answered(calls, DONE)
    await begin(calls, Verb.CAPTURE)  # open
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
