"""The port that every provider implements: six operations and one inquiry.

Each call is answered (`Answer`), or raises one of three errors of `domain.errors`: `Unavailable` (certainly no effect),
`Unknown` (may have happened) or `Conflict` (the answer is about something else than was asked).
"""

from typing import Protocol

from domain.commands import Effect, Inquiry
from domain.outcomes import Answer


class PaymentProvider(Protocol):
    """One provider. `effect.reference` is ours and is the idempotency key; `effect.on` is what is acted upon."""

    async def authorize(self, effect: Effect, /) -> Answer:
        """Have the payer's bank promise the money of `effect.instrument`."""
        ...

    async def capture(self, effect: Effect, /) -> Answer:
        """Take all or a part of the authorization `on`; `final` gives the rest up."""
        ...

    async def void(self, effect: Effect, /) -> Answer:
        """Ensure that nothing uncaptured stands under `on`; refused with `found` where captures are met."""
        ...

    async def refund(self, effect: Effect, /) -> Answer:
        """Give back from what was captured under `on`."""
        ...

    async def pay_out(self, effect: Effect, /) -> Answer:
        """Hand a payout to the account `effect.instrument`; done means accepted."""
        ...

    async def inquire(self, inquiry: Inquiry, /) -> Answer | None:
        """Tell what became of `on`; None: nothing is known under it, which alone proves nothing."""
        ...
