"""From a business event to a balanced entry: pure functions, one per row of the flows in docs/ledger.md.

A gate may be refused; a fact never is (money rule 3). Lines name the posted layer only: the pending lines of a hold
are the posting function's, since only it knows under its locks what the hold has left.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum

from domain.commands import Booking, Prepare
from domain.ids import UNWRITTEN, MerchantId, Prefix, Reference, operation_of
from domain.money import Money
from ledger.accounts import BANK, FEE_INCOME, PAYOUTS_IN_TRANSIT, Account, payable, receivable, unsettled


class Nature(StrEnum):
    GATE = "gate"
    FACT = "fact"


class HoldAction(StrEnum):
    NONE = "none"
    OPEN = "open"
    USE = "use"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Line:
    """One posting of the posted layer: debit positive, credit negative. An amount of 0 only names the account."""

    account: Account
    amount: Money


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldChange:
    """What an entry does to a hold. `debit` and `credit` index the lines whose accounts a new hold stands between."""

    reference: Reference
    action: HoldAction
    amount: int = 0  # minor units to hold, or to use at most
    final: bool = False  # using it, give the rest up
    expires_seconds: float | None = None  # how long a new hold stands; None: until it is released
    debit: int = 0
    credit: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundableChange:
    """What an entry changes of what is refundable of a payment, in minor units; holds reserve by themselves."""

    payment: str
    captured: int = 0
    refunded: int = 0
    disputed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One balanced fact, or a gate: what the posting function is asked to write under `reference`.

    `bound` is the index of the line whose account may not be overdrawn by the gate's hold; None: no bound.
    """

    reference: Reference
    kind: str
    nature: Nature
    lines: tuple[Line, ...]
    hold: HoldChange | None = None
    refundable: RefundableChange | None = None
    bound: int | None = None
    reverses: Reference | None = None
    effective_at: datetime | None = None

    def __post_init__(self) -> None:
        sums: dict[str, int] = {}
        for line in self.lines:
            sums[line.amount.currency] = sums.get(line.amount.currency, 0) + line.amount.minor
        assert not any(sums.values()), f"{self.reference} does not balance: {sums}"
        assert len(self.lines) >= 2 or (self.hold is not None and self.hold.action is HoldAction.RELEASE)
        assert len({line.amount.currency for line in self.lines}) <= 1 or self.hold is None, "a hold has one currency"
        assert self.reference

    @property
    def fingerprint(self) -> bytes:
        """Digest all that is asked for: the same reference with another digest is a conflict."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True, default=str).encode()).digest()


def authorization_hold(prepare: Prepare) -> Entry:
    """Hold an authorization: what the provider will owe, and the merchant be owed, once it is captured."""
    return _gate(
        prepare,
        "authorization_hold",
        debit=receivable(prepare.provider),
        credit=unsettled(prepare.merchant),
        expires_seconds=prepare.expires_seconds or None,
    )


def refund_reserve(prepare: Prepare) -> Entry:
    """Reserve a refund of what its payment has left; the merchant's own balance does not bound it."""
    assert prepare.payment is not None
    return _gate(
        prepare,
        "refund_reserve",
        debit=payable(prepare.merchant),
        credit=receivable(prepare.provider),
        refundable=RefundableChange(payment=prepare.payment),
    )


def payout_reserve(prepare: Prepare) -> Entry:
    """Reserve a payout of what is payable to the merchant and not reserved already."""
    return _gate(prepare, "payout_reserve", debit=payable(prepare.merchant), credit=PAYOUTS_IN_TRANSIT, bound=0)


def release(prepare: Prepare) -> Entry:
    """Give back what is left of the hold `on`: a void, an expiry, or a reserve that nothing came of."""
    return Entry(
        reference=prepare.reference,
        kind=f"{RELEASED[Prefix(prepare.operation.split('_', 1)[0])]}_released",
        nature=Nature.FACT,
        lines=(),  # only the posting function knows, under its locks, what is left and whose it was
        hold=HoldChange(reference=prepare.on, action=HoldAction.RELEASE),
    )


RELEASED = {Prefix.PAYMENT: "authorization_hold", Prefix.REFUND: "refund_reserve", Prefix.PAYOUT: "payout_reserve"}


def capture(booking: Booking) -> Entry:
    """Book a capture: the provider owes it, the merchant is owed it less our fee; its part of the hold is used up."""
    assert booking.payment is not None
    money, fee = booking.money, booking.fee or Money(0, booking.money.currency)
    return _fact(
        booking,
        "capture",
        Line(receivable(booking.provider), money),
        Line(unsettled(booking.merchant), fee - money),
        Line(FEE_INCOME, _minus(fee)),
        refundable=RefundableChange(payment=booking.payment, captured=money.minor),
    )


def refund_done(booking: Booking) -> Entry:
    """Book a refund: the provider owes that much less, and so do we the merchant."""
    assert booking.payment is not None
    money = booking.money
    return _fact(
        booking,
        "refund_done",
        Line(payable(booking.merchant), money),
        Line(receivable(booking.provider), _minus(money)),
        refundable=RefundableChange(payment=booking.payment, refunded=money.minor),
    )


def payout_accepted(booking: Booking) -> Entry:
    """Book a payout that the rail has taken: no longer payable, not yet gone from the bank."""
    money = booking.money
    return _fact(
        booking, "payout_accepted", Line(payable(booking.merchant), money), Line(PAYOUTS_IN_TRANSIT, _minus(money))
    )


def payout_paid(booking: Booking) -> Entry:
    """Book a payout that has arrived."""
    money = booking.money
    return _fact(booking, "payout_paid", Line(PAYOUTS_IN_TRANSIT, money), Line(BANK, _minus(money)), uses_hold=False)


def payout_failed(booking: Booking) -> Entry:
    """Book that an accepted payout has not arrived: the merchant is owed it again."""
    money = booking.money
    return _fact(
        booking,
        "payout_failed",
        Line(PAYOUTS_IN_TRANSIT, money),
        Line(payable(booking.merchant), _minus(money)),
        uses_hold=False,
        reverses=Reference(f"{booking.on}/post"),
    )


def top_up(reference: Reference, merchant: MerchantId, money: Money) -> Entry:
    """Book money that a merchant has sent to our bank."""
    return Entry(
        reference=reference,
        kind="top_up",
        nature=Nature.FACT,
        lines=(Line(BANK, money), Line(payable(merchant), _minus(money))),
    )


def _gate(
    prepare: Prepare,
    kind: str,
    *,
    debit: Account,
    credit: Account,
    bound: int | None = None,
    refundable: RefundableChange | None = None,
    expires_seconds: float | None = None,
) -> Entry:
    nothing = Money(0, prepare.money.currency)
    return Entry(
        reference=prepare.reference,
        kind=kind,
        nature=Nature.GATE,
        lines=(Line(debit, nothing), Line(credit, nothing)),
        hold=HoldChange(
            reference=prepare.reference,
            action=HoldAction.OPEN,
            amount=prepare.money.minor,
            expires_seconds=expires_seconds,
        ),
        refundable=refundable,
        bound=bound,
    )


def _fact(
    booking: Booking,
    kind: str,
    *lines: Line,
    refundable: RefundableChange | None = None,
    uses_hold: bool = True,
    reverses: Reference | None = None,
) -> Entry:
    """A fact of a booking. It draws on the booking's hold, if it has one and the flow has not used it up before."""
    hold = HoldChange(reference=booking.hold, action=HoldAction.USE, amount=booking.money.minor, final=booking.final)
    return Entry(
        reference=booking.reference,
        kind=kind,
        nature=Nature.FACT,
        lines=lines,
        hold=hold if uses_hold and booking.hold != UNWRITTEN else None,
        refundable=refundable,
        reverses=reverses,
    )


def _minus(money: Money) -> Money:
    return Money(-money.minor, money.currency)


def operation_named(entry: Entry) -> str:
    """The operation that an entry belongs to, by its reference; a provider's or the seed's own name otherwise."""
    return operation_of(entry.reference)
