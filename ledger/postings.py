"""From a business event of our operations to a balanced entry: pure functions, one per flow of docs/ledger.md.

A gate may be refused; a fact never is (money rule 3). Lines name the posted layer only: the pending lines of a hold
are the posting function's, since only it knows under its locks what the hold has left. What a provider or a bank starts
is in ledger/disputes.py and ledger/settlements.py, what people decide in ledger/corrections.py.
"""

from enum import StrEnum

from domain.commands import Booking, Prepare
from domain.ids import UNWRITTEN, MerchantId, Prefix, Reference
from domain.money import Money
from ledger.accounts import (
    FEE_INCOME,
    OUR_BANK,
    PAYOUTS_IN_TRANSIT,
    Account,
    cash_at,
    payable,
    receivable,
    unsettled,
)
from ledger.entry import Entry, HoldAction, HoldChange, Line, Nature, RefundableChange

# What every flow is made of


def debit(account: Account, money: Money) -> Line:
    """A line on the debit side; a negative amount stands on the other one."""
    return Line(account, money)


def credit(account: Account, money: Money) -> Line:
    """A line on the credit side; a negative amount stands on the other one."""
    return Line(account, Money(-money.minor, money.currency))


class Told(StrEnum):
    """What a provider or a bank starts, as the reference of its entry ends (money rule 1)."""

    WITHDRAWN = "withdrawn"  # the funds of a dispute
    WON = "won"
    LOST = "lost"
    LINE = "line"  # of a settlement file, or of a bank's statement
    RETURNED = "returned"  # a payout that had arrived
    TOP_UP = "top-up"
    EXCHANGED = "exchanged"


def told_reference(source: str, key: str, told: Told) -> Reference:
    """Name a fact that `source` (a provider, our bank, a desk) starts, by the key that it has there.

    `key` is theirs, never a count of ours: the same fact told twice, or in two files, has one entry. With source and
    kind it must fit into the 128 characters of a reference; a longer key is digested by who reads it.
    """
    assert source, "a fact is told by somebody"
    assert key, f"{source} has told something without a key of its own: it cannot be booked once only"
    return Reference(f"{source}:{key}/{told}")


# Payments


def authorization_hold(prepare: Prepare) -> Entry:
    """Hold an authorization: what the provider will owe, and the merchant be owed, once it is captured."""
    return _gate(
        prepare,
        "authorization_hold",
        debit=receivable(prepare.provider),
        credit=unsettled(prepare.merchant),
        expires_seconds=prepare.expires_seconds or None,
    )


def capture(booking: Booking) -> Entry:
    """Book a capture: the provider owes it, the merchant is owed it less our fee; its part of the hold is used up."""
    assert booking.payment is not None
    money, fee = booking.money, _fee(booking)
    return _fact(
        booking,
        "capture",
        debit(receivable(booking.provider), money),
        credit(unsettled(booking.merchant), money - fee),
        credit(FEE_INCOME, fee),
        refundable=RefundableChange(payment=booking.payment, captured=money.minor),
    )


def capture_failed(booking: Booking, *, settled: bool) -> Entry:
    """Book that a provider has taken the capture `on` back after it was done: our fee goes back with it.

    `settled`: its settlement line has made it payable already, and so it is payable no more. Who books decides that
    once and keeps it: the same fact told again must have the same content.
    """
    assert booking.payment is not None
    money, fee = booking.money, _fee(booking)
    owed = payable(booking.merchant) if settled else unsettled(booking.merchant)
    return _fact(
        booking,
        "capture_failed",
        debit(owed, money - fee),
        debit(FEE_INCOME, fee),
        credit(receivable(booking.provider), money),
        refundable=RefundableChange(payment=booking.payment, captured=-money.minor),
        uses_hold=False,
        reverses=_posted(booking),
    )


# Refunds


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


def refund_done(booking: Booking) -> Entry:
    """Book a refund: the provider owes that much less, and so do we the merchant. Our fee is not given back."""
    assert booking.payment is not None
    money = booking.money
    return _fact(
        booking,
        "refund_done",
        debit(payable(booking.merchant), money),
        credit(receivable(booking.provider), money),
        refundable=RefundableChange(payment=booking.payment, refunded=money.minor),
    )


def refund_failed(booking: Booking) -> Entry:
    """Book that the refund `on` did not reach the payer after it was done: the merchant is owed it again."""
    assert booking.payment is not None
    money = booking.money
    return _fact(
        booking,
        "refund_failed",
        debit(receivable(booking.provider), money),
        credit(payable(booking.merchant), money),
        refundable=RefundableChange(payment=booking.payment, refunded=-money.minor),
        uses_hold=False,
        reverses=_posted(booking),
    )


# Payouts


def payout_reserve(prepare: Prepare) -> Entry:
    """Reserve a payout of what is payable to the merchant and not reserved already."""
    account = payable(prepare.merchant)
    return _gate(prepare, "payout_reserve", debit=account, credit=PAYOUTS_IN_TRANSIT, bounded=account)


def payout_accepted(booking: Booking) -> Entry:
    """Book a payout that the rail has taken: no longer payable, not yet gone from the bank."""
    money = booking.money
    return _fact(booking, "payout_accepted", debit(payable(booking.merchant), money), credit(PAYOUTS_IN_TRANSIT, money))


def payout_paid(booking: Booking, source: str = OUR_BANK) -> Entry:
    """Book a payout that has arrived, paid by our bank or out of our balance with the provider `source`.

    The bank's or the provider's own line of it is matched with this entry, never posted again.
    """
    money = booking.money
    return _fact(
        booking, "payout_paid", debit(PAYOUTS_IN_TRANSIT, money), credit(cash_at(source), money), uses_hold=False
    )


def payout_failed(booking: Booking) -> Entry:
    """Book that an accepted payout has not arrived: the merchant is owed it again."""
    money = booking.money
    return _fact(
        booking,
        "payout_failed",
        debit(PAYOUTS_IN_TRANSIT, money),
        credit(payable(booking.merchant), money),
        uses_hold=False,
        reverses=_posted(booking),
    )


# Money from merchants


def top_up(reference: Reference, merchant: MerchantId, money: Money) -> Entry:
    """Book money that a merchant has sent to our bank."""
    return Entry(
        reference=reference,
        kind="top_up",
        nature=Nature.FACT,
        lines=(debit(cash_at(OUR_BANK), money), credit(payable(merchant), money)),
    )


# What is held is given back


def release(prepare: Prepare) -> Entry:
    """Give back what is left of the hold `on`: a void, an expiry, or a reserve that nothing came of."""
    return Entry(
        reference=prepare.reference,
        kind=f"{RELEASED[Prefix(prepare.operation.split('_', 1)[0])]}_released",
        nature=Nature.FACT,
        hold=HoldChange(reference=prepare.on, action=HoldAction.RELEASE),
    )


RELEASED = {
    Prefix.PAYMENT: "authorization_hold",
    Prefix.INCREMENT: "authorization_hold",
    Prefix.REFUND: "refund_reserve",
    Prefix.PAYOUT: "payout_reserve",
}


def _gate(
    prepare: Prepare,
    kind: str,
    *,
    debit: Account,
    credit: Account,
    bounded: Account | None = None,
    refundable: RefundableChange | None = None,
    expires_seconds: float | None = None,
) -> Entry:
    return Entry(
        reference=prepare.reference,
        kind=kind,
        nature=Nature.GATE,
        hold=HoldChange(
            reference=prepare.reference,
            action=HoldAction.OPEN,
            money=prepare.money,
            debit=debit,
            credit=credit,
            expires_seconds=expires_seconds,
        ),
        refundable=refundable,
        bounded=bounded,
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
    hold = HoldChange(reference=booking.hold, action=HoldAction.USE, money=booking.money, final=booking.final)
    return Entry(
        reference=booking.reference,
        kind=kind,
        nature=Nature.FACT,
        lines=lines,
        hold=hold if uses_hold and booking.hold != UNWRITTEN else None,
        refundable=refundable,
        reverses=reverses,
    )


def _fee(booking: Booking) -> Money:
    return booking.fee or Money(0, booking.money.currency)


def _posted(booking: Booking) -> Reference:
    """The entry by which the effect that the booking is about was booked."""
    return Reference(f"{booking.on}/post")
