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

from domain.commands import Capture, Increment, Payment, Payout, Promises, Refund, Void
from domain.ids import ClientId, MerchantId, OperationId, Reference
from domain.money import Money
from domain.outcomes import Decision, Outcome, Receipt, View
from identity.clients import Clients
from identity.operators import Operators

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
    """One row. `total` is what is captured, refunded or paid out; `payment` is that of an operation upon a payment.

    `reference` and `provider_id` name its effect at the provider. The row of a capture, a void or an increment is
    written when its outcome is known.
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
    async def increment(self, operation: OperationId, /) -> Stored | None: ...
    async def dispute(self, operation: OperationId, /) -> Stored | None: ...
    async def refund(self, operation: OperationId, /) -> Stored | None: ...
    async def payout(self, operation: OperationId, /) -> Stored | None: ...
    async def payments(self, client: ClientId, limit: int, before: Before | None = None) -> Sequence[Stored]: ...
    async def payouts(self, client: ClientId, limit: int, before: Before | None = None) -> Sequence[Stored]: ...
    async def disputes(self, client: ClientId, limit: int, before: Before | None = None) -> Sequence[Stored]: ...
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
    NOT_SUPPORTED = "NotSupported"


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
    async def increment(self, payment: OperationId, increment: Increment, *, wait_seconds: float) -> Heard: ...
    async def recall(self, payout: OperationId, recall: Void, *, wait_seconds: float) -> Heard: ...

    async def returned(self, payment: OperationId, *, wait_seconds: float) -> None:
        """Tell a payment that its payer has come back from the challenge, and wait until it has looked.

        Nothing happens where it waits for no challenge. Does not raise where it has closed.
        """
        ...

    async def view(self, operation: OperationId) -> View | None:
        """Ask an open run what it knows; None where it does not answer at once."""
        ...

    async def requested(self, operation: OperationId) -> Requested | None:
        """Tell what a run was started with; None where there is none, or the engine does not say so at once."""
        ...


# What waits for a person


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedRun:
    """A run that is open; `view` is what it says of itself, None where it does not say so at once.

    `why` is the first line of its page, for runs of upkeep, which move no money and are asked nothing else.
    """

    run: str
    kind: str
    owner: str
    started_at: datetime
    state: str = ""
    merchant: str = ""
    provider: str = ""
    money: Money | None = None
    view: View | None = None
    why: str = ""


class ParkedRuns(Protocol):
    """The runs that wait for people. All raise `EngineUnavailable` where the engine does not answer."""

    async def waiting(self, owner: str | None = None) -> tuple[Sequence[ParkedRun], bool]:
        """Everything that waits for a person, or for this one; and whether there is more than that."""
        ...

    async def look(self, run: str) -> ParkedRun | None:
        """One open run, whether it waits or not; None where there is none."""
        ...

    async def retry(self, run: str, reference: Reference) -> str:
        """Have a run ask the world again; empty, or why it does not."""
        ...

    async def resolve(self, run: str, decision: Decision) -> str:
        """Hand a decision to a run and wait until it has checked it; empty, or why it does not take it."""
        ...

    async def decided(self, run: str, reference: Reference) -> ParkedRun | None:
        """Look at a run once it has acted upon a decision, or a moment has passed; None where it has closed."""
        ...


class StoredApproval(Protocol):
    """One operator's word; `used_by` is the approval together with which it made a decision."""

    @property
    def id(self) -> str: ...
    @property
    def outcome(self) -> Outcome: ...
    @property
    def evidence(self) -> str: ...
    @property
    def actor(self) -> str: ...
    @property
    def at(self) -> datetime: ...
    @property
    def used_by(self) -> str | None: ...


class Approvals(Protocol):
    """Where approvals are written down."""

    async def give(self, run: str, reference: Reference, outcome: Outcome, evidence: str, actor: str, /) -> str:
        """Keep an operator's approval and tell its id; the same again is the same approval."""
        ...

    async def of(self, run: str, reference: Reference, /) -> Sequence[StoredApproval]:
        """The approvals about a run's reference, oldest first."""
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
    routes: tuple[Promises, ...] = ()  # who takes a payment that the first one cannot
    warning_seconds: float = 0  # how long before an authorization's end its initiator is warned
    mode: str = "test"  # or "live"; part of every derived id

    def of(self, provider: str) -> Promises:
        """What the provider of an earlier operation promises; a provider that was taken out is a mistake of ours."""
        return next(each for each in (self.promises, *self.routes) if each.provider == provider)

    @property
    def warn_before_seconds(self) -> float:
        """None where the window is no longer than the warning: it would come with the authorization itself."""
        return self.warning_seconds if self.warning_seconds < self.window_seconds else 0

    @property
    def is_live(self) -> bool:
        """Whether money is real."""
        return self.mode == "live"


Probe = Callable[[], Awaitable[object]]  # raises, or does not return, where its part is not ready


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """Everything that the API is built upon. `probes` are what /readyz asks, by name."""

    clients: Clients
    operators: Operators
    claims: Claims
    reads: Reads
    balances: Balances
    inbox: Inbox
    webhooks: WebhookCheck
    runs: Runs
    parked: ParkedRuns
    approvals: Approvals
    audit: Audit
    terms: Terms
    probes: Mapping[str, Probe] = field(default_factory=dict[str, Probe])
