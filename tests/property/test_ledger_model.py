"""The journal beside an independent book: whatever is posted, in whatever order, both say the same.

The book below knows the rules from docs/ledger.md alone and shares no code with the ledger. Few ids and amounts are
drawn, so that repetitions, conflicts, refusals and facts that come out of order are common.
"""

import itertools
from dataclasses import dataclass, field
from typing import cast

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.ids import MerchantId, OperationId, Prefix
from domain.money import Money
from ledger.journal import Balance, Journal, Status
from ledger.postings import Entry
from tests.support.ledger_flows import Flows, operation

EXAMPLES = 60  # some seconds on a small machine
EUR = "EUR"
FACT_KINDS = ("capture", "release", "refund_done", "payout_accepted", "payout_paid", "payout_failed", "top_up")
KINDS = ("hold", "refund_reserve", "payout_reserve", *FACT_KINDS)


@dataclass(frozen=True)
class Event:
    """One thing that happens: to the operation `at`, a number. The refund `at` is of the payment `at % 2`."""

    kind: str
    at: int
    amount: int
    fee: int = 0
    final: bool = False
    released: str = "hold"


EVENTS = st.builds(
    Event,
    kind=st.sampled_from(KINDS),
    at=st.integers(0, 2),
    amount=st.sampled_from([1, 10, 25, 60]),
    fee=st.integers(0, 1),
    final=st.booleans(),
    released=st.sampled_from(["hold", "refund_reserve", "payout_reserve"]),
)


@dataclass
class Held:
    left: int
    debit: str
    credit: str
    payment: int | None = None


@dataclass
class Book:
    """Plain dictionaries. A line is an account and a signed amount."""

    posted: dict[str, int] = field(default_factory=dict[str, int])
    pending: dict[str, int] = field(default_factory=dict[str, int])
    holds: dict[tuple[str, int], Held] = field(default_factory=dict[tuple[str, int], Held])
    released: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    captured: dict[int, int] = field(default_factory=dict[int, int])
    refunded: dict[int, int] = field(default_factory=dict[int, int])
    reserved: dict[int, int] = field(default_factory=dict[int, int])
    answers: dict[tuple[object, ...], tuple[object, Status]] = field(
        default_factory=dict[tuple[object, ...], tuple[object, Status]]
    )

    def take(self, event: Event) -> Status:
        """Post one event, and say what the journal should answer."""
        reference, content = self._named(event)
        if reference in self.answers:
            before, status = self.answers[reference]
            if before != content:
                return Status.CONFLICTING_CONTENT
            return Status.REPLAYED if status is Status.POSTED else Status.REJECTED_BEFORE
        status = self._gate(event) if event.kind not in FACT_KINDS else self._fact(event)
        self.answers[reference] = content, status
        return status

    def _named(self, event: Event) -> tuple[tuple[object, ...], object]:
        if event.kind == "release":
            return ("release", event.released, event.at), ()
        if event.kind == "capture":
            return ("capture", event.at), (event.amount, min(event.fee, event.amount), event.final)
        return (event.kind, event.at), event.amount

    def _gate(self, event: Event) -> Status:
        name = event.kind, event.at
        if name in self.released:
            return Status.HOLD_NOT_OPEN
        debit, credit, payment = {
            "hold": ("receivable", "unsettled", None),
            "refund_reserve": ("payable", "receivable", event.at % 2),
            "payout_reserve": ("payable", "transit", None),
        }[event.kind]
        if payment is not None:
            taken = self.refunded.get(payment, 0) + self.reserved.get(payment, 0)
            if event.amount > self.captured.get(payment, 0) - taken:
                return self._closed(name, Status.REFUNDABLE_EXCEEDED)
            self.reserved[payment] = self.reserved.get(payment, 0) + event.amount
        spoken_for = sum(held.left for held in self.holds.values() if held.debit == "payable")
        if event.kind == "payout_reserve" and event.amount > -self.posted.get("payable", 0) - spoken_for:
            return self._closed(name, Status.INSUFFICIENT_FUNDS)
        self.holds[name] = Held(event.amount, debit, credit, payment)
        return Status.POSTED

    def _closed(self, name: tuple[str, int], status: Status) -> Status:
        self.released.add(name)
        return status

    def _fact(self, event: Event) -> Status:
        amount, fee = event.amount, min(event.fee, event.amount)
        match event.kind:
            case "capture":
                self._move(receivable=amount, unsettled=fee - amount, fees=-fee)
                self._draw(("hold", event.at % 2), None if event.final else amount)
                self.captured[event.at % 2] = self.captured.get(event.at % 2, 0) + amount
            case "refund_done":
                self._move(payable=amount, receivable=-amount)
                self._draw(("refund_reserve", event.at), None)
                self.refunded[event.at % 2] = self.refunded.get(event.at % 2, 0) + amount
            case "payout_accepted":
                self._move(payable=amount, transit=-amount)
                self._draw(("payout_reserve", event.at), None)
            case "payout_paid":
                self._move(transit=amount, bank=-amount)
            case "payout_failed":
                self._move(transit=amount, payable=-amount)
            case "top_up":
                self._move(bank=amount, payable=-amount)
            case _:
                self.released.add((event.released, event.at))
                self._draw((event.released, event.at), None)
        return Status.POSTED

    def _move(self, **lines: int) -> None:
        for account, amount in lines.items():
            self.posted[account] = self.posted.get(account, 0) + amount

    def _draw(self, name: tuple[str, int], amount: int | None) -> None:
        held = self.holds.get(name)
        if held is None:
            return
        drawn = held.left if amount is None else min(amount, held.left)
        held.left -= drawn
        if held.payment is not None:
            self.reserved[held.payment] -= drawn

    def layers(self, account: str) -> tuple[int, int, int]:
        return (
            self.posted.get(account, 0),
            sum(held.left for held in self.holds.values() if held.debit == account),
            sum(held.left for held in self.holds.values() if held.credit == account),
        )


@dataclass(frozen=True)
class World:
    """One example's own merchant, provider and operations, so that examples share a database and nothing else.

    Bank, fees and transit are shared accounts: they are compared by how they changed.
    """

    number: int

    @property
    def flows(self) -> Flows:
        return Flows(MerchantId(f"merchant_{self.number}"), f"provider{self.number}")

    @property
    def accounts(self) -> dict[str, str]:
        merchant, provider = self.flows.merchant, self.flows.provider
        return {
            "receivable": f"provider:{provider}:receivable",
            "unsettled": f"merchant:{merchant}:unsettled",
            "payable": f"merchant:{merchant}:payable",
            "transit": "holdfast:payouts_in_transit",
            "bank": "holdfast:bank",
            "fees": "holdfast:fee_income",
        }

    def id(self, prefix: Prefix, at: int) -> OperationId:
        return operation(prefix, f"{self.number}/{at}")

    def entry(self, event: Event) -> Entry:
        money, flows = Money(event.amount, EUR), self.flows
        payment, refund, payout = (
            self.id(prefix, event.at) for prefix in (Prefix.PAYMENT, Prefix.REFUND, Prefix.PAYOUT)
        )
        of = self.id(Prefix.PAYMENT, event.at % 2)
        match event.kind:
            case "hold":
                return flows.hold(payment, money)
            case "capture":
                fee = Money(min(event.fee, event.amount), EUR)
                return flows.capture(self.id(Prefix.CAPTURE, event.at), of, money, fee=fee, final=event.final)
            case "refund_reserve":
                return flows.refund_reserve(refund, of, money)
            case "refund_done":
                return flows.refund_done(refund, of, money)
            case "payout_reserve":
                return flows.payout_reserve(payout, money)
            case "payout_accepted":
                return flows.payout_accepted(payout, money)
            case "payout_paid":
                return flows.payout_paid(payout, money)
            case "payout_failed":
                return flows.payout_failed(payout, money)
            case "top_up":
                return flows.top_up(f"{self.number}/{event.at}", money)
            case _:
                return flows.release(
                    {"hold": payment, "refund_reserve": refund, "payout_reserve": payout}[event.released]
                )


async def read(journal: Journal, world: World) -> dict[str, tuple[int, int, int]]:
    rows = {account: await journal.balance(code, EUR) for account, code in world.accounts.items()}
    return {account: _layers(row) for account, row in rows.items()}


def _layers(row: Balance | None) -> tuple[int, int, int]:
    return (row.posted, row.pending_debit, row.pending_credit) if row else (0, 0, 0)


NUMBERS = itertools.count(1)


@pytest.fixture
def journal(pool: asyncpg.Pool) -> Journal:
    return Journal(pool)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(events=st.lists(EVENTS, min_size=5, max_size=30))
async def test_whatever_is_posted_the_journal_and_an_independent_book_agree(
    journal: Journal, events: list[Event]
) -> None:
    world, book = World(next(NUMBERS)), Book()
    before = await read(journal, world)
    for event in events:
        answer = await journal.post(world.entry(event))
        assert answer.status is book.take(event), event
    after = await read(journal, world)
    for account, layers in after.items():
        changed = cast(
            "tuple[int, int, int]", tuple(new - old for new, old in zip(layers, before[account], strict=True))
        )
        assert changed == book.layers(account), account
    for number in (0, 1):
        left = await journal.refundable(world.id(Prefix.PAYMENT, number))
        ours = tuple(which.get(number, 0) for which in (book.captured, book.reserved, book.refunded))
        assert ((left.captured, left.reserved, left.refunded) if left else (0, 0, 0)) == ours
    assert await journal.verify() is None


@given(events=st.lists(EVENTS, max_size=30), number=st.integers(1, 9))
def test_every_entry_of_every_flow_balances(events: list[Event], number: int) -> None:
    entries = [World(number).entry(event) for event in events]
    assert all(sum(line.amount.minor for line in entry.lines) == 0 for entry in entries)
