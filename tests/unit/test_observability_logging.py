"""What may never be in a log line is taken out, wherever it stands."""

import json
import logging
from collections.abc import Generator

import pytest
import structlog

from observability.logging import configure, redact


@pytest.fixture
def as_before() -> Generator[None]:
    """Logging is as it was, after a test that sets it up."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def _redacted(**event: object) -> dict[str, object]:
    return dict(redact(None, "info", dict(event)))


@pytest.mark.parametrize("field", ["token", "secret", "Authorization", "password", "instrument", "destination"])
def test_a_field_that_is_named_as_a_secret_is_redacted(field: str) -> None:
    assert _redacted(**{field: "anything"}) == {field: "redacted"}


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("paid with 4111111111111111 today", "paid with redacted today"),
        ("4111 1111 1111 1111", "redacted"),
        ("4111-1111-1111-1111", "redacted"),
        ("instrument tok_visa was refused", "instrument redacted was refused"),
        ("to acct_ok", "to redacted"),
        ("Authorization: Bearer abc.def-1", "Authorization: redacted"),
        ("signed with whsec_0123", "signed with redacted"),
    ],
)
def test_what_looks_like_a_card_number_or_a_token_is_redacted(text: str, clean: str) -> None:
    assert _redacted(why=text) == {"why": clean}


@pytest.mark.parametrize(
    "text",
    [
        "pay_01j9z3k4m5n6p7q8r9s0t1v2w3.a1",
        "2026-11-25T16:00:00.123456Z",
        "10.50 EUR",
        "a digest 1234567890123456789012345678901234567890",
    ],
)
def test_references_times_and_amounts_stay_readable(text: str) -> None:
    assert _redacted(why=text) == {"why": text}


def test_a_secret_inside_a_structure_is_redacted_too() -> None:
    assert _redacted(asked={"token": "t", "list": ["tok_visa", 7]}) == {
        "asked": {"token": "redacted", "list": ["redacted", 7]}
    }


@pytest.mark.usefixtures("as_before")
def test_a_program_reads_json_with_the_service_and_the_error_but_not_its_secrets(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("worker", "info")
    log = structlog.get_logger()
    log.debug("call.unheard")
    try:
        raise ValueError("tok_visa was refused")
    except ValueError:
        log.exception("call.failed", reference="pay_1.a1")
    (line,) = [json.loads(each) for each in capsys.readouterr().err.splitlines()]
    assert (line["event"], line["service"], line["level"]) == ("call.failed", "worker", "error")
    assert "ValueError: redacted was refused" in line["exception"]


def test_a_level_that_does_not_exist_is_refused() -> None:
    with pytest.raises(KeyError):
        configure("worker", "loud")
