"""What travels through Temporal is checked strictly on arrival."""

import pytest
from pydantic import ValidationError
from temporalio.api.common.v1 import Payload

from contracts.payloads import StrictJson
from domain.commands import Payment
from domain.money import Money
from domain.outcomes import Answer, Found, Outcome
from tests.support.engine import payment


def test_a_command_arrives_as_it_left() -> None:
    converter, sent = StrictJson(), payment("payload")
    payload = converter.to_payload(sent)
    assert payload is not None
    assert converter.from_payload(payload, Payment) == sent


def test_an_answer_or_nothing_arrives_as_it_left() -> None:
    converter = StrictJson()
    found = Found(kind="captured", money=Money(1, "EUR"), provider_id="x")
    for sent in (None, Answer(outcome=Outcome.REFUSED, found=found)):
        payload = converter.to_payload(sent)
        assert payload is not None
        assert converter.from_payload(payload, Answer | None) == sent


@pytest.mark.parametrize(
    "data",
    [
        b'{"minor":1.0,"currency":"EUR"}',
        b'{"minor":"1","currency":"EUR"}',
        b'{"minor":true,"currency":"EUR"}',
        b'{"minor":1,"currency":"XXX"}',
        b'{"minor":1}',
        b'{"minor":1,"currency":"EUR","more":1}',
    ],
)
def test_money_that_is_not_exactly_money_is_refused(data: bytes) -> None:
    with pytest.raises(ValidationError):
        StrictJson().from_payload(Payload(data=data), Money)
