"""What a run may ask of our own books: idempotent by reference, so Temporal repeats them until they answer.

A gate (`prepare`) may be refused, finally for its reference; a fact (`book`) never is (money rule 3).
Each also writes the rows of `records` that follow it, so that they cost no step of their own.
"""

from temporalio import activity

from domain.commands import Approval, Available, Booking, Note, Prepare, Standing
from domain.money import Money
from domain.outcomes import Answer, Sent, Stands


class Books:
    """The ledger and the rows beside it, as activities."""

    @activity.defn(name="payment.prepare")
    async def prepare_payment(self, prepare: Prepare) -> Answer:
        """Admit the payment, judge its risk, open its hold.

        Refused with `Reason.STALE`, `BLOCKED_BY_RISK` or a reason of the ledger; pending with `RISK_REVIEW` where a
        person is to decide, and then nothing is held yet; a conflict where the id was used for another command.
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

    @activity.defn(name="increment.prepare")
    async def prepare_increment(self, prepare: Prepare) -> Answer:
        """Judge the increment's risk, and open the hold that is to take the place of the present one.

        `money` is the new hold's: what is left of the present one and the increment together.
        """
        raise NotImplementedError

    @activity.defn(name="dispute.prepare")
    async def prepare_dispute(self, prepare: Prepare) -> Answer:
        """Admit the dispute: from now on its payment is not refunded (money rule 10). Moves nothing."""
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

    @activity.defn(name="ledger.book_capture_failed")
    async def book_capture_failed(self, booking: Booking) -> Answer:
        """Book that the provider has taken the capture `on` back after it was done."""
        raise NotImplementedError

    @activity.defn(name="ledger.book_refund_failed")
    async def book_refund_failed(self, booking: Booking) -> Answer:
        """Book that the refund `on` did not reach the payer after it was done."""
        raise NotImplementedError

    @activity.defn(name="ledger.book_payout_returned")
    async def book_payout_returned(self, booking: Booking) -> Answer:
        """Book that the payout `on` came back after it had arrived; `key` is the provider's own of the return."""
        raise NotImplementedError

    @activity.defn(name="ledger.book_withdrawn")
    async def book_withdrawn(self, booking: Booking) -> Answer:
        """Book that a provider has taken the funds of a dispute; `key` is its own of the withdrawal."""
        raise NotImplementedError

    @activity.defn(name="ledger.book_dispute_won")
    async def book_dispute_won(self, booking: Booking) -> Answer:
        """Book that the funds of `withdrawal` came back; `key` is the provider's own of the decision."""
        raise NotImplementedError

    @activity.defn(name="ledger.book_dispute_lost")
    async def book_dispute_lost(self, booking: Booking) -> Answer:
        """Book that the funds of `withdrawal` are the merchant's loss; `key` is the provider's own of the decision."""
        raise NotImplementedError

    @activity.defn(name="ledger.available")
    async def available(self, available: Available) -> Money:
        """Tell how much of a merchant's payable balance is not held; below zero where the merchant owes."""
        raise NotImplementedError

    @activity.defn(name="records.stands")
    async def stands(self, standing: Standing) -> Stands:
        """Tell what our own books say about an effect."""
        raise NotImplementedError

    @activity.defn(name="records.sent")
    async def sent(self, standing: Standing) -> tuple[Sent, ...]:
        """Tell which authorizations of a payment were ever sent and may stand, oldest first (money rule 5).

        For a run that was reset, which has forgotten what it sent.
        """
        raise NotImplementedError

    @activity.defn(name="records.check_approvals")
    async def check_approvals(self, approval: Approval) -> Answer:
        """Tell whether a decision has two approvals by two people; done, or refused and why. Uses them up for it."""
        raise NotImplementedError

    @activity.defn(name="records.note")
    async def note(self, note: Note) -> Answer:
        """Write the rows that changed, with their events."""
        raise NotImplementedError
