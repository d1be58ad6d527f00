"""The simulator's words, row by row: each listed phase, reason and fault, and that nothing else decides anything."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from adapters.providers.simulator import vocabulary as words
from adapters.wire import Reply
from domain.commands import Effect, Inquiry
from domain.errors import Conflict, Unknown
from domain.ids import Reference, Verb
from domain.money import Money
from domain.outcomes import Answer, Found, Outcome

REFERENCE = Reference("pay_1.x1")
MONEY = Money(1050, "EUR")
EFFECT = Effect(reference=REFERENCE, provider="simulator", money=MONEY)

DONE, REFUSED, PENDING, UNKNOWN = Outcome.DONE, Outcome.REFUSED, Outcome.PENDING, Outcome.UNKNOWN

# verb, phase, what it means: every row that the tables have, written down a second time.
ROWS = [
    (Verb.AUTHORIZE, "APPROVED", DONE),
    (Verb.AUTHORIZE, "IN_REVIEW", PENDING),
    (Verb.AUTHORIZE, "CHALLENGED", PENDING),
    (Verb.AUTHORIZE, "DENIED", REFUSED),
    (Verb.CAPTURE, "COLLECTED", DONE),
    (Verb.CAPTURE, "QUEUED", PENDING),
    (Verb.CAPTURE, "DENIED", REFUSED),
    (Verb.CAPTURE, "FAILED", REFUSED),
    (Verb.VOID, "RELEASED", DONE),
    (Verb.VOID, "NOT_RELEASED", REFUSED),
    (Verb.REFUND, "PAID_BACK", DONE),
    (Verb.REFUND, "QUEUED", PENDING),
    (Verb.REFUND, "DENIED", REFUSED),
    (Verb.REFUND, "FAILED", REFUSED),
    (Verb.PAY_OUT, "ACCEPTED", DONE),
    (Verb.PAY_OUT, "ARRIVED", DONE),
    (Verb.PAY_OUT, "BOUNCED", DONE),
    (Verb.PAY_OUT, "RETURNED", DONE),
    (Verb.PAY_OUT, "RECALLED", DONE),
    (Verb.PAY_OUT, "DENIED", REFUSED),
    (Verb.INCREMENT, "RAISED", DONE),
    (Verb.INCREMENT, "QUEUED", PENDING),
    (Verb.INCREMENT, "DENIED", REFUSED),
    (Verb.RECALL, "RECALLED", DONE),
    (Verb.RECALL, "QUEUED", PENDING),
    (Verb.RECALL, "DENIED", REFUSED),
]
ARRIVALS = [
    ("ACCEPTED", PENDING),
    ("ARRIVED", DONE),
    ("BOUNCED", REFUSED),
    ("RETURNED", REFUSED),
    ("RECALLED", REFUSED),
]
REASONS = [
    ("insufficient_credit", "insufficient_credit"),
    ("card_reported_lost", "card_lost"),
    ("issuer_unreachable", "issuer_unreachable"),
    ("challenge_failed", "challenge_failed"),
    ("released", "authorization_voided"),
    ("authorisation_expired", "authorization_expired"),
    ("authorisation_closed", "authorization_closed"),
    ("not_raisable", "increment_blocked"),
    ("collection_blocked", "capture_blocked"),
    ("exceeds_open", "exceeds_authorization"),
    ("exceeds_collected", "exceeds_captured"),
    ("disputed", "payment_disputed"),
    ("unit_differs", "currency_differs"),
    ("value_differs", "amount_differs"),
    ("payer_account_closed", "payer_account_closed"),
    ("account_closed", "account_closed_at_bank"),
    ("beneficiary_unknown", "beneficiary_unknown"),
    ("beneficiary_refused", "beneficiary_refused"),
    ("recalled", "recalled"),
    ("already_arrived", "already_arrived"),
    ("not_on_its_way", "not_in_transit"),
]
SOFT = {"issuer_unreachable"}
EFFECTS = (Verb.AUTHORIZE, Verb.CAPTURE, Verb.VOID, Verb.REFUND, Verb.PAY_OUT, Verb.INCREMENT, Verb.RECALL)


def amount(text: str = "10.50", unit: str = "EUR") -> dict[str, str]:
    return {"amount": text, "unit": unit}


def reply(status: int, said: object) -> Reply:
    return Reply(status, {}, json.dumps(said).encode())


def record(verb: Verb, phase: str, **fields: object) -> dict[str, object]:
    """A record as the provider shows it; a field of None is left out."""
    shown: dict[str, object] = {"kind": words.KINDS[verb], "id": "x_1", "merchantRef": REFERENCE, "phase": phase}
    shown |= {"collected": amount(), "collections": ["co_1"]} if phase == "NOT_RELEASED" else {}
    shown |= {"value": amount()} if verb is not Verb.VOID else {}
    return {name: value for name, value in (shown | fields).items() if value is not None}


def answered(verb: Verb, phase: str, status: int = 200, **fields: object) -> Answer:
    return words.answered(verb, EFFECT, reply(status, {"data": record(verb, phase, **fields)}))


def inquired(verb: Verb, phase: str, **fields: object) -> Answer | None:
    inquiry = Inquiry(on=REFERENCE, provider="simulator", verb=verb)
    return words.inquired(inquiry, reply(200, {"data": record(verb, phase, **fields)}))


@pytest.mark.parametrize(("verb", "phase", "outcome"), ROWS)
def test_each_phase_means_the_same_in_an_answer_and_in_an_inquiry(verb: Verb, phase: str, outcome: Outcome) -> None:
    answer = answered(verb, phase)
    assert (answer.outcome, answer.provider_id) == (outcome, "x_1")
    assert bool(answer.reason) is (outcome is REFUSED)
    assert inquired(verb, phase) == answer


@pytest.mark.parametrize(("phase", "outcome"), ARRIVALS)
def test_the_arrival_of_a_transfer_is_another_question_than_its_acceptance(phase: str, outcome: Outcome) -> None:
    answer = inquired(Verb.ARRIVE, phase, denial={"reason": "beneficiary_unknown"} if outcome is REFUSED else None)
    assert answer is not None
    assert (answer.outcome, answer.reason) == (outcome, "beneficiary_unknown" if outcome is REFUSED else "")


def test_the_tables_have_no_row_that_is_not_tested_here() -> None:
    assert {(words.KINDS[verb], phase): outcome for verb, phase, outcome in ROWS} == dict(words.PHASES)
    assert {("transfer", phase): outcome for phase, outcome in ARRIVALS} == dict(words.ARRIVALS)
    assert dict(REASONS) == {theirs: no.reason for theirs, no in words.REFUSALS.items()}
    assert {no.reason for no in words.REFUSALS.values() if no.soft} == SOFT


@pytest.mark.parametrize("verb", EFFECTS)
@pytest.mark.parametrize("phase", ["HOVERING", "", "approved", "COLLECTED ", "EXPIRED"])
def test_a_phase_that_is_not_listed_is_unknown_and_shows_that_they_have_it(verb: Verb, phase: str) -> None:
    answer = answered(verb, phase)
    assert (answer.outcome, answer.provider_id) == (UNKNOWN, "x_1")
    assert answer.shows_it


def test_a_phase_of_another_kind_decides_nothing() -> None:
    assert answered(Verb.CAPTURE, "APPROVED").outcome is UNKNOWN
    assert answered(Verb.AUTHORIZE, "RELEASED").outcome is UNKNOWN


@pytest.mark.parametrize(("theirs", "ours"), REASONS)
def test_each_reason_of_a_denial_has_a_word_of_ours(theirs: str, ours: str) -> None:
    assert answered(Verb.CAPTURE, "DENIED", denial={"reason": theirs}).reason == ours


@pytest.mark.parametrize("theirs", dict(REASONS))
def test_a_denial_is_soft_for_the_listed_reasons_alone(theirs: str) -> None:
    assert answered(Verb.AUTHORIZE, "DENIED", denial={"reason": theirs}).soft is (theirs in SOFT)


@pytest.mark.parametrize("verb", EFFECTS)
def test_only_an_authorization_is_denied_softly(verb: Verb) -> None:
    if verb is not Verb.VOID:  # whose refusal names what it met, and no reason
        denied = answered(verb, "DENIED", denial={"reason": "issuer_unreachable"})
        assert denied.soft is (verb is Verb.AUTHORIZE)


def test_a_denial_for_no_reason_that_is_listed_is_not_soft() -> None:
    assert not answered(Verb.AUTHORIZE, "DENIED", denial={"reason": "moon_in_the_wrong_house"}).soft


def test_a_challenge_says_where_the_payer_goes() -> None:
    url = "https://northbank.test/challenges/au_1"
    assert answered(Verb.AUTHORIZE, "CHALLENGED", 202, challenge={"url": url}).challenge == url
    found = inquired(Verb.AUTHORIZE, "CHALLENGED", challenge={"url": url})
    assert found is not None
    assert found.challenge == url


@pytest.mark.parametrize("phase", ["APPROVED", "DENIED", "HOVERING"])
def test_a_challenge_that_is_over_is_not_passed_on(phase: str) -> None:
    assert answered(Verb.AUTHORIZE, phase, challenge={"url": "https://northbank.test/"}).challenge == ""


def test_a_challenge_that_names_no_address_is_pending_all_the_same() -> None:
    answer = answered(Verb.AUTHORIZE, "CHALLENGED", 202)
    assert (answer.outcome, answer.challenge) == (PENDING, "")


def test_a_return_is_told_under_its_own_id_and_the_acceptance_under_that_of_the_transfer() -> None:
    arrival = inquired(Verb.ARRIVE, "RETURNED", returnedAs="rt_1", denial={"reason": "beneficiary_refused"})
    assert arrival == Answer(outcome=REFUSED, reason="beneficiary_refused", provider_id="rt_1")
    accepted = inquired(Verb.PAY_OUT, "RETURNED", returnedAs="rt_1", denial={"reason": "beneficiary_refused"})
    assert accepted == Answer(outcome=DONE, provider_id="x_1")


def test_a_recalled_transfer_has_not_arrived_for_that_reason() -> None:
    arrival = inquired(Verb.ARRIVE, "RECALLED", denial={"reason": "recalled"})
    assert arrival == Answer(outcome=REFUSED, reason="recalled", provider_id="x_1")


@pytest.mark.parametrize("denial", [{"reason": "moon_in_the_wrong_house"}, None])
def test_a_denial_for_a_reason_that_is_not_listed_is_still_a_refusal(denial: Mapping[str, str] | None) -> None:
    answer = answered(Verb.AUTHORIZE, "DENIED", denial=denial)
    assert (answer.outcome, answer.reason) == (REFUSED, "declined")


def test_a_bounced_transfer_was_accepted_and_carries_no_reason_as_an_acceptance() -> None:
    assert answered(Verb.PAY_OUT, "BOUNCED", denial={"reason": "beneficiary_unknown"}).reason == ""


def test_a_void_that_meets_captures_tells_what_is_captured() -> None:
    answer = answered(Verb.VOID, "NOT_RELEASED", collected=amount("7.00"), collections=["co_1", "co_2"])
    assert (answer.outcome, answer.reason) == (REFUSED, "already_captured")
    assert answer.found == Found(kind="captured", money=Money(700, "EUR"), provider_id="co_2")


def test_a_void_that_gave_up_a_rest_is_done_and_tells_what_is_captured() -> None:
    answer = answered(Verb.VOID, "RELEASED", 201, collected=amount("7.00"), released=amount("3.50"))
    assert (answer.outcome, answer.reason) == (DONE, "")
    assert answer.found == Found(kind="captured", money=Money(700, "EUR"), provider_id="x_1")


def test_a_void_of_which_nothing_was_captured_has_found_nothing() -> None:
    assert answered(Verb.VOID, "RELEASED", 201).found is None


def test_a_void_refused_by_captures_that_it_does_not_tell_of_is_unknown() -> None:
    assert answered(Verb.VOID, "NOT_RELEASED", collected=None).outcome is UNKNOWN


def test_an_authorization_says_how_long_it_stands() -> None:
    until = (datetime.now(UTC) + timedelta(days=7)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    stands = answered(Verb.AUTHORIZE, "APPROVED", validUntil=until).expires_seconds
    assert stands is not None
    assert 7 * 86_400 - 60 < stands <= 7 * 86_400


@pytest.mark.parametrize("until", ["yesterday", "2026-01-01T00:00:00", "", None])
def test_an_end_that_cannot_be_read_is_none_and_the_answer_still_counts(until: str | None) -> None:
    answer = answered(Verb.AUTHORIZE, "APPROVED", validUntil=until)
    assert (answer.outcome, answer.expires_seconds) == (DONE, None)


@pytest.mark.parametrize(
    "changed",
    [
        {"value": amount("10.51")},
        {"value": amount("10.50", "USD")},
        {"value": amount("1050", "JPY")},
        {"merchantRef": "pay_2.x1"},
        {"kind": "payback"},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("verb", "phase"), [(Verb.CAPTURE, "COLLECTED"), (Verb.INCREMENT, "RAISED"), (Verb.RECALL, "RECALLED")]
)
def test_an_answer_about_something_else_than_was_asked_is_a_conflict(
    verb: Verb, phase: str, changed: Mapping[str, object]
) -> None:
    with pytest.raises(Conflict):
        answered(verb, phase, 201, **changed)


def test_a_refusal_about_another_amount_is_a_conflict_too() -> None:
    with pytest.raises(Conflict):
        answered(Verb.CAPTURE, "DENIED", value=amount("99.00"))


@pytest.mark.parametrize("changed", [{"merchantRef": "pay_2.x1"}, {"kind": "transfer"}], ids=str)
def test_an_inquiry_told_about_something_else_is_a_conflict(changed: Mapping[str, object]) -> None:
    with pytest.raises(Conflict):
        inquired(Verb.CAPTURE, "COLLECTED", **changed)


def test_an_answer_without_an_amount_is_unknown_and_shows_that_they_have_it() -> None:
    with pytest.raises(Unknown) as failure:
        answered(Verb.CAPTURE, "COLLECTED", value=None)
    assert failure.value.provider_id == "x_1"


@pytest.mark.parametrize("value", [amount("10.505"), amount("ten"), amount("10.50", "ZZZ"), amount("NaN")], ids=str)
def test_an_amount_that_cannot_be_is_unknown(value: Mapping[str, str]) -> None:
    with pytest.raises(Unknown):
        answered(Verb.CAPTURE, "COLLECTED", value=value)


def fault(status: int, code: str) -> Reply:
    return reply(status, {"fault": {"code": code, "text": "as the test says"}})


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (400, "MALFORMED", "rejected_as_malformed"),
        (404, "NO_SUCH_AUTHORISATION", "authorization_not_found"),
        (404, "NO_SUCH_TRANSFER", "payout_not_found"),
    ],
)
def test_a_listed_fault_is_a_refusal(status: int, code: str, reason: str) -> None:
    answer = words.answered(Verb.CAPTURE, EFFECT, fault(status, code))
    assert (answer.outcome, answer.reason, answer.provider_id) == (REFUSED, reason, "")


def test_a_key_that_they_know_with_other_content_is_a_conflict() -> None:
    with pytest.raises(Conflict):
        words.answered(Verb.CAPTURE, EFFECT, fault(409, "KEY_REUSED"))


@pytest.mark.parametrize(
    "said",
    [
        fault(400, "SOMETHING_NEW"),
        fault(400, "NO_SUCH_AUTHORISATION"),
        fault(404, "MALFORMED"),
        fault(404, "NO_SUCH_REFERENCE"),
        fault(404, "NO_SUCH_CALL"),
        fault(405, "NO_SUCH_CALL"),
        fault(408, "TIMEOUT"),
        fault(409, "COLLECTION_UNDER_WAY"),
        fault(422, "KEY_REUSED"),
        fault(423, "LOCKED"),
        fault(425, "TOO_EARLY"),
        reply(404, "<html>"),
        reply(204, None),
        reply(200, {}),
        reply(200, {"data": {"kind": "collection"}}),
        reply(201, {"data": None}),
        Reply(200, {}, b""),
        Reply(200, {}, b'"\xff\xfe"'),
        Reply(200, {}, b'{"data":' * 5000),
        reply(299, {"data": record(Verb.CAPTURE, "COLLECTED")}),
        reply(404, {"data": record(Verb.CAPTURE, "COLLECTED")}),
    ],
    ids=lambda said: f"{said.status} {said.body[:40]!r}",
)
def test_an_answer_that_is_not_in_the_table_is_unknown_whatever_its_status(said: Reply) -> None:
    with pytest.raises(Unknown):
        words.answered(Verb.CAPTURE, EFFECT, said)


INQUIRY = Inquiry(on=REFERENCE, provider="simulator", verb=Verb.CAPTURE)


def test_nothing_found_is_said_by_one_fault_alone() -> None:
    assert words.inquired(INQUIRY, fault(404, "NO_SUCH_REFERENCE")) is None


@pytest.mark.parametrize(
    "said",
    [
        fault(404, "NO_SUCH_CALL"),
        fault(404, "NO_SUCH_AUTHORISATION"),
        fault(410, "NO_SUCH_REFERENCE"),
        fault(400, "MALFORMED"),
        reply(404, "<html>"),
        Reply(404, {}, b""),
        reply(200, {}),
        reply(201, {"data": record(Verb.CAPTURE, "COLLECTED")}),
    ],
    ids=lambda said: f"{said.status} {said.body[:40]!r}",
)
def test_any_other_answer_to_an_inquiry_is_unknown_and_not_nothing_found(said: Reply) -> None:
    with pytest.raises(Unknown):
        words.inquired(INQUIRY, said)
