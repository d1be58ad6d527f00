"""The simulator's webhooks: only what is signed, now, with our secret, is theirs; and nothing malformed is an error."""

import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.simulator.webhooks import SIGNATURE, TOLERANCE_SECONDS, Told, event_id, told
from domain.outcomes import Answer, Outcome

SECRET = "whsec_of_the_tests"
NOW = 1_800_000_000.0


def event(kind: str = "collection", phase: str = "COLLECTED", **fields: object) -> bytes:
    value = {"amount": "10.50", "unit": "EUR"}
    record = {"kind": kind, "id": "x_1", "merchantRef": "cap_1.c1", "phase": phase, "value": value, **fields}
    said = {"eventId": "ev_1", "type": f"{kind}.{phase.lower()}", "at": "2027-01-15T08:00:00Z", "data": record}
    return json.dumps(said).encode()


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
    ],
)
def test_the_end_of_a_transfer_is_told_of_its_arrival(phase: str, reference: str, outcome: Outcome) -> None:
    said = told(event("transfer", phase))
    assert said is not None
    assert (said.reference, said.answer.outcome) == (reference, outcome)


def test_an_event_with_a_phase_that_is_not_listed_shows_that_they_have_the_operation() -> None:
    said = told(event(phase="HOVERING"))
    assert said is not None
    assert said.answer.outcome is Outcome.UNKNOWN
    assert said.answer.shows_it


def test_an_event_with_an_amount_that_cannot_be_says_nothing() -> None:
    assert told(event("release", "NOT_RELEASED", collected={"amount": "1.005", "unit": "EUR"})) is None
