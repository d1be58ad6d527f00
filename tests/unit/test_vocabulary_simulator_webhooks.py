"""The simulator's webhooks: only what is signed, now, with our secret, is theirs; and nothing malformed is an error."""

import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.simulator.vocabulary import CAUSES, STAGES
from adapters.providers.simulator.webhooks import SIGNATURE, TOLERANCE_SECONDS, Told, event_id, told
from domain.ids import Reference
from domain.money import Money
from domain.outcomes import Answer, DisputeNews, DisputeStage, Outcome

SECRET = "whsec_of_the_tests"
NOW = 1_800_000_000.0


def event(kind: str = "collection", phase: str = "COLLECTED", **fields: object) -> bytes:
    value = {"amount": "10.50", "unit": "EUR"}
    record = {"kind": kind, "id": "x_1", "merchantRef": "cap_1.c1", "phase": phase, "value": value, **fields}
    said = {"eventId": "ev_1", "type": f"{kind}.{phase.lower()}", "at": "2027-01-15T08:00:00Z", "data": record}
    return json.dumps(said).encode()


def said_of_a_record(raw: bytes) -> Told:
    said = told(raw)
    assert isinstance(said, Told)
    return said


def signature(raw: bytes, *, secret: str = SECRET, at: float = NOW) -> str:
    digest = hmac.new(secret.encode(), f"{at:.0f}.".encode() + raw, hashlib.sha256).hexdigest()
    return f"t={at:.0f},v1={digest}"


def verified(raw: bytes, header: str | None, now: float = NOW) -> str | None:
    return event_id(raw, {} if header is None else {SIGNATURE: header}, SECRET, now)


def test_an_event_that_is_theirs_has_its_id() -> None:
    assert verified(event(), signature(event())) == "ev_1"


@pytest.mark.parametrize("apart", [-TOLERANCE_SECONDS, TOLERANCE_SECONDS])
def test_clocks_may_differ_by_the_tolerance(apart: int) -> None:
    assert verified(event(), signature(event()), NOW + apart) == "ev_1"


@pytest.mark.parametrize("apart", [-TOLERANCE_SECONDS - 1, TOLERANCE_SECONDS + 1])
def test_an_event_of_another_time_is_refused(apart: int) -> None:
    assert verified(event(), signature(event()), NOW + apart) is None


def test_a_changed_body_is_refused() -> None:
    assert verified(event(phase="DENIED"), signature(event())) is None


def test_a_signature_with_another_secret_is_refused() -> None:
    assert verified(event(), signature(event(), secret="whsec_of_somebody")) is None


def test_a_signature_of_another_moment_is_refused() -> None:
    stamp, _, digest = signature(event(), at=NOW - 10).partition(",")
    assert stamp != f"t={NOW:.0f}"
    assert verified(event(), f"t={NOW:.0f},{digest}") is None


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        ",",
        "t=",
        "v1=",
        f"t={NOW:.0f}",
        f"t={NOW:.0f},v1=",
        f"t={NOW:.0f},v1=é",
        f"t={NOW:.0f},v1=\ud800",
        "t=-1,v1=aa",
        "t=1e9,v1=aa",
        "t=²,v1=aa",
        "t=٣,v1=aa",
        "t=" + "9" * 5000 + ",v1=aa",
        "t=nan,v1=aa",
        f"v2={'0' * 64}",
    ],
)
def test_a_malformed_signature_is_refused_and_raises_nothing(header: str | None) -> None:
    assert verified(event(), header) is None


@given(st.text(max_size=120), st.binary(max_size=200))
def test_no_header_and_no_body_raise_anything(header: str, raw: bytes) -> None:
    assert verified(raw, header) is None
    assert told(raw) is None


@pytest.mark.parametrize("raw", [b"{}", b"not JSON", b'"\xff"', b""])
def test_an_event_of_theirs_that_we_cannot_read_is_kept_under_its_digest_and_says_nothing(raw: bytes) -> None:
    assert verified(raw, signature(raw)) == hashlib.sha256(raw).hexdigest()
    assert told(raw) is None


def test_an_event_says_what_became_of_its_reference() -> None:
    answer = Answer(outcome=Outcome.DONE, provider_id="x_1")
    assert told(event()) == Told("ev_1", "cap_1.c1", answer)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("phase", "reference", "outcome"),
    [
        ("ACCEPTED", "cap_1.c1", Outcome.DONE),
        ("ARRIVED", "cap_1.c1/arrival", Outcome.DONE),
        ("BOUNCED", "cap_1.c1/arrival", Outcome.REFUSED),
        ("RETURNED", "cap_1.c1/arrival", Outcome.REFUSED),
        ("RECALLED", "cap_1.c1/arrival", Outcome.REFUSED),
        ("DENIED", "cap_1.c1", Outcome.REFUSED),
    ],
)
def test_the_end_of_a_transfer_is_told_of_its_arrival(phase: str, reference: str, outcome: Outcome) -> None:
    said = said_of_a_record(event("transfer", phase))
    assert (said.reference, said.answer.outcome) == (reference, outcome)


def test_an_event_with_a_phase_that_is_not_listed_shows_that_they_have_the_operation() -> None:
    said = said_of_a_record(event(phase="HOVERING"))
    assert said.answer.outcome is Outcome.UNKNOWN
    assert said.answer.shows_it


def test_an_event_with_an_amount_that_cannot_be_says_nothing() -> None:
    assert told(event("release", "NOT_RELEASED", collected={"amount": "1.005", "unit": "EUR"})) is None


@pytest.mark.parametrize(("kind", "reference"), [("collection", "cap_1.c1"), ("payback", "rfd_1.r1")])
def test_a_failure_after_success_is_told_as_a_refusal_of_the_same_reference(kind: str, reference: str) -> None:
    denial = {"reason": "payer_account_closed"}
    said = said_of_a_record(event(kind, "FAILED", merchantRef=reference, denial=denial))
    refused = Answer(outcome=Outcome.REFUSED, reason="payer_account_closed", provider_id="x_1")
    assert (said.reference, said.answer) == (reference, refused)


def test_a_return_is_told_with_an_id_of_its_own() -> None:
    said = said_of_a_record(event("transfer", "RETURNED", returnedAs="rt_1"))
    assert said.answer.provider_id == "rt_1"


def test_a_challenge_is_told_with_its_address() -> None:
    said = said_of_a_record(event("authorisation", "CHALLENGED", challenge={"url": "https://northbank.test/c"}))
    assert (said.answer.outcome, said.answer.challenge) == (Outcome.PENDING, "https://northbank.test/c")


def dispute(phase: str = "WITHDRAWN", **fields: object) -> bytes:
    movement: dict[str, object] = {"id": "di_1", "movement": "mv_2", "evidenceBy": "2027-01-22T08:00:00.000Z"}
    return event("dispute", phase, **(movement | {"cause": {"reason": "not_received"}} | fields))


STEPS = [
    ("OPENED", DisputeStage.OPENED),
    ("WITHDRAWN", DisputeStage.WITHDRAWN),
    ("WON", DisputeStage.WON),
    ("LOST", DisputeStage.LOST),
]
REASONS = [
    ("not_recognised", "not_recognized"),
    ("not_received", "not_received"),
    ("not_as_described", "not_as_described"),
    ("charged_twice", "charged_twice"),
]


@pytest.mark.parametrize(("phase", "stage"), STEPS)
def test_each_step_of_a_dispute_is_told_with_all_that_names_it(phase: str, stage: DisputeStage) -> None:
    assert told(dispute(phase)) == DisputeNews(
        dispute="di_1",
        key="mv_2",
        stage=stage,
        on=Reference("cap_1.c1"),
        money=Money(1050, "EUR"),
        source="ev_1",
        evidence_due="2027-01-22T08:00:00.000Z",
        reason="not_received",
    )


@pytest.mark.parametrize(("theirs", "ours"), [*REASONS, ("moon_in_the_wrong_house", "other")])
def test_each_cause_of_a_dispute_has_a_word_of_ours(theirs: str, ours: str) -> None:
    said = told(dispute(cause={"reason": theirs}))
    assert isinstance(said, DisputeNews)
    assert said.reason == ours


def test_the_tables_of_disputes_have_no_row_that_is_not_tested_here() -> None:
    assert dict(STEPS) == dict(STAGES)
    assert dict(REASONS) == dict(CAUSES)


@pytest.mark.parametrize("due", [None, "", "soon", "2027-01-22T08:00:00"])
def test_an_end_for_evidence_that_cannot_be_read_is_none_and_the_dispute_still_counts(due: str | None) -> None:
    said = told(dispute(evidenceBy=due))
    assert isinstance(said, DisputeNews)
    assert said.evidence_due == ""


@pytest.mark.parametrize(
    "raw",
    [
        dispute("ESCALATED"),
        dispute(movement=None),
        dispute(value={"amount": "1.005", "unit": "EUR"}),
        dispute(value=None),
        dispute(merchantRef=7),
    ],
)
def test_a_dispute_that_cannot_be_read_says_nothing_and_is_kept_under_its_id(raw: bytes) -> None:
    assert told(raw) is None
    assert verified(raw, signature(raw)) == "ev_1"


def test_a_dispute_never_passes_for_a_record_of_what_it_disputes() -> None:
    assert not isinstance(told(dispute()), Told)
