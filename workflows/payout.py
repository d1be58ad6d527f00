"""A payout: reserve of the merchant's payable balance, hand to the rail, in transit, paid; or called back on its way.

    requested ─▶ submitting ─▶ in transit ─▶ paid
     │      ▲        └─▶ failed    └───────▶ failed     not delivered or recalled: the merchant is owed it again
     │  approval
     └─▶ denied, canceled, not started

Unwinding leaves: nothing reserved. What the rail has accepted is a fact: it arrives, or its failure is booked.
"""

from dataclasses import replace
from datetime import timedelta
from typing import ClassVar

from temporalio import workflow

from contracts.books import Books
from contracts.provider import Provider
from domain.commands import Booking, Effect, Inquiry, Note, Operation, Payout, Prepare, Row, Void
from domain.ids import Reference, Verb
from domain.lifecycle import PAYOUT, Lifecycle, PayoutState
from domain.money import Money
from domain.outcomes import CANCELED, DONE, Answer, Fact, Outcome, Reason, Receipt, refused
from workflows import preparation
from workflows.policies import A_FACT, A_ROW, ADMITTED, AS_ASKED, BOOKED, NOTED, REVERSED
from workflows.run import Run, Setback, refusal
from workflows.saga import Await, Book, Done, ForwardOnly, Nothing, Saga, Send, Step
from workflows.since import since

S = PayoutState

PAID = Book("paid", timedelta(seconds=5), why="nobody waits")
ARRIVAL = Await(
    "arrival",
    first_pause=timedelta(seconds=1),
    longest_pause=timedelta(hours=1),
    patience=timedelta(days=5),
    why="instant rails arrive in seconds, others within three bank days and a weekend; then a person asks the bank",
)
MONEY_HAS_MOVED = ForwardOnly("what the rail has accepted is called back by an operation of its own, if at all")
NOT_RECALLED = Nothing("a payout that is not recalled goes on as it would have")
WHILE_IT_CAN = Send(lambda patience: patience.as_asked, why="the sooner the likelier; past an hour it has arrived")

# fmt: off
#              do                               undo                   policy
PREPARE = Step(Books.prepare_payout,       undo=Books.release,    policy=ADMITTED)
PAY_OUT = Step(Provider.pay_out,           undo=MONEY_HAS_MOVED,  policy=AS_ASKED)
ACCEPT  = Step(Books.book_payout_accepted, undo=A_FACT,           policy=BOOKED)
ARRIVE  = Step(Books.book_payout_paid,     undo=A_FACT,           policy=PAID)
REVERSE = Step(Books.book_payout_failed,   undo=A_FACT,           policy=REVERSED)
RECALL  = Step(Provider.recall,            undo=NOT_RECALLED,     policy=WHILE_IT_CAN)
NOTE    = Step(Books.note,                 undo=A_ROW,            policy=NOTED)
# fmt: on


@workflow.defn(name="Payout")
class PayoutWorkflow(Run):
    """See the module."""

    lifecycle: ClassVar[Lifecycle[PayoutState]] = PAYOUT
    owner = "treasury-operations"

    @workflow.init
    def __init__(self, payout: Payout) -> None:
        super().__init__(payout, S.REQUESTED)
        self._payout = payout
        self._hold = Reference("")

    @workflow.run
    async def run(self, payout: Payout) -> str:
        """Live until it is known whether the merchant has the money; return the terminal state."""
        return await self.to_the_end(self._live(payout))

    async def _live(self, payout: Payout) -> str:
        stopped: Answer | None = CANCELED
        if await self.next() is None:
            if since("released-unprepared"):
                gate = replace(_preparation(payout), reference=Reference(f"{payout.id}/hold"))
                await Saga(self, payout.id).ensure_absent(PREPARE, gate)
        else:
            async with Saga(self, payout.id) as saga:
                accepted = await self._hand_over(saga, payout)
                await self._follow(saga, payout, accepted)
            stopped = saga.stopped
        if stopped is not None:
            self._end(stopped)
            self.answer(payout, stopped, self.total)
            await Saga(self, payout.id, forward=True)(NOTE, Note(rows=(self._row(self.state),)))
        self.show()
        while late := await self.last():
            self.answer(late, refused(Reason.PAYMENT_CLOSED), self.total)
        return self.state

    def held(self, gate: Reference) -> None:
        """Risk holds it: nobody needs to wait for the people who decide."""
        self.move(S.APPROVAL)
        self.answer(self._payout, Answer(outcome=Outcome.PENDING, reason=Reason.RISK_REVIEW), self.total)

    async def _hand_over(self, saga: Saga, payout: Payout) -> Done:
        """Reserve and submit; the initiator is answered when the rail has it and the books say so."""
        self._hold = (await saga(PREPARE, _preparation(payout))).reference
        self.move(S.SUBMITTING)
        effect = Effect(provider=payout.promises.provider, money=payout.money, instrument=payout.destination)
        accepted = await saga(PAY_OUT, effect)
        await saga(ACCEPT, self._booking(accepted, S.IN_TRANSIT))
        self.move(S.IN_TRANSIT)
        self.answer(payout, accepted.answer, self.total)
        self.show()
        return accepted

    async def _follow(self, saga: Saga, payout: Payout, accepted: Done) -> None:
        """Wait until it has arrived, or has come back."""
        inquiry = Inquiry(
            on=accepted.reference,
            provider_id=accepted.provider_id,
            provider=payout.promises.provider,
            verb=Verb.ARRIVE,
        )
        while (arrival := await saga.arrives(ARRIVAL, inquiry, unless=self.wanted)) is None:
            match self.take():
                case Void() as recall:
                    if await self._recall(recall, accepted):
                        arrival = refused(Reason.RECALLED)
                        self.conclude(Reference(f"{accepted.reference}/{ARRIVAL.name}"), arrival)
                        break
                case Setback(fact=fact):
                    await self.contradicted(fact)
                case _:  # a cancellation changes nothing any more: it is on its way
                    pass
        came_back = None
        if arrival.outcome is Outcome.REFUSED and await self._was_booked_as_paid(payout, accepted):
            came_back, arrival = arrival, DONE
        if arrival.outcome is Outcome.DONE:
            self.total = payout.money
            await saga(ARRIVE, self._booking(accepted, S.PAID))
            self.move(S.PAID)
            if came_back is not None:
                topic = Reference(f"{accepted.reference}/{ARRIVAL.name}")
                await self.contradicted(Fact(reference=topic, answer=came_back, source=f"{payout.id}.returned"))
        else:
            self.reason = arrival.reason
            await saga(REVERSE, self._booking(accepted, S.FAILED))
            self.move(S.FAILED)

    async def _was_booked_as_paid(self, payout: Payout, accepted: Done) -> bool:
        """Tell whether this run, before a person reset it, has booked an arrival: then it has come back since."""
        if not since("what-was-sent"):
            return False
        return (await self.stands(payout.id, accepted.reference)).state == S.PAID

    async def _recall(self, recall: Void, accepted: Done) -> bool:
        """Call the payout back; tell whether it comes back."""
        answer = refused(Reason.NOT_SUPPORTED)
        if self.promises.recalls:
            effect = Effect(
                provider=self.promises.provider,
                money=self._payout.money,
                on=accepted.reference,
                provider_id=accepted.provider_id,
            )
            self.cancel_requested = False  # of what is on its way it changed nothing; this is another wish
            async with Saga(self, self._payout.id) as saga:
                answer = (await saga.attempt(RECALL, effect)).answer
            answer = saga.stopped or answer
        self.answer(recall, answer, self.total)
        done = answer.outcome is Outcome.DONE
        note = Note(rows=(_recall_row(recall, "succeeded" if done else "failed", answer.reason, self._payout),))
        await Saga(self, self._payout.id, forward=True)(NOTE, note)
        return done

    def _end(self, stopped: Answer) -> None:
        self.reason = stopped.reason
        if stopped.reason == Reason.STALE:
            self.move(S.NOT_STARTED)
        elif stopped is CANCELED:
            self.move(S.CANCELED)
        elif self.state in (S.REQUESTED, S.APPROVAL):
            self.move(S.DENIED)
        else:
            self.move(S.FAILED)

    def _booking(self, accepted: Done, state: PayoutState) -> Booking:
        return Booking(
            operation=self._payout.id,
            merchant=self._payout.merchant,
            provider=self._payout.promises.provider,
            money=self._payout.money,
            hold=self._hold,
            final=True,
            on=accepted.reference,
            rows=(self._row(state, accepted),),
        )

    def _row(self, state: str, accepted: Done | None = None) -> Row:
        return Row(
            operation=self._payout.id,
            state=state,
            amount=self._payout.money,
            total=self.total,
            reason=self.reason,
            provider=self.promises.provider,
            provider_id=accepted.provider_id if accepted else "",
            reference=accepted.reference if accepted else Reference(""),
        )

    @workflow.update
    async def submit(self, payout: Payout) -> Receipt:
        """Answer when the rail has accepted the payout and it is booked, or it is known not to have happened."""
        return await self.ask(payout)

    @submit.validator
    def _submit_is_apt(self, payout: Payout) -> None:
        self.admit(payout)

    @workflow.update
    async def recall(self, recall: Void) -> Receipt:
        """Answer when the payout is known to come back, or to go on."""
        return await self.ask(recall)

    @recall.validator
    def _recall_is_apt(self, recall: Void) -> None:
        self.admit(recall)
        if recall.id not in self._known and self.state != S.IN_TRANSIT:
            raise refusal("InvalidState", f"it is {self.state}")
        if recall.id not in self._known and not self.promises.recalls:
            raise refusal("NotSupported", f"{self.promises.provider} calls no payout back")


def _preparation(payout: Payout) -> Prepare:
    return replace(preparation.of(payout), instrument=payout.destination, replaces=payout.replaces)


def _recall_row(recall: Operation, state: str, reason: str, payout: Payout) -> Row:
    return Row(
        operation=recall.id,
        fingerprint=recall.fingerprint,
        payment=payout.id,
        state=state,
        amount=payout.money,
        total=Money(payout.money.minor if state == "succeeded" else 0, payout.money.currency),
        reason=reason,
    )
