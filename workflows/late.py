"""A fact about an operation whose run has closed (money rule 14): what it means for our books, and what is done then.

    requested ─▶ settled

    authorized, its payment ended without it    the authorization is given up; a capture met there is given back
    captured, and not booked                    booked, given back to the payer, and that booked
    a capture or a refund failed after all      booked as taken back
    refunded after all                          booked
    a payout handed over after all              booked, followed until it arrives or fails
    a payout came back                          booked as returned
    what agrees with the books                  nothing
    what contradicts them                       a person decides

The same fact twice does nothing twice: each entry and effect has one reference, whoever is told of it, and when.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum, auto
from typing import ClassVar

from temporalio import workflow

from contracts.books import Books
from contracts.provider import Provider
from domain.commands import Booking, Effect, Inquiry, LateFact, Row
from domain.ids import OperationId, Prefix, Reference, Verb, operation_of
from domain.lifecycle import LATE, PAYMENT, LateState, Lifecycle, PaymentState, PayoutState, is_terminal
from domain.money import Money
from domain.outcomes import Fact, Found, Outcome, Stands
from workflows.policies import A_FACT, AS_ASKED, REVERSED
from workflows.run import Run
from workflows.saga import Await, Book, Done, ForwardOnly, Saga, Step
from workflows.saga import Row as Undoable

S = LateState

POSTED = Book("post", timedelta(seconds=5), why="nobody waits")
PAID = Book("paid", timedelta(seconds=5), why="nobody waits")
RETURNED = Book("returned", timedelta(seconds=5), why="nobody waits")
DECISION = Await(
    "decision",
    first_pause=timedelta(minutes=1),
    longest_pause=timedelta(hours=1),
    patience=timedelta(days=5),
    why="the provider has it after all; a bank decides within three bank days and a weekend, then a person asks it",
)
ARRIVAL = Await(
    "arrival",
    first_pause=timedelta(minutes=1),
    longest_pause=timedelta(hours=1),
    patience=timedelta(days=5),
    why="rails take at most three bank days and a weekend; then a person asks the bank",
)
MONEY_HAS_MOVED = ForwardOnly("the payer has the money")

# fmt: off
#                   do                               undo                   policy
GIVE_UP      = Step(Provider.authorize,         undo=Provider.void,    policy=AS_ASKED)  # it is there: only undone
CAPTURED     = Step(Books.book_capture,         undo=A_FACT,           policy=POSTED)
GIVE_BACK    = Step(Provider.refund,            undo=MONEY_HAS_MOVED,  policy=AS_ASKED)
REFUNDED     = Step(Books.book_refund,          undo=A_FACT,           policy=POSTED)
UNCAPTURED   = Step(Books.book_capture_failed,  undo=A_FACT,           policy=REVERSED)
UNREFUNDED   = Step(Books.book_refund_failed,   undo=A_FACT,           policy=REVERSED)
HANDED_OVER  = Step(Books.book_payout_accepted, undo=A_FACT,           policy=POSTED)
ARRIVED      = Step(Books.book_payout_paid,     undo=A_FACT,           policy=PAID)
NOT_ARRIVED  = Step(Books.book_payout_failed,   undo=A_FACT,           policy=REVERSED)
CAME_BACK    = Step(Books.book_payout_returned, undo=A_FACT,           policy=RETURNED)
# fmt: on

# A void of ours is numbered above those of the payment's own run, which begin at 1 and grow with each refusal: a void
# that was answered before the authorization came about is answered the same again, and would undo nothing.
LATE_VOIDS = 90


class Meaning(Enum):
    """What a late fact means, beside what our books say."""

    AGREES = auto()
    STANDS_OPEN = auto()  # an authorization that nobody wants any more
    CAPTURED = auto()
    UNCAPTURED = auto()
    REFUNDED = auto()
    UNREFUNDED = auto()
    HANDED_OVER = auto()
    CAME_BACK = auto()
    UNDECIDED = auto()  # the provider has it after all, and will decide
    IN_QUESTION = auto()  # it succeeded, failed, and is said to have succeeded: old news, or new?
    CONTRADICTS = auto()


def meaning(fact: Fact, stands: Stands) -> Meaning:
    """Say what a fact about a closed operation means; `stands` is what our books say about the fact's effect."""
    verb, outcome = _verb(fact.reference), fact.answer.outcome
    if outcome not in (Outcome.DONE, Outcome.REFUSED, Outcome.PENDING, Outcome.UNKNOWN):
        return Meaning.AGREES  # of itself it says nothing that has happened
    match verb:
        case Verb.AUTHORIZE:
            known = outcome is Outcome.REFUSED or stands.reference == fact.reference
            return Meaning.AGREES if known else Meaning.STANDS_OPEN
        case Verb.INCREMENT:
            known = outcome is Outcome.REFUSED or stands.state == "succeeded"
            return Meaning.AGREES if known else Meaning.STANDS_OPEN
        case Verb.VOID:
            gone = stands.state in (PaymentState.VOIDED, PaymentState.EXPIRED, PaymentState.DECLINED)
            return Meaning.STANDS_OPEN if gone and outcome is Outcome.REFUSED else Meaning.AGREES
        case Verb.CAPTURE:
            return _of_a_move(outcome, stands, came=Meaning.CAPTURED, went=Meaning.UNCAPTURED)
        case Verb.REFUND:
            return _of_a_move(outcome, stands, came=Meaning.REFUNDED, went=Meaning.UNREFUNDED)
        case Verb.PAY_OUT:
            return _of_a_payout(outcome, stands)
        case Verb.ARRIVE:
            return _of_an_arrival(outcome, stands)
        case Verb.RECALL:
            contradicts = outcome is Outcome.DONE and stands.state == PayoutState.PAID
            return Meaning.CONTRADICTS if contradicts else Meaning.AGREES


def _of_a_move(outcome: Outcome, stands: Stands, *, came: Meaning, went: Meaning) -> Meaning:
    match outcome, stands.posted, stands.reversed:
        case Outcome.DONE, False, _:
            return came
        case Outcome.DONE, True, True:
            return Meaning.IN_QUESTION
        case Outcome.REFUSED, True, False:
            return went
        case ((Outcome.PENDING | Outcome.UNKNOWN), False, _):
            return Meaning.UNDECIDED
        case _:
            return Meaning.AGREES


def _of_a_payout(outcome: Outcome, stands: Stands) -> Meaning:
    match outcome, stands.posted:
        case Outcome.DONE, False:
            return Meaning.HANDED_OVER
        case Outcome.REFUSED, True if stands.state == PayoutState.PAID:
            return Meaning.CONTRADICTS
        case ((Outcome.PENDING | Outcome.UNKNOWN), False):
            return Meaning.UNDECIDED
        case _:
            return Meaning.AGREES


def _of_an_arrival(outcome: Outcome, stands: Stands) -> Meaning:
    """What is booked as handed over and not as failed is followed, be it by a late run while its row says failed."""
    followed = stands.posted and not stands.reversed
    arrived = followed and stands.total is not None and stands.total == stands.amount
    match outcome:
        case Outcome.DONE:
            return Meaning.AGREES if followed else Meaning.CONTRADICTS
        case Outcome.REFUSED:
            return Meaning.CAME_BACK if arrived else Meaning.AGREES
        case _:
            return Meaning.AGREES


@dataclass(frozen=True)
class About:
    """What a late fact is about, as our books know it: its operation, that one's payment, and what stands of both."""

    effect: Reference
    operation: OperationId
    stands: Stands
    payment: OperationId
    of_payment: Stands

    @property
    def money(self) -> Money:
        assert self.stands.amount is not None, f"{self.operation} has no row"
        return self.stands.amount


@workflow.defn(name="Late")
class LateWorkflow(Run):
    """See the module."""

    lifecycle: ClassVar[Lifecycle[LateState]] = LATE
    owner = "payments-operations"
    heeds_cancellation = False

    @workflow.init
    def __init__(self, late: LateFact) -> None:
        super().__init__(late, S.REQUESTED)
        self._late = late
        self._asked = False  # the provider was asked how it stands now

    @workflow.run
    async def run(self, late: LateFact) -> str:
        """Live until our books and the provider agree about the fact, or people have decided; return the state."""
        return await self.to_the_end(self._live(late))

    async def _live(self, late: LateFact) -> str:
        await self.next()
        fact: Fact | None = late.fact
        while fact is not None:
            about = await self._about(fact)
            means = meaning(fact, about.stands)
            self.log(means.name.lower().replace("_", " "), fact.reference, late.source)
            moved = fact.answer.outcome is Outcome.DONE and _verb(fact.reference) in (Verb.CAPTURE, Verb.REFUND)
            if (moved or means is Meaning.HANDED_OVER) and not self._asked:
                fact = await self._decided(fact, about)  # a word may be older than another that took it back
            else:
                fact = await self._settle(fact, means, about)
        self.move(S.SETTLED)
        self.show()
        await self.last()
        return self.state

    async def _settle(self, fact: Fact, means: Meaning, about: About) -> Fact | None:
        """Do what the fact calls for; return what is still to be settled, if anything."""
        self.reason = means.name.lower()
        match means:
            case Meaning.AGREES:
                pass
            case Meaning.STANDS_OPEN:
                await self._give_up(fact, about)
            case Meaning.CAPTURED:
                await self._give_back_a_capture(about)
            case Meaning.UNCAPTURED:
                await self._book(UNCAPTURED, self._taken_back(about, fact.answer.reason))
            case Meaning.REFUNDED if about.operation.startswith(Prefix.REFUND):
                await self._book(REFUNDED, self._refunded_after_all(about))
            case Meaning.REFUNDED:
                return await self._ask_a_person(fact, "the run that gave a late capture back has not booked it")
            case Meaning.UNREFUNDED:
                await self._book(UNREFUNDED, self._not_refunded(about, fact.answer.reason))
            case Meaning.HANDED_OVER:
                return await self._follow(about)
            case Meaning.CAME_BACK:
                return await self._came_back(fact, about)
            case Meaning.UNDECIDED:
                return await self._decided(fact, about)
            case Meaning.IN_QUESTION:
                return await self._question(fact, about)
            case Meaning.CONTRADICTS:
                return await self._ask_a_person(fact, f"our books say {about.stands.state or 'nothing'}")
        return None

    # Payments

    async def _give_up(self, fact: Fact, about: About) -> None:
        """Make sure that nothing uncaptured stands at the provider; book and give back what was captured there."""
        authorization = fact.reference if _verb(fact.reference) is Verb.AUTHORIZE else about.of_payment.reference
        if authorization == about.of_payment.reference and not _has_ended(about.of_payment):
            self.log("its payment still has it, and gives it up when it ends", authorization)
            return
        if not authorization:
            authorization = Reference(f"{about.payment}.a1")  # none was ever known to stand: the first was asked for

        async def give_back_found(void: Reference, found: Found) -> None:
            assert about.of_payment.total is not None
            taken = found.money - about.of_payment.total
            if taken.minor > 0:
                await self._book(CAPTURED, self._booking(about.payment, about.payment, taken, void))
                await self._give_back(about.payment, about, taken, authorization, found.provider_id)

        command = Effect(
            reference=authorization,
            provider=self.promises.provider,
            money=self.amount,
            provider_id=fact.answer.provider_id or about.of_payment.provider_id,
        )
        attempt = LATE_VOIDS + int(authorization.rsplit(".a", 1)[1])
        saga = Saga(self, about.payment, book_found=give_back_found)
        saga.restore([Undoable(GIVE_UP, command, attempt, about.payment)], {})
        await saga.unwind()

    async def _give_back_a_capture(self, about: About) -> None:
        """Book a capture that nobody asks for any more, without a fee of ours, and give it back to the payer."""
        await self._book(CAPTURED, self._booking(about.operation, about.payment, about.money, about.effect))
        authorization, provider_id = about.of_payment.reference, about.of_payment.provider_id
        await self._give_back(about.operation, about, about.money, authorization, provider_id)

    async def _give_back(
        self, operation: OperationId, about: About, money: Money, on: Reference, provider_id: str
    ) -> None:
        """Refund at the provider, and book it. Where the provider refuses, two people decide."""
        effect = Effect(provider=self.promises.provider, money=money, on=on, provider_id=provider_id)
        saga, given = Saga(self, operation), None
        while given is None:
            done = await saga.attempt(GIVE_BACK, effect)
            if done.answer.outcome is Outcome.DONE:
                given = done
                continue
            why = f"captured after its payment had ended, and the refund was refused: {done.answer.reason}"
            decided = await self.park(done.reference, why)
            if decided is not None and decided.outcome is Outcome.REFUSED:
                self.relieve()
                return  # it stays captured: they have seen why
            given = Done(done.reference, decided) if decided is not None else None
        self.relieve()
        self.total = money
        whose, stands = ("payment", about.of_payment) if operation == about.payment else ("capture", about.stands)
        row = self._row(operation, stands, event=f"{whose}.given_back")
        booking = replace(self._booking(operation, about.payment, money, given.reference), rows=(row,))
        await self._book(REFUNDED, booking)

    def _taken_back(self, about: About, reason: str) -> Booking:
        """A capture failed after it was done: it has failed, and its payment has captured so much less."""
        assert about.of_payment.total is not None
        total, event = about.of_payment.total - about.money, "capture.reversed"
        if about.operation == about.payment:
            rows = (self._row(about.payment, about.of_payment, total=total, event=event),)
        else:
            nothing = Money(0, total.currency)
            failed = replace(self._row(about.operation, about.stands, total=nothing, event=event), state="failed")
            rows = (replace(failed, reason=reason), self._row(about.payment, about.of_payment, total=total))
        return replace(self._booking(about.operation, about.payment, about.money, about.effect), rows=rows)

    # Refunds

    def _refunded_after_all(self, about: About) -> Booking:
        """The payer has the money, although the refund was said to have failed: it stays so, with what it moved."""
        row = self._row(about.operation, about.stands, total=about.money, event="refund.done_late")
        self.total = about.money
        return replace(self._booking(about.operation, about.payment, about.money, about.effect), rows=(row,))

    def _not_refunded(self, about: About, reason: str) -> Booking:
        rows: tuple[Row, ...] = ()
        if about.operation.startswith(Prefix.REFUND):
            row = self._row(about.operation, about.stands, total=Money(0, about.money.currency))
            rows = (replace(row, state="reversed", reason=reason),)
        return replace(self._booking(about.operation, about.payment, about.money, about.effect), rows=rows)

    # Payouts

    async def _follow(self, about: About) -> Fact | None:
        """The rail has a payout that was said to have failed: it is booked, and so is what becomes of it."""
        accepted = self._row(about.operation, about.stands, event="payout.accepted_late")
        booking = self._booking(about.operation, None, about.money, about.effect)
        await self._book(HANDED_OVER, replace(booking, rows=(accepted,)))
        inquiry = Inquiry(on=about.effect, provider=self.promises.provider, verb=Verb.ARRIVE)
        arrival = await Saga(self, about.operation).arrives(ARRIVAL, inquiry)
        assert arrival is not None, "nothing else is to be done meanwhile"
        if arrival.outcome is Outcome.DONE:
            self.total = about.money
            paid = self._row(about.operation, about.stands, total=about.money, event="payout.paid_late")
            await self._book(ARRIVED, replace(booking, rows=(paid,)))
        else:
            failed = self._row(about.operation, about.stands, event="payout.failed_late")
            await self._book(NOT_ARRIVED, replace(booking, rows=(failed,)))
        return None

    async def _came_back(self, fact: Fact, about: About) -> Fact | None:
        key = fact.answer.provider_id
        if not key:
            return await self._ask_a_person(fact, "it came back, and the provider names no return: book it by hand")
        row = self._row(about.operation, about.stands, total=Money(0, about.money.currency))
        returned = replace(row, state=PayoutState.RETURNED, reason=fact.answer.reason)
        booking = self._booking(about.operation, None, about.money, about.effect)
        await self._book(CAME_BACK, replace(booking, key=key, rows=(returned,)))
        return None

    # What is not clear

    async def _decided(self, fact: Fact, about: About) -> Fact | None:
        """Ask until the provider has decided."""
        answer = await Saga(self, about.operation).arrives(DECISION, self._inquiry(fact))
        assert answer is not None, "nothing else is to be done meanwhile"
        self._asked = True
        return replace(fact, answer=answer)

    async def _question(self, fact: Fact, about: About) -> Fact | None:
        """It succeeded, failed, and is said to have succeeded: ask what is so now."""
        answer = await Saga(self, about.operation).arrives(DECISION, self._inquiry(fact))
        assert answer is not None, "nothing else is to be done meanwhile"
        if answer.outcome is Outcome.REFUSED:
            return None  # old news
        return await self._ask_a_person(fact, "it was booked as taken back, and the provider says that it stands")

    async def _ask_a_person(self, fact: Fact, why: str) -> Fact | None:
        """Have two people decide what is true; what they correct in the ledger is an entry of theirs."""
        owner = "treasury-operations" if fact.reference.startswith(Prefix.PAYOUT) else self.owner
        said = f"{self.promises.provider} says {fact.answer.outcome} {fact.answer.reason}".rstrip()
        decided = await self.park(fact.reference, f"{said}; {why}", owner=owner)
        self.relieve()
        return fact if decided is None else None

    # What all of them use

    async def _about(self, fact: Fact) -> About:
        effect = Reference(fact.reference.removesuffix("/arrival"))
        operation = operation_of(effect)
        stands = await self.stands(operation, effect)
        payment = stands.payment or operation
        of_payment = stands if payment == operation else await self.stands(payment, effect)
        return About(effect, operation, stands, payment, of_payment)

    async def _book(self, step: Step[Booking], booking: Booking) -> None:
        await Saga(self, booking.operation, forward=True)(step, booking)

    def _booking(self, operation: OperationId, payment: OperationId | None, money: Money, on: Reference) -> Booking:
        return Booking(
            operation=operation,
            payment=payment,
            merchant=self._late.merchant,
            provider=self.promises.provider,
            money=money,
            on=on,
        )

    def _row(self, operation: OperationId, stands: Stands, *, total: Money | None = None, event: str = "") -> Row:
        """The operation's row as it is, with another total or with an event that tells what has happened."""
        amount = stands.amount or self.amount
        return Row(
            operation=operation,
            payment=stands.payment,
            state=stands.state,
            amount=amount,
            total=total or stands.total or Money(0, amount.currency),
            event=event,
        )

    def _inquiry(self, fact: Fact) -> Inquiry:
        return Inquiry(
            on=fact.reference,
            provider=self.promises.provider,
            verb=_verb(fact.reference),
            provider_id=fact.answer.provider_id,
        )


def _has_ended(payment: Stands) -> bool:
    """Tell whether a payment's row says that its run is over; one that lives may hand on what it did not expect."""
    return is_terminal(PAYMENT, PaymentState(payment.state))


LETTERS = {
    "a": Verb.AUTHORIZE,
    "c": Verb.CAPTURE,
    "v": Verb.VOID,
    "i": Verb.INCREMENT,
    "r": Verb.REFUND,
    "p": Verb.PAY_OUT,
}


def _verb(reference: Reference) -> Verb:
    """Tell what was asked for under a reference; a payout knows no refund, so its letter r is a recall."""
    if reference.endswith("/arrival"):
        return Verb.ARRIVE
    operation, _, rest = reference.partition(".")
    verb = LETTERS[rest[0]]
    return Verb.RECALL if verb is Verb.REFUND and operation.startswith(Prefix.PAYOUT) else verb
