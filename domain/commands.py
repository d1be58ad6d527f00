"""What is asked: operations of initiators and people, and the commands by which one activity is told one thing."""

from dataclasses import dataclass
from typing import ClassVar

from domain.ids import UNWRITTEN, MerchantId, OperationId, Prefix, Reference, Verb, is_operation_id
from domain.money import Money
from domain.outcomes import Decision, Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long an effect that certainly did not happen is sent again (money rule 5), in seconds."""

    authorize: float = 10  # an initiator waits ten seconds at most; later the payer may have paid otherwise
    automatic_capture: float = 600  # one purchase: taken soon, or given up
    as_asked: float = 3600  # an outage ends within the hour, or a person looks
    challenge: float = 900  # a payer is at their bank's page for a quarter of an hour at most, or has gone
    review: float = 86_400  # a person looks at what risk holds within a day, or the order is stale
    pending: float = 5 * 86_400  # a bank that has accepted decides within three bank days and a weekend


@dataclass(frozen=True, slots=True, kw_only=True)
class Promises:
    """What a provider promises, the part of its profile that a run needs, copied into the run when it starts.

    `horizon_seconds` is how late an effect may still appear after we gave up; None means never: absence is unprovable.
    """

    provider: str
    start_to_close_seconds: float  # longer than one call with its journalling can last
    horizon_seconds: float | None
    inquiry_is_complete: bool  # asked by reference past the horizon, it knows whatever it has
    inquiry_seconds: float  # first pause between two inquiries; it doubles
    attention_after_seconds: float  # when a doubt, or an undo without end, calls for a person
    increments: bool = False  # an authorization can be raised there
    recalls: bool = False  # a payout on its way can be called back there
    patience: Patience = Patience()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What somebody wants of a run; its id is its idempotency.

    `fingerprint` is the digest of what was asked, made by the API: the same id with another one is a conflict.
    """

    id: OperationId
    fingerprint: str
    prefix: ClassVar[Prefix]  # no two kinds of operation share an id, and so an update's receipt

    def __post_init__(self) -> None:
        if not is_operation_id(self.id, self.prefix):
            raise ValueError(f"{self.id}: the id of a {type(self).__name__} begins with {self.prefix}_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(Operation):
    """An operation that starts a run of its own.

    `admit_until` (unix seconds by the database's clock) is when nobody can be waiting any more: a start that arrives
    later is stale, and ends `not_started`.
    """

    client: str
    merchant: MerchantId
    money: Money
    promises: Promises
    admit_until: float
    merchant_reference: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment(Start):
    """Authorize `money`; in automatic mode capture it at once. `instrument` is the provider's token, never a card."""

    prefix: ClassVar[Prefix] = Prefix.PAYMENT
    instrument: str
    automatic: bool
    window_seconds: float  # how long the authorization may stand
    fee_basis_points: int  # our fee, fixed here for the life of the payment
    routes: tuple[Promises, ...] = ()  # who is asked next, in this order, if one is unavailable or refuses softly
    warn_before_seconds: float = 0  # how long before the window closes the initiator is warned; 0: not at all
    country: str = ""  # the payer's, ISO 3166-1 alpha-2, as the initiator says; empty: not said


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund(Start):
    """Give `money` of a captured payment back. `on` is the payment's authorization at the provider."""

    prefix: ClassVar[Prefix] = Prefix.REFUND
    payment: OperationId
    on: Reference
    on_provider_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Payout(Start):
    """Send `money` of a merchant's payable balance to `destination`, the provider's token of a bank account."""

    prefix: ClassVar[Prefix] = Prefix.PAYOUT
    destination: str
    replaces: OperationId | None = None  # the failed or returned payout that this one tries again


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute(Start):
    """Follow a payer's dispute over `money` of a payment; the provider opens it, and names it `their_id`."""

    prefix: ClassVar[Prefix] = Prefix.DISPUTE
    payment: OperationId
    their_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LateFact(Start):
    """Settle a fact about an operation whose run has closed; `id` is that operation's.

    `source` is the provider's own id of the event that told it.
    """

    fact: Fact
    source: str

    def __post_init__(self) -> None:
        """Any kind of operation may be told of late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture(Operation):
    """Take `money` from the authorization; `final` gives the rest up."""

    prefix: ClassVar[Prefix] = Prefix.CAPTURE
    money: Money
    final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Increment(Operation):
    """Raise the authorization by `money`."""

    prefix: ClassVar[Prefix] = Prefix.INCREMENT
    money: Money


@dataclass(frozen=True, slots=True, kw_only=True)
class Void(Operation):
    """Give up what is not captured of a payment, or call a payout back that has not arrived."""

    prefix: ClassVar[Prefix] = Prefix.VOID


# Commands: each tells one activity one thing. `reference` is written by the saga engine.


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """`on` names the effect that the command acts upon (voids, captures, books), `provider_id` is theirs for it."""

    reference: Reference = UNWRITTEN
    on: Reference = UNWRITTEN
    provider_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect(Command):
    """One effect at a provider. `instrument` is its token of the payer's means, or of a payout's account."""

    provider: str
    money: Money
    instrument: str = ""
    final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry(Command):
    """What became of `on`? `verb` is what had been asked under it."""

    provider: str
    verb: Verb


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare(Command):
    """Admit an operation that starts a run, judge its risk, and reserve for it in the ledger."""

    operation: OperationId
    client: str
    merchant: MerchantId
    provider: str
    money: Money
    fingerprint: str
    admit_until: float
    merchant_reference: str = ""
    payment: OperationId | None = None  # what a refund gives back, and what an increment raises
    instrument: str = ""
    country: str = ""
    replaces: OperationId | None = None  # the payout that this one tries again
    cleared: bool = False  # two people have let it pass; what refuses outright still refuses
    automatic: bool = False
    expires_seconds: float = 0  # how long the hold of a payment stands; 0: until it is released


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What GET and lists say about one operation; written with the step that it follows.

    `amount` is what this operation moved or is to move, `total` what its run has captured, refunded or paid out.
    """

    operation: OperationId
    state: str
    amount: Money
    total: Money
    reason: str = ""
    provider_id: str = ""
    reference: Reference = UNWRITTEN  # the effect at the provider: what captures and refunds act upon
    payment: OperationId | None = None  # of a capture, a void or an increment
    fingerprint: str = ""  # of a capture, a void or an increment, which have no admission of their own
    provider: str = ""  # empty: as admitted
    event: str = ""  # the name of the event that tells of it, where the state does not: `payment.expiring`


@dataclass(frozen=True, slots=True, kw_only=True)
class Note(Command):
    """Write the rows of a run's operations that changed, with their events."""

    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking(Command):
    """Book the effect `on`, a fact that is never refused, and write the rows that follow it.

    `hold` is the entry that it draws on; `final` releases what is left of it.
    """

    operation: OperationId
    merchant: MerchantId
    provider: str
    money: Money
    hold: Reference = UNWRITTEN
    final: bool = False
    fee: Money | None = None
    payment: OperationId | None = None
    rows: tuple[Row, ...] = ()
    key: str = ""  # the provider's own of a fact that it started: a return, a withdrawal, the end of a dispute
    withdrawal: str = ""  # the key of the withdrawal that the end of a dispute is about


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval(Command):
    """Are these two approvals of this decision about a run (a workflow id), by two people, not yet used?"""

    run: str
    decision: Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing(Command):
    """What do our own books say about the effect `on`?"""

    operation: OperationId


@dataclass(frozen=True, slots=True, kw_only=True)
class Available(Command):
    """How much of a merchant's payable balance is not held?"""

    merchant: MerchantId
    currency: str
