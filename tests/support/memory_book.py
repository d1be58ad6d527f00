"""A book in memory that keeps the ledger's promises in the plainest way: for tests of flows, without a database.

It shares no code with the posting functions: holds, refundable amounts and layers are worked out anew from entries.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum, auto

from domain.ids import Reference
from ledger.accounts import Account
from ledger.entry import Entry, HoldAction, Nature

Key = tuple[str, str]  # an account's code and a currency


class Taken(StrEnum):
    """What the book says to an entry."""

    POSTED = auto()
    REPLAYED = auto()
    CONFLICTING = auto()
    REFUSED = auto()


@dataclass
class Held:
    """What a hold has left, between which accounts, and of which payment it reserves."""

    left: int
    debit: Key
    credit: Key
    payment: str | None


@dataclass
class Refundable:
    captured: int = 0
    refunded: int = 0
    disputed: int = 0
    reserved: int = 0

    @property
    def left(self) -> int:
        return self.captured - self.refunded - self.disputed - self.reserved


@dataclass
class MemoryBook:
    """Balances in minor units, debit positive; pending amounts as magnitudes. A hold of None has been given up."""

    posted: Counter[Key] = field(default_factory=Counter[Key])
    pending_debit: Counter[Key] = field(default_factory=Counter[Key])
    pending_credit: Counter[Key] = field(default_factory=Counter[Key])
    holds: dict[Reference, Held | None] = field(default_factory=dict[Reference, Held | None])
    payments: dict[Key, Refundable] = field(default_factory=dict[Key, Refundable])
    known: dict[Reference, tuple[bytes, Taken]] = field(default_factory=dict[Reference, tuple[bytes, Taken]])

    def post(self, entry: Entry) -> Taken:
        """Take an entry as the ledger would. The whole book balances after it, in each currency and layer."""
        if entry.reference in self.known:
            content, first = self.known[entry.reference]
            if content != entry.fingerprint:
                return Taken.CONFLICTING
            return Taken.REPLAYED if first is Taken.POSTED else first
        refused = entry.nature is Nature.GATE and self._refuses(entry)
        self.known[entry.reference] = entry.fingerprint, Taken.REFUSED if refused else Taken.POSTED
        if refused:
            return Taken.REFUSED
        for line in entry.lines:
            self.posted[line.account.code, line.amount.currency] += line.amount.minor
        self._change_hold(entry)
        self._change_refundable(entry)
        self._assert_balanced()
        return Taken.POSTED

    def of(self, account: Account, currency: str = "EUR") -> tuple[int, int, int]:
        """An account's three layers: posted, pending debit, pending credit."""
        key = account.code, currency
        return self.posted[key], self.pending_debit[key], self.pending_credit[key]

    def left_of(self, payment: str, currency: str = "EUR") -> int:
        """What is refundable of a payment."""
        return self._payment(payment, currency).left

    def _refuses(self, gate: Entry) -> bool:
        assert gate.hold is not None
        assert gate.hold.money is not None
        asked, currency = gate.hold.money.minor, gate.hold.money.currency
        if gate.hold.reference in self.holds:
            return True
        if gate.refundable and asked > self.left_of(gate.refundable.payment, currency):
            return True
        if gate.bounded is None:
            return False
        posted, pending_debit, _ = self.of(gate.bounded, currency)
        return asked > -posted - pending_debit

    def _change_hold(self, entry: Entry) -> None:
        change = entry.hold
        if change is None:
            return
        if change.action is HoldAction.OPEN:
            if change.reference not in self.holds:  # given up before it came: nothing is held
                self._open(entry)
            return
        held = self.holds.get(change.reference)
        if held is not None:
            all_of_it = change.money is None or change.final
            self._draw(held, held.left if all_of_it or change.money is None else min(held.left, change.money.minor))
        if change.action is HoldAction.RELEASE or (held is not None and held.left == 0):
            self.holds[change.reference] = None

    def _open(self, entry: Entry) -> None:
        change = entry.hold
        assert change is not None
        assert change.money is not None
        assert change.debit is not None
        assert change.credit is not None
        currency = change.money.currency
        reserves = entry.refundable.payment if entry.refundable and entry.nature is Nature.GATE else None
        held = Held(0, (change.debit.code, currency), (change.credit.code, currency), reserves)
        self.holds[change.reference] = held
        self._draw(held, -change.money.minor)

    def _draw(self, held: Held, amount: int) -> None:
        held.left -= amount
        self.pending_debit[held.debit] -= amount
        self.pending_credit[held.credit] -= amount
        if held.payment is not None:
            self._payment(held.payment, held.debit[1]).reserved -= amount

    def _change_refundable(self, entry: Entry) -> None:
        change = entry.refundable
        if change is None:
            return
        assert entry.currency is not None
        payment = self._payment(change.payment, entry.currency)
        payment.captured += change.captured
        payment.refunded += change.refunded
        payment.disputed += change.disputed

    def _payment(self, payment: str, currency: str) -> Refundable:
        return self.payments.setdefault((payment, currency), Refundable())

    def _assert_balanced(self) -> None:
        posted, pending = Counter[str](), Counter[str]()
        for (_, currency), amount in self.posted.items():
            posted[currency] += amount
        for (_, currency), amount in self.pending_debit.items():
            pending[currency] += amount
        for (_, currency), amount in self.pending_credit.items():
            pending[currency] -= amount
        assert not any(posted.values()), posted
        assert not any(pending.values()), pending
        assert min([*self.pending_debit.values(), *self.pending_credit.values()], default=0) >= 0
