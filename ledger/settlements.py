"""From what a provider or our bank tells of our own cash to a balanced entry: lines, returns, exchanges. All are facts.

Lines come in normal form, matched by whoever read them. Who matches, and what a break is, is not known here.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.ids import MerchantId, Reference
from domain.money import Money
from ledger.accounts import (
    BANK,
    OUR_BANK,
    SUSPENSE,
    Account,
    cash_at,
    fx,
    payable,
    provider_balance,
    provider_fees,
    receivable,
    unsettled,
)
from ledger.entry import Entry, Nature
from ledger.postings import Told, credit, debit, told_reference


class LineKind(StrEnum):
    """What a line of a provider's settlement file is about (money rule 11)."""

    CAPTURE = "capture"  # that stands: what it brings becomes payable
    CAPTURE_FAILED = "capture_failed"  # of one taken back: paid to us all the same, or taken off again
    REFUND = "refund"  # below zero; above where it failed
    DISPUTE = "dispute"  # below zero; above where it was won
    FEE = "fee"  # below zero; above where it is given back
    PAYOUT = "payout"  # below zero: to our bank; above zero: our bank has paid what the provider was owed
    UNEXPLAINED = "unexplained"  # fits nowhere: to suspense, and a break


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementLine:
    """One line of a provider's settlement file. `money` is what it does to our balance there: plus is more for us.

    `key` is the natural key that the file's format declares, never file and row. The same line in two files has one
    entry, so nothing of the file stands here. `settles` names the entry of ours that it pays for, where one is known;
    a capture also has its merchant and our fee on it. What a line is matched with is decided once and kept.
    """

    provider: str
    key: str
    kind: LineKind
    money: Money
    settles: Reference | None = None
    merchant: MerchantId | None = None
    fee: Money | None = None
    effective_at: datetime | None = None

    def __post_init__(self) -> None:
        assert self.money.minor != 0, f"{self.key}: a line of nothing moves nothing"
        assert (self.kind is LineKind.CAPTURE) == (self.merchant is not None), "a capture that stands has a merchant"
        assert (self.merchant is None) == (self.fee is None), "what a merchant is owed is known with our fee only"
        assert self.kind is not LineKind.CAPTURE or self.money.minor > 0, "what is taken off is of a failed capture"

    @property
    def reference(self) -> Reference:
        return told_reference(self.provider, self.key, Told.LINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class BankLine:
    """One line of our bank's statement that nobody expects; plus is more for us. `key` is the bank's own.

    Lines of what is booked already (payouts to merchants, a provider's payouts to us) are matched, never posted again.
    """

    key: str
    money: Money
    effective_at: datetime | None = None

    @property
    def reference(self) -> Reference:
        return told_reference(OUR_BANK, self.key, Told.LINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """A payout that had arrived came back to `source`: our bank, or the provider out of whose balance it was paid.

    `payout` is the reference of its effect, `key` the source's own of the return; that of `told_by`, the rail's
    provider, where it tells of what comes back to our bank.
    """

    source: str
    key: str
    payout: Reference
    merchant: MerchantId
    money: Money
    effective_at: datetime | None = None
    told_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A desk has exchanged `sold` for `bought` out of `account`; `key` is the desk's own of the trade."""

    desk: str
    key: str
    account: Account
    sold: Money
    bought: Money
    effective_at: datetime | None = None

    def __post_init__(self) -> None:
        assert self.sold.currency != self.bought.currency, "an exchange is of two currencies"
        assert min(self.sold.minor, self.bought.minor) > 0, "what is sold and what is bought are amounts"


def settlement_line(line: SettlementLine) -> Entry:
    """Book a settlement line; that of a capture which stands makes payable what was unsettled, less our fee."""
    lines = [debit(provider_balance(line.provider), line.money), credit(_counterpart(line), line.money)]
    if line.merchant is not None and line.fee is not None:
        net = line.money - line.fee
        lines += [debit(unsettled(line.merchant), net), credit(payable(line.merchant), net)]
    return Entry(
        reference=line.reference,
        kind=f"line_{line.kind}",
        nature=Nature.FACT,
        lines=tuple(lines),
        effective_at=line.effective_at,
        why=f"settles {line.settles}" if line.settles else "",
    )


def _counterpart(line: SettlementLine) -> Account:
    match line.kind:
        case LineKind.CAPTURE | LineKind.CAPTURE_FAILED | LineKind.REFUND | LineKind.DISPUTE:
            return receivable(line.provider)
        case LineKind.FEE:
            return provider_fees(line.provider)
        case LineKind.PAYOUT:
            return BANK
        case LineKind.UNEXPLAINED:
            return SUSPENSE


def unexplained_bank_line(line: BankLine) -> Entry:
    """Book a bank line that fits nowhere: the cash is there, or gone; whose it was is in suspense."""
    return Entry(
        reference=line.reference,
        kind="bank_line_unexplained",
        nature=Nature.FACT,
        lines=(debit(BANK, line.money), credit(SUSPENSE, line.money)),
        effective_at=line.effective_at,
    )


def payout_returned(returned: Return) -> Entry:
    """Book that a payout came back after it had arrived: the cash is ours again, and owed to the merchant again."""
    return Entry(
        reference=told_reference(returned.told_by or returned.source, returned.key, Told.RETURNED),
        kind="payout_returned",
        nature=Nature.FACT,
        lines=(debit(cash_at(returned.source), returned.money), credit(payable(returned.merchant), returned.money)),
        reverses=Reference(f"{returned.payout}/paid"),
        effective_at=returned.effective_at,
    )


def exchanged(exchange: Exchange) -> Entry:
    """Book an exchange through the desk's position: the account has less of one currency and more of the other.

    Each currency sums to zero by itself; what the position is worth is not said by the book, which knows no rate.
    """
    account, position = exchange.account, fx(exchange.desk)
    more, less = (debit, credit) if account.normal > 0 else (credit, debit)
    return Entry(
        reference=told_reference(exchange.desk, exchange.key, Told.EXCHANGED),
        kind="exchanged",
        nature=Nature.FACT,
        lines=(
            less(account, exchange.sold),
            more(position, exchange.sold),
            more(account, exchange.bought),
            less(position, exchange.bought),
        ),
        effective_at=exchange.effective_at,
    )
