"""From a business event to a balanced entry: each flow, line by line."""

from dataclasses import replace

import pytest

from domain.ids import Prefix, Reference
from domain.money import Money
from ledger.accounts import BANK, FEE_INCOME, PAYOUTS_IN_TRANSIT, payable, receivable, unsettled
from ledger.postings import Entry, HoldAction, HoldChange, Line, Nature, RefundableChange, operation_named
from tests.support import ledger_docs
from tests.support.ledger_flows import MERCHANT, PROVIDER, flows, hold_of, operation

PAYMENT = operation(Prefix.PAYMENT, "one")
CAPTURE = operation(Prefix.CAPTURE, "one")
REFUND = operation(Prefix.REFUND, "one")
PAYOUT = operation(Prefix.PAYOUT, "one")
TEN = Money(1000, "EUR")

PAYABLE, UNSETTLED, RECEIVABLE = payable(MERCHANT), unsettled(MERCHANT), receivable(PROVIDER)

GATES = {
    "authorization_hold": flows.hold(PAYMENT, TEN, expires_seconds=60),
    "refund_reserve": flows.refund_reserve(REFUND, PAYMENT, TEN),
    "payout_reserve": flows.payout_reserve(PAYOUT, TEN),
}
FACTS = {
    "capture": flows.capture(CAPTURE, PAYMENT, TEN, fee=Money(10, "EUR")),
    "authorization_hold_released": flows.release(PAYMENT),
    "refund_done": flows.refund_done(REFUND, PAYMENT, TEN),
    "refund_reserve_released": flows.release(REFUND),
    "payout_accepted": flows.payout_accepted(PAYOUT, TEN),
    "payout_paid": flows.payout_paid(PAYOUT, TEN),
    "payout_failed": flows.payout_failed(PAYOUT, TEN),
    "payout_reserve_released": flows.release(PAYOUT),
    "top_up": flows.top_up("one", TEN),
}
ALL = GATES | FACTS


def moved(entry: Entry) -> dict[str, int]:
    return {line.account.code: line.amount.minor for line in entry.lines if line.amount.minor}


@pytest.mark.parametrize("kind", ALL)
def test_every_flow_balances_and_names_its_kind(kind: str) -> None:
    assert ALL[kind].kind == kind
    assert sum(moved(ALL[kind]).values()) == 0


@pytest.mark.parametrize("kind", GATES)
def test_a_gate_moves_nothing_and_opens_a_hold_under_its_own_reference(kind: str) -> None:
    gate = GATES[kind]
    assert gate.nature is Nature.GATE
    assert moved(gate) == {}
    assert gate.hold is not None
    assert (gate.hold.action, gate.hold.amount, gate.hold.reference) == (HoldAction.OPEN, 1000, gate.reference)


@pytest.mark.parametrize("kind", FACTS)
def test_a_fact_knows_no_bound(kind: str) -> None:
    assert FACTS[kind].nature is Nature.FACT
    assert FACTS[kind].bound is None


def test_a_payment_holds_what_the_provider_will_owe_against_what_the_merchant_will_be_owed() -> None:
    hold = GATES["authorization_hold"]
    assert [line.account for line in hold.lines] == [RECEIVABLE, UNSETTLED]
    assert hold.bound is None
    assert hold.hold is not None
    assert hold.hold.expires_seconds == 60


def test_a_capture_owes_the_merchant_what_is_left_after_our_fee() -> None:
    capture = FACTS["capture"]
    assert moved(capture) == {RECEIVABLE.code: 1000, UNSETTLED.code: -990, FEE_INCOME.code: -10}
    assert capture.hold == HoldChange(reference=hold_of(PAYMENT), action=HoldAction.USE, amount=1000)
    assert capture.refundable == RefundableChange(payment=PAYMENT, captured=1000)


def test_a_capture_without_a_fee_moves_the_whole_amount() -> None:
    assert moved(flows.capture(CAPTURE, PAYMENT, TEN)) == {RECEIVABLE.code: 1000, UNSETTLED.code: -1000}


def test_a_final_capture_gives_the_rest_of_the_hold_up() -> None:
    final = flows.capture(CAPTURE, PAYMENT, TEN, final=True)
    assert final.hold is not None
    assert final.hold.final


def test_a_refund_debits_payable_never_unsettled_and_is_bounded_by_its_payment_alone() -> None:
    reserve, done = GATES["refund_reserve"], FACTS["refund_done"]
    assert [line.account for line in reserve.lines] == [PAYABLE, RECEIVABLE]
    assert reserve.bound is None
    assert reserve.refundable == RefundableChange(payment=PAYMENT)
    assert moved(done) == {PAYABLE.code: 1000, RECEIVABLE.code: -1000}
    assert done.refundable == RefundableChange(payment=PAYMENT, refunded=1000)


def test_a_payout_is_bounded_by_what_is_payable() -> None:
    reserve = GATES["payout_reserve"]
    assert reserve.bound is not None
    assert reserve.lines[reserve.bound].account == PAYABLE
    assert reserve.lines[1].account == PAYOUTS_IN_TRANSIT


def test_a_payout_goes_through_transit_to_the_bank() -> None:
    assert moved(FACTS["payout_accepted"]) == {PAYABLE.code: 1000, PAYOUTS_IN_TRANSIT.code: -1000}
    assert moved(FACTS["payout_paid"]) == {PAYOUTS_IN_TRANSIT.code: 1000, BANK.code: -1000}
    assert FACTS["payout_paid"].hold is None  # used up when it was accepted


def test_a_failed_payout_points_at_the_entry_that_it_reverses() -> None:
    failed, accepted = FACTS["payout_failed"], FACTS["payout_accepted"]
    assert moved(failed) == {code: -amount for code, amount in moved(accepted).items()}
    assert failed.reverses == accepted.reference


@pytest.mark.parametrize("kind", [kind for kind in FACTS if kind.endswith("_released")])
def test_a_release_moves_nothing_and_gives_back_what_its_operation_holds(kind: str) -> None:
    release = FACTS[kind]
    assert release.lines == ()
    assert release.hold is not None
    assert release.hold.action is HoldAction.RELEASE
    assert release.hold.reference == Reference(release.reference.replace("/release", "/hold"))


def test_an_entry_belongs_to_the_operation_of_its_reference() -> None:
    assert operation_named(FACTS["capture"]) == CAPTURE
    assert operation_named(GATES["payout_reserve"]) == PAYOUT


def test_the_fingerprint_is_that_of_the_content() -> None:
    entry = flows.capture(CAPTURE, PAYMENT, TEN)
    assert entry.fingerprint == flows.capture(CAPTURE, PAYMENT, TEN).fingerprint
    others = [
        flows.capture(CAPTURE, PAYMENT, Money(1001, "EUR")),
        flows.capture(CAPTURE, PAYMENT, Money(1000, "USD")),
        flows.capture(CAPTURE, PAYMENT, TEN, fee=Money(1, "EUR")),
        flows.capture(CAPTURE, PAYMENT, TEN, final=True),
        replace(entry, kind="other"),
        replace(entry, reverses=Reference("something")),
    ]
    assert len({entry.fingerprint, *(other.fingerprint for other in others)}) == 1 + len(others)


def test_an_entry_that_does_not_balance_cannot_be_made() -> None:
    for lines in (
        (Line(BANK, TEN), Line(PAYABLE, Money(-999, "EUR"))),
        (Line(BANK, TEN), Line(PAYABLE, Money(-1000, "USD"))),
        (),
    ):
        with pytest.raises(AssertionError):
            Entry(reference=Reference("bank:one/top-up"), kind="top_up", nature=Nature.FACT, lines=lines)


def test_the_document_says_what_the_functions_answer() -> None:
    assert ledger_docs.TARGET.read_text() == ledger_docs.text(), "run `python -m tests.support.ledger_docs`"
