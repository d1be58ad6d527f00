"""Every error that Holdfast raises, drawn as a tree. Outcomes that are expected (a decline) are values, not errors.

HoldfastError
├── BadMoney          an amount or currency that cannot be                bad input
├── InstantArchived   the instant's month is out of the database          restored first
├── LedgerBusy        the entry was not taken                             posted again later
├── LedgerUnavailable the entry may be in the book or not                 posted again, the same
└── PaymentError
    ├── Unavailable   certainly no effect yet                             sent again by the saga engine
    ├── Unknown       may have happened                                   inquired, never guessed
    └── Conflict      same reference, other content                       never repeated; a person looks
"""


class HoldfastError(Exception):
    """The root of all."""


class BadMoney(HoldfastError, ValueError):
    """An amount or a currency that cannot be."""


class InstantArchived(HoldfastError):
    """What is asked for stood at an instant whose month is in the archive. Nothing is wrong: restore it to read it."""


class LedgerBusy(HoldfastError):
    """More entries are waiting than can be written soon. Nothing was written: post again after `after_seconds`."""

    def __init__(self, why: str, *, after_seconds: float) -> None:
        super().__init__(why)
        self.after_seconds = after_seconds


class LedgerUnavailable(HoldfastError):
    """The database does not answer, or cannot write. The entry may be in the book or not: post it again, the same."""


class PaymentError(HoldfastError):
    """What went wrong with one effect. The text is for a person woken at night and never holds a card number."""

    def __init__(self, why: str, *, provider: str = "", reference: str = "") -> None:
        super().__init__(why)
        self.provider = provider
        self.reference = reference


class Unavailable(PaymentError):
    """Certainly no effect yet: the request cannot have been acted upon. May be sent again after `after_seconds`."""

    def __init__(
        self, why: str, *, after_seconds: float | None = None, provider: str = "", reference: str = ""
    ) -> None:
        super().__init__(why, provider=provider, reference=reference)
        self.after_seconds = after_seconds


class Unknown(PaymentError):
    """It may have happened. Never repeated on this evidence: inquire.

    `provider_id` is set where the answer, unreadable otherwise, showed that the provider has the operation.
    """

    def __init__(self, why: str, *, provider_id: str = "", provider: str = "", reference: str = "") -> None:
        super().__init__(why, provider=provider, reference=reference)
        self.provider_id = provider_id


class Conflict(PaymentError):
    """The same reference with other content: a bug of ours, or a key that somebody else used. Raises an alarm."""
