"""What a provider can do and promises: data, from its own documents, read by the runtime and copied into runs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType

from domain.commands import Patience, Promises
from domain.ids import Verb
from domain.money import Money, decimal

PLACE_SECONDS = 1.0  # how long a call waits for a place among those at once
SPARE_SECONDS = 1.0  # what the wire gives a call beyond its own deadlines before it cuts it
JOURNAL_SECONDS = 1.5  # noting intent and outcome in our own database, with a margin


class Amounts(StrEnum):
    """How amounts are written on the wire."""

    MINOR = "minor"  # 1050
    MAJOR = "major"  # "10.50"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """The idempotency key: where it goes, what it may look like, how long it is remembered."""

    header: str
    length: int
    charset: str = r"[A-Za-z0-9._:-]"
    memory: timedelta = timedelta(hours=24)

    def carries(self, reference: str) -> bool:
        """Tell whether a reference can be this provider's key."""
        return len(reference) <= self.length and re.fullmatch(f"(?:{self.charset})+", reference) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Seconds: to connect, to write the request, and from its first byte to the answer's last."""

    connect: float = 2.0
    write: float = 5.0
    total: float = 20.0

    @property
    def call(self) -> float:
        """When the wire cuts the call, whatever it does."""
        return SPARE_SECONDS + self.connect + self.total


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One provider's capability certificate. `horizon` None: an effect may appear however late."""

    name: str
    operations: frozenset[Verb]
    key: Key
    amounts: Amounts
    horizon: timedelta | None
    inquiry_is_complete: bool  # asked by reference past the horizon, it knows whatever it has
    inquiry_pause: timedelta
    attention_after: timedelta
    statuses_without_effect: frozenset[int]  # listed in its documents as "not processed"
    multiple_capture: bool = True
    deadline: Deadlines = Deadlines()
    deadlines: Mapping[Verb, Deadlines] = field(default_factory=lambda: MappingProxyType[Verb, Deadlines]({}))
    at_once: int = 20  # calls on the wire per lane and process: effects, and apart from them undos and inquiries
    exponents: Mapping[str, int] = field(default_factory=lambda: MappingProxyType[str, int]({}))  # unlike ISO 4217

    def __post_init__(self) -> None:
        """Deadlines nest (money rule 5): a call that can outlast what waits for it makes "nothing found" no proof."""
        if self.horizon is not None and self.start_to_close >= self.horizon.total_seconds():
            raise ValueError(f"{self.name}: a call may last {self.start_to_close} s, beyond the horizon {self.horizon}")

    def deadlines_of(self, verb: Verb) -> Deadlines:
        """The deadlines of one operation."""
        return self.deadlines.get(verb, self.deadline)

    @property
    def connections(self) -> int:
        """As many as there are places, so that no call ever waits for the pool."""
        return 2 * self.at_once

    @property
    def start_to_close(self) -> float:
        """What an activity is given, in seconds: longer than a place, any call and its journalling can last."""
        longest = max(self.deadlines_of(verb).call for verb in Verb)
        return PLACE_SECONDS + longest + JOURNAL_SECONDS

    def promises(self, patience: Patience) -> Promises:
        """What a run is told of this provider when it starts."""
        return Promises(
            provider=self.name,
            start_to_close_seconds=self.start_to_close,
            horizon_seconds=None if self.horizon is None else self.horizon.total_seconds(),
            inquiry_is_complete=self.inquiry_is_complete,
            inquiry_seconds=self.inquiry_pause.total_seconds(),
            attention_after_seconds=self.attention_after.total_seconds(),
            increments=Verb.INCREMENT in self.operations,
            recalls=Verb.RECALL in self.operations,
            patience=patience,
        )


def encode(profile: Profile, money: Money) -> int | str:
    """Write an amount as the provider wants it, exactly; raises ValueError where its decimals cannot say it."""
    iso = decimal(money)
    exponent = profile.exponents.get(money.currency)
    if exponent is not None:
        whole, _, part = iso.partition(".")
        if part[exponent:].strip("0"):
            raise ValueError(f"{profile.name} cannot say {money} in {exponent} decimals")
        part = part[:exponent].ljust(exponent, "0")
        iso = f"{whole}.{part}" if part else whole
    return int(iso.replace(".", "")) if profile.amounts is Amounts.MINOR else iso
