"""Money: integer minor units and an ISO 4217 currency whose exponent is known. Never a float, never a default."""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from domain.currencies import EXPONENTS
from domain.errors import BadMoney

MINOR_MAX = 10**15  # far above any payment, and far below what a BIGINT balance of many of them can hold


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in minor units (`Money(1050, "EUR")` is 10.50 euro, `Money(500, "JPY")` 500 yen).

    It may be zero or negative as a difference; what a command may carry is checked where commands are made.
    Raises `BadMoney` for a float, a bool, an unknown currency or an amount beyond `MINOR_MAX`.
    """

    minor: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.minor) is not int:
            raise BadMoney(f"minor units are an integer, not {type(self.minor).__name__}")
        if self.currency not in EXPONENTS:
            raise BadMoney("the currency is not one of ISO 4217 with a minor unit")
        if abs(self.minor) > MINOR_MAX:
            raise BadMoney(f"the amount is beyond {MINOR_MAX} minor units")

    def __add__(self, other: "Money") -> "Money":
        self._same(other)
        return Money(self.minor + other.minor, self.currency)

    def __sub__(self, other: "Money") -> "Money":
        self._same(other)
        return Money(self.minor - other.minor, self.currency)

    def __str__(self) -> str:
        return f"{decimal(self)} {self.currency}"

    def _same(self, other: "Money") -> None:
        assert self.currency == other.currency, f"{self.currency} meets {other.currency}"


def exponent(currency: str) -> int:
    """Tell how many decimals the currency's minor unit has (ISO 4217 table A.1)."""
    return EXPONENTS[currency]


def decimal(money: Money) -> str:
    """Write the amount in major units with exactly the currency's decimals: `"10.50"`, `"500"`, `"1.234"`."""
    return f"{Decimal(money.minor).scaleb(-EXPONENTS[money.currency]):.{EXPONENTS[money.currency]}f}"


def parse(text: str, currency: str) -> Money:
    """Read an amount in major units exactly; raise `BadMoney` for anything with more decimals than the currency has."""
    if currency not in EXPONENTS:
        raise BadMoney("the currency is not one of ISO 4217 with a minor unit")
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise BadMoney("not a decimal number") from None
    if not value.is_finite():
        raise BadMoney("not a finite number")
    minor = value.scaleb(EXPONENTS[currency])
    if minor != minor.to_integral_value():
        raise BadMoney(f"{currency} has {EXPONENTS[currency]} decimals")
    return Money(int(minor), currency)


def fee(money: Money, basis_points: int) -> Money:
    """Our fee on `money`: the share of 10,000 rounded down, so that it never exceeds what was agreed."""
    return Money(money.minor * basis_points // 10_000, money.currency)


def split(money: Money, weights: tuple[int, ...]) -> tuple[Money, ...]:
    """Split by weights with the largest remainder: the parts sum to the whole."""
    total = sum(weights)
    assert total > 0
    assert min(weights) >= 0
    assert money.minor >= 0
    floors = [money.minor * weight // total for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda at: (-(money.minor * weights[at] % total), at))
    for at in by_remainder[: money.minor - sum(floors)]:
        floors[at] += 1
    return tuple(Money(part, money.currency) for part in floors)
