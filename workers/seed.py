"""The development merchants: their identities verified, and with money, so that they can be paid out.

The money is booked like a line of our bank's statement, through the ledger's own function, since reconciliation moves
none to *payable* yet. Never in live mode.
"""

import asyncpg

from domain.errors import HoldfastError
from domain.ids import MerchantId, Reference
from domain.money import Money, parse
from identity.standing import Standings
from ledger.journal import Journal, Posted
from ledger.postings import top_up
from workers.settings import Mode

MERCHANTS = (MerchantId("m_bakery"), MerchantId("m_bikes"))
CURRENCIES = ("EUR", "JPY", "KWD")  # two, no and three decimals
MAJOR_UNITS = "1000000"  # more than any demonstration or test pays out


class NotInLiveMode(HoldfastError):
    """Money is made up in development only."""


async def seed(database_url: str) -> None:
    """Verify each development merchant, and top it up in each currency of the demonstration, once and for all."""
    async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as pool:
        for merchant in MERCHANTS:
            await Standings(pool).seed(merchant)
            for currency in CURRENCIES:
                reference = Reference(f"seed:{merchant}:{currency}/top-up")
                await Journal(pool).post(top_up(reference, merchant, parse(MAJOR_UNITS, currency)))


async def top_up_by_hand(database_url: str, mode: Mode, key: str, merchant: MerchantId, money: Money) -> Posted:
    """Book one top-up under a key; the same key again books nothing more. Raises `NotInLiveMode`."""
    if mode is Mode.LIVE:
        raise NotInLiveMode("a top-up by hand is for development: in live mode money comes with a bank line")
    async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as pool:
        return await Journal(pool).post(top_up(Reference(f"hand:{key}/top-up"), merchant, money))
