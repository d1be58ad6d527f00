"""The words of risk: what is judged, the closed vocabulary of rules, and what a decision says.

Rules are data. A set is written as JSON, read here into types that know every field, and kept under a version
(risk/rule_sets.py). Where the figures of a rule come from is not known here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from domain.currencies import EXPONENTS
from domain.errors import HoldfastError
from domain.ids import MerchantId, OperationId, Prefix
from domain.money import MINOR_MAX, Money

TIMEOUT_MS_MAX = 300  # of the half second that a decision may take, the rest reads the set and keeps the decision
WINDOW_SECONDS_MAX = 31 * 86_400  # a month: more would be counted from the index while an initiator waits
SCORE_MAX = 1000  # scores are whole numbers from 0, certainly good, to this, certainly bad
RULES_MAX = 100  # more than a person can keep in mind; each costs time on the way of a payment
UNREACHABLE = "unreachable"  # stands for a rule where risk itself gives no answer; no rule may be called so


class BadRules(HoldfastError):
    """A rule set that cannot be read; the text says where, and what is wrong, a line for each."""


class Verdict(StrEnum):
    """Ordered by strictness: the strictest rule that fires decides."""

    ALLOW = "allow"
    REVIEW = "review"
    REFUSE = "refuse"


_STRICTNESS = list(Verdict)


def strictest(verdicts: list[Verdict]) -> Verdict:
    """The strictest of several verdicts; without any, allow."""
    return max(verdicts, key=_STRICTNESS.index, default=Verdict.ALLOW)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is judged: one operation that is about to reserve money.

    `instrument` is a provider's token of the payer's means or of a payout's account, never a card; `country` is the
    payer's, ISO 3166-1 alpha-2; both are empty where nobody has said. `money` of an increment is what the authorization
    comes to. `cleared`: two people have let it pass.
    """

    operation: OperationId
    kind: Prefix
    client: str
    merchant: MerchantId
    money: Money
    instrument: str = ""
    country: str = ""
    payment: OperationId | None = None
    cleared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired:
    """A rule that had something to say: its verdict, and why, with the figures. `absent`: no answer was to be had."""

    rule: str
    verdict: Verdict
    why: str
    absent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the rule set of `version` says of a subject, the rules that fired, and how long it took.

    Version 0 stands for none: no set could be read.
    """

    verdict: Verdict
    version: int
    fired: tuple[Fired, ...] = ()
    milliseconds: int = 0

    @property
    def rules(self) -> tuple[str, ...]:
        """The names of the rules that would not let it pass."""
        return tuple(each.rule for each in self.fired if each.verdict is not Verdict.ALLOW)


class AppliesTo(StrEnum):
    """The kinds of operation that a rule may judge. Captures and voids are none: they never ask risk."""

    PAYMENTS = "payments"
    INCREMENTS = "increments"
    REFUNDS = "refunds"
    PAYOUTS = "payouts"


KINDS: Mapping[AppliesTo, Prefix] = {
    AppliesTo.PAYMENTS: Prefix.PAYMENT,
    AppliesTo.INCREMENTS: Prefix.INCREMENT,
    AppliesTo.REFUNDS: Prefix.REFUND,
    AppliesTo.PAYOUTS: Prefix.PAYOUT,
}


class By(StrEnum):
    """What a rule counts by, looks up or has a score of."""

    OPERATION = "operation"
    INSTRUMENT = "instrument"
    MERCHANT = "merchant"
    COUNTRY = "country"
    CLIENT = "client"


def key_of(subject: Subject, by: By) -> str:
    """The value of `by` in a subject; empty where nobody has said it."""
    match by:
        case By.OPERATION:
            return subject.operation
        case By.INSTRUMENT:
            return subject.instrument
        case By.MERCHANT:
            return subject.merchant
        case By.COUNTRY:
            return subject.country
        case By.CLIENT:
            return subject.client


ShortName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,39}$")]
Minor = Annotated[int, Field(ge=0, le=MINOR_MAX)]
Amounts = Annotated[Mapping[str, Minor], Field(min_length=1)]  # minor units by currency
PersonsVerdict = Literal["review", "refuse"]


def _known_currencies(amounts: Mapping[str, int] | None) -> Mapping[str, int] | None:
    unknown = [currency for currency in amounts or () if currency not in EXPONENTS]
    if unknown:
        raise ValueError(f"{unknown[0]} is not a currency of ISO 4217 with a minor unit")
    return amounts


class Strict(BaseModel):
    """JSON as it is written: nothing unknown, nothing converted, nothing changed afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class AllowBelow(Strict):
    """Let what is below these amounts pass; anything else, another currency included, is for a person to review."""

    allow_below: Amounts

    _currencies = field_validator("allow_below")(_known_currencies)


IfAbsent = Annotated[
    Annotated[PersonsVerdict, Tag("verdict")] | Annotated[AllowBelow, Tag("limit")],
    Discriminator(lambda given: "limit" if isinstance(given, dict | AllowBelow) else "verdict"),
]


class _Rule(Strict):
    """What every rule says: its name, whom it judges, what it says, how long it is waited for, and what silence means.

    `timeout_ms` is in milliseconds.
    """

    name: ShortName
    applies_to: Annotated[tuple[AppliesTo, ...], Field(min_length=1)]
    verdict: PersonsVerdict
    timeout_ms: Annotated[int, Field(ge=1, le=TIMEOUT_MS_MAX)]
    if_absent: IfAbsent

    @field_validator("name")
    @classmethod
    def _is_not_reserved(cls, name: str) -> str:
        if name == UNREACHABLE:
            raise ValueError(f"{UNREACHABLE} stands for risk itself; call the rule otherwise")
        return name

    @model_validator(mode="after")
    def _payouts_fail_closed(self) -> Self:
        if AppliesTo.PAYOUTS in self.applies_to and isinstance(self.if_absent, AllowBelow):
            raise ValueError("payouts fail closed: if_absent is review or refuse")
        return self

    @property
    def says(self) -> Verdict:
        """The verdict when it fires."""
        return Verdict(self.verdict)

    def judges(self, kind: Prefix) -> bool:
        """Tell whether it has a say about this kind of operation."""
        return any(KINDS[each] is kind for each in self.applies_to)


class Velocity(_Rule):
    """Fires when, with this operation, more than so many or so much passed within a window under the same key.

    Absent where nobody said the key, in a currency that `amount_max` does not name, and where counting takes too long.
    """

    kind: Literal["velocity"]
    by: Literal["instrument", "merchant", "country", "client"]
    window_seconds: Annotated[int, Field(ge=1, le=WINDOW_SECONDS_MAX)]
    count_max: Annotated[int, Field(ge=0)] | None = None
    amount_max: Amounts | None = None

    _currencies = field_validator("amount_max")(_known_currencies)

    @model_validator(mode="after")
    def _counts_one_thing(self) -> Self:
        if (self.count_max is None) is (self.amount_max is None):
            raise ValueError("say either count_max or amount_max")
        return self


class AmountLimit(_Rule):
    """Fires when the amount is above the limit of its currency.

    Absent in a currency that it does not name.
    """

    kind: Literal["amount_limit"]
    amount_max: Amounts

    _currencies = field_validator("amount_max")(_known_currencies)


class DenyList(_Rule):
    """Fires when the instrument, merchant, country or client stands on the list of this name.

    Absent where nobody said the key, and where the list cannot be read in time.
    """

    kind: Literal["deny_list"]
    by: Literal["instrument", "merchant", "country", "client"]
    list: ShortName


class Score(_Rule):
    """Fires when the latest score is above what passes.

    Absent where there is none; that of the operation itself is waited for as long as the rule says.
    """

    kind: Literal["score"]
    by: Literal["operation", "instrument", "merchant", "country", "client"]
    score_max: Annotated[int, Field(ge=0, le=SCORE_MAX)]


class _Check(_Rule):
    """A rule about the merchant's standing. Without an answer nobody knows who is paid: it fails closed."""

    age_seconds_max: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _fails_closed(self) -> Self:
        if isinstance(self.if_absent, AllowBelow):
            raise ValueError("a check of the merchant fails closed: if_absent is review or refuse")  # noqa: TRY004
        return self


class Kyc(_Check):
    """Fires when the merchant's identity was found wanting.

    Absent where it was not checked, the check is pending, or its answer is older than it may be.
    """

    kind: Literal["kyc"]


class Sanctions(_Check):
    """Fires when the merchant is on a sanctions list.

    Absent where that was not checked, the check is pending, or its answer is older than it may be.
    """

    kind: Literal["sanctions"]


Rule = Velocity | AmountLimit | DenyList | Score | Kyc | Sanctions
RULE_KINDS: tuple[type[Rule], ...] = (Velocity, AmountLimit, DenyList, Score, Kyc, Sanctions)
Rules = Annotated[tuple[Annotated[Rule, Field(discriminator="kind")], ...], Field(max_length=RULES_MAX)]
_RULES: TypeAdapter[tuple[Rule, ...]] = TypeAdapter(Rules)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules under the version that decisions name. Version 0: a candidate, or none."""

    version: int
    rules: tuple[Rule, ...] = ()

    def judging(self, kind: Prefix) -> tuple[Rule, ...]:
        """The rules that have a say about a kind of operation, in the order in which they are written."""
        return tuple(rule for rule in self.rules if rule.judges(kind))


def read_rules(document: str) -> tuple[Rule, ...]:
    """Read a JSON list of rules; raises `BadRules` for what is missing, unknown, twice there or out of bounds."""
    try:
        rules = _RULES.validate_json(document)
    except ValidationError as error:
        raise BadRules(said(error)) from None
    require_own_names(rules)
    return rules


def write_rules(rules: tuple[Rule, ...]) -> str:
    """Write rules as JSON; what a rule leaves out stays left out."""
    return _RULES.dump_json(rules, exclude_unset=True).decode()


def require_own_names(rules: tuple[Rule, ...]) -> None:
    """Raise `BadRules` unless each rule has a name of its own: decisions tell of rules by name."""
    names = [rule.name for rule in rules]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadRules(f"two rules are called {twice[0]}")


def said(error: ValidationError) -> str:
    """Say what is wrong in words, a line for each: `rules 2, velocity, timeout_ms: Field required`."""
    lines = [f"{_place(each['loc'])}: {each['msg'].removeprefix('Value error, ')}" for each in error.errors()]
    return "\n".join(lines)


def _place(path: tuple[Any, ...]) -> str:
    """Where in the document; rules and examples are counted from one, as people do."""
    parts = list(path)
    what = "example" if parts[:1] == ["examples"] else "rule"
    if len(parts) > 1 and parts[0] in ("rules", "examples"):
        del parts[0]
    words = [f"{what} {part + 1}" if at == 0 and isinstance(part, int) else str(part) for at, part in enumerate(parts)]
    return ", ".join(words) or "the document"
