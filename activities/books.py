"""Our own books as activities: admission, risk, ledger and rows; each idempotent by reference.

A preparation is three idempotent calls, not one transaction: repeated after a crash between them, each finds what it
has done. Rows follow the entry that they tell of, never the other way round.
"""

from datetime import timedelta

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError

from contracts.books import Books
from domain.commands import Booking, Note, Prepare
from domain.errors import LedgerBusy
from domain.outcomes import DONE, Answer, Outcome, Reason, refused
from ledger import postings
from ledger.entry import Entry
from ledger.journal import Journal, Posted, Status
from records.operations import Admission, Operations
from risk.rules import RuleSet, Subject, Verdict, decide

log = structlog.get_logger()


class OurBooks(Books):
    """The contract of our books over the ledger's journal and the rows of records."""

    def __init__(self, journal: Journal, operations: Operations, rules: RuleSet) -> None:
        self._journal = journal
        self._operations = operations
        self._rules = rules

    @activity.defn(name="payment.prepare")
    async def prepare_payment(self, prepare: Prepare) -> Answer:
        return await self._prepare(prepare, postings.authorization_hold(prepare))

    @activity.defn(name="refund.prepare")
    async def prepare_refund(self, prepare: Prepare) -> Answer:
        return await self._prepare(prepare, postings.refund_reserve(prepare))

    @activity.defn(name="payout.prepare")
    async def prepare_payout(self, prepare: Prepare) -> Answer:
        return await self._prepare(prepare, postings.payout_reserve(prepare))

    async def _prepare(self, prepare: Prepare, gate: Entry) -> Answer:
        match await self._operations.admit(prepare):
            case Admission.STALE:
                return refused(Reason.STALE)
            case Admission.CONFLICT:
                return Answer(outcome=Outcome.CONFLICT, reason="the operation id was used for another command")
            case Admission.ADMITTED:
                pass
        subject = Subject(prepare.operation, prepare.merchant, prepare.money)
        decision = decide(self._rules, subject)
        if decision.verdict is not Verdict.ALLOW:
            log.warning("risk.refused", operation=prepare.operation, rules=decision.rules, version=decision.version)
            return refused(Reason.BLOCKED_BY_RISK)
        return await self._post(gate)

    @activity.defn(name="ledger.release")
    async def release(self, prepare: Prepare) -> Answer:
        return await self._post(postings.release(prepare))

    @activity.defn(name="ledger.book_capture")
    async def book_capture(self, booking: Booking) -> Answer:
        return await self._book(booking, postings.capture(booking))

    @activity.defn(name="ledger.book_refund")
    async def book_refund(self, booking: Booking) -> Answer:
        return await self._book(booking, postings.refund_done(booking))

    @activity.defn(name="ledger.book_payout_accepted")
    async def book_payout_accepted(self, booking: Booking) -> Answer:
        return await self._book(booking, postings.payout_accepted(booking))

    @activity.defn(name="ledger.book_payout_paid")
    async def book_payout_paid(self, booking: Booking) -> Answer:
        return await self._book(booking, postings.payout_paid(booking))

    @activity.defn(name="ledger.book_payout_failed")
    async def book_payout_failed(self, booking: Booking) -> Answer:
        return await self._book(booking, postings.payout_failed(booking))

    async def _book(self, booking: Booking, fact: Entry) -> Answer:
        answer = await self._post(fact)
        if answer.outcome is Outcome.DONE:
            await self._operations.write(booking.rows)
        return answer

    async def _post(self, entry: Entry) -> Answer:
        try:
            return _said(await self._journal.post(entry))
        except LedgerBusy as busy:
            pause = timedelta(seconds=busy.after_seconds)
            raise ApplicationError(str(busy), type=LedgerBusy.__name__, next_retry_delay=pause) from busy

    @activity.defn(name="records.note")
    async def note(self, note: Note) -> Answer:
        await self._operations.write(note.rows)
        return DONE


REASONS = {
    Status.INSUFFICIENT_FUNDS: Reason.INSUFFICIENT_FUNDS,
    Status.REFUNDABLE_EXCEEDED: Reason.REFUND_EXCEEDS_CAPTURED,
    Status.HOLD_NOT_OPEN: Reason.HOLD_NOT_OPEN,
    Status.HOLD_EXCEEDED: Reason.HOLD_NOT_OPEN,
    Status.CURRENCY_DIFFERS: Reason.HOLD_NOT_OPEN,
    Status.ACCOUNT_CLOSED: Reason.ACCOUNT_CLOSED,
}


def _said(posted: Posted) -> Answer:
    """Say the ledger's answer as an outcome."""
    if posted.stands:
        return DONE
    if posted.status is Status.CONFLICTING_CONTENT:
        return Answer(outcome=Outcome.CONFLICT, reason="the entry's reference was used for other content")
    return refused(REASONS[posted.first or posted.status])
