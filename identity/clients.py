"""The clients of the API, their scopes, and how a bearer token names one of them.

Knows nothing of HTTP beyond the token itself, and nothing of payments. `StaticClients` is for development alone;
`identity/policy.py` says where it may be used.
"""

import hashlib
import hmac
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from domain.ids import ClientId, MerchantId


class Scope(StrEnum):
    """What a token may be used for; reading and moving money never share one."""

    PAYMENTS_CREATE = "payments:create"
    PAYMENTS_CAPTURE = "payments:capture"
    PAYMENTS_INCREMENT = "payments:increment"
    PAYMENTS_VOID = "payments:void"
    PAYMENTS_READ = "payments:read"
    REFUNDS_CREATE = "refunds:create"
    PAYOUTS_CREATE = "payouts:create"
    PAYOUTS_RECALL = "payouts:recall"
    PAYOUTS_READ = "payouts:read"
    DISPUTES_READ = "disputes:read"
    LEDGER_READ = "ledger:read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """An initiator. `merchants` are those it may act for; None: every merchant."""

    id: ClientId
    scopes: frozenset[Scope]
    merchants: frozenset[MerchantId] | None = None

    def may_act_for(self, merchant: str) -> bool:
        """Tell whether this client may move or read the money of `merchant`."""
        return self.merchants is None or merchant in self.merchants


class Clients(Protocol):
    """Whoever can tell a client by its token."""

    def authenticate(self, token: str) -> Client | None:
        """Tell whose token this is; None where it is nobody's, or no longer."""
        ...


class StaticClients:
    """One development client with one token, compared in constant time."""

    def __init__(self, token: str, client: Client) -> None:
        if not token:
            raise ValueError("an empty token would let everybody in")
        self._digest = _digest(token)
        self._client = client

    def authenticate(self, token: str) -> Client | None:
        """See `Clients`. Digests are compared, so that not even the token's length shows in the time it takes."""
        return self._client if hmac.compare_digest(_digest(token), self._digest) else None


class NoClients:
    """Nobody: an installation without initiators."""

    def authenticate(self, token: str) -> Client | None:
        """See `Clients`."""
        return None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
