"""The port that every provider implements: what has an effect there, and one inquiry.

Each call is answered (`Answer`), or raises one of three errors of `domain.errors`: `Unavailable` (certainly no effect),
`Unknown` (may have happened) or `Conflict` (the answer is about something else than was asked).
"""

from typing import Protocol

from domain.commands import Effect, Inquiry
from domain.outcomes import Answer


class PaymentProvider(Protocol):
    """One provider. `effect.reference` is ours and is the idempotency key; `effect.on` is what is acted upon."""

    async def authorize(self, effect: Effect, /) -> Answer:
        """Have the payer's bank promise the money of `effect.instrument`.

        Pending with a `challenge` where the payer is to prove who they are; a refusal may be `soft`.
        """
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

    async def increment(self, effect: Effect, /) -> Answer:
        """Raise the authorization `on` by the effect's money; a void of `on` gives that up, too."""
        ...

    async def recall(self, effect: Effect, /) -> Answer:
        """Call the payout `on` back, all of its money: done means that it will not arrive; refused, that it goes on."""
        ...

    async def inquire(self, inquiry: Inquiry, /) -> Answer | None:
        """Tell what became of `on`; None: nothing is known under it, which alone proves nothing."""
        ...
