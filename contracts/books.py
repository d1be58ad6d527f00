"""What a run may ask of our own books: idempotent by reference, so Temporal repeats them until they answer.

A gate (`prepare`) may be refused, finally for its reference; a fact (`book`) never is (money rule 3).
Each also writes the rows of `records` that follow it, so that they cost no step of their own.
"""

from temporalio import activity

from domain.commands import Booking, Note, Prepare
from domain.outcomes import Answer


class Books:
    """The ledger and the rows beside it, as activities."""

    @activity.defn(name="payment.prepare")
    async def prepare_payment(self, prepare: Prepare) -> Answer:
        """Admit the payment, judge its risk, open its hold.

        Refused with `Reason.STALE`, `BLOCKED_BY_RISK` or a reason of the ledger; a conflict where the id was used for
        another command.
        """
        raise NotImplementedError

    @activity.defn(name="refund.prepare")
    async def prepare_refund(self, prepare: Prepare) -> Answer:
        """Admit the refund and reserve its amount on the payment's refundable row (money rule 10)."""
        raise NotImplementedError

    @activity.defn(name="payout.prepare")
    async def prepare_payout(self, prepare: Prepare) -> Answer:
        """Admit the payout, judge its risk, reserve its amount of the merchant's payable balance."""
        raise NotImplementedError

    @activity.defn(name="ledger.release")
    async def release(self, prepare: Prepare) -> Answer:
        """Give back what is left of the hold `on`; idempotent, and done where there never was one."""
        raise NotImplementedError

    @activity.defn(name="ledger.book_capture")
    async def book_capture(self, booking: Booking) -> Answer:
        """Book a capture: receivable against unsettled and our fee; it uses up its part of the hold."""
        raise NotImplementedError

    @activity.defn(name="ledger.book_refund")
    async def book_refund(self, booking: Booking) -> Answer:
        """Book a refund that the provider has done."""
        raise NotImplementedError

    @activity.defn(name="ledger.book_payout_accepted")
    async def book_payout_accepted(self, booking: Booking) -> Answer:
        """Book a payout as in transit."""
        raise NotImplementedError

    @activity.defn(name="ledger.book_payout_paid")
    async def book_payout_paid(self, booking: Booking) -> Answer:
        """Book a payout as arrived."""
        raise NotImplementedError

    @activity.defn(name="ledger.book_payout_failed")
    async def book_payout_failed(self, booking: Booking) -> Answer:
        """Book a payout that failed after it was accepted: the merchant is owed the money again."""
        raise NotImplementedError

    @activity.defn(name="records.note")
    async def note(self, note: Note) -> Answer:
        """Write the rows that changed, with their events."""
        raise NotImplementedError
