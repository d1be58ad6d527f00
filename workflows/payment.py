"""A payment: authorize, capture in parts, void, expire. It closes when nothing authorized is left.

    requested ─▶ authorizing ─▶ authorized ◀──▶ capturing ─▶ partially captured ─▶ captured
        │             │              │              │                │
        │             ├─▶ declined   └────────────▶ voiding ◀────────┘
        │             └───────────────────────────▶ voiding ─▶ voided, expired, captured (what the void found)
        └─▶ not started, blocked

Unwinding leaves: nothing authorized at the provider, no hold in the ledger, each capture booked.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from temporalio import workflow

from contracts.books import Books
from contracts.provider import Provider
from domain.commands import Booking, Capture, Effect, Note, Operation, Payment, Prepare, Row, Void
from domain.ids import OperationId, Reference
from domain.lifecycle import PAYMENT, Lifecycle, PaymentState, is_terminal
from domain.money import Money, fee
from domain.outcomes import CANCELED, DONE, Answer, Found, Outcome, Reason, Receipt, refused
from workflows import preparation
from workflows.policies import A_FACT, A_ROW, ADMITTED, AS_ASKED, BOOKED, NOTED
from workflows.run import Run, refusal
from workflows.saga import Done, ForwardOnly, Saga, Send, Step

S = PaymentState

WHILE_A_PAYER_WAITS = Send(
    lambda patience: patience.authorize,
    if_late=Reason.NOT_AUTHORIZED_IN_TIME,
    why="an initiator waits ten seconds at most; later the payer may have paid otherwise",
)
AT_THE_TILL = Send(lambda patience: patience.automatic_capture, why="one purchase: taken soon, or given up")
MONEY_HAS_MOVED = ForwardOnly("money has moved; giving it back is a refund, a new decision")

# fmt: off
#                do                          undo                     policy
PREPARE   = Step(Books.prepare_payment, undo=Books.release,      policy=ADMITTED)
AUTHORIZE = Step(Provider.authorize,    undo=Provider.void,      policy=WHILE_A_PAYER_WAITS)
CHARGE    = Step(Provider.capture,      undo=MONEY_HAS_MOVED,    policy=AT_THE_TILL)  # automatic mode
CAPTURE   = Step(Provider.capture,      undo=MONEY_HAS_MOVED,    policy=AS_ASKED)
POST      = Step(Books.book_capture,    undo=A_FACT,             policy=BOOKED)
NOTE      = Step(Books.note,            undo=A_ROW,              policy=NOTED)
# fmt: on

NOTHING_SENT = frozenset((Reason.STALE, Reason.CANCELED))


@dataclass(frozen=True)
class Lapse:
    """The run itself wants to give up what is not captured: its window has closed, or it was canceled."""

    leaves: PaymentState


@workflow.defn(name="Payment")
class PaymentWorkflow(Run):
    """See the module."""

    lifecycle: ClassVar[Lifecycle[PaymentState]] = PAYMENT
    owner = "payments-operations"

    @workflow.init
    def __init__(self, payment: Payment) -> None:
        super().__init__(payment, S.REQUESTED)
        self._payment = payment
        self._hold = Reference("")
        self._authorized: Done | None = None
        self._noted = ""  # the state that the payment's row has
        # It stands until captured, voided or expired: a void, an expiry and a cancellation unwind this same list.
        self._authorization = Saga(self, payment.id, book_found=self._book_found, gives_up=self._gives_up)

    @workflow.run
    async def run(self, payment: Payment) -> str:
        """Live until nothing authorized is left; return the terminal state."""
        return await self.to_the_end(self._live(payment))

    async def _live(self, payment: Payment) -> str:
        while not is_terminal(PAYMENT, self.state):
            await self._perform(await self.next() or self._lapse())
        while late := await self.last():
            self.answer(late, refused(Reason.PAYMENT_CLOSED), _zero(payment.money))
        return self.state

    async def _perform(self, operation: Operation | Lapse) -> None:
        match operation:
            case Payment():
                await self._authorize(operation)
            case Capture():
                await self._capture(operation)
            case Lapse() if self.state == S.REQUESTED:
                self.move(S.NOT_STARTED)  # canceled before anything was sent
                self.answer(self._payment, CANCELED, _zero(self._payment.money))
                await self._note()
            case Void() | Lapse():
                await self._void(operation)
            case _:
                raise AssertionError(f"nobody performs {operation}")
        self.show()

    async def _authorize(self, payment: Payment) -> None:
        async with self._authorization as saga:
            self._hold = (await saga(PREPARE, _preparation(payment))).reference
            self.move(S.AUTHORIZING)
            effect = Effect(provider=payment.promises.provider, money=payment.money, instrument=payment.instrument)
            authorized = self._authorized = await saga(AUTHORIZE, effect)
            self.open_window(min(payment.window_seconds, authorized.answer.expires_seconds or payment.window_seconds))
            if payment.automatic:
                self.move(S.CAPTURING)
                await self._take(saga, CHARGE, payment.id, payment.money, final=True)
        if saga.stopped is not None:
            self._end_of_authorization(saga.stopped)
        elif not payment.automatic:
            self.move(S.AUTHORIZED)
        answer = saga.stopped or DONE
        if self._authorized is not None and answer is DONE:
            answer = replace(answer, provider_id=self._authorized.provider_id)
        self.answer(payment, answer, payment.money if answer.outcome is Outcome.DONE else _zero(payment.money))
        await self._note()

    def _gives_up(self, stopped: Answer) -> None:
        """Undoing begins: the state says so where something stood at the provider."""
        self.reason = stopped.reason
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
        elif self.state == S.REQUESTED and stopped.reason == Reason.BLOCKED_BY_RISK:
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
            final = capture.final or capture.money == self._payment.money - self.total
            async with Saga(self, capture.id) as saga:
                await self._take(saga, CAPTURE, capture.id, capture.money, final=final)
            if saga.stopped is not None:
                self.move(before)
            answer = saga.stopped or DONE
        done = answer.outcome is Outcome.DONE
        self.answer(capture, answer, capture.money if done else _zero(capture.money))
        if not done:
            await self._note(_row(self._payment, capture, "failed", capture.money, answer.reason))

    async def _take(self, saga: Saga, step: Step[Effect], operation: OperationId, money: Money, *, final: bool) -> None:
        """Capture and post: the two steps that an automatic and an asked-for capture share."""
        authorized = self._authorized
        assert authorized is not None
        effect = Effect(
            provider=self.promises.provider,
            money=money,
            final=final,
            on=authorized.reference,
            provider_id=authorized.provider_id,
        )
        taken = await saga(step, effect)
        total, state = self.total + money, S.CAPTURED if final else S.PARTIALLY_CAPTURED
        rows = (self._row(state, total),)
        if operation != self._payment.id:
            known = self._known[operation]
            rows = (_row(self._payment, known, "succeeded", money, "", taken), *rows)
        await saga(POST, self._booking(operation, money, taken.reference, rows, final=final))
        self.total = total
        self.move(state)
        self._noted = state

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
        voided = self._payment.money - self.total
        done = answer.outcome is Outcome.DONE
        self.answer(void, answer, voided if done else _zero(voided))
        await self._note(_row(self._payment, void, "succeeded" if done else "failed", voided, answer.reason))

    async def _book_found(self, void: Reference, found: Found) -> None:
        """Book what the provider has captured without our knowing, under the void that found it."""
        assert found.kind == "captured", found
        taken = found.money - self.total
        if taken.minor > 0:
            rows = (self._row(S.CAPTURED, found.money),)
            booking = self._booking(self._payment.id, taken, void, rows, final=True)
            await Saga(self, self._payment.id, forward=True)(POST, booking)
            self.total = found.money
            self._noted = S.CAPTURED

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
            amount=self._payment.money,
            total=total,
            reason=self.reason,
            provider_id=authorized.provider_id if authorized else "",
            reference=authorized.reference if authorized else Reference(""),
        )

    def _lapse(self) -> Lapse:
        if self.cancel_requested:
            self.reason = Reason.CANCELED
        return Lapse(S.VOIDED if self.cancel_requested else S.EXPIRED)

    def _exceeds(self, money: Money) -> bool:
        return not 0 < money.minor <= (self._payment.money - self.total).minor

    @workflow.update
    async def authorize(self, payment: Payment) -> Receipt:
        """Answer when the authorization is known: done, or refused and unwound."""
        return await self.ask(payment)

    @workflow.update
    async def capture(self, capture: Capture) -> Receipt:
        """Answer when the capture is booked, or known not to have happened."""
        return await self.ask(capture)

    @workflow.update
    async def void(self, void: Void) -> Receipt:
        """Answer when nothing uncaptured is left, or a capture was found instead."""
        return await self.ask(void)

    @authorize.validator
    def _authorize_is_apt(self, payment: Payment) -> None:
        self.admit(payment)

    @capture.validator
    def _capture_is_apt(self, capture: Capture) -> None:
        self.admit(capture)
        if capture.id not in self._known and self._exceeds(capture.money):
            left = self._payment.money - self.total
            raise refusal("CaptureExceedsAuthorization", f"{left} can still be captured")

    @void.validator
    def _void_is_apt(self, void: Void) -> None:
        self.admit(void)


def _preparation(payment: Payment) -> Prepare:
    return replace(
        preparation.of(payment),
        instrument=payment.instrument,
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
