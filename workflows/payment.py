"""A payment: authorize, raise, capture in parts, void, expire. It closes when nothing authorized is left.

    requested ─▶ authorizing ─▶ authorized ◀──▶ capturing ─▶ partially captured ─▶ captured
        │          │  ▲  │           │              │                │
        │          ▼  │  ├─▶ declined└────────────▶ voiding ◀────────┘
        │       challenge└────────────────────────▶ voiding ─▶ voided, expired, captured (what the void found)
        └─▶ not started, blocked

Unwinding leaves: nothing authorized at the provider, no hold in the ledger, each capture booked.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, NoReturn

from temporalio import workflow

from contracts.books import Books
from contracts.provider import Provider
from domain.commands import (
    Booking,
    Capture,
    Effect,
    Increment,
    Inquiry,
    Note,
    Operation,
    Payment,
    Prepare,
    Row,
    Standing,
    Void,
)
from domain.ids import OperationId, Reference, Verb, effect_reference, operation_of
from domain.lifecycle import PAYMENT, Lifecycle, PaymentState, is_terminal
from domain.money import Money, fee
from domain.outcomes import CANCELED, DONE, Answer, Fact, Found, Outcome, Reason, Receipt, refused
from workflows import preparation, questions, saga
from workflows.policies import A_FACT, A_ROW, ADMITTED, AS_ASKED, BOOKED, NOTED, REVERSED
from workflows.run import Carried, Expiring, Run, Setback, refusal
from workflows.saga import Done, ForwardOnly, Nothing, Saga, Send, Step
from workflows.since import since

S = PaymentState

WHILE_A_PAYER_WAITS = Send(
    lambda patience: patience.authorize,
    if_late=Reason.NOT_AUTHORIZED_IN_TIME,
    why="an initiator waits ten seconds at most; later the payer may have paid otherwise",
)
AT_THE_TILL = Send(lambda patience: patience.automatic_capture, why="one purchase: taken soon, or given up")
MONEY_HAS_MOVED = ForwardOnly("money has moved; giving it back is a refund, a new decision")
GOES_WITH_IT = Nothing("it goes with the authorization that it raises: what undoes that undoes it")

# fmt: off
#                do                          undo                     policy
PREPARE   = Step(Books.prepare_payment, undo=Books.release,      policy=ADMITTED)
AUTHORIZE = Step(Provider.authorize,    undo=Provider.void,      policy=WHILE_A_PAYER_WAITS)
CHARGE    = Step(Provider.capture,      undo=MONEY_HAS_MOVED,    policy=AT_THE_TILL)  # automatic mode
CAPTURE   = Step(Provider.capture,      undo=MONEY_HAS_MOVED,    policy=AS_ASKED)
POST      = Step(Books.book_capture,    undo=A_FACT,             policy=BOOKED)
FAIL      = Step(Books.book_capture_failed, undo=A_FACT,         policy=REVERSED)
RESERVE   = Step(Books.prepare_increment, undo=Books.release,    policy=ADMITTED)
RAISE     = Step(Provider.increment,    undo=GOES_WITH_IT,       policy=AS_ASKED)
NOTE      = Step(Books.note,            undo=A_ROW,              policy=NOTED)
# fmt: on

STANDING = {"PREPARE": PREPARE, "AUTHORIZE": AUTHORIZE, "RESERVE": RESERVE}  # what may travel to the next run
NOTHING_SENT = frozenset((Reason.STALE, Reason.CANCELED))
NOT_PASSED = frozenset((Reason.BLOCKED_BY_RISK, Reason.REVIEW_TIMED_OUT))
NOBODY_WAITS = frozenset((Reason.CANCELED, Reason.CHALLENGE_ABANDONED))
CHALLENGED = Answer(outcome=Outcome.PENDING, reason=S.CHALLENGE_REQUIRED)
HELD = Answer(outcome=Outcome.PENDING, reason=Reason.RISK_REVIEW)


@dataclass(frozen=True)
class Lapse:
    """The run itself wants to give up what is not captured: its window has closed, or it was canceled."""

    leaves: PaymentState


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedStep:
    """One step that stands, by its name in `STANDING`."""

    step: str
    command: Prepare | Effect
    attempt: int
    operation: OperationId


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedCapture:
    """A capture that was booked, under its effect's reference, so that it can be taken back."""

    reference: Reference
    operation: OperationId
    money: Money


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedPayment:
    """What a payment's run hands on to its successor, which is started with this instead of the payment."""

    payment: Payment
    run: Carried
    amount: Money
    hold: Reference
    authorized: Reference
    answer: Answer
    noted: str
    standing: tuple[CarriedStep, ...]
    attempts: dict[str, int]
    captures: tuple[CarriedCapture, ...]


@workflow.defn(name="Payment")
class PaymentWorkflow(Run):
    """See the module."""

    lifecycle: ClassVar[Lifecycle[PaymentState]] = PAYMENT
    owner = "payments-operations"
    moves_on = True

    @workflow.init
    def __init__(self, start: Payment | CarriedPayment) -> None:  # one argument: more would have to be given for ever
        payment = start if isinstance(start, Payment) else start.payment
        super().__init__(payment, S.REQUESTED)
        self._payment = payment
        self._hold = Reference("")
        self._authorized: Done | None = None
        self._abandoned = False  # its initiator has given it up while the payer was away
        self._challenge_ends = math.inf
        self._captures: dict[Reference, CarriedCapture] = {}
        self._found = False  # a void has met captures that this run did not know of
        self._noted = ""  # the state that the payment's row has
        # It stands until captured, voided or expired: a void, an expiry and a cancellation unwind this same list.
        self._authorization = Saga(
            self, payment.id, book_found=self._book_found, gives_up=self._gives_up, recalls=self._recalls
        )
        if isinstance(start, CarriedPayment):
            self._go_on(start)

    @workflow.run
    async def run(self, start: Payment | CarriedPayment) -> str:
        """Live until nothing authorized is left; return the terminal state."""
        if isinstance(start, CarriedPayment):
            self.open_window(start.run.window_closes, warn_before=start.payment.warn_before_seconds)
        return await self.to_the_end(self._live(self._payment))

    async def _live(self, payment: Payment) -> str:
        while not is_terminal(PAYMENT, self.state):
            if self.must_go_on_anew() and await self.at_rest():
                self._move_on()
            match await self.next():
                case Setback(fact=fact):
                    await self._set_back(fact)
                case Expiring():
                    await self._warn()
                case None:
                    if self.cancel_requested or self.window_closed:
                        await self._perform(self._lapse())
                case operation:
                    await self._perform(operation)
        while late := await self.last():
            await self._answer_late(late)
        return self.state

    async def _answer_late(self, late: Operation) -> None:
        """Answer an operation whose turn has not come. A run that was reset may have begun it all the same."""
        answer, moved = refused(Reason.PAYMENT_CLOSED), _zero(self.amount)
        match late:
            case Void() if self._abandoned and self.state == S.VOIDED:
                answer = DONE
                await self._note(_row(self._payment, late, "succeeded", moved, ""))
            case Increment():
                gate = replace(self._reservation(late), reference=Reference(f"{late.id}/hold"))
                await Saga(self, late.id).ensure_absent(RESERVE, gate)
            case Capture() if self._found:
                on = effect_reference(late.id, Verb.CAPTURE, 1)
                inquiry = Inquiry(on=on, provider=self.promises.provider, verb=Verb.CAPTURE)
                became = await Saga(self, late.id).became(inquiry)
                if became is not None and became.outcome is Outcome.DONE:
                    answer, moved = became, late.money
                    await self._note(_row(self._payment, late, "succeeded", moved, "", Done(on, became)))
            case _:
                pass
        self.answer(late, answer, moved)

    async def _perform(self, operation: Operation | Lapse) -> None:
        match operation:
            case Payment():
                await self._authorize(operation)
            case Capture():
                await self._capture(operation)
            case Increment():
                await self._increment(operation)
            case Lapse() if self.state == S.REQUESTED:
                await self._give_up_unbegun()
            case Void() | Lapse():
                await self._void(operation)
            case _:
                raise AssertionError(f"nobody performs {operation}")
        self.show()

    async def _give_up_unbegun(self) -> None:
        """Canceled before anything was sent, as far as this run knows; a lost step may have reserved all the same."""
        await self._recalls(CANCELED)
        if self._authorization.standing():
            self.move(S.AUTHORIZING)
            self.move(S.VOIDING)
            await self._authorization.unwind()
            self.move(S.CAPTURED if self.total.minor else S.VOIDED)
        else:
            self.move(S.NOT_STARTED)
        self.answer(self._payment, CANCELED, _zero(self._payment.money))
        if since("released-unprepared"):
            gate = replace(_preparation(self._payment), reference=Reference(f"{self._payment.id}/hold"))
            await self._authorization.ensure_absent(PREPARE, gate)
        await self._note()

    async def _authorize(self, payment: Payment) -> None:
        async with self._authorization as saga:
            self._hold = (await saga(PREPARE, _preparation(payment))).reference
            self.move(S.AUTHORIZING)
            authorized = self._authorized = saga.needs(AUTHORIZE, await self._ask_providers(saga, payment))
            if self.state == S.CHALLENGE_REQUIRED:
                self.challenge = ""
                self.move(S.AUTHORIZING)
            stands = min(payment.window_seconds, authorized.answer.expires_seconds or payment.window_seconds)
            self.open_window(workflow.time() + stands, warn_before=payment.warn_before_seconds)
            if payment.automatic:
                self.move(S.CAPTURING)
                await self._take(saga, CHARGE, payment, payment.money, final=True)
        if saga.stopped is not None:
            self._end_of_authorization(saga.stopped)
        elif not payment.automatic:
            self.move(S.AUTHORIZED)
        answer = saga.stopped or DONE
        if self._authorized is not None and answer is DONE:
            answer = replace(answer, provider_id=self._authorized.provider_id)
        self.answer(payment, answer, payment.money if answer.outcome is Outcome.DONE else _zero(payment.money))
        await self._note()

    async def _recalls(self, stopped: Answer) -> None:
        """Where a cancellation comes first, a run that a person has reset never comes to what it had sent before."""
        payment, standing = self._payment, {row.command.reference for row in self._authorization.standing()}
        if stopped is not CANCELED or not since("what-was-sent"):
            return
        asked = Standing(operation=payment.id, on=Reference(f"{payment.id}/hold"))
        for each in await questions.answered(Books.sent, asked, f"{payment.id}: what was ever sent"):
            if each.reference not in standing:
                effect = Effect(
                    reference=each.reference,
                    provider=each.provider,
                    money=payment.money,
                    instrument=payment.instrument,
                    provider_id=each.provider_id,
                )
                attempt = int(each.reference.rsplit(".a", 1)[1])
                self._authorization.remember(AUTHORIZE, effect, attempt)

    async def _ask_providers(self, saga: Saga, payment: Payment) -> Done:
        """Ask one after the other, and the next only where it is certain that nothing came of it (money rule 1)."""
        providers = (payment.promises, *payment.routes)
        for last, promises in enumerate(providers, start=1):
            self.promises = promises
            effect = Effect(provider=promises.provider, money=payment.money, instrument=payment.instrument)
            asked = await saga.attempt(AUTHORIZE, effect, share=1 / len(providers))
            elsewhere = asked.answer.soft or asked.answer.reason == Reason.PROVIDER_UNAVAILABLE
            if asked.answer.outcome is Outcome.DONE or asked.doubted or not elsewhere or last == len(providers):
                return asked
            self.log(f"asks another than {promises.provider}", asked.reference, asked.answer.reason)
        raise AssertionError("there is always a provider to ask")

    def pending(self, reference: Reference, answer: Answer) -> None:
        """The provider has it; where it waits for the payer, the initiator is told where to send them."""
        super().pending(reference, answer)
        if answer.challenge and self.state == S.AUTHORIZING:
            self.challenge = answer.challenge
            self._challenge_ends = workflow.time() + self.promises.patience.challenge
            self.move(S.CHALLENGE_REQUIRED)
            self.answer(self._payment, CHALLENGED, _zero(self._payment.money))

    def held(self, gate: Reference) -> None:
        """Risk holds the payment: nobody needs to wait for the people who decide."""
        if operation_of(gate) == self._payment.id:
            self.answer(self._payment, HELD, _zero(self._payment.money))

    def gives_up(self) -> str:
        """A payer who is away is waited for until the initiator, a person or the clock says otherwise."""
        if self.state != S.CHALLENGE_REQUIRED:
            return ""
        if self.cancel_requested or self._abandoned:
            return Reason.CANCELED
        return Reason.CHALLENGE_ABANDONED if workflow.time() >= self._challenge_ends else ""

    def gives_up_in(self) -> float:
        return self._challenge_ends - workflow.time() if self.state == S.CHALLENGE_REQUIRED else math.inf

    def _gives_up(self, stopped: Answer) -> None:
        """Undoing begins: the state says so where something stood at the provider."""
        self.reason, self.challenge = stopped.reason, ""
        if self.state == S.CHALLENGE_REQUIRED:
            self.move(S.VOIDING if stopped.reason in NOBODY_WAITS else S.AUTHORIZING)
        if self.state == S.CAPTURING or (self.state == S.AUTHORIZING and stopped is CANCELED):
            self.move(S.VOIDING)

    def _end_of_authorization(self, stopped: Answer) -> None:
        """Say where an authorization ended whose saga has been unwound."""
        if self.total.minor:  # the void found it
            if self.state != S.VOIDING:
                self.move(S.VOIDING)
            self.move(S.CAPTURED)
        elif self.state == S.VOIDING:
            self.move(S.VOIDED)
        elif self.state == S.REQUESTED and stopped.reason in NOTHING_SENT:
            self.move(S.NOT_STARTED)
        elif self.state == S.REQUESTED and stopped.reason in NOT_PASSED:
            self.move(S.BLOCKED)
        else:
            if self.state == S.REQUESTED:
                self.move(S.AUTHORIZING)
            self.move(S.DECLINED)

    async def _capture(self, capture: Capture) -> None:
        if self._exceeds(capture.money):
            answer = refused(Reason.CAPTURE_EXCEEDS_AUTHORIZATION)
        else:
            before = self.state
            self.move(S.CAPTURING)
            final = capture.final or capture.money == self.amount - self.total
            async with Saga(self, capture.id) as saga:
                await self._take(saga, CAPTURE, capture, capture.money, final=final)
            if saga.stopped is not None:
                self.move(before)
            answer = saga.stopped or DONE
        done = answer.outcome is Outcome.DONE
        self.answer(capture, answer, capture.money if done else _zero(capture.money))
        if not done:
            await self._note(_row(self._payment, capture, "failed", capture.money, answer.reason))

    async def _take(self, saga: Saga, step: Step[Effect], operation: Operation, money: Money, *, final: bool) -> None:
        """Capture and post: the two steps that an automatic and an asked-for capture share."""
        taken = await saga(step, self._effect(money, final=final))
        total, state = self.total + money, S.CAPTURED if final else S.PARTIALLY_CAPTURED
        rows = (self._row(state, total),)
        if operation is not self._payment:
            rows = (_row(self._payment, operation, "succeeded", money, "", taken), *rows)
        await saga(POST, self._booking(operation.id, money, taken.reference, rows, final=final))
        self._captures[taken.reference] = CarriedCapture(reference=taken.reference, operation=operation.id, money=money)
        self.total = total
        self.move(state)
        self._noted = state

    async def _increment(self, increment: Increment) -> None:
        """Raise the authorization. A hold of the whole takes the place of the present one once the provider has it."""
        answer = refused(Reason.NOT_SUPPORTED)
        if self.promises.increments:
            async with Saga(self, increment.id) as saga:
                reserved = await saga(RESERVE, self._reservation(increment))
                raised = await saga.attempt(RAISE, self._effect(increment.money))
                if raised.answer.outcome is not Outcome.DONE:
                    saga.needs(RAISE, raised)
                # Raised: whatever is asked meanwhile, the hold that covers it stays until the authorization is undone.
                (row,) = [row for row in saga.standing() if row.command.reference == reserved.reference]
                await self._authorization.exchange(self._hold, row)
                self._hold = reserved.reference
                self.amount = self.amount + increment.money
                await self._note_increment(increment, "succeeded", "", raised)
            answer = saga.stopped or DONE
        done = answer.outcome is Outcome.DONE
        self.answer(increment, answer, increment.money if done else _zero(increment.money))
        if not done:
            await self._note_increment(increment, "failed", answer.reason, None)

    def _reservation(self, increment: Increment) -> Prepare:
        """The hold that covers what is left and the increment."""
        return replace(
            _preparation(self._payment),
            operation=increment.id,
            payment=self._payment.id,
            provider=self.promises.provider,
            money=self.amount - self.total + increment.money,
            fingerprint=increment.fingerprint,
            expires_seconds=self._payment.window_seconds,  # the same whenever it is asked: the run releases it
        )

    async def _note_increment(self, increment: Increment, state: str, reason: str, raised: Done | None) -> None:
        row = _row(self._payment, increment, state, increment.money, reason, raised)
        await self._note(row, *((self._row(self.state, self.total),) if raised else ()))

    async def _warn(self) -> None:
        """Tell the initiator, once, that what is not captured will be given up."""
        self.log("its window closes soon", self._payment.id)
        expiring = replace(self._row(self.state, self.total), event="payment.expiring")
        await Saga(self, self._payment.id, forward=True)(NOTE, Note(rows=(expiring,)))

    async def _set_back(self, fact: Fact) -> None:
        """Book that a capture failed which was done; whatever else a provider takes back has a run of its own."""
        taken = self._captures.get(fact.reference)
        if taken is None or fact.answer.outcome is not Outcome.REFUSED:
            await self.contradicted(fact)
            return
        del self._captures[fact.reference]
        self.conclude(fact.reference, fact.answer)
        self.total = self.total - taken.money
        failed = Row(
            operation=taken.operation,
            payment=self._payment.id,
            state="failed",
            amount=taken.money,
            total=_zero(taken.money),
            reason=fact.answer.reason,
            reference=fact.reference,
            event="capture.reversed",
        )
        rows = (failed, self._row(self.state, self.total))
        booking = self._booking(taken.operation, taken.money, fact.reference, rows, final=False)
        await Saga(self, taken.operation, forward=True)(FAIL, booking)
        self.show()

    async def _void(self, void: Void | Lapse) -> None:
        before, captured = self.state, self.total
        self.move(S.VOIDING)
        answer = await self._authorization.unwind(give_way=isinstance(void, Void))
        if answer.outcome is not Outcome.DONE:
            self.move(before)
        elif self.total.minor:
            self.move(S.CAPTURED)
        else:
            self.move(void.leaves if isinstance(void, Lapse) else S.VOIDED)
        if self.total != captured:
            answer = refused(Reason.ALREADY_CAPTURED)
        if isinstance(void, Lapse):
            await self._note()
            return
        voided = self.amount - self.total
        done = answer.outcome is Outcome.DONE
        self.answer(void, answer, voided if done else _zero(voided))
        await self._note(_row(self._payment, void, "succeeded" if done else "failed", voided, answer.reason))

    async def _book_found(self, void: Reference, found: Found) -> None:
        """Book what the provider has captured without our knowing, under the void that found it."""
        assert found.kind == "captured", found
        known = self.total
        if since("what-the-ledger-has"):  # a late run may have booked, and given back, what this run does not know of
            known = (await self.stands(self._payment.id, void)).total or known
        taken = found.money - known
        if found.money.minor > self.total.minor:
            self._found = since("what-the-ledger-has")
        if taken.minor > 0:
            total = self.total + taken
            booking = self._booking(self._payment.id, taken, void, (self._row(S.CAPTURED, total),), final=True)
            await Saga(self, self._payment.id, forward=True)(POST, booking)
            self.total = total
            self._noted = S.CAPTURED

    def _effect(self, money: Money, *, final: bool = False) -> Effect:
        """An effect upon the authorization."""
        authorized = self._authorized
        assert authorized is not None
        return Effect(
            provider=self.promises.provider,
            money=money,
            final=final,
            on=authorized.reference,
            provider_id=authorized.provider_id,
        )

    def _booking(
        self, operation: OperationId, money: Money, on: Reference, rows: tuple[Row, ...], *, final: bool
    ) -> Booking:
        payment = self._payment
        return Booking(
            operation=operation,
            payment=payment.id,
            merchant=payment.merchant,
            provider=self.promises.provider,
            money=money,
            fee=fee(money, payment.fee_basis_points),
            hold=self._hold,
            final=final,
            on=on,
            rows=rows,
        )

    async def _note(self, *others: Row) -> None:
        """Write the rows that no entry has brought along."""
        rows = others if self._noted == self.state else (*others, self._row(self.state, self.total))
        self._noted = self.state
        if rows:
            await Saga(self, self._payment.id, forward=True)(NOTE, Note(rows=rows))

    def _row(self, state: str, total: Money) -> Row:
        authorized = self._authorized
        return Row(
            operation=self._payment.id,
            state=state,
            amount=self.amount,
            total=total,
            reason=self.reason,
            provider=self.promises.provider,
            provider_id=authorized.provider_id if authorized else "",
            reference=authorized.reference if authorized else Reference(""),
        )

    def _lapse(self) -> Lapse:
        if self.cancel_requested:
            self.reason = Reason.CANCELED
        return Lapse(S.VOIDED if self.cancel_requested else S.EXPIRED)

    def _exceeds(self, money: Money) -> bool:
        return not 0 < money.minor <= (self.amount - self.total).minor

    # Long lives

    def _move_on(self) -> NoReturn:
        """Go on under a new history; nothing is on its way, in doubt or parked (money rule 7)."""
        authorized = self._authorized
        assert authorized is not None, "a run that has done nothing has no long history"
        names = {id(step): name for name, step in STANDING.items()}
        standing = [
            CarriedStep(step=names[id(row.step)], command=row.command, attempt=row.attempt, operation=row.operation)
            for row in self._authorization.standing()
            if isinstance(row.command, Prepare | Effect)
        ]
        carried = CarriedPayment(
            payment=self._payment,
            run=self.hand_on(),
            amount=self.amount,
            hold=self._hold,
            authorized=authorized.reference,
            answer=authorized.answer,
            noted=self._noted,
            standing=tuple(standing),
            attempts=self._authorization.attempts(),
            captures=tuple(self._captures.values()),
        )
        self.close_window()
        # On the current build: pinned to the old one for ever, its workers could never be stopped.
        newest = workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE
        workflow.continue_as_new(carried, initial_versioning_behavior=newest)

    def _go_on(self, carried: CarriedPayment) -> None:
        self.take_over(carried.run, S(carried.run.state))
        self.amount, self._hold, self._noted = carried.amount, carried.hold, carried.noted
        self._authorized = Done(carried.authorized, carried.answer)
        self._captures = {each.reference: each for each in carried.captures}
        rows = [saga.Row(STANDING[each.step], each.command, each.attempt, each.operation) for each in carried.standing]
        self._authorization.restore(rows, carried.attempts)

    @workflow.update
    async def authorize(self, payment: Payment) -> Receipt:
        """Answer when the authorization is known: done, or refused and unwound."""
        return await self.ask(payment)

    @workflow.update
    async def capture(self, capture: Capture) -> Receipt:
        """Answer when the capture is booked, or known not to have happened."""
        return await self.ask(capture)

    @workflow.update
    async def increment(self, increment: Increment) -> Receipt:
        """Answer when the authorization is raised, or known not to be."""
        return await self.ask(increment)

    @workflow.update
    async def void(self, void: Void) -> Receipt:
        """Answer when nothing uncaptured is left, or a capture was found instead."""
        if self.state == S.CHALLENGE_REQUIRED:  # no need to wait for the payer
            self._abandoned = True
        return await self.ask(void)

    @authorize.validator
    def _authorize_is_apt(self, payment: Payment) -> None:
        self.admit(payment)

    @capture.validator
    def _capture_is_apt(self, capture: Capture) -> None:
        self.admit(capture)
        if capture.id not in self._known and self._exceeds(capture.money):
            left = self.amount - self.total
            raise refusal("CaptureExceedsAuthorization", f"{left} can still be captured")

    @increment.validator
    def _increment_is_apt(self, increment: Increment) -> None:
        self.admit(increment)
        if increment.id not in self._known and not self.promises.increments:
            raise refusal("NotSupported", f"{self.promises.provider} raises no authorization")

    @void.validator
    def _void_is_apt(self, void: Void) -> None:
        self.admit(void, whatever_is_pending=self.state == S.CHALLENGE_REQUIRED)


def _preparation(payment: Payment) -> Prepare:
    return replace(
        preparation.of(payment),
        instrument=payment.instrument,
        country=payment.country,
        automatic=payment.automatic,
        expires_seconds=payment.window_seconds,
    )


def _row(
    payment: Payment, operation: Operation, state: str, amount: Money, reason: str, done: Done | None = None
) -> Row:
    """The row of a capture or a void."""
    return Row(
        operation=operation.id,
        fingerprint=operation.fingerprint,
        payment=payment.id,
        state=state,
        amount=amount,
        total=amount if state == "succeeded" else _zero(amount),
        reason=reason,
        provider_id=done.provider_id if done else "",
        reference=done.reference if done else Reference(""),
    )


def _zero(money: Money) -> Money:
    return Money(0, money.currency)
