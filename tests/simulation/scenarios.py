"""The lifecycles, each as what its clients do. What goes wrong is chosen elsewhere.

A scenario's name is the first half of a schedule's name. Its amounts are such that a sum tells of which parts it is.
"""

from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

from domain.commands import Booking, Capture, Increment, Payment, Payout, Refund, Row, Void
from domain.ids import MerchantId, OperationId, Prefix, Reference, derive
from domain.lifecycle import PaymentState
from domain.money import Money
from domain.outcomes import Outcome, Receipt
from ledger import postings
from risk.rules import Verdict
from simulator.orders import Authorise, Collect, Pointer, Value
from simulator.records import Phase
from tests.simulation.clock import EPOCH
from tests.simulation.world import FEE_BASIS_POINTS, FIRST, PROMISES, SECOND, World
from workflows import preparation

MERCHANT = MerchantId("m_bakery")
EUR = "EUR"
AMOUNT = Money(10_000, EUR)
WINDOW_SECONDS = 6 * 86_400.0  # a day less than the provider lets an authorization stand
DAY = 86_400.0
BACK_AT_THE_SHOP_SECONDS = 5.0  # how often a client that has been told "pending" looks again
_SALT: ContextVar[str] = ContextVar("salt", default="")
Does = Callable[[World], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Scenario:
    """One lifecycle: what its clients do, and in which states its runs end when nothing goes wrong.

    `like` is an elder scenario that does the same up to this one's `differs`-th request: schedules whose faults all
    come before that are played in the elder alone.
    """

    name: str
    does: Does
    ends: Sequence[str]
    webhooks: bool = False
    providers: Sequence[str] = field(default=(FIRST,))
    like: str = ""
    differs: int = 2


@contextmanager
def salted(salt: str) -> Generator[None]:
    """Let all ids and merchants be others than usual: where schedules share one database."""
    token = _SALT.set(salt)
    try:
        yield
    finally:
        _SALT.reset(token)


def salt() -> str:
    """What tells the ids of this schedule from those of others; empty where nothing is shared."""
    return _SALT.get()


def merchant() -> MerchantId:
    """The merchant of a schedule."""
    return MerchantId(f"{MERCHANT}{salt()}")


def operation(prefix: Prefix, key: str) -> OperationId:
    """An id that is the same in every schedule, but for the salt."""
    return derive(prefix, client="simulation", mode="test", operation=f"simulation{salt()}", key=key)


def payment(*, automatic: bool = False, instrument: str = "tok_visa", routed: bool = False) -> Payment:
    """The payment of a schedule."""
    return Payment(
        id=operation(Prefix.PAYMENT, "payment"), fingerprint="f-payment", client="shop", merchant=merchant(),
        money=AMOUNT, promises=PROMISES[FIRST], admit_until=EPOCH + 60, instrument=instrument, automatic=automatic,
        window_seconds=WINDOW_SECONDS, fee_basis_points=FEE_BASIS_POINTS, routes=(PROMISES[SECOND],) if routed else (),
        warn_before_seconds=DAY,
    )  # fmt: skip


def capture(minor: int, *, final: bool = False) -> Capture:
    """A capture of the payment."""
    key = f"capture-{minor}-{final}"
    return Capture(id=operation(Prefix.CAPTURE, key), fingerprint=f"f-{key}", money=Money(minor, EUR), final=final)


def void(key: str = "void") -> Void:
    """The void of the payment's rest, or the recall of a payout."""
    return Void(id=operation(Prefix.VOID, key), fingerprint=f"f-{key}")


def increment(minor: int) -> Increment:
    """The increment of the payment's authorization."""
    return Increment(id=operation(Prefix.INCREMENT, "increment"), fingerprint="f-increment", money=Money(minor, EUR))


def refund(minor: int, key: str = "refund") -> Refund:
    """A refund of the captured payment."""
    on = Reference(f"{payment().id}.a1")
    return Refund(
        id=operation(Prefix.REFUND, key), fingerprint=f"f-{key}", client="shop", merchant=merchant(),
        money=Money(minor, EUR), promises=PROMISES[FIRST], admit_until=EPOCH + 60, payment=payment().id, on=on,
        on_provider_id="",
    )  # fmt: skip


def payout(minor: int, destination: str = "acct_ok", key: str = "payout", replaces: str = "") -> Payout:
    """A payout of the merchant's balance."""
    return Payout(
        id=operation(Prefix.PAYOUT, key), fingerprint=f"f-{key}", client="shop", merchant=merchant(),
        money=Money(minor, EUR), promises=PROMISES[FIRST], admit_until=EPOCH + 30 * DAY, destination=destination,
        replaces=operation(Prefix.PAYOUT, replaces) if replaces else None,
    )  # fmt: skip


def _done(receipt: Receipt | None) -> bool:
    return receipt is not None and receipt.outcome is Outcome.DONE


# What stands before a schedule begins


def captured(world: World) -> None:
    """A payment has been captured: at the provider, in the ledger and in its row, as its run would have left it."""
    made = payment()
    books = world.bank.books
    reference, taken = f"{made.id}.a1", f"{made.id}.c1"
    books.place(Authorise(reference, Value(AMOUNT.minor, EUR), made.instrument))
    books.place(Collect(taken, Value(AMOUNT.minor, EUR), Pointer("", reference), True))
    booking = Booking(
        reference=Reference(f"{taken}/post"), on=Reference(taken), operation=made.id, merchant=merchant(),
        provider=FIRST, money=AMOUNT, fee=Money(150, EUR), payment=made.id,
    )  # fmt: skip
    world.journal.take(postings.capture(booking))
    row = Row(operation=made.id, state="captured", amount=AMOUNT, total=AMOUNT, reference=Reference(reference))
    world.operations.stands(preparation.of(made), row)


def funded(world: World) -> None:
    """A merchant has a balance to be paid out."""
    world.journal.take(postings.top_up(Reference(f"simulation:{merchant()}:EUR/top-up"), merchant(), AMOUNT))


# What clients do


async def automatic(world: World) -> None:
    await world.begin(payment(automatic=True), "authorize")


async def manual(world: World) -> None:
    made = payment()
    if _done(await world.begin(made, "authorize")):
        await world.ask(made, "capture", capture(10_000, final=True))


async def partly(world: World) -> None:
    made = payment()
    if _done(await world.begin(made, "authorize")) and _done(await world.ask(made, "capture", capture(4_000))):
        await world.ask(made, "capture", capture(5_000, final=True))


async def partly_void(world: World) -> None:
    made = payment()
    if _done(await world.begin(made, "authorize")) and _done(await world.ask(made, "capture", capture(4_000))):
        await world.ask(made, "void", void())


async def moved_on(world: World) -> None:
    """The run goes on under a new history between two captures."""
    made = payment()
    if _done(await world.begin(made, "authorize")) and _done(await world.ask(made, "capture", capture(4_000))):
        world.server.runs[f"payment/{made.id}"].long = True
        await world.clock.sleep(1)
        await world.ask(made, "capture", capture(5_000, final=True))


async def voided(world: World) -> None:
    made = payment()
    if _done(await world.begin(made, "authorize")):
        await world.ask(made, "void", void())


async def at_once(world: World) -> None:
    """Two captures and a void, asked for before any of them has ended."""
    made = payment()
    if _done(await world.begin(made, "authorize")):
        world.does(world.ask(made, "capture", capture(6_000)))
        world.does(world.ask(made, "capture", capture(6_000, final=True)))
        world.does(world.ask(made, "void", void()))


async def raised(world: World) -> None:
    """An authorization is raised, and captured above what it was."""
    made = payment()
    if _done(await world.begin(made, "authorize")):
        higher = _done(await world.ask(made, "increment", increment(2_500)))
        await world.ask(made, "capture", capture(12_500 if higher else 10_000, final=True))


async def left_alone(world: World) -> None:
    await world.begin(payment(), "authorize")


async def declined(world: World) -> None:
    await world.begin(payment(instrument="tok_denied"), "authorize")


async def routed(world: World) -> None:
    """The first provider refuses softly; the second one may take it."""
    made = payment(routed=True)
    world.bank.deny_next("authorise", "issuer_unreachable")
    if _done(await world.begin(made, "authorize")):
        await world.ask(made, "capture", capture(10_000, final=True))


async def in_review(world: World) -> None:
    """The provider looks into it first, and tells by webhook."""
    made = payment(instrument="tok_review")
    if _done(await world.begin(made, "authorize")):
        await world.ask(made, "capture", capture(10_000, final=True))


async def challenged(world: World) -> None:
    """The payer proves who they are, and comes back to the shop, which then captures."""
    made = payment(instrument="tok_challenge")
    receipt = await world.begin(made, "authorize")
    if receipt is None or receipt.outcome is not Outcome.PENDING:
        return
    await world.clock.sleep(60)
    waiting = world.bank.books.lookup(f"{made.id}.a1")
    if waiting is not None and waiting.phase is Phase.CHALLENGED:
        world.bank.books.end_challenge(waiting, passed=True)
    world.look_again(made)
    while (view := world.view(made)).state == PaymentState.CHALLENGE_REQUIRED:
        await world.clock.sleep(BACK_AT_THE_SHOP_SECONDS)
    if view.state == PaymentState.AUTHORIZED:
        await world.ask(made, "capture", capture(10_000, final=True))


async def challenge_left(world: World) -> None:
    """The payer never comes back."""
    await world.begin(payment(instrument="tok_challenge"), "authorize")


async def challenge_voided(world: World) -> None:
    """The shop gives the payment up while the payer is away."""
    made = payment(instrument="tok_challenge")
    receipt = await world.begin(made, "authorize")
    if receipt is not None and receipt.outcome is Outcome.PENDING:
        await world.clock.sleep(60)
        await world.ask(made, "void", void())


async def held_by_risk(world: World) -> None:
    """Two people look at it first."""
    world.risk.verdict = Verdict.REVIEW
    await world.begin(payment(automatic=True), "authorize")


async def blocked(world: World) -> None:
    world.risk.verdict = Verdict.REFUSE
    await world.begin(payment(automatic=True), "authorize")


async def taken_back(world: World) -> None:
    """Both captures fail a second after they were done: one while its payment is open, one when it has closed."""
    made = payment(instrument="tok_fails_later")
    if _done(await world.begin(made, "authorize")) and _done(await world.ask(made, "capture", capture(4_000))):
        await world.clock.sleep(10)
        await world.ask(made, "capture", capture(5_000, final=True))


async def refunded(world: World) -> None:
    captured(world)
    await world.begin(refund(3_000), "submit")


async def refunded_twice(world: World) -> None:
    """Two refunds at once, together more than was captured."""
    captured(world)
    world.does(world.begin(refund(6_000, "one"), "submit"))
    world.does(world.begin(refund(7_000, "two"), "submit"))


async def paid_out(world: World) -> None:
    funded(world)
    await world.begin(payout(7_000), "submit")


async def bounced(world: World) -> None:
    """A payout comes back before it has arrived; another takes its place."""
    funded(world)
    first = payout(7_000, "acct_bounces")
    await world.begin(first, "submit")
    await world.clock.sleep(10 * DAY)
    await world.begin(payout(7_000, key="again", replaces="payout"), "submit")


async def recalled(world: World) -> None:
    funded(world)
    made = payout(7_000, "acct_slow")
    if _done(await world.begin(made, "submit")):
        await world.ask(made, "recall", void("recall"))


async def returned(world: World) -> None:
    """A payout comes back after it has arrived."""
    funded(world)
    await world.begin(payout(7_000, "acct_returns"), "submit")


async def overdrawn(world: World) -> None:
    funded(world)
    await world.begin(payout(10_001), "submit")


async def _dispute(world: World, *phases: Phase) -> None:
    """A payer's bank takes a captured payment up."""
    captured(world)
    books = world.bank.books
    opened = books.open_dispute(f"{payment().id}.a1", 4_000, "not_recognised", 7 * DAY)
    for phase in phases:
        await world.clock.sleep(3 * DAY)
        books.disputes.move(opened.id, phase)


async def lost(world: World) -> None:
    await _dispute(world, Phase.WITHDRAWN, Phase.LOST)


async def won(world: World) -> None:
    await _dispute(world, Phase.WITHDRAWN, Phase.WON)


async def taken_up_again(world: World) -> None:
    await _dispute(world, Phase.WITHDRAWN, Phase.WON, Phase.WITHDRAWN, Phase.LOST)


async def refunded_in_dispute(world: World) -> None:
    """A payment in dispute is not refunded: the payer would have the money twice."""
    world.does(_dispute(world, Phase.WITHDRAWN, Phase.LOST))
    await world.clock.sleep(DAY)
    await world.begin(replace(refund(3_000), admit_until=EPOCH + 2 * DAY), "submit")


SCENARIOS: Sequence[Scenario] = (
    Scenario("manual", manual, ("captured",)),
    Scenario("automatic", automatic, ("captured",)),
    Scenario("left_alone", left_alone, ("expired",), like="manual"),
    Scenario("voided", voided, ("voided",), like="manual"),
    Scenario("partly", partly, ("captured",), like="manual"),
    Scenario("partly_void", partly_void, ("captured",), like="partly", differs=3),
    Scenario("moved_on", moved_on, ("captured",), like="partly", differs=3),
    Scenario("at_once", at_once, ("captured",), like="manual"),
    Scenario("raised", raised, ("captured",), like="manual"),
    Scenario("declined", declined, ("declined",)),
    Scenario("routed", routed, ("captured",), providers=(FIRST, SECOND)),
    Scenario("in_review", in_review, ("captured",), webhooks=True),
    Scenario("challenged", challenged, ("captured",), webhooks=True),
    Scenario("challenge_left", challenge_left, ("voided",)),
    Scenario("challenge_voided", challenge_voided, ("voided",)),
    Scenario("held_by_risk", held_by_risk, ("captured",)),
    Scenario("blocked", blocked, ("blocked",)),
    Scenario("taken_back", taken_back, ("captured", "settled"), webhooks=True),
    Scenario("refunded", refunded, ("succeeded",), webhooks=True),
    Scenario("refunded_twice", refunded_twice, ("succeeded", "rejected")),
    Scenario("paid_out", paid_out, ("paid",), webhooks=True),
    Scenario("bounced", bounced, ("failed", "paid")),
    Scenario("recalled", recalled, ("failed",)),
    Scenario("returned", returned, ("paid", "settled"), webhooks=True),
    Scenario("overdrawn", overdrawn, ("denied",)),
    Scenario("lost", lost, ("lost",), webhooks=True),
    Scenario("won", won, ("closed",), webhooks=True),
    Scenario("taken_up_again", taken_up_again, ("lost",), webhooks=True),
    Scenario("refunded_in_dispute", refunded_in_dispute, ("lost", "rejected"), webhooks=True),
)
BY_NAME = {each.name: each for each in SCENARIOS}
