"""What the API needs of the rest of Holdfast, as Protocols, so that it imports neither ledger, records nor adapters.

Rows are typed by their shape: any frozen dataclass with these attributes fits. Where an answer is one of several
shapes the shapes are ours, and the composition root translates. Everything behind a port raises
`domain.errors.Unavailable` where its database cannot be reached.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from domain.commands import Capture, Payment, Payout, Promises, Refund, Void
from domain.ids import ClientId, MerchantId, OperationId, Reference
from domain.money import Money
from domain.outcomes import Receipt, View
from identity.clients import Clients

# Idempotency claims


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """The key is ours. `created_at` is that of the first claim; `lease_until` is unix seconds by the database's clock.

    `fence` tells our claim from that of a request that took the key over after our lease.
    """

    fence: int
    created_at: datetime
    lease_until: float
    taken_over: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """Another request holds the key."""

    retry_after_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAnswer:
    """What was answered under the key, byte for byte."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """The key was used for another request."""


class Claims(Protocol):
    """Who answers a key; one round trip each."""

    async def claim(
        self,
        client: ClientId,
        mode: str,
        key: str,
        operation: str,
        fingerprint: bytes,
        resource: OperationId,
        lease_seconds: float,
    ) -> Claimed | InFlight | StoredAnswer | Mismatch:
        """Claim the key for as long as the lease lasts; a lapsed claim of the same request is taken over."""
        ...

    async def finish(
        self, client: ClientId, mode: str, key: str, fence: int, status: int, headers: Mapping[str, str], body: bytes
    ) -> StoredAnswer | None:
        """Store the answer. None: it is stored; else another request has answered, and this is what it said."""
        ...

    async def release(self, client: ClientId, mode: str, key: str, fence: int) -> None:
        """Free the key of a request that had no effect."""
        ...


# Rows


class Stored(Protocol):
    """One row. `total` is what is captured, refunded or paid out; `payment` is that of a capture, void or refund.

    `reference` and `provider_id` name its effect at the provider. A capture's or a void's row is written when its
    outcome is known.
    """

    @property
    def id(self) -> OperationId: ...
    @property
    def payment(self) -> OperationId | None: ...
    @property
    def client(self) -> ClientId: ...
    @property
    def merchant(self) -> MerchantId: ...
    @property
    def provider(self) -> str: ...
    @property
    def provider_id(self) -> str: ...
    @property
    def reference(self) -> Reference: ...
    @property
    def merchant_reference(self) -> str: ...
    @property
    def automatic(self) -> bool: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def money(self) -> Money: ...
    @property
    def total(self) -> Money: ...
    @property
    def state(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def created_at(self) -> datetime: ...


class StoredMoment(Protocol):
    """One line of a timeline."""

    @property
    def at(self) -> datetime: ...
    @property
    def operation(self) -> str: ...
    @property
    def what(self) -> str: ...
    @property
    def detail(self) -> str: ...


Before = tuple[datetime, OperationId]  # where a page ended: lists are ordered by (created_at, id), newest first


class Reads(Protocol):
    """The rows behind GET and lists. None where there is no such row."""

    async def payment(self, operation: OperationId, /) -> Stored | None: ...
    async def capture(self, operation: OperationId, /) -> Stored | None: ...
    async def void(self, operation: OperationId, /) -> Stored | None: ...
    async def refund(self, operation: OperationId, /) -> Stored | None: ...
    async def payout(self, operation: OperationId, /) -> Stored | None: ...
    async def payments(self, client: ClientId, limit: int, before: Before | None = None) -> Sequence[Stored]: ...
    async def payouts(self, client: ClientId, limit: int, before: Before | None = None) -> Sequence[Stored]: ...
    async def timeline(self, operation: OperationId, /) -> Sequence[StoredMoment]: ...


# The ledger


class StoredBalance(Protocol):
    """An account's layers in minor units, debit positive; `available` is what can be drawn."""

    @property
    def posted(self) -> int: ...
    @property
    def pending_debit(self) -> int: ...
    @property
    def pending_credit(self) -> int: ...
    @property
    def available(self) -> int: ...


class StoredRefundable(Protocol):
    """`left` is what can still be refunded of a payment, in minor units (money rule 10)."""

    @property
    def left(self) -> int: ...


class Balances(Protocol):
    """What the ledger says of accounts and payments."""

    async def balance(self, code: str, currency: str, as_of: datetime | None = None) -> StoredBalance | None: ...
    async def refundable(self, payment: OperationId, currency: str, /) -> StoredRefundable | None: ...


# Webhooks


class Received(StrEnum):
    """What the inbox says of an event."""

    NEW = "new"
    DUPLICATE = "duplicate"
    ALTERED = "altered"  # the id is known with other content


class Inbox(Protocol):
    """Where verified events wait for the relay."""

    async def receive(self, provider: str, event_id: str, raw: bytes) -> str:
        """Keep an event, durably; the answer is one of `Received`."""
        ...


class WebhookCheck(Protocol):
    """Verifies a provider's signature on the raw bytes."""

    def event_id(self, provider: str, raw: bytes, headers: Mapping[str, str]) -> str | None:
        """Tell the event's id, whatever its kind; None where the signature does not verify.

        `headers` have lower-case names. Raises `LookupError` for a provider that sends no webhooks.
        """
        ...


# Runs


class Silence(StrEnum):
    """Why a run gave no receipt."""

    UNDERWAY = "underway"  # it has taken the operation for certain, and is not done within the wait
    CLOSED = "closed"  # it has ended: its rows say how


class Refusal(StrEnum):
    """Why a run did not take an operation: the types of the errors that validators raise."""

    CONFLICT = "Conflict"
    IN_DOUBT = "InDoubt"
    CAPTURE_EXCEEDS_AUTHORIZATION = "CaptureExceedsAuthorization"
    INVALID_STATE = "InvalidState"


Heard = Receipt | Silence | Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """What was asked of a run, kept beside it from its start: it can be shown before its row is written."""

    client: ClientId
    merchant: MerchantId
    provider: str
    money: Money
    merchant_reference: str
    created_at: str  # RFC 3339
    automatic: bool = False
    payment: OperationId | None = None


class EngineUnavailable(Exception):
    """Temporal did not tell for certain that it has taken the operation; the same ids may be asked again."""


class Runs(Protocol):
    """The runs behind the API. All but the reads raise `EngineUnavailable`; all may be called again."""

    async def start(self, command: Payment | Refund | Payout, *, created_at: str, wait_seconds: float) -> Heard:
        """Start the run unless it exists, and wait for its receipt."""
        ...

    async def capture(self, payment: OperationId, capture: Capture, *, wait_seconds: float) -> Heard: ...
    async def void(self, payment: OperationId, void: Void, *, wait_seconds: float) -> Heard: ...

    async def view(self, operation: OperationId) -> View | None:
        """Ask an open run what it knows; None where it does not answer at once."""
        ...

    async def requested(self, operation: OperationId) -> Requested | None:
        """Tell what a run was started with; None where there is none, or the engine does not say so at once."""
        ...


# What is written about each request


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """One request that could change state, whatever became of it. No bodies, no keys in the clear, no tokens."""

    event: str
    operation: str
    client: str
    scope: str
    request_id: str
    key_digest: str
    fingerprint: str
    resource: str
    status: int
    code: str  # of the problem; empty where there was none
    replayed: bool


class Audit(Protocol):
    """Where audit events go."""

    def write(self, audited: Audited) -> None: ...


# The whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What Holdfast adds to every operation that it starts; fixed in the run for its life."""

    promises: Promises
    window_seconds: float
    fee_basis_points: int
    mode: str = "test"  # or "live"; part of every derived id

    @property
    def is_live(self) -> bool:
        """Whether money is real."""
        return self.mode == "live"


Probe = Callable[[], Awaitable[object]]  # raises, or does not return, where its part is not ready


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """Everything that the API is built upon. `probes` are what /readyz asks, by name."""

    clients: Clients
    claims: Claims
    reads: Reads
    balances: Balances
    inbox: Inbox
    webhooks: WebhookCheck
    runs: Runs
    audit: Audit
    terms: Terms
    probes: Mapping[str, Probe] = field(default_factory=dict[str, Probe])
