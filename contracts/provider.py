"""What a run may ask of a provider. One attempt of an activity makes one call (money rule 5).

A returned `Answer` is what was answered: done, refused, pending, conflict, or unknown with the provider's own id.
Raised: `UNAVAILABLE` (certainly no effect yet; its `next_retry_delay` is how long to leave the provider alone) and
`UNKNOWN` (may have happened), both as the type of an `ApplicationError`. Only the saga engine repeats an effect.
"""

from temporalio import activity

from domain.commands import Effect, Inquiry
from domain.outcomes import Answer

UNAVAILABLE = "Unavailable"
UNKNOWN = "Unknown"


class Provider:
    """What a provider can be asked, as activities."""

    @activity.defn(name="provider.authorize")
    async def authorize(self, effect: Effect) -> Answer:
        """Have the payer's bank promise the money.

        Pending with a `challenge` where the payer is to prove who they are. A refusal may be `soft`.
        """
        raise NotImplementedError

    @activity.defn(name="provider.capture")
    async def capture(self, effect: Effect) -> Answer:
        """Take the money, or a part of it, from the authorization `on`."""
        raise NotImplementedError

    @activity.defn(name="provider.void")
    async def void(self, effect: Effect) -> Answer:
        """Make sure that nothing uncaptured stands under `on`; idempotent.

        Where it meets captures instead, it is refused and tells what it found.
        """
        raise NotImplementedError

    @activity.defn(name="provider.refund")
    async def refund(self, effect: Effect) -> Answer:
        """Give the payer money back from what was captured under `on`."""
        raise NotImplementedError

    @activity.defn(name="provider.pay_out")
    async def pay_out(self, effect: Effect) -> Answer:
        """Hand a payout to the rail; done means accepted, not arrived."""
        raise NotImplementedError

    @activity.defn(name="provider.increment")
    async def increment(self, effect: Effect) -> Answer:
        """Have the payer's bank promise more: `money` is by how much the authorization `on` is raised."""
        raise NotImplementedError

    @activity.defn(name="provider.recall")
    async def recall(self, effect: Effect) -> Answer:
        """Call the payout `on` back. Done means that it will not arrive; refused, that it goes on."""
        raise NotImplementedError

    @activity.defn(name="provider.inquire")
    async def inquire(self, inquiry: Inquiry) -> Answer | None:
        """Tell what happened under `on`; None is "nothing found", which alone proves nothing."""
        raise NotImplementedError
