"""Money is exact: integers only, known currencies only, nothing lost in writing, reading or splitting."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.currencies import EXPONENTS
from domain.errors import BadMoney
from domain.money import MINOR_MAX, Money, decimal, fee, parse, split

MONEY = st.builds(Money, st.integers(-MINOR_MAX, MINOR_MAX), st.sampled_from(sorted(EXPONENTS)))


@pytest.mark.parametrize("minor", [1.0, True, "1", None])
def test_only_an_integer_is_an_amount(minor: Any) -> None:
    with pytest.raises(BadMoney):
        Money(minor, "EUR")


@pytest.mark.parametrize("currency", ["XXX", "eur", "", "XAU"])
def test_only_a_currency_with_a_minor_unit_is_a_currency(currency: str) -> None:
    with pytest.raises(BadMoney):
        Money(1, currency)


def test_an_amount_beyond_all_bounds_is_refused() -> None:
    with pytest.raises(BadMoney):
        Money(MINOR_MAX + 1, "EUR")


@pytest.mark.parametrize(
    ("money", "text"),
    [
        (Money(1050, "EUR"), "10.50"),
        (Money(500, "JPY"), "500"),
        (Money(1234, "KWD"), "1.234"),
        (Money(-5, "EUR"), "-0.05"),
    ],
)
def test_each_currency_is_written_with_its_own_decimals(money: Money, text: str) -> None:
    assert decimal(money) == text


@pytest.mark.parametrize(
    ("text", "currency"), [("10.505", "EUR"), ("1.5", "JPY"), ("nan", "EUR"), ("1e99", "EUR"), ("", "EUR")]
)
def test_what_a_currency_cannot_say_is_refused(text: str, currency: str) -> None:
    with pytest.raises(BadMoney):
        parse(text, currency)


@given(MONEY)
def test_reading_what_was_written_gives_the_same(money: Money) -> None:
    assert parse(decimal(money), money.currency) == money


@given(st.integers(0, MINOR_MAX), st.lists(st.integers(0, 1000), min_size=1, max_size=9).filter(any))
def test_the_parts_of_a_split_sum_to_the_whole(minor: int, weights: list[int]) -> None:
    parts = split(Money(minor, "EUR"), tuple(weights))
    assert sum(part.minor for part in parts) == minor
    assert all(part.minor >= 0 for part in parts)


@given(st.integers(0, MINOR_MAX), st.integers(0, 10_000))
def test_a_fee_never_exceeds_what_was_agreed(minor: int, basis_points: int) -> None:
    taken = fee(Money(minor, "EUR"), basis_points).minor
    assert 0 <= taken * 10_000 <= minor * basis_points


def test_currencies_do_not_mix() -> None:
    with pytest.raises(AssertionError):
        _ = Money(1, "EUR") + Money(1, "JPY")
