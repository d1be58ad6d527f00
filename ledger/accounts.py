"""The chart of accounts: how accounts are named, and on which side each grows.

An account is a code and a currency, and is opened when it is first used. Debit is positive, credit negative.
"""

import functools
import hashlib
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

    def id_in(self, currency: str) -> int:
        """The account's number in a currency, made from its name: no cache, backup or second database changes it.

        The database makes the same one, and refuses to open an account under another.
        """
        return _number(self.code, currency)


@functools.lru_cache(maxsize=65_536)  # of a busy day's accounts; a miss costs two microseconds
def _number(code: str, currency: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{code}|{currency}".encode()).digest()[:8], "big") >> 1


FEE_INCOME = Account("holdfast:fee_income", Normal.CREDIT)
PAYOUTS_IN_TRANSIT = Account("holdfast:payouts_in_transit", Normal.CREDIT)
DISPUTED_FUNDS = Account("holdfast:disputed_funds", Normal.DEBIT)
BANK = Account("holdfast:bank", Normal.DEBIT)
SUSPENSE = Account("holdfast:suspense", Normal.DEBIT)

OUR_BANK = "bank"  # the source of what our bank tells, where a provider's name would stand


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


def cash_at(source: str) -> Account:
    """Where our cash lies: in our bank, or in our balance with the provider of that name."""
    return BANK if source == OUR_BANK else provider_balance(source)


def fx(desk: str) -> Account:
    """The position with whoever exchanges: one currency arrives, another leaves; each sums to zero by itself."""
    return Account(f"holdfast:fx:{desk}", Normal.DEBIT)
