"""The gate against card numbers: published test numbers are found, and what only looks similar passes."""

import random
import uuid

import pytest

from api import card_numbers
from domain.ids import Prefix, derive

CARDS = [
    "4111111111111111",
    "4222222222222",
    "5555555555554444",
    "2223003122003222",
    "378282246310005",
    "6011111111111117",
    "30569309025904",
    "3530111333300000",
    "6200000000000005",
    "6759649826438453",
]


@pytest.mark.parametrize("card", CARDS)
def test_the_schemes_own_test_numbers_are_found_wherever_they_stand(card: str) -> None:
    assert card_numbers.in_token(card)
    assert card_numbers.in_token(f"order-{card}-x")
    assert card_numbers.in_text(f"paid with {card}, thanks")
    assert card_numbers.in_json({"a": [{"b": card}]}) == ("a", 0, "b")
    assert card_numbers.in_json({"a": int(card)}) == ("a",)
    assert card_numbers.in_json({card: 1}) == ()


@pytest.mark.parametrize(
    "text", ["4111 1111 1111 1111", "5555-5555-5555-4444", "3782 822463 10005", "a3782-822463-10005b"]
)
def test_a_number_grouped_as_on_the_card_is_found_in_text(text: str) -> None:
    assert card_numbers.in_text(text)
    assert not card_numbers.in_token(text)


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112",  # the check digit is wrong
        "1234567812345670",  # Luhn is right, but no issuer begins so
        "411111111111111",  # an issuer, but not of this length
        "41111111111111111111",  # longer than any card number
        "4111-1111 1111-1111",  # mixed separators are no card's
        "411111 1111111111",
        "2026-11-25T12:00:00Z",
        "inv-2026-000123",
    ],
)
def test_what_only_looks_similar_passes(text: str) -> None:
    assert not card_numbers.in_text(text)


def test_an_amount_of_many_digits_is_no_card_number_but_a_string_is() -> None:
    assert card_numbers.in_json({"amount": 4222222222222}) is None
    assert card_numbers.in_json({"amount": "4222222222222"}) == ("amount",)


def test_our_own_ids_and_uuids_are_never_refused() -> None:
    for at in range(5_000):
        ours = derive(Prefix.PAYMENT, client="c", mode="test", operation="o", key=str(at))
        assert not card_numbers.in_token(ours)
    chance = random.Random(20261125)
    hit = sum(card_numbers.in_text(str(uuid.UUID(int=chance.getrandbits(128), version=4))) for _ in range(20_000))
    assert hit <= 1


def test_few_honest_order_numbers_are_refused() -> None:
    chance = random.Random(20261125)
    hit = sum(card_numbers.in_token(f"{chance.randrange(10**15, 10**16)}") for _ in range(20_000))
    assert 0.01 < hit / 20_000 < 0.04  # Luhn alone would refuse a tenth
