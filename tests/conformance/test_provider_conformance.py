"""What Holdfast relies on of every provider's adapter. A new provider is done when this folder is green for it."""

from dataclasses import replace

import pytest

from adapters.wire import Untrusted
from domain.commands import Effect, Inquiry
from domain.errors import Conflict, Unavailable, Unknown
from domain.ids import Prefix, Reference, Verb, derive, effect_reference
from domain.money import Money
from domain.outcomes import Answer, Found, Outcome
from tests.conformance.stand import Fault, Stand

EUR = Money(10_050, "EUR")
EFFECTS = (Verb.AUTHORIZE, Verb.CAPTURE, Verb.VOID, Verb.REFUND, Verb.PAY_OUT)
MOVING = (Verb.AUTHORIZE, Verb.CAPTURE, Verb.REFUND, Verb.PAY_OUT)
DECIDED_LATER = (Verb.AUTHORIZE, Verb.CAPTURE, Verb.REFUND)
PREFIXES = {
    Verb.AUTHORIZE: Prefix.PAYMENT,
    Verb.CAPTURE: Prefix.CAPTURE,
    Verb.VOID: Prefix.PAYMENT,
    Verb.REFUND: Prefix.REFUND,
    Verb.PAY_OUT: Prefix.PAYOUT,
}


def reference(verb: Verb, key: str = "1") -> Reference:
    return effect_reference(derive(PREFIXES[verb], client="suite", mode="test", operation=verb, key=key), verb, 1)


def effect_of(stand: Stand, verb: Verb, money: Money = EUR, key: str = "1") -> Effect:
    """An effect that acts upon the authorization named by our reference alone."""
    instruments = {Verb.AUTHORIZE: stand.means.approved, Verb.PAY_OUT: stand.means.reached}
    return Effect(
        reference=reference(verb, key),
        on=Reference("") if verb in instruments else reference(Verb.AUTHORIZE),
        provider=stand.profile.name,
        money=money,
        instrument=instruments.get(verb, ""),
    )


async def perform(stand: Stand, verb: Verb, effect: Effect | None = None) -> Answer:
    port = stand.port
    calls = {
        Verb.AUTHORIZE: port.authorize,
        Verb.CAPTURE: port.capture,
        Verb.VOID: port.void,
        Verb.REFUND: port.refund,
        Verb.PAY_OUT: port.pay_out,
    }
    return await calls[verb](effect or effect_of(stand, verb))


async def inquire(stand: Stand, verb: Verb, on: Reference | None = None) -> Answer | None:
    return await stand.port.inquire(Inquiry(on=on or reference(verb), provider=stand.profile.name, verb=verb))


async def prepare(stand: Stand, verb: Verb) -> None:
    """Bring about what an operation stands upon."""
    if verb in {Verb.CAPTURE, Verb.VOID, Verb.REFUND}:
        assert (await perform(stand, Verb.AUTHORIZE)).outcome is Outcome.DONE
    if verb is Verb.REFUND:
        assert (await perform(stand, Verb.CAPTURE)).outcome is Outcome.DONE


@pytest.mark.parametrize("verb", EFFECTS)
async def test_an_effect_is_done_and_inquiry_says_the_same(stand: Stand, verb: Verb) -> None:
    await prepare(stand, verb)
    answer = await perform(stand, verb)
    assert answer.outcome is Outcome.DONE
    assert answer.provider_id
    found = await inquire(stand, verb)
    assert found is not None
    assert (found.outcome, found.provider_id) == (Outcome.DONE, answer.provider_id)


@pytest.mark.parametrize(
    "money", [Money(1, "EUR"), Money(500, "JPY"), Money(1234, "KWD"), Money(10**12, "USD")], ids=str
)
async def test_amounts_reach_the_provider_exactly_in_every_exponent(stand: Stand, money: Money) -> None:
    for verb in (Verb.AUTHORIZE, Verb.CAPTURE, Verb.REFUND, Verb.PAY_OUT):
        answer = await perform(stand, verb, effect_of(stand, verb, money))
        assert answer.outcome is Outcome.DONE  # any other amount in the answer is a conflict


async def test_an_authorization_says_how_long_it_stands(stand: Stand) -> None:
    answer = await perform(stand, Verb.AUTHORIZE)
    assert answer.expires_seconds is not None
    assert answer.expires_seconds > 0


@pytest.mark.parametrize("verb", EFFECTS)
async def test_an_inquiry_about_what_was_never_asked_finds_nothing(stand: Stand, verb: Verb) -> None:
    assert await inquire(stand, verb) is None


@pytest.mark.parametrize("verb", EFFECTS)
async def test_the_same_reference_sent_again_gets_the_first_answer_and_moves_money_once(
    stand: Stand, verb: Verb
) -> None:
    await prepare(stand, verb)
    first, second = await perform(stand, verb), await perform(stand, verb)
    assert (second.outcome, second.provider_id) == (first.outcome, first.provider_id)
    if verb in MOVING:
        assert await stand.happened(reference(verb)) == 1


@pytest.mark.parametrize("verb", MOVING)
async def test_the_same_reference_with_another_amount_is_a_conflict(stand: Stand, verb: Verb) -> None:
    await prepare(stand, verb)
    await perform(stand, verb)
    with pytest.raises(Conflict):
        await perform(stand, verb, effect_of(stand, verb, Money(EUR.minor - 1, "EUR")))
    assert await stand.happened(reference(verb)) == 1


@pytest.mark.parametrize("verb", MOVING)
@pytest.mark.parametrize("fault", [Fault.LOST_AFTER, Fault.FAILS_AFTER, Fault.UNREADABLE, Fault.CUT])
async def test_an_effect_whose_answer_does_not_reach_us_is_unknown_and_inquiry_finds_it(
    stand: Stand, verb: Verb, fault: Fault
) -> None:
    await prepare(stand, verb)
    await stand.misbehave(verb, fault)
    with pytest.raises(Unknown):
        await perform(stand, verb)
    found = await inquire(stand, verb)
    assert found is not None
    assert found.outcome is Outcome.DONE
    assert await stand.happened(reference(verb)) == 1


@pytest.mark.parametrize("verb", MOVING)
async def test_a_call_that_was_lost_on_its_way_is_unknown_and_inquiry_finds_nothing(stand: Stand, verb: Verb) -> None:
    await prepare(stand, verb)
    await stand.misbehave(verb, Fault.LOST_BEFORE)
    with pytest.raises(Unknown):
        await perform(stand, verb)
    assert await inquire(stand, verb) is None
    assert await stand.happened(reference(verb)) == 0


@pytest.mark.parametrize("verb", MOVING)
async def test_a_late_effect_is_not_found_before_and_found_past_the_horizon(stand: Stand, verb: Verb) -> None:
    await prepare(stand, verb)
    await stand.misbehave(verb, Fault.LATE)
    with pytest.raises(Unknown):
        await perform(stand, verb)
    assert await inquire(stand, verb) is None
    assert stand.profile.horizon is not None
    await stand.pass_time(stand.profile.horizon.total_seconds())
    found = await inquire(stand, verb)
    assert found is not None
    assert found.outcome is Outcome.DONE


@pytest.mark.parametrize("verb", EFFECTS)
@pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.UNAVAILABLE])
async def test_not_now_is_unavailable_says_for_how_long_and_had_no_effect(
    stand: Stand, verb: Verb, fault: Fault
) -> None:
    await prepare(stand, verb)
    await stand.misbehave(verb, fault)
    with pytest.raises(Unavailable) as failure:
        await perform(stand, verb)
    assert failure.value.after_seconds is not None
    assert failure.value.after_seconds > 0
    assert await stand.happened(reference(verb)) == 0


@pytest.mark.parametrize("verb", MOVING)
async def test_an_answer_about_another_amount_is_a_conflict(stand: Stand, verb: Verb) -> None:
    await prepare(stand, verb)
    await stand.misbehave(verb, Fault.OTHER_AMOUNT)
    with pytest.raises(Conflict):
        await perform(stand, verb)


@pytest.mark.parametrize("verb", EFFECTS)
async def test_a_word_that_is_not_listed_is_unknown_and_shows_that_they_have_it(stand: Stand, verb: Verb) -> None:
    await prepare(stand, verb)
    await stand.misbehave(verb, Fault.UNLISTED)
    answer = await perform(stand, verb)
    assert answer.outcome is Outcome.UNKNOWN
    assert answer.shows_it


@pytest.mark.parametrize("verb", DECIDED_LATER)
async def test_what_is_decided_later_is_pending_and_then_done(stand: Stand, verb: Verb) -> None:
    await prepare(stand, verb)
    await stand.misbehave(verb, Fault.DECIDED_LATER)
    assert (await perform(stand, verb)).outcome is Outcome.PENDING
    found = await inquire(stand, verb)
    assert found is not None
    assert found.outcome is Outcome.PENDING
    await stand.pass_time(5)
    found = await inquire(stand, verb)
    assert found is not None
    assert found.outcome is Outcome.DONE


@pytest.mark.parametrize("verb", MOVING)
async def test_a_refusal_for_an_unlisted_reason_is_a_refusal_and_stays_one(stand: Stand, verb: Verb) -> None:
    await prepare(stand, verb)
    await stand.misbehave(verb, Fault.REFUSED)
    answer = await perform(stand, verb)
    assert (answer.outcome, answer.reason) == (Outcome.REFUSED, "declined")
    assert await inquire(stand, verb) == answer
    assert await stand.happened(reference(verb)) == 0


async def test_a_decline_names_its_reason(stand: Stand) -> None:
    declined = replace(effect_of(stand, Verb.AUTHORIZE), instrument=stand.means.declined)
    answer = await perform(stand, Verb.AUTHORIZE, declined)
    assert answer.outcome is Outcome.REFUSED
    assert answer.reason not in {"", "declined"}


async def test_more_than_is_left_can_be_neither_captured_nor_refunded(stand: Stand) -> None:
    await prepare(stand, Verb.CAPTURE)
    more = Money(EUR.minor + 1, "EUR")
    assert (await perform(stand, Verb.CAPTURE, effect_of(stand, Verb.CAPTURE, more, "2"))).outcome is Outcome.REFUSED
    await perform(stand, Verb.CAPTURE)
    assert (await perform(stand, Verb.REFUND, effect_of(stand, Verb.REFUND, more, "2"))).outcome is Outcome.REFUSED


@pytest.mark.parametrize("verb", [Verb.CAPTURE, Verb.REFUND])
async def test_the_authorization_may_be_named_by_the_providers_own_id(stand: Stand, verb: Verb) -> None:
    authorized = await perform(stand, Verb.AUTHORIZE)
    if verb is Verb.REFUND:
        await perform(stand, Verb.CAPTURE)
    known = replace(effect_of(stand, verb), provider_id=authorized.provider_id)
    assert (await perform(stand, verb, known)).outcome is Outcome.DONE


@pytest.mark.parametrize("verb", [Verb.CAPTURE, Verb.REFUND])
async def test_acting_upon_an_authorization_that_is_not_there_is_refused(stand: Stand, verb: Verb) -> None:
    assert (await perform(stand, verb)).outcome is Outcome.REFUSED


async def test_a_void_of_what_never_arrived_is_done_and_bars_it_for_ever(stand: Stand) -> None:
    assert (await perform(stand, Verb.VOID)).outcome is Outcome.DONE
    assert (await perform(stand, Verb.AUTHORIZE)).outcome is Outcome.REFUSED


async def test_a_void_of_a_declined_authorization_is_done(stand: Stand) -> None:
    await perform(stand, Verb.AUTHORIZE, replace(effect_of(stand, Verb.AUTHORIZE), instrument=stand.means.declined))
    assert (await perform(stand, Verb.VOID)).outcome is Outcome.DONE


async def test_a_second_void_of_the_same_authorization_is_done_too(stand: Stand) -> None:
    await prepare(stand, Verb.VOID)
    assert (await perform(stand, Verb.VOID)).outcome is Outcome.DONE
    assert (await perform(stand, Verb.VOID, effect_of(stand, Verb.VOID, key="2"))).outcome is Outcome.DONE


async def test_after_a_void_nothing_can_be_captured(stand: Stand) -> None:
    await prepare(stand, Verb.VOID)
    await perform(stand, Verb.VOID)
    assert (await perform(stand, Verb.CAPTURE)).outcome is Outcome.REFUSED


async def test_a_void_that_meets_a_full_capture_is_refused_and_tells_what_it_found(stand: Stand) -> None:
    await prepare(stand, Verb.REFUND)
    answer = await perform(stand, Verb.VOID)
    assert (answer.outcome, answer.reason) == (Outcome.REFUSED, "already_captured")
    assert answer.found is not None
    assert (answer.found.kind, answer.found.money) == ("captured", EUR)


async def test_a_void_of_the_rest_is_done_and_tells_what_is_captured(stand: Stand) -> None:
    await prepare(stand, Verb.CAPTURE)
    part = await perform(stand, Verb.CAPTURE, effect_of(stand, Verb.CAPTURE, Money(4_000, "EUR")))
    answer = await perform(stand, Verb.VOID)
    assert answer.outcome is Outcome.DONE
    assert answer.found == Found(kind="captured", money=Money(4_000, "EUR"), provider_id=part.provider_id)


async def test_a_void_while_a_capture_is_undecided_is_unknown_and_never_refused(stand: Stand) -> None:
    await prepare(stand, Verb.CAPTURE)
    await stand.misbehave(Verb.CAPTURE, Fault.DECIDED_LATER)
    await perform(stand, Verb.CAPTURE)
    with pytest.raises(Unknown):
        await perform(stand, Verb.VOID)


async def test_a_payout_is_accepted_first_and_arrives_later(stand: Stand) -> None:
    assert (await perform(stand, Verb.PAY_OUT)).outcome is Outcome.DONE
    await stand.pass_time(60)
    arrival = await inquire(stand, Verb.ARRIVE, reference(Verb.PAY_OUT))
    assert arrival is not None
    assert arrival.outcome is Outcome.DONE


async def test_a_payout_that_comes_back_was_accepted_and_has_not_arrived(stand: Stand) -> None:
    await perform(stand, Verb.PAY_OUT, replace(effect_of(stand, Verb.PAY_OUT), instrument=stand.means.returned))
    await stand.pass_time(60)
    accepted = await inquire(stand, Verb.PAY_OUT)
    arrival = await inquire(stand, Verb.ARRIVE, reference(Verb.PAY_OUT))
    assert accepted is not None
    assert arrival is not None
    assert (accepted.outcome, arrival.outcome) == (Outcome.DONE, Outcome.REFUSED)
    assert arrival.reason not in {"", "declined"}


@pytest.mark.parametrize("verb", EFFECTS)
async def test_credentials_that_they_do_not_know_page_the_owner_and_had_no_effect(stand: Stand, verb: Verb) -> None:
    with pytest.raises(Untrusted):
        await getattr(stand.stranger(), verb)(effect_of(stand, verb))
    assert await stand.happened(reference(verb)) == 0


@pytest.mark.parametrize("fault", [Fault.LOST_BEFORE, Fault.FAILS_AFTER, Fault.UNREADABLE, Fault.CUT])
async def test_an_inquiry_without_an_answer_is_unknown_and_never_nothing_found(stand: Stand, fault: Fault) -> None:
    await perform(stand, Verb.PAY_OUT)
    await stand.misbehave(Verb.ARRIVE, fault)
    with pytest.raises(Unknown):
        await inquire(stand, Verb.PAY_OUT)


@pytest.mark.parametrize("verb", EFFECTS)
async def test_a_webhook_says_what_inquiry_says(stand: Stand, verb: Verb) -> None:
    await prepare(stand, verb)
    await perform(stand, verb)
    told = [answer for on, answer in await stand.told() if on == reference(verb)]
    assert told
    found = await inquire(stand, verb)
    assert found is not None
    assert (told[-1].outcome, told[-1].provider_id) == (found.outcome, found.provider_id)


async def test_a_webhook_tells_of_an_arrival_apart_from_the_acceptance(stand: Stand) -> None:
    await perform(stand, Verb.PAY_OUT)
    await stand.pass_time(60)
    await inquire(stand, Verb.PAY_OUT)
    told = [(on, answer.outcome) for on, answer in await stand.told()]
    on = reference(Verb.PAY_OUT)
    assert told == [(on, Outcome.DONE), (f"{on}/arrival", Outcome.DONE)]


async def test_a_webhook_without_a_signature_of_theirs_is_refused(stand: Stand) -> None:
    assert stand.forged(b"{}", {})
