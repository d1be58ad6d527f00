"""A refund: reserve what is refundable, have the provider give it back, book it.

    requested ─▶ submitting ─▶ submitted ─▶ succeeded
        │            └────────────┴───────▶ failed       what was reserved is released
        └─▶ rejected, not started

Unwinding leaves: nothing reserved. Money that the provider has given back is a fact and is booked, never undone.
"""

from dataclasses import replace
from typing import ClassVar

from temporalio import workflow

from contracts.books import Books
from contracts.provider import Provider
from domain.commands import Booking, Effect, Note, Prepare, Refund, Row
from domain.ids import Reference
from domain.lifecycle import REFUND, Lifecycle, RefundState
from domain.outcomes import CANCELED, Answer, Outcome, Reason, Receipt, refused
from workflows import preparation
from workflows.policies import A_FACT, A_ROW, ADMITTED, AS_ASKED, BOOKED, NOTED
from workflows.run import Run
from workflows.saga import Done, ForwardOnly, Saga, Step
from workflows.since import since

S = RefundState

MONEY_HAS_MOVED = ForwardOnly("the payer has the money; taking it back is a new payment")

# fmt: off
#                do                         undo                   policy
PREPARE   = Step(Books.prepare_refund, undo=Books.release,    policy=ADMITTED)
GIVE_BACK = Step(Provider.refund,      undo=MONEY_HAS_MOVED,  policy=AS_ASKED)
POST      = Step(Books.book_refund,    undo=A_FACT,           policy=BOOKED)
NOTE      = Step(Books.note,           undo=A_ROW,            policy=NOTED)
# fmt: on


@workflow.defn(name="Refund")
class RefundWorkflow(Run):
    """See the module."""

    lifecycle: ClassVar[Lifecycle[RefundState]] = REFUND
    owner = "payments-operations"

    @workflow.init
    def __init__(self, refund: Refund) -> None:
        super().__init__(refund, S.REQUESTED)
        self._refund = refund

    @workflow.run
    async def run(self, refund: Refund) -> str:
        """Live until it is known whether the payer has the money; return the terminal state."""
        return await self.to_the_end(self._live(refund))

    async def _live(self, refund: Refund) -> str:
        if await self.next() is None:
            self._end(CANCELED)
            answer, noted = CANCELED, False
            if since("released-unprepared"):
                gate = replace(_preparation(refund), reference=Reference(f"{refund.id}/hold"))
                await Saga(self, refund.id).ensure_absent(PREPARE, gate)
        else:
            answer, noted = await self._give_back(refund)
        self.answer(refund, answer, self.total)
        if not noted:
            note = Note(rows=(self._row(self.state),))
            await Saga(self, refund.id, forward=True)(NOTE, note)
        self.show()
        while late := await self.last():
            self.answer(late, refused(Reason.PAYMENT_CLOSED), self.total)
        return self.state

    async def _give_back(self, refund: Refund) -> tuple[Answer, bool]:
        """Return the answer, and whether the rows were written along with an entry."""
        async with Saga(self, refund.id) as saga:
            hold = await saga(PREPARE, _preparation(refund))
            self.move(S.SUBMITTING)
            effect = Effect(
                provider=refund.promises.provider,
                money=refund.money,
                on=refund.on,
                provider_id=refund.on_provider_id,
            )
            given = await saga(GIVE_BACK, effect)
            self.total = refund.money
            await saga(POST, self._booking(refund, hold.reference, given))
            self.move(S.SUCCEEDED)
            return given.answer, True
        assert saga.stopped is not None
        self._end(saga.stopped)
        return saga.stopped, False

    def pending(self, reference: Reference, answer: Answer) -> None:
        """The provider has it and has not decided."""
        super().pending(reference, answer)
        if self.state == S.SUBMITTING:
            self.move(S.SUBMITTED)

    def _end(self, stopped: Answer) -> None:
        self.reason = stopped.reason
        if self.state != S.REQUESTED:
            self.move(S.FAILED)
        elif stopped.reason in (Reason.STALE, Reason.CANCELED):
            self.move(S.NOT_STARTED)
        else:
            self.move(S.REJECTED)

    def _booking(self, refund: Refund, hold: Reference, given: Done) -> Booking:
        return Booking(
            operation=refund.id,
            payment=refund.payment,
            merchant=refund.merchant,
            provider=refund.promises.provider,
            money=refund.money,
            hold=hold,
            final=True,
            on=given.reference,
            rows=(self._row(S.SUCCEEDED, given),),
        )

    def held(self, gate: Reference) -> None:
        """Risk holds it: nobody needs to wait for the people who decide."""
        self.answer(self._refund, Answer(outcome=Outcome.PENDING, reason=Reason.RISK_REVIEW), self.total)

    def _row(self, state: str, given: Done | None = None) -> Row:
        return Row(
            operation=self._refund.id,
            payment=self._refund.payment,
            state=state,
            amount=self._refund.money,
            total=self.total,
            reason=self.reason,
            provider_id=given.provider_id if given else "",
            reference=given.reference if given else Reference(""),
        )

    @workflow.update
    async def submit(self, refund: Refund) -> Receipt:
        """Answer when the refund is booked, or known not to have happened."""
        return await self.ask(refund)

    @submit.validator
    def _submit_is_apt(self, refund: Refund) -> None:
        self.admit(refund)


def _preparation(refund: Refund) -> Prepare:
    return replace(preparation.of(refund), payment=refund.payment)
