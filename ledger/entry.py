"""What the ledger is asked to write: an entry, its lines, and what it does to a hold and to what is refundable.

A gate may be refused; a fact never is (money rule 3). Lines name the posted layer only: the pending lines of a hold are
the posting function's, since only it knows under its locks what the hold has left.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from domain.ids import Reference, operation_of
from domain.money import Money
from ledger.accounts import Account


class Nature(StrEnum):
    GATE = "gate"
    FACT = "fact"


class HoldAction(StrEnum):
    OPEN = "open"
    USE = "use"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the posted layer: debit positive, credit negative. A line of nothing is left out when written."""

    account: Account
    amount: Money


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldChange:
    """What an entry does to the hold named `reference`.

    Opening: `money` is held, pending at `debit` and `credit`, for `expires_seconds` (None: until it is released).
    Using: at most `money` is drawn, and with `final` the rest is given up; a gate is refused above what is left, a fact
    draws what there is. Releasing: everything that is left goes, done also where nothing was held.
    """

    reference: Reference
    action: HoldAction
    money: Money | None = None
    debit: Account | None = None
    credit: Account | None = None
    final: bool = False
    expires_seconds: float | None = None

    def __post_init__(self) -> None:
        assert (self.money is None) == (self.action is HoldAction.RELEASE), "a release knows no amount"
        assert (self.debit is None) == (self.credit is None) == (self.action is not HoldAction.OPEN)
        assert self.money is None or self.money.minor > 0, f"{self.reference}: a hold of nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundableChange:
    """What an entry changes of what is refundable of a payment, in minor units. A gate's hold reserves of it."""

    payment: str
    captured: int = 0
    refunded: int = 0
    disputed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One balanced fact, or a gate: what the posting function is asked to write under `reference`.

    `bounded` is the account that a gate's hold may not overdraw, in the hold's currency; None: no bound. `reverses` is
    the reference of the entry that this one takes back. `effective_at` is when it happened, where that differs from
    when it is written. `why` is a person's or a file's reason.
    """

    reference: Reference
    kind: str
    nature: Nature
    lines: tuple[Line, ...] = ()
    hold: HoldChange | None = None
    refundable: RefundableChange | None = None
    bounded: Account | None = None
    reverses: Reference | None = None
    effective_at: datetime | None = None
    why: str = ""

    def __post_init__(self) -> None:
        sums: dict[str, int] = {}
        for line in self.lines:
            sums[line.amount.currency] = sums.get(line.amount.currency, 0) + line.amount.minor
        assert not any(sums.values()), f"{self.reference} does not balance: {sums}"
        assert 8 <= len(self.reference) <= 128, f"{self.reference!r} is no reference of an entry"
        assert self.lines or self.hold, f"{self.reference} does nothing"
        assert self.nature is Nature.FACT or (self.hold and self.hold.money), "a gate is judged by what it holds"
        assert self.effective_at is None or self.effective_at.tzinfo, "an instant has a time zone"
        assert self.bounded is None or (self.nature is Nature.GATE and self.hold), "only a gate's hold is bounded"
        if self.hold and self.hold.money:
            sums.setdefault(self.hold.money.currency, 0)
        assert len(sums) <= 1 or not (self.hold or self.refundable), "a hold has one currency"

    @property
    def currency(self) -> str | None:
        """The one currency that the entry speaks of; None where it only releases, or exchanges."""
        if self.hold and self.hold.money:
            return self.hold.money.currency
        currencies = {line.amount.currency for line in self.lines}
        return currencies.pop() if len(currencies) == 1 else None

    @property
    def accounts(self) -> set[tuple[Account, str]]:
        """Every account that the entry names, with its currency."""
        named = {(line.account, line.amount.currency) for line in self.lines}
        if self.hold and self.hold.money:
            named.update((each, self.hold.money.currency) for each in (self.hold.debit, self.hold.credit) if each)
        return named

    @property
    def operation(self) -> str:
        """The operation that the entry belongs to, by its reference; a provider's or the seed's own name otherwise."""
        return operation_of(self.reference)

    @property
    def fingerprint(self) -> bytes:
        """Digest all that is asked for: the same reference with another digest is a conflict.

        A retry may come from a later release, so the layout is for ever: what is added later stands at the end, and is
        left out where it says nothing.
        """
        hold, refundable = self.hold, self.refundable
        content = [
            self.reference,
            self.kind,
            self.nature,
            [(line.account.code, line.amount.currency, line.amount.minor) for line in self.lines],
            hold
            and [
                hold.reference,
                hold.action,
                hold.money and (hold.money.currency, hold.money.minor),
                hold.debit and hold.debit.code,
                hold.credit and hold.credit.code,
                hold.final,
                hold.expires_seconds,
            ],
            refundable and [refundable.payment, refundable.captured, refundable.refunded, refundable.disputed],
            self.bounded and self.bounded.code,
            self.reverses,
            self.effective_at and self.effective_at.astimezone(UTC).isoformat(),
            self.why,
        ]
        return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).digest()
