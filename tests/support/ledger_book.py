"""A second book, to hold the ledger against: plain dictionaries, written from docs/ledger.md alone.

It shares no code with the ledger, nor its words: what is asked is a `Deed`, and accounts, holds and payments have the
short names that a test gives them. Amounts are minor units; debit is positive, credit negative.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

Key = tuple[str, str]  # an account's or a payment's short name, and a currency


@dataclass(frozen=True)
class Holding:
    """What a deed does to a hold: `open`, `use` or `release`."""

    does: str
    name: str
    amount: int = 0
    debit: str = ""
    credit: str = ""
    final: bool = False
    expired: bool = False  # it expires as it is opened


@dataclass(frozen=True)
class Deed:
    """What is asked of a book. `name` is its reference, and `content` all that tells it from another of that name."""

    name: str
    content: object
    currency: str
    lines: tuple[tuple[str, str, int], ...] = ()  # account, currency, amount
    gate: bool = False
    holding: Holding | None = None
    payment: str | None = None
    captured: int = 0
    refunded: int = 0
    disputed: int = 0
    bounded: str | None = None


@dataclass
class Held:
    """A hold. One of nothing stands for what was released before it was held."""

    currency: str
    debit: str = ""
    credit: str = ""
    payment: str | None = None
    left: int = 0
    expired: bool = False
    state: str = "voided"


@dataclass
class Payment:
    captured: int = 0
    reserved: int = 0
    refunded: int = 0
    disputed: int = 0

    @property
    def left(self) -> int:
        return self.captured - self.reserved - self.refunded - self.disputed


Said = tuple[str, int | None]  # the status, and what the hold had left before


@dataclass
class Book:
    """The book. `first` is what was said to each deed when it came first."""

    posted: Counter[Key] = field(default_factory=Counter[Key])
    holds: dict[str, Held] = field(default_factory=dict[str, Held])
    payments: dict[Key, Payment] = field(default_factory=dict[Key, Payment])
    closed: set[Key] = field(default_factory=set[Key])
    first: dict[str, tuple[object, str]] = field(default_factory=dict[str, tuple[object, str]])
    conflicts: Counter[str] = field(default_factory=Counter[str])

    def take(self, deeds: Sequence[Deed]) -> list[Said]:
        """Take deeds that come together: all are judged by what stood before. No two contend for one decision."""
        judged = [self._judge(deed) for deed in deeds]
        said = [
            (status, self._left(deed) if status == "posted" else None)
            for deed, status in zip(deeds, judged, strict=True)
        ]
        for deed, status in zip(deeds, judged, strict=True):
            if status == "conflicting_content":
                self.conflicts[deed.name] += 1
            if status in ("replayed", "conflicting_content", "rejected_before"):
                continue
            self.first[deed.name] = deed.content, status
            if status == "posted":
                self._write(deed)
            elif deed.holding and deed.holding.does == "open":
                self.holds.setdefault(deed.holding.name, Held(deed.currency, left=0))
        return said

    def layers(self, account: str, currency: str) -> tuple[int, int, int]:
        """What is posted, pending on the debit side, pending on the credit side."""
        held = [hold for hold in self.holds.values() if hold.currency == currency]
        return (
            self.posted[account, currency],
            sum(hold.left for hold in held if hold.debit == account),
            sum(hold.left for hold in held if hold.credit == account),
        )

    def _judge(self, deed: Deed) -> str:
        if deed.name in self.first:
            content, status = self.first[deed.name]
            if content != deed.content:
                return "conflicting_content"
            return "replayed" if status == "posted" else "rejected_before"
        return (self._refusal(deed) if deed.gate else None) or "posted"

    def _refusal(self, gate: Deed) -> str | None:
        holding = gate.holding
        assert holding is not None
        hold = self.holds.get(holding.name)
        if holding.does == "open":
            if hold is not None:
                return "hold_not_open"
            stands_at = {(holding.debit, gate.currency), (holding.credit, gate.currency)}
        else:
            if hold is None or hold.state != "open" or hold.expired:
                return "hold_not_open"
            if hold.currency != gate.currency:
                return "currency_differs"
            if hold.left < holding.amount:
                return "hold_exceeded"
            stands_at = {(hold.debit, hold.currency), (hold.credit, hold.currency)}
        if self.closed & (stands_at | {(account, currency) for account, currency, _ in gate.lines}):
            return "account_closed"
        if gate.bounded is not None:
            posted, pending_debit, _ = self.layers(gate.bounded, gate.currency)
            if holding.amount > -posted - pending_debit:
                return "insufficient_funds"
        if (
            gate.payment is not None
            and holding.amount > self.payments.get((gate.payment, gate.currency), Payment()).left
        ):
            return "refundable_exceeded"
        return None

    def _left(self, deed: Deed) -> int | None:
        """What the deed's hold has left before it; nothing is said of one that it opens."""
        if deed.holding is None or deed.holding.does == "open":
            return None
        hold = self.holds.get(deed.holding.name)
        if hold is None:
            return 0 if deed.holding.does == "release" else None
        return hold.left

    def _write(self, deed: Deed) -> None:
        for account, currency, amount in deed.lines:
            self.posted[account, currency] += amount
        if deed.payment is not None:
            payment = self.payments.setdefault((deed.payment, deed.currency), Payment())
            payment.captured += deed.captured
            payment.refunded += deed.refunded
            payment.disputed += deed.disputed
        match deed.holding:
            case None:
                pass
            case Holding(does="open"):
                self._open(deed, deed.holding)
            case Holding(does="release"):
                hold = self.holds.setdefault(deed.holding.name, Held(deed.currency, left=0))
                self._draw(hold, hold.left, "expired" if hold.expired else "voided")
            case _:
                hold = self.holds.get(deed.holding.name)
                if hold is not None and hold.currency == deed.currency:
                    wanted = hold.left if deed.holding.final else min(hold.left, deed.holding.amount)
                    self._draw(hold, wanted, "captured")

    def _open(self, deed: Deed, holding: Holding) -> None:
        if holding.name in self.holds:  # a fact that comes after its release: booked, and nothing is held
            return
        hold = Held(deed.currency, holding.debit, holding.credit, None, 0, holding.expired, "open")
        if deed.gate:
            hold.payment = deed.payment
        self.holds[holding.name] = hold
        self._draw(hold, -holding.amount, "open")

    def _draw(self, hold: Held, amount: int, end: str) -> None:
        hold.left -= amount
        if hold.payment is not None:
            self.payments[hold.payment, hold.currency].reserved -= amount
        if hold.state == "open" and hold.left == 0:
            hold.state = end
