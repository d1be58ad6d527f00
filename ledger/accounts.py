"""The chart of accounts: how accounts are named, and on which side each grows.

An account is a code and a currency, and is opened when it is first used. Debit is positive, credit negative.
"""

from dataclasses import dataclass
from enum import IntEnum

from domain.ids import MerchantId


class Normal(IntEnum):
    """The side on which an account grows."""

    DEBIT = 1  # what we have, or are owed
    CREDIT = -1  # what we owe, or have earned


@dataclass(frozen=True, slots=True)
class Account:
    """One account's code, whatever the currency."""

    code: str
    normal: Normal


FEE_INCOME = Account("holdfast:fee_income", Normal.CREDIT)
PAYOUTS_IN_TRANSIT = Account("holdfast:payouts_in_transit", Normal.CREDIT)
DISPUTED_FUNDS = Account("holdfast:disputed_funds", Normal.DEBIT)
BANK = Account("holdfast:bank", Normal.DEBIT)
SUSPENSE = Account("holdfast:suspense", Normal.DEBIT)


def unsettled(merchant: MerchantId) -> Account:
    """What was captured for a merchant and is not yet paid to us."""
    return Account(f"merchant:{merchant}:unsettled", Normal.CREDIT)


def payable(merchant: MerchantId) -> Account:
    """What is owed to a merchant; below zero the merchant owes it."""
    return Account(f"merchant:{merchant}:payable", Normal.CREDIT)


def receivable(provider: str) -> Account:
    """What a provider has captured and owes us."""
    return Account(f"provider:{provider}:receivable", Normal.DEBIT)


def provider_balance(provider: str) -> Account:
    """What a provider has settled to our account with it."""
    return Account(f"provider:{provider}:balance", Normal.DEBIT)


def provider_fees(provider: str) -> Account:
    """What a provider charges us."""
    return Account(f"provider:{provider}:fees", Normal.DEBIT)


def fx(desk: str) -> Account:
    """Where one currency leaves and another arrives; each currency sums to zero by itself."""
    return Account(f"holdfast:fx:{desk}", Normal.DEBIT)
