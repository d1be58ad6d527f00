"""Our own books as activities: admission, risk, ledger and rows; each idempotent by reference.

A preparation is a few idempotent calls, not one transaction: repeated after a crash between them, each finds what it
has done. Rows follow the entry that they tell of, never the other way round.
"""

from dataclasses import replace
from datetime import timedelta

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError

from contracts.books import Books
from domain.commands import Approval, Available, Booking, Note, Prepare, Row, Standing
from domain.errors import LedgerBusy
from domain.ids import OperationId, Prefix, Reference
from domain.money import Money
from domain.outcomes import DONE, Answer, Outcome, Reason, Sent, Stands, refused
from ledger import disputes, postings, settlements
from ledger.accounts import OUR_BANK, payable
from ledger.disputes import Ending, Withdrawal
from ledger.entry import Entry
from ledger.journal import Journal, Posted, Status
from records.approvals import Approvals
from records.operations import Admission, Operations
from risk.gate import Gate
from risk.rules import Subject, Verdict

log = structlog.get_logger()


class OurBooks(Books):
    """The contract of our books over the ledger's journal, the rows of records, risk, and what operators approved."""

    def __init__(self, journal: Journal, operations: Operations, risk: Gate, approvals: Approvals) -> None:
        self._journal = journal
        self._operations = operations
        self._risk = risk
        self._approvals = approvals

    # Gates

    @activity.defn(name="payment.prepare")
    async def prepare_payment(self, prepare: Prepare) -> Answer:
        return await self._admit(prepare) or await self._judge(prepare, postings.authorization_hold(prepare))

    @activity.defn(name="refund.prepare")
    async def prepare_refund(self, prepare: Prepare) -> Answer:
        assert prepare.payment is not None
        if answer := await self._admit(prepare):
            return answer
        gate = postings.refund_reserve(prepare)
        if await self._operations.disputed(prepare.payment) and not await self._stands(gate):
            return await self._refuse_for_good(prepare, Reason.PAYMENT_DISPUTED)
        return await self._judge(prepare, gate)

    @activity.defn(name="payout.prepare")
    async def prepare_payout(self, prepare: Prepare) -> Answer:
        if answer := await self._admit(prepare):
            return answer
        if prepare.replaces and not await self._operations.replace(prepare.operation, prepare.replaces):
            return refused(Reason.NOT_REPLACEABLE)
        return await self._judge(prepare, postings.payout_reserve(prepare))

    @activity.defn(name="increment.prepare")
    async def prepare_increment(self, prepare: Prepare) -> Answer:
        return await self._judge(prepare, postings.authorization_hold(prepare))

    @activity.defn(name="dispute.prepare")
    async def prepare_dispute(self, prepare: Prepare) -> Answer:
        return await self._admit(prepare) or DONE

    async def _admit(self, prepare: Prepare) -> Answer | None:
        """Write the operation's row; None where it may go on."""
        match await self._operations.admit(prepare):
            case Admission.STALE:
                return refused(Reason.STALE)
            case Admission.CONFLICT:
                return Answer(outcome=Outcome.CONFLICT, reason="the operation id was used for another command")
            case Admission.ADMITTED:
                return None

    async def _judge(self, prepare: Prepare, gate: Entry) -> Answer:
        """Ask risk, then the ledger. What is reserved already has been judged: an answer was lost, no more."""
        decision = await self._risk.decide(_subject(prepare))
        if decision.verdict is Verdict.ALLOW:
            return await self._post(gate)
        log.warning(
            "risk.would_not_pass_it",
            operation=prepare.operation,
            verdict=decision.verdict,
            rules=decision.rules,
            version=decision.version,
        )
        if await self._stands(gate):
            return DONE
        if decision.verdict is Verdict.REVIEW:
            return Answer(outcome=Outcome.PENDING, reason=Reason.RISK_REVIEW)
        return await self._refuse_for_good(prepare, Reason.BLOCKED_BY_RISK)

    async def _stands(self, entry: Entry) -> bool:
        return entry.reference in await self._journal.standing(entry.reference)

    async def _refuse_for_good(self, prepare: Prepare, reason: Reason) -> Answer:
        """Refuse, and see to it that no earlier call still on its way reserves afterwards: nothing would release it."""
        released = Reference(f"{prepare.operation}/release")
        await self._post(postings.release(replace(prepare, reference=released, on=prepare.reference)))
        return refused(reason)

    @activity.defn(name="ledger.release")
    async def release(self, prepare: Prepare) -> Answer:
        return await self._post(postings.release(prepare))

    # Facts

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

    @activity.defn(name="ledger.book_capture_failed")
    async def book_capture_failed(self, booking: Booking) -> Answer:
        booked = await self._as_booked(booking)
        if booked is None:
            return _nothing_to_take_back(booking)
        # Never settled: no settlement line is booked before there is a reconciliation to match it.
        answer = await self._post(postings.capture_failed(booked, settled=False))
        if answer.outcome is Outcome.DONE:
            await self._operations.write(await self._corrected(booked))
        return answer

    @activity.defn(name="ledger.book_refund_failed")
    async def book_refund_failed(self, booking: Booking) -> Answer:
        booked = await self._as_booked(booking)
        if booked is None:
            return _nothing_to_take_back(booking)
        return await self._book(booked, postings.refund_failed(booked))

    @activity.defn(name="ledger.book_payout_returned")
    async def book_payout_returned(self, booking: Booking) -> Answer:
        returned = settlements.Return(
            source=OUR_BANK,  # it was paid from there
            told_by=booking.provider,
            key=booking.key,
            payout=booking.on,
            merchant=booking.merchant,
            money=booking.money,
        )
        return await self._book(booking, settlements.payout_returned(returned))

    @activity.defn(name="ledger.book_withdrawn")
    async def book_withdrawn(self, booking: Booking) -> Answer:
        return await self._book(booking, disputes.funds_withdrawn(_withdrawal(booking, booking.key)))

    @activity.defn(name="ledger.book_dispute_won")
    async def book_dispute_won(self, booking: Booking) -> Answer:
        return await self._book(booking, disputes.dispute_won(_ending(booking)))

    @activity.defn(name="ledger.book_dispute_lost")
    async def book_dispute_lost(self, booking: Booking) -> Answer:
        return await self._book(booking, disputes.dispute_lost(_ending(booking)))

    async def _book(self, booking: Booking, fact: Entry) -> Answer:
        answer = await self._post(fact)
        if answer.outcome is Outcome.DONE:
            await self._operations.write(booking.rows)
        return answer

    async def _as_booked(self, booking: Booking) -> Booking | None:
        """Say what the effect was booked with: what is taken back is exactly that, our fee on it included."""
        moved = await self._journal.moved(Reference(f"{booking.on}/post"))
        return replace(booking, money=moved.money, fee=moved.fee) if moved else None

    async def _corrected(self, booking: Booking) -> tuple[Row, ...]:
        """Give the payment's row the ledger's own sum: of two captures taken back at once, neither knows the other."""
        assert booking.payment is not None
        captured = await self._journal.captured(booking.payment, booking.money.currency)
        return tuple(replace(row, total=captured) if row.operation == booking.payment else row for row in booking.rows)

    async def _post(self, entry: Entry) -> Answer:
        try:
            return _said(await self._journal.post(entry))
        except LedgerBusy as busy:
            pause = timedelta(seconds=busy.after_seconds)
            raise ApplicationError(str(busy), type=LedgerBusy.__name__, next_retry_delay=pause) from busy

    # Questions, and rows

    @activity.defn(name="ledger.available")
    async def available(self, available: Available) -> Money:
        return await self._journal.available(payable(available.merchant), available.currency)

    @activity.defn(name="records.stands")
    async def stands(self, standing: Standing) -> Stands:
        return await stands(self._journal, self._operations, standing)

    @activity.defn(name="records.sent")
    async def sent(self, standing: Standing) -> tuple[Sent, ...]:
        return await self._operations.sent(standing.operation)

    @activity.defn(name="records.check_approvals")
    async def check_approvals(self, approval: Approval) -> Answer:
        said = approval.decision
        why_not = await self._approvals.use(approval.run, said.reference, said.outcome, said.evidence, said.approvals)
        return refused(why_not) if why_not else DONE

    @activity.defn(name="records.note")
    async def note(self, note: Note) -> Answer:
        await self._operations.write(note.rows)
        return DONE


async def stands(journal: Journal, operations: Operations, standing: Standing) -> Stands:
    """Tell what our own books say about the effect `on` of an operation.

    A capture counts as booked also where a void of its payment met captures: what it found, it booked, all of it.
    A payment's total is the ledger's: it also has what was captured late and given back, of which its row says nothing.
    """
    row = await operations.any(standing.operation)
    total = row.total if row else None
    if row is not None and row.id.startswith(Prefix.PAYMENT):
        total = await journal.captured(row.id, row.money.currency)
    facts = await journal.standing(f"{standing.on}/")
    posted = f"{standing.on}/post" in facts
    if row is not None and not posted and standing.on.startswith(f"{standing.operation}.c"):
        posted = await _found_by_a_void(journal, row.payment or row.id)
    return Stands(
        state=row.state if row else "",
        posted=posted,
        reversed=f"{standing.on}/reversed" in facts,
        payment=row.payment if row else None,
        amount=row.money if row else None,
        total=total,
        reference=row.reference if row else Reference(""),
        provider_id=row.provider_id if row else "",
    )


async def _found_by_a_void(journal: Journal, payment: OperationId) -> bool:
    return any(fact.endswith("/post") for fact in await journal.standing(f"{payment}.v"))


def _subject(prepare: Prepare) -> Subject:
    return Subject(
        operation=prepare.operation,
        kind=Prefix(prepare.operation.split("_", 1)[0]),
        client=prepare.client,
        merchant=prepare.merchant,
        money=prepare.money,
        instrument=prepare.instrument,
        country=prepare.country,
        payment=prepare.payment,
        cleared=prepare.cleared,
    )


def _withdrawal(booking: Booking, key: str) -> Withdrawal:
    assert booking.payment is not None
    return Withdrawal(
        provider=booking.provider,
        key=key,
        merchant=booking.merchant,
        payment=booking.payment,
        money=booking.money,
    )


def _ending(booking: Booking) -> Ending:
    return Ending(
        withdrawal=_withdrawal(booking, booking.withdrawal),
        key=booking.key,
        money=booking.money,
        final=booking.final,
    )


def _nothing_to_take_back(booking: Booking) -> Answer:
    """Say that a success taken back was never booked under its own reference: a person finds out what was."""
    return Answer(outcome=Outcome.CONFLICT, reason=f"nothing is booked under {booking.on}/post")


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
