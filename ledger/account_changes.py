"""Closing an account to gates, and opening it again: a person's decision, with its reason in the audit.

Facts are booked to a closed account all the same (money rule 3). Accounts are opened by whoever first posts to them.
"""

import asyncpg

from domain.errors import HoldfastError


class NoSuchAccount(HoldfastError):
    """Nothing has been posted under this code and currency. Nothing was changed."""


class AccountChanges:
    """The changes of accounts through a pool whose role may make them; `actor` is whom the events name."""

    def __init__(self, pool: asyncpg.Pool, actor: str) -> None:
        self._pool = pool
        self._actor = actor

    async def set_closed(self, code: str, currency: str, *, closed: bool, why: str) -> bool:
        """Close an account, or open it again; tell whether that changed anything. Raises `NoSuchAccount`."""
        try:
            return await self._pool.fetchval(SET_CLOSED, code, currency, closed, self._actor, why)
        except asyncpg.NoDataFoundError as failure:
            raise NoSuchAccount(f"there is no account {code} in {currency}") from failure


SET_CLOSED = "SELECT ledger.set_closed($1, $2, $3, $4, $5)"
