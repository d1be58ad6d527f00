"""What happens to one merchant at one provider, said twice: as the ledger's entry, and as an independent book's deed.

Few numbers and amounts are drawn, so that repetitions, conflicts, refusals and facts that come out of order are common.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hypothesis import strategies as st

from domain.ids import MerchantId, OperationId, Prefix, Reference
from domain.money import Money
from ledger.accounts import PAYOUTS_IN_TRANSIT, payable
from ledger.entry import Entry, HoldAction, HoldChange, Line, Nature
from tests.support.ledger_book import Deed, Holding
from tests.support.ledger_flows import Flows, hold_of, operation

EUR, USD = "EUR", "USD"
AMOUNTS = (1, 10, 25, 60)
HOLDS = ("hold", "refund_reserve", "payout_reserve", "withdrawn")
EXPIRES_SECONDS = 1e-6  # it has expired when anybody looks

OWN = ("receivable", "unsettled", "payable")  # the accounts that only this world uses


@dataclass(frozen=True)
class Event:
    """One thing that happens to number `at` of its kind. What belongs to a payment belongs to the payment `at % 2`."""

    kind: str
    at: int
    amount: int = 10
    fee: int = 0
    final: bool = False  # also: settled, or a hold that expires at once
    of: str = "hold"  # which kind of hold is used or released
    currency: str = EUR


EVENTS = st.builds(
    Event,
    kind=st.deferred(lambda: st.sampled_from(KINDS + OFTEN)),
    at=st.integers(0, 2),
    amount=st.sampled_from(AMOUNTS),
    fee=st.integers(0, 1),
    final=st.booleans(),
    of=st.sampled_from(HOLDS),
    currency=st.sampled_from((EUR, EUR, EUR, USD)),
)


@dataclass(frozen=True)
class World:
    """A merchant and a provider of their own, by number: worlds share a database, the bank and the house's accounts."""

    number: int

    @property
    def flows(self) -> Flows:
        return Flows(MerchantId(f"merchant_{self.number}"), f"provider{self.number}")

    @property
    def codes(self) -> Mapping[str, str]:
        """The ledger's code of each account that the deeds name."""
        merchant, provider = self.flows.merchant, self.flows.provider
        return {
            "receivable": f"provider:{provider}:receivable",
            "unsettled": f"merchant:{merchant}:unsettled",
            "payable": f"merchant:{merchant}:payable",
            "transit": "holdfast:payouts_in_transit",
            "disputed": "holdfast:disputed_funds",
            "bank": "holdfast:bank",
            "fees": "holdfast:fee_income",
            "fx": "holdfast:fx:treasury",
        }

    def id(self, prefix: Prefix, at: int) -> OperationId:
        return operation(prefix, f"{self.number}/{at}")

    def payment(self, event: Event) -> OperationId:
        return self.id(Prefix.PAYMENT, event.at % 2)

    def key(self, at: int) -> str:
        """What a bank or a provider calls number `at`."""
        return f"case-{self.number}-{at}"

    def hold(self, kind: str, at: int) -> Reference:
        """The reference of a hold."""
        if kind == "withdrawn":
            return Reference(f"{self.flows.provider}:{self.key(at)}/withdrawn")
        prefix = {"hold": Prefix.PAYMENT, "refund_reserve": Prefix.REFUND, "payout_reserve": Prefix.PAYOUT}[kind]
        return hold_of(self.id(prefix, at))

    def entry(self, event: Event) -> Entry:
        """What the ledger is asked."""
        return ENTRIES[event.kind](self, event)

    def deed(self, event: Event) -> Deed:
        """What the other book is asked."""
        return DEEDS[event.kind](event)


# As entries


def _money(event: Event) -> Money:
    return Money(event.amount, event.currency)


def _fee(event: Event) -> Money:
    return Money(min(event.fee, event.amount), event.currency)


def _hold(world: World, event: Event) -> Entry:
    expires = EXPIRES_SECONDS if event.final else 0
    return world.flows.hold(world.id(Prefix.PAYMENT, event.at), _money(event), expires_seconds=expires)


def _capture(world: World, event: Event) -> Entry:
    capture = world.id(Prefix.CAPTURE, event.at)
    return world.flows.capture(capture, world.payment(event), _money(event), fee=_fee(event), final=event.final)


def _capture_failed(world: World, event: Event) -> Entry:
    capture = world.id(Prefix.CAPTURE, event.at)
    settled = event.final
    return world.flows.capture_failed(capture, world.payment(event), _money(event), fee=_fee(event), settled=settled)


def _refund(name: str) -> Callable[[World, Event], Entry]:
    def entry(world: World, event: Event) -> Entry:
        flow: Callable[[OperationId, OperationId, Money], Entry] = getattr(world.flows, name)
        return flow(world.id(Prefix.REFUND, event.at), world.payment(event), _money(event))

    return entry


def _payout(name: str) -> Callable[[World, Event], Entry]:
    def entry(world: World, event: Event) -> Entry:
        flow: Callable[[OperationId, Money], Entry] = getattr(world.flows, name)
        return flow(world.id(Prefix.PAYOUT, event.at), _money(event))

    return entry


def _top_up(world: World, event: Event) -> Entry:
    return world.flows.top_up(world.key(event.at), _money(event))


def _taken_back(world: World, event: Event) -> Entry:
    return world.flows.taken_back(world.key(event.at), _top_up(world, event))


def _exchanged(world: World, event: Event) -> Entry:
    return world.flows.exchanged(world.key(event.at), Money(event.amount, EUR), Money(2 * event.amount, USD))


def _withdrawn(world: World, event: Event) -> Entry:
    return world.flows.funds_withdrawn(world.key(event.at), world.payment(event), _money(event))


def _decided(name: str) -> Callable[[World, Event], Entry]:
    def entry(world: World, event: Event) -> Entry:
        flow: Callable[..., Entry] = getattr(world.flows, name)
        key, money = world.key(event.at), _money(event)
        return flow(key, key, world.payment(event), money, final=event.final)

    return entry


def _use(world: World, event: Event) -> Entry:
    """A gate that draws on a hold: money that was reserved goes on its way."""
    money = _money(event)
    return Entry(
        reference=Reference(f"tests:{world.key(event.at)}/use"),
        kind="use_of_a_hold",
        nature=Nature.GATE,
        lines=(
            Line(payable(world.flows.merchant), money),
            Line(PAYOUTS_IN_TRANSIT, Money(-money.minor, money.currency)),
        ),
        hold=HoldChange(
            reference=world.hold(event.of, event.at), action=HoldAction.USE, money=money, final=event.final
        ),
    )


def _release(world: World, event: Event) -> Entry:
    """Whatever opened the hold: it is released under the name that is its own."""
    hold = world.hold(event.of, event.at)
    return Entry(
        reference=Reference(f"{hold.rsplit('/', 1)[0]}/release"),
        kind="released",
        nature=Nature.FACT,
        hold=HoldChange(reference=hold, action=HoldAction.RELEASE),
    )


ENTRIES: Mapping[str, Callable[[World, Event], Entry]] = {
    "hold": _hold,
    "capture": _capture,
    "capture_failed": _capture_failed,
    "refund_reserve": _refund("refund_reserve"),
    "refund_done": _refund("refund_done"),
    "refund_failed": _refund("refund_failed"),
    "payout_reserve": _payout("payout_reserve"),
    "payout_accepted": _payout("payout_accepted"),
    "payout_paid": _payout("payout_paid"),
    "payout_failed": _payout("payout_failed"),
    "top_up": _top_up,
    "taken_back": _taken_back,
    "exchanged": _exchanged,
    "withdrawn": _withdrawn,
    "won": _decided("dispute_won"),
    "lost": _decided("dispute_lost"),
    "use": _use,
    "release": _release,
}
KINDS = tuple(ENTRIES)
OFTEN = ("use", "refund_reserve", "payout_reserve", "capture", "top_up")  # what gates are judged by, and gates


# As deeds


def _of(event: Event, *lines: tuple[str, int], content: object = None, **what: object) -> Deed:
    """A deed in one currency, told from another of its name by the amount, unless it says more."""
    return Deed(
        name=f"{event.kind} {event.at}",
        content=(event.currency, event.amount, content),
        currency=event.currency,
        lines=tuple((account, event.currency, amount) for account, amount in lines),
        **what,  # pyright: ignore[reportArgumentType]  fields of Deed
    )


def _named(event: Event, kind: str) -> str:
    return f"{kind} {event.at}"


def _pays(event: Event) -> str:
    return f"payment {event.at % 2}"


def _opens(event: Event, debit: str, credit: str, *, expired: bool = False) -> Holding:
    return Holding("open", _named(event, event.kind), event.amount, debit, credit, expired=expired)


def _hold_deed(event: Event) -> Deed:
    holding = _opens(event, "receivable", "unsettled", expired=event.final)
    return _of(event, content=event.final, gate=True, holding=holding)


def _capture_deed(event: Event) -> Deed:
    amount, fee = event.amount, min(event.fee, event.amount)
    return _of(
        event,
        ("receivable", amount),
        ("unsettled", fee - amount),
        ("fees", -fee),
        content=(fee, event.final),
        holding=Holding("use", f"hold {event.at % 2}", amount, final=event.final),
        payment=_pays(event),
        captured=amount,
    )


def _capture_failed_deed(event: Event) -> Deed:
    amount, fee = event.amount, min(event.fee, event.amount)
    owed = "payable" if event.final else "unsettled"
    lines = (owed, amount - fee), ("fees", fee), ("receivable", -amount)
    return _of(event, *lines, content=(fee, event.final), payment=_pays(event), captured=-amount)


def _refund_reserve_deed(event: Event) -> Deed:
    return _of(event, gate=True, holding=_opens(event, "payable", "receivable"), payment=_pays(event))


def _refund_done_deed(event: Event) -> Deed:
    amount = event.amount
    holding = Holding("use", _named(event, "refund_reserve"), amount, final=True)
    lines = ("payable", amount), ("receivable", -amount)
    return _of(event, *lines, holding=holding, payment=_pays(event), refunded=amount)


def _refund_failed_deed(event: Event) -> Deed:
    amount = event.amount
    return _of(event, ("receivable", amount), ("payable", -amount), payment=_pays(event), refunded=-amount)


def _payout_reserve_deed(event: Event) -> Deed:
    return _of(event, gate=True, holding=_opens(event, "payable", "transit"), bounded="payable")


def _payout_accepted_deed(event: Event) -> Deed:
    holding = Holding("use", _named(event, "payout_reserve"), event.amount, final=True)
    return _of(event, ("payable", event.amount), ("transit", -event.amount), holding=holding)


def _payout_paid_deed(event: Event) -> Deed:
    return _of(event, ("transit", event.amount), ("bank", -event.amount))


def _payout_failed_deed(event: Event) -> Deed:
    return _of(event, ("transit", event.amount), ("payable", -event.amount))


def _top_up_deed(event: Event) -> Deed:
    return _of(event, ("bank", event.amount), ("payable", -event.amount))


def _taken_back_deed(event: Event) -> Deed:
    return _of(event, ("bank", -event.amount), ("payable", event.amount))


def _exchanged_deed(event: Event) -> Deed:
    sold, bought = event.amount, 2 * event.amount
    lines = ("payable", EUR, sold), ("fx", EUR, -sold), ("payable", USD, -bought), ("fx", USD, bought)
    return Deed(name=f"exchanged {event.at}", content=event.amount, currency="", lines=lines)


def _withdrawn_deed(event: Event) -> Deed:
    amount = event.amount
    lines = ("disputed", amount), ("receivable", -amount)
    return _of(event, *lines, holding=_opens(event, "payable", "disputed"), payment=_pays(event), disputed=amount)


def _ending(event: Event) -> Holding:
    hold = _named(event, "withdrawn")
    return Holding("release", hold) if event.final else Holding("use", hold, event.amount)


def _won_deed(event: Event) -> Deed:
    amount = event.amount
    lines = ("receivable", amount), ("disputed", -amount)
    holding = _ending(event)
    return _of(event, *lines, content=event.final, holding=holding, payment=_pays(event), disputed=-amount)


def _lost_deed(event: Event) -> Deed:
    amount = event.amount
    lines = ("payable", amount), ("disputed", -amount)
    return _of(event, *lines, content=event.final, holding=_ending(event))


def _use_deed(event: Event) -> Deed:
    holding = Holding("use", _named(event, event.of), event.amount, final=event.final)
    lines = ("payable", event.amount), ("transit", -event.amount)
    return _of(event, *lines, content=(event.of, event.final), gate=True, holding=holding)


def _release_deed(event: Event) -> Deed:
    holding = Holding("release", _named(event, event.of))
    return Deed(name=f"release {event.of} {event.at}", content=(), currency="", holding=holding)


DEEDS: Mapping[str, Callable[[Event], Deed]] = {
    "hold": _hold_deed,
    "capture": _capture_deed,
    "capture_failed": _capture_failed_deed,
    "refund_reserve": _refund_reserve_deed,
    "refund_done": _refund_done_deed,
    "refund_failed": _refund_failed_deed,
    "payout_reserve": _payout_reserve_deed,
    "payout_accepted": _payout_accepted_deed,
    "payout_paid": _payout_paid_deed,
    "payout_failed": _payout_failed_deed,
    "top_up": _top_up_deed,
    "taken_back": _taken_back_deed,
    "exchanged": _exchanged_deed,
    "withdrawn": _withdrawn_deed,
    "won": _won_deed,
    "lost": _lost_deed,
    "use": _use_deed,
    "release": _release_deed,
}
