"""What Holdfast relies on of every provider's adapter. A new provider is done when this folder is green for it."""

from dataclasses import replace

import pytest

from adapters.wire import Untrusted
from domain.commands import Effect, Inquiry
from domain.errors import Conflict, Unavailable, Unknown
from domain.ids import Prefix, Reference, Verb, derive, effect_reference
from domain.money import Money
from domain.outcomes import Answer, DisputeStage, Found, Outcome
from tests.conformance.stand import Fault, Stand

EUR = Money(10_050, "EUR")
EFFECTS = (Verb.AUTHORIZE, Verb.CAPTURE, Verb.VOID, Verb.REFUND, Verb.PAY_OUT, Verb.INCREMENT, Verb.RECALL)
MOVING = tuple(verb for verb in EFFECTS if verb is not Verb.VOID)
DECIDED_LATER = (Verb.AUTHORIZE, Verb.CAPTURE, Verb.REFUND, Verb.INCREMENT, Verb.RECALL)
PREFIXES = {
    Verb.AUTHORIZE: Prefix.PAYMENT,
    Verb.CAPTURE: Prefix.CAPTURE,
    Verb.VOID: Prefix.PAYMENT,
    Verb.REFUND: Prefix.REFUND,
    Verb.PAY_OUT: Prefix.PAYOUT,
    Verb.INCREMENT: Prefix.INCREMENT,
    Verb.RECALL: Prefix.PAYOUT,
}


def reference(verb: Verb, key: str = "1") -> Reference:
    return effect_reference(derive(PREFIXES[verb], client="suite", mode="test", operation=verb, key=key), verb, 1)


def effect_of(stand: Stand, verb: Verb, money: Money = EUR, key: str = "1") -> Effect:
    """An effect that acts upon the authorization, or the payout, named by our reference alone."""
    instruments = {Verb.AUTHORIZE: stand.means.approved, Verb.PAY_OUT: stand.means.reached}
    acted_upon = Verb.PAY_OUT if verb is Verb.RECALL else Verb.AUTHORIZE
    return Effect(
        reference=reference(verb, key),
        on=Reference("") if verb in instruments else reference(acted_upon),
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
        Verb.INCREMENT: port.increment,
        Verb.RECALL: port.recall,
    }
    return await calls[verb](effect or effect_of(stand, verb))


async def inquire(stand: Stand, verb: Verb, on: Reference | None = None) -> Answer | None:
    return await stand.port.inquire(Inquiry(on=on or reference(verb), provider=stand.profile.name, verb=verb))


async def asked(stand: Stand, verb: Verb, on: Reference | None = None) -> Answer:
    """Inquire about what they have."""
    found = await inquire(stand, verb, on)
    assert found is not None
    return found


async def pay_out_slowly(stand: Stand, money: Money = EUR) -> None:
    """Put a payout on a way that is long enough to be called back."""
    slow = replace(effect_of(stand, Verb.PAY_OUT, money), instrument=stand.means.on_its_way)
    assert (await perform(stand, Verb.PAY_OUT, slow)).outcome is Outcome.DONE


async def prepare(stand: Stand, verb: Verb) -> None:
    """Bring about what an operation stands upon."""
    if verb in {Verb.CAPTURE, Verb.VOID, Verb.REFUND, Verb.INCREMENT}:
        assert (await perform(stand, Verb.AUTHORIZE)).outcome is Outcome.DONE
    if verb is Verb.REFUND:
        assert (await perform(stand, Verb.CAPTURE)).outcome is Outcome.DONE
    if verb is Verb.RECALL:
        await pay_out_slowly(stand)


@pytest.mark.parametrize("verb", EFFECTS)
async def test_an_effect_is_done_and_inquiry_says_the_same(stand: Stand, verb: Verb) -> None:
    await prepare(stand, verb)
    answer = await perform(stand, verb)
    assert answer.outcome is Outcome.DONE
    assert answer.provider_id
    found = await asked(stand, verb)
    assert (found.outcome, found.provider_id) == (Outcome.DONE, answer.provider_id)


@pytest.mark.parametrize(
    "money", [Money(1, "EUR"), Money(500, "JPY"), Money(1234, "KWD"), Money(10**12, "USD")], ids=str
)
async def test_amounts_reach_the_provider_exactly_in_every_exponent(stand: Stand, money: Money) -> None:
    for verb in (Verb.AUTHORIZE, Verb.INCREMENT, Verb.CAPTURE, Verb.REFUND):
        if verb in stand.profile.operations:
            answer = await perform(stand, verb, effect_of(stand, verb, money))
            assert answer.outcome is Outcome.DONE  # any other amount in the answer is a conflict
    await pay_out_slowly(stand, money)
    if Verb.RECALL in stand.profile.operations:
        assert (await perform(stand, Verb.RECALL, effect_of(stand, Verb.RECALL, money))).outcome is Outcome.DONE


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
    found = await asked(stand, verb)
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
    found = await asked(stand, verb)
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
    found = await asked(stand, verb)
    assert found.outcome is Outcome.PENDING
    await stand.pass_time(5)
    found = await asked(stand, verb)
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
    assert not answer.soft


async def test_a_soft_decline_says_that_another_provider_may_take_it(stand: Stand) -> None:
    declined = replace(effect_of(stand, Verb.AUTHORIZE), instrument=stand.means.declined_softly)
    answer = await perform(stand, Verb.AUTHORIZE, declined)
    assert (answer.outcome, answer.soft) == (Outcome.REFUSED, True)
    assert await inquire(stand, Verb.AUTHORIZE) == answer


async def test_more_than_is_left_can_be_neither_captured_nor_refunded(stand: Stand) -> None:
    await prepare(stand, Verb.CAPTURE)
    more = Money(EUR.minor + 1, "EUR")
    assert (await perform(stand, Verb.CAPTURE, effect_of(stand, Verb.CAPTURE, more, "2"))).outcome is Outcome.REFUSED
    await perform(stand, Verb.CAPTURE)
    assert (await perform(stand, Verb.REFUND, effect_of(stand, Verb.REFUND, more, "2"))).outcome is Outcome.REFUSED


@pytest.mark.parametrize("verb", [Verb.CAPTURE, Verb.REFUND, Verb.INCREMENT])
async def test_the_authorization_may_be_named_by_the_providers_own_id(stand: Stand, verb: Verb) -> None:
    authorized = await perform(stand, Verb.AUTHORIZE)
    if verb is Verb.REFUND:
        await perform(stand, Verb.CAPTURE)
    known = replace(effect_of(stand, verb), provider_id=authorized.provider_id)
    assert (await perform(stand, verb, known)).outcome is Outcome.DONE


@pytest.mark.parametrize("verb", [Verb.CAPTURE, Verb.REFUND, Verb.INCREMENT, Verb.RECALL])
async def test_acting_upon_what_is_not_there_is_refused(stand: Stand, verb: Verb) -> None:
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


# Challenges


async def challenge(stand: Stand) -> Answer:
    return await perform(
        stand, Verb.AUTHORIZE, replace(effect_of(stand, Verb.AUTHORIZE), instrument=stand.means.challenged)
    )


async def test_a_challenge_is_pending_and_says_where_the_payer_goes(stand: Stand) -> None:
    answer = await challenge(stand)
    assert answer.outcome is Outcome.PENDING
    assert answer.challenge.startswith(("http://", "https://"))
    assert await asked(stand, Verb.AUTHORIZE) == answer  # so that it can be told again where the answer was lost


@pytest.mark.parametrize(("passed", "outcome"), [(True, Outcome.DONE), (False, Outcome.REFUSED)])
async def test_a_challenge_ends_by_what_the_payer_does_and_a_webhook_tells_it(
    stand: Stand, passed: bool, outcome: Outcome
) -> None:
    await challenge(stand)
    await stand.end_challenge(reference(Verb.AUTHORIZE), passed=passed)
    found = await asked(stand, Verb.AUTHORIZE)
    assert (found.outcome, found.challenge) == (outcome, "")
    told = [(on, answer.outcome) for on, answer in await stand.told()]
    assert told == [(reference(Verb.AUTHORIZE), Outcome.PENDING), (reference(Verb.AUTHORIZE), outcome)]


async def test_a_challenge_that_is_abandoned_ends_with_a_void(stand: Stand) -> None:
    await challenge(stand)
    assert (await perform(stand, Verb.VOID)).outcome is Outcome.DONE
    assert (await asked(stand, Verb.AUTHORIZE)).outcome is Outcome.REFUSED


# Increments


@pytest.mark.parametrize("verb", [Verb.INCREMENT])
async def test_an_increment_can_be_captured_with_what_it_raised(stand: Stand, verb: Verb) -> None:
    await prepare(stand, verb)
    await perform(stand, verb, effect_of(stand, verb, Money(50, "EUR")))
    more, all_of_it = Money(EUR.minor + 51, "EUR"), Money(EUR.minor + 50, "EUR")
    assert (await perform(stand, Verb.CAPTURE, effect_of(stand, Verb.CAPTURE, more, "2"))).outcome is Outcome.REFUSED
    captured = await perform(stand, Verb.CAPTURE, effect_of(stand, Verb.CAPTURE, all_of_it))
    assert captured.outcome is Outcome.DONE


@pytest.mark.parametrize("verb", [Verb.INCREMENT])
async def test_a_void_gives_an_increment_up_too_and_what_is_voided_is_not_raised(stand: Stand, verb: Verb) -> None:
    await prepare(stand, verb)
    await perform(stand, verb)
    assert (await perform(stand, Verb.VOID)).outcome is Outcome.DONE
    assert (await perform(stand, Verb.CAPTURE)).outcome is Outcome.REFUSED
    assert (await perform(stand, verb, effect_of(stand, verb, key="2"))).outcome is Outcome.REFUSED


# Payouts


async def test_a_payout_is_accepted_first_and_arrives_later(stand: Stand) -> None:
    assert (await perform(stand, Verb.PAY_OUT)).outcome is Outcome.DONE
    await stand.pass_time(60)
    assert (await asked(stand, Verb.ARRIVE, reference(Verb.PAY_OUT))).outcome is Outcome.DONE


async def test_a_payout_that_comes_back_was_accepted_and_has_not_arrived(stand: Stand) -> None:
    await perform(stand, Verb.PAY_OUT, replace(effect_of(stand, Verb.PAY_OUT), instrument=stand.means.bounced))
    await stand.pass_time(60)
    assert (await asked(stand, Verb.PAY_OUT)).outcome is Outcome.DONE
    arrival = await asked(stand, Verb.ARRIVE, reference(Verb.PAY_OUT))
    assert arrival.outcome is Outcome.REFUSED
    assert arrival.reason not in {"", "declined"}


async def test_a_payout_that_is_returned_after_it_arrived_is_told_under_an_id_of_its_own(stand: Stand) -> None:
    accepted = await perform(stand, Verb.PAY_OUT)
    await stand.pass_time(60)
    await stand.take_back(reference(Verb.PAY_OUT))
    assert (await asked(stand, Verb.PAY_OUT)).outcome is Outcome.DONE
    arrival = await asked(stand, Verb.ARRIVE, reference(Verb.PAY_OUT))
    assert arrival.outcome is Outcome.REFUSED
    assert arrival.provider_id not in {"", accepted.provider_id}
    told = [answer for on, answer in await stand.told() if on == f"{reference(Verb.PAY_OUT)}/arrival"]
    assert [answer.outcome for answer in told] == [Outcome.DONE, Outcome.REFUSED]
    assert told[-1] == arrival


@pytest.mark.parametrize("verb", [Verb.RECALL])
async def test_a_payout_that_is_recalled_does_not_arrive_and_says_why(stand: Stand, verb: Verb) -> None:
    await prepare(stand, verb)
    assert (await perform(stand, verb)).outcome is Outcome.DONE
    await stand.pass_time(7 * 86_400)
    assert (await asked(stand, Verb.PAY_OUT)).outcome is Outcome.DONE
    arrival = await asked(stand, Verb.ARRIVE, reference(Verb.PAY_OUT))
    assert (arrival.outcome, arrival.reason) == (Outcome.REFUSED, "recalled")
    assert (f"{reference(Verb.PAY_OUT)}/arrival", arrival) in await stand.told()


@pytest.mark.parametrize("verb", [Verb.RECALL])
async def test_a_payout_that_has_arrived_is_not_recalled(stand: Stand, verb: Verb) -> None:
    await perform(stand, Verb.PAY_OUT)
    await stand.pass_time(60)
    recall = await perform(stand, verb)
    assert recall.outcome is Outcome.REFUSED
    assert recall.reason not in {"", "declined"}
    assert (await asked(stand, Verb.ARRIVE, reference(Verb.PAY_OUT))).outcome is Outcome.DONE


# What is taken back


@pytest.mark.parametrize("verb", [Verb.CAPTURE, Verb.REFUND])
async def test_what_fails_after_it_was_done_is_refused_from_then_on_and_a_webhook_tells_it(
    stand: Stand, verb: Verb
) -> None:
    await prepare(stand, verb)
    assert (await perform(stand, verb)).outcome is Outcome.DONE
    await stand.take_back(reference(verb))
    found = await asked(stand, verb)
    assert found.outcome is Outcome.REFUSED
    assert found.reason not in {"", "declined"}
    told = [answer for on, answer in await stand.told() if on == reference(verb)]
    assert [answer.outcome for answer in told] == [Outcome.DONE, Outcome.REFUSED]
    assert told[-1] == found


async def test_a_dispute_is_told_step_by_step_each_under_a_key_of_its_own(stand: Stand) -> None:
    await prepare(stand, Verb.REFUND)
    disputed = Money(4_000, "EUR")
    dispute = await stand.dispute(reference(Verb.CAPTURE), disputed)
    way = [DisputeStage.WITHDRAWN, DisputeStage.WON, DisputeStage.WITHDRAWN, DisputeStage.LOST]
    for stage in way:
        await stand.move_dispute(dispute, stage)
        await stand.news()  # one after the other: order is not promised
    news = await stand.news()
    assert [each.stage for each in news] == [DisputeStage.OPENED, *way]
    assert {(each.dispute, each.on, each.money) for each in news} == {(dispute, reference(Verb.CAPTURE), disputed)}
    assert len({each.key for each in news}) == len({each.source for each in news}) == len(news)
    assert all(each.evidence_due and each.reason for each in news)


async def test_a_dispute_is_no_answer_to_what_it_disputes(stand: Stand) -> None:
    await prepare(stand, Verb.REFUND)
    await stand.dispute(reference(Verb.CAPTURE), EUR)
    assert (await asked(stand, Verb.CAPTURE)).outcome is Outcome.DONE
    assert [answer.outcome for on, answer in await stand.told() if on == reference(Verb.CAPTURE)] == [Outcome.DONE]


# Webhooks, inquiries, credentials


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
    found = await asked(stand, verb)
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
