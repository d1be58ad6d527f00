"""What the conformance suite needs of a provider's stand-in, in nobody's words: a port, and ways to misbehave."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from adapters.port import PaymentProvider
from adapters.profile import Profile
from domain.ids import Reference, Verb
from domain.money import Money
from domain.outcomes import Answer, DisputeNews, DisputeStage


class Fault(StrEnum):
    """How the next call of an operation goes."""

    LOST_BEFORE = "no effect, no answer"
    LOST_AFTER = "effect, no answer"
    LATE = "no answer, and the effect comes within the horizon"
    FAILS_AFTER = "effect, then a status that promises nothing"
    UNREADABLE = "effect, and an answer that cannot be read"
    CUT = "effect, and an answer that is cut"
    THROTTLED = "not now, come back later"
    UNAVAILABLE = "a status listed as without effect"
    OTHER_AMOUNT = "effect, and another amount in the answer"
    UNLISTED = "effect, and a word that is in no table"
    DECIDED_LATER = "accepted; the answer comes later"
    REFUSED = "refused for a reason that is in no table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Instruments and accounts of the stand-in, by what becomes of them."""

    approved: str
    declined: str
    declined_softly: str
    challenged: str
    reached: str
    bounced: str
    on_its_way: str  # long enough to be called back


class Stand(Protocol):
    """One provider's stand-in, empty at the start of each test."""

    profile: Profile
    port: PaymentProvider
    means: Means

    def stranger(self) -> PaymentProvider:
        """The port, with credentials that the provider does not know."""
        ...

    async def misbehave(self, verb: Verb, fault: Fault) -> None:
        """Let the next call of an operation go wrong."""
        ...

    async def pass_time(self, seconds: float) -> None:
        """Move the provider's clock on."""
        ...

    async def happened(self, reference: Reference) -> int:
        """How often money moved or was promised under a reference, by the provider's own books."""
        ...

    async def end_challenge(self, reference: Reference, *, passed: bool) -> None:
        """Let the payer prove who they are, or fail to."""
        ...

    async def take_back(self, reference: Reference) -> None:
        """Let what was done fail after all; a payout that has arrived comes back."""
        ...

    async def dispute(self, reference: Reference, money: Money) -> str:
        """Let the payer's bank open a dispute over a part of a capture; return the provider's id of it."""
        ...

    async def move_dispute(self, dispute: str, stage: DisputeStage) -> None:
        """Let a dispute take its next step."""
        ...

    async def news(self) -> Sequence[DisputeNews]:
        """What its webhooks have said of disputes so far, in order."""
        ...

    async def told(self) -> Sequence[tuple[Reference, Answer]]:
        """What its webhooks, verified and read by the adapter, have said so far, in order."""
        ...

    def forged(self, raw: bytes, headers: Mapping[str, str]) -> bool:
        """Whether the adapter refuses a webhook."""
        ...
