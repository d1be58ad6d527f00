"""From a business event to a balanced entry: each flow, line by line, with its reference and what it does to holds."""

from collections import Counter
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ids import MerchantId, Prefix, Reference
from domain.money import Money
from ledger import accounts
from ledger.accounts import (
    BANK,
    DISPUTED_FUNDS,
    FEE_INCOME,
    PAYOUTS_IN_TRANSIT,
    SUSPENSE,
    payable,
    provider_balance,
    provider_fees,
    receivable,
    unsettled,
)
from ledger.corrections import Resolution, suspense_resolved
from ledger.entry import Entry, HoldAction, HoldChange, Line, Nature, RefundableChange
from ledger.postings import Told, credit, debit, told_reference
from ledger.settlements import BankLine, Exchange, LineKind, SettlementLine
from tests.support import ledger_docs
from tests.support.ledger_flows import MERCHANT, PROVIDER, flows, hold_of, operation

PAYMENT = operation(Prefix.PAYMENT, "one")
CAPTURE = operation(Prefix.CAPTURE, "one")
REFUND = operation(Prefix.REFUND, "one")
PAYOUT = operation(Prefix.PAYOUT, "one")
TEN, CENT = Money(1000, "EUR"), Money(10, "EUR")

PAYABLE, UNSETTLED, RECEIVABLE = payable(MERCHANT), unsettled(MERCHANT), receivable(PROVIDER)
BALANCE, FEES, POSITION = provider_balance(PROVIDER), provider_fees(PROVIDER), accounts.fx("treasury")


def gates(money: Money) -> dict[str, Entry]:
    """Every gate, by its kind."""
    return {
        "authorization_hold": flows.hold(PAYMENT, money, expires_seconds=60),
        "refund_reserve": flows.refund_reserve(REFUND, PAYMENT, money),
        "payout_reserve": flows.payout_reserve(PAYOUT, money),
    }


def facts(money: Money, fee: Money) -> dict[str, Entry]:
    """Every fact, by its kind."""
    capture = flows.capture(CAPTURE, PAYMENT, money, fee=fee)
    unexplained = flows.read_line("ln-6", LineKind.UNEXPLAINED, money)
    less = Money(-money.minor, money.currency)
    other = Money(money.minor, "JPY")
    return {
        "capture": capture,
        "capture_failed": flows.capture_failed(CAPTURE, PAYMENT, money, settled=False, fee=fee),
        "authorization_hold_released": flows.release(PAYMENT),
        "refund_done": flows.refund_done(REFUND, PAYMENT, money),
        "refund_failed": flows.refund_failed(REFUND, PAYMENT, money),
        "refund_reserve_released": flows.release(REFUND),
        "payout_accepted": flows.payout_accepted(PAYOUT, money),
        "payout_paid": flows.payout_paid(PAYOUT, money),
        "payout_failed": flows.payout_failed(PAYOUT, money),
        "payout_returned": flows.payout_returned("back-1", PAYOUT, money),
        "payout_reserve_released": flows.release(PAYOUT),
        "top_up": flows.top_up("one", money),
        "dispute_withdrawn": flows.funds_withdrawn("wd-1", PAYMENT, money),
        "dispute_won": flows.dispute_won("won-1", "wd-1", PAYMENT, money),
        "dispute_lost": flows.dispute_lost("lost-1", "wd-1", PAYMENT, money),
        "line_capture": flows.capture_line("ln-1", money, fee, settles=capture),
        "line_capture_failed": flows.line("ln-2", LineKind.CAPTURE_FAILED, less),
        "line_refund": flows.line("ln-3", LineKind.REFUND, less),
        "line_dispute": flows.line("ln-4", LineKind.DISPUTE, less),
        "line_fee": flows.line("ln-5", LineKind.FEE, less),
        "line_payout": flows.line("ln-7", LineKind.PAYOUT, less),
        "line_unexplained": flows.line("ln-6", LineKind.UNEXPLAINED, money),
        "bank_line_unexplained": flows.bank_line("bk-1", less),
        "suspense_resolved": flows.resolved("dec-1", unexplained, PAYABLE),
        "exchanged": flows.exchanged("fx-1", money, other),
        "correction": flows.taken_back("dec-2", capture),
    }


GATES, FACTS = gates(TEN), facts(TEN, CENT)
ALL = GATES | FACTS

REFERENCES = {
    "authorization_hold": f"{PAYMENT}/hold",
    "authorization_hold_released": f"{PAYMENT}/release",
    "capture": f"{CAPTURE}.c1/post",
    "capture_failed": f"{CAPTURE}.c1/reversed",
    "refund_reserve": f"{REFUND}/hold",
    "refund_reserve_released": f"{REFUND}/release",
    "refund_done": f"{REFUND}.r1/post",
    "refund_failed": f"{REFUND}.r1/reversed",
    "payout_reserve": f"{PAYOUT}/hold",
    "payout_reserve_released": f"{PAYOUT}/release",
    "payout_accepted": f"{PAYOUT}.p1/post",
    "payout_paid": f"{PAYOUT}.p1/paid",
    "payout_failed": f"{PAYOUT}.p1/reversed",
    "payout_returned": "bank:back-1/returned",
    "top_up": "bank:one/top-up",
    "dispute_withdrawn": "simulator:wd-1/withdrawn",
    "dispute_won": "simulator:won-1/won",
    "dispute_lost": "simulator:lost-1/lost",
    "line_capture": "simulator:ln-1/line",
    "line_capture_failed": "simulator:ln-2/line",
    "line_refund": "simulator:ln-3/line",
    "line_dispute": "simulator:ln-4/line",
    "line_fee": "simulator:ln-5/line",
    "line_payout": "simulator:ln-7/line",
    "line_unexplained": "simulator:ln-6/line",
    "bank_line_unexplained": "bank:bk-1/line",
    "suspense_resolved": "resolution:dec-1/corrected",
    "exchanged": "treasury:fx-1/exchanged",
    "correction": "resolution:dec-2/corrected",
}

POINTING = {
    "capture_failed": f"{CAPTURE}.c1/post",
    "refund_failed": f"{REFUND}.r1/post",
    "payout_failed": f"{PAYOUT}.p1/post",
    "payout_returned": f"{PAYOUT}.p1/paid",
    "dispute_won": "simulator:wd-1/withdrawn",
    "suspense_resolved": "simulator:ln-6/line",
    "correction": f"{CAPTURE}.c1/post",
}


def moved(entry: Entry, currency: str = "EUR") -> dict[str, int]:
    return {
        line.account.code: line.amount.minor
        for line in entry.lines
        if line.amount.minor and line.amount.currency == currency
    }


def less(entry: Entry) -> dict[str, int]:
    return {code: -amount for code, amount in moved(entry).items()}


# What all flows have in common


@given(
    minor=st.integers(1, 10**12),
    share=st.integers(0, 100),
    currency=st.sampled_from(["EUR", "KWD", "ISK"]),
)
def test_every_flow_balances_in_each_currency_whatever_the_amount(minor: int, share: int, currency: str) -> None:
    money, fee = Money(minor, currency), Money(minor * share // 100, currency)
    for kind, entry in (gates(money) | facts(money, fee)).items():
        sums = Counter[str]()
        for line in entry.lines:
            sums[line.amount.currency] += line.amount.minor
        assert not any(sums.values()), kind
        if entry.hold and entry.hold.action is HoldAction.OPEN:
            assert entry.hold.debit != entry.hold.credit, kind


@pytest.mark.parametrize("kind", ALL)
def test_every_flow_names_its_kind_and_its_one_reference(kind: str) -> None:
    assert ALL[kind].kind == kind
    assert ALL[kind].reference == REFERENCES[kind]
    assert ALL[kind].reverses == POINTING.get(kind)


def test_no_two_flows_share_a_reference() -> None:
    assert len({entry.reference for entry in ALL.values()}) == len(ALL)


@pytest.mark.parametrize("kind", GATES)
def test_a_gate_moves_nothing_and_opens_a_hold_under_its_own_reference(kind: str) -> None:
    gate = GATES[kind]
    assert gate.nature is Nature.GATE
    assert gate.lines == ()
    assert gate.hold is not None
    assert (gate.hold.action, gate.hold.money, gate.hold.reference) == (HoldAction.OPEN, TEN, gate.reference)


@pytest.mark.parametrize("kind", FACTS)
def test_a_fact_is_never_a_gate_and_knows_no_bound(kind: str) -> None:
    assert FACTS[kind].nature is Nature.FACT
    assert FACTS[kind].bounded is None


@pytest.mark.parametrize("kind", [kind for kind in FACTS if kind.endswith("_released")])
def test_a_release_moves_nothing_and_gives_back_what_its_operation_holds(kind: str) -> None:
    release = FACTS[kind]
    assert release.lines == ()
    hold = Reference(release.reference.replace("/release", "/hold"))
    assert release.hold == HoldChange(reference=hold, action=HoldAction.RELEASE)


@pytest.mark.parametrize("kind", ["capture_failed", "refund_failed", "payout_failed", "correction"])
def test_what_is_reversed_is_the_exact_opposite_and_touches_no_hold(kind: str) -> None:
    (first,) = [entry for entry in ALL.values() if entry.reference == FACTS[kind].reverses]
    assert moved(FACTS[kind]) == less(first)
    assert FACTS[kind].hold is None
    if first.refundable:
        change = first.refundable
        assert FACTS[kind].refundable == replace(change, captured=-change.captured, refunded=-change.refunded)


# Payments, refunds, payouts


def test_a_payment_holds_what_the_provider_will_owe_against_what_the_merchant_will_be_owed() -> None:
    gate = GATES["authorization_hold"]
    assert gate.bounded is None
    assert gate.hold is not None
    assert (gate.hold.debit, gate.hold.credit, gate.hold.expires_seconds) == (RECEIVABLE, UNSETTLED, 60)


def test_a_capture_owes_the_merchant_what_is_left_after_our_fee() -> None:
    capture = FACTS["capture"]
    assert moved(capture) == {RECEIVABLE.code: 1000, UNSETTLED.code: -990, FEE_INCOME.code: -10}
    assert capture.hold == HoldChange(reference=hold_of(PAYMENT), action=HoldAction.USE, money=TEN)
    assert capture.refundable == RefundableChange(payment=PAYMENT, captured=1000)


def test_a_capture_without_a_fee_moves_the_whole_amount() -> None:
    assert moved(flows.capture(CAPTURE, PAYMENT, TEN)) == {RECEIVABLE.code: 1000, UNSETTLED.code: -1000}


def test_a_final_capture_gives_the_rest_of_the_hold_up() -> None:
    final = flows.capture(CAPTURE, PAYMENT, TEN, final=True)
    assert final.hold is not None
    assert final.hold.final


def test_a_capture_that_fails_after_its_line_was_settled_is_payable_no_more() -> None:
    failed = flows.capture_failed(CAPTURE, PAYMENT, TEN, settled=True, fee=CENT)
    assert moved(failed) == {PAYABLE.code: 990, FEE_INCOME.code: 10, RECEIVABLE.code: -1000}


def test_a_refund_debits_payable_never_unsettled_and_is_bounded_by_its_payment_alone() -> None:
    reserve, done = GATES["refund_reserve"], FACTS["refund_done"]
    assert reserve.hold is not None
    assert (reserve.hold.debit, reserve.hold.credit, reserve.bounded) == (PAYABLE, RECEIVABLE, None)
    assert reserve.refundable == RefundableChange(payment=PAYMENT)
    assert moved(done) == {PAYABLE.code: 1000, RECEIVABLE.code: -1000}
    assert done.refundable == RefundableChange(payment=PAYMENT, refunded=1000)
    assert done.hold == HoldChange(reference=hold_of(REFUND), action=HoldAction.USE, money=TEN, final=True)


def test_a_payout_is_bounded_by_what_is_payable() -> None:
    reserve = GATES["payout_reserve"]
    assert reserve.hold is not None
    assert (reserve.bounded, reserve.hold.debit, reserve.hold.credit) == (PAYABLE, PAYABLE, PAYOUTS_IN_TRANSIT)


def test_a_payout_goes_through_transit_to_the_bank_or_out_of_our_balance_with_the_provider() -> None:
    assert moved(FACTS["payout_accepted"]) == {PAYABLE.code: 1000, PAYOUTS_IN_TRANSIT.code: -1000}
    assert moved(FACTS["payout_paid"]) == {PAYOUTS_IN_TRANSIT.code: 1000, BANK.code: -1000}
    assert FACTS["payout_paid"].hold is None  # used up when it was accepted
    paid_by_provider = flows.payout_paid(PAYOUT, TEN, PROVIDER)
    assert moved(paid_by_provider) == {PAYOUTS_IN_TRANSIT.code: 1000, BALANCE.code: -1000}


def test_a_payout_comes_back_to_where_it_was_paid_from() -> None:
    assert moved(FACTS["payout_returned"]) == {BANK.code: 1000, PAYABLE.code: -1000}
    back = flows.payout_returned("back-1", PAYOUT, TEN, PROVIDER)
    assert moved(back) == {BALANCE.code: 1000, PAYABLE.code: -1000}
    assert back.reference == "simulator:back-1/returned"


# Disputes


def test_withdrawn_funds_are_held_of_the_merchant_in_full_by_a_fact() -> None:
    withdrawn = FACTS["dispute_withdrawn"]
    assert moved(withdrawn) == {DISPUTED_FUNDS.code: 1000, RECEIVABLE.code: -1000}
    assert withdrawn.hold == HoldChange(
        reference=withdrawn.reference, action=HoldAction.OPEN, money=TEN, debit=PAYABLE, credit=DISPUTED_FUNDS
    )
    assert withdrawn.refundable == RefundableChange(payment=PAYMENT, disputed=1000)


def test_a_dispute_won_gives_the_funds_back_and_one_lost_takes_them_of_the_merchant() -> None:
    won, lost = FACTS["dispute_won"], FACTS["dispute_lost"]
    assert moved(won) == {RECEIVABLE.code: 1000, DISPUTED_FUNDS.code: -1000}
    assert moved(lost) == {PAYABLE.code: 1000, DISPUTED_FUNDS.code: -1000}
    assert won.refundable == RefundableChange(payment=PAYMENT, disputed=-1000)
    assert lost.refundable is None  # the payer has it: it stays counted
    release = HoldChange(reference=FACTS["dispute_withdrawn"].reference, action=HoldAction.RELEASE)
    assert won.hold == lost.hold == release


def test_a_decision_over_a_part_keeps_the_rest_held() -> None:
    part = flows.dispute_won("won-1", "wd-1", PAYMENT, TEN, part=CENT, final=False)
    assert part.hold == HoldChange(reference=Reference("simulator:wd-1/withdrawn"), action=HoldAction.USE, money=CENT)
    assert moved(part) == {RECEIVABLE.code: 10, DISPUTED_FUNDS.code: -10}


def test_a_second_withdrawal_after_a_win_is_another_entry_with_another_hold() -> None:
    first, again = FACTS["dispute_withdrawn"], flows.funds_withdrawn("wd-2", PAYMENT, TEN)
    assert first.hold is not None
    assert again.hold is not None
    assert (again.reference, again.hold.reference) != (first.reference, first.hold.reference)


# Lines, exchanges, corrections


def test_the_line_of_a_capture_makes_payable_what_was_unsettled_less_our_fee() -> None:
    line = FACTS["line_capture"]
    assert moved(line) == {BALANCE.code: 1000, RECEIVABLE.code: -1000, UNSETTLED.code: 990, PAYABLE.code: -990}
    assert line.why == f"settles {CAPTURE}.c1/post"


@pytest.mark.parametrize(
    ("kind", "counterpart"),
    [
        (LineKind.CAPTURE_FAILED, RECEIVABLE),
        (LineKind.REFUND, RECEIVABLE),
        (LineKind.DISPUTE, RECEIVABLE),
        (LineKind.FEE, FEES),
        (LineKind.PAYOUT, BANK),
        (LineKind.UNEXPLAINED, SUSPENSE),
    ],
)
def test_every_other_line_moves_our_balance_against_one_account_in_either_direction(
    kind: LineKind, counterpart: accounts.Account
) -> None:
    for minor in (1000, -1000):
        line = flows.line("ln-9", kind, Money(minor, "EUR"))
        assert moved(line) == {BALANCE.code: minor, counterpart.code: -minor}


def test_a_line_that_cannot_be_is_refused_before_it_is_one() -> None:
    line = SettlementLine(
        provider=PROVIDER, key="1", kind=LineKind.CAPTURE, money=TEN, merchant=MerchantId("acme"), fee=CENT
    )
    for change in (
        {"money": Money(0, "EUR")},
        {"money": Money(-1000, "EUR")},
        {"merchant": None},
        {"fee": None},
        {"kind": LineKind.REFUND},
    ):
        with pytest.raises(AssertionError):
            replace(line, **change)


def test_the_same_line_in_two_files_is_the_same_entry() -> None:
    """A line knows nothing of its file; another amount under its key is a conflict, which the fingerprint shows."""
    line = flows.line("ln-1", LineKind.REFUND, TEN)
    assert line.fingerprint == flows.line("ln-1", LineKind.REFUND, TEN).fingerprint
    other = flows.line("ln-1", LineKind.REFUND, CENT)
    assert (line.reference, line.fingerprint != other.fingerprint) == (other.reference, True)


def test_what_is_told_without_a_key_of_its_own_cannot_be_booked() -> None:
    with pytest.raises(AssertionError):
        told_reference(PROVIDER, "", Told.LINE)
    with pytest.raises(AssertionError):
        flows.line("k" * 128, LineKind.REFUND, TEN)


@pytest.mark.parametrize("account", [PAYABLE, BANK, BALANCE], ids=lambda account: account.code)
def test_an_exchange_leaves_its_account_with_less_of_one_currency_and_more_of_the_other(
    account: accounts.Account,
) -> None:
    dollars = Money(1080, "USD")
    entry = flows.exchanged("fx-1", TEN, dollars, account=account)
    side = int(account.normal)
    assert moved(entry) == {account.code: -1000 * side, POSITION.code: 1000 * side}
    assert moved(entry, "USD") == {account.code: 1080 * side, POSITION.code: -1080 * side}


def test_an_exchange_is_of_two_currencies_and_of_amounts() -> None:
    for sold, bought in ((TEN, CENT), (TEN, Money(0, "USD")), (Money(-1, "EUR"), Money(1, "USD"))):
        with pytest.raises(AssertionError):
            Exchange(desk="treasury", key="fx-1", account=BANK, sold=sold, bought=bought)


def test_suspense_is_resolved_in_parts_but_never_beyond_the_line() -> None:
    line = BankLine(key="bk-1", money=Money(-1000, "EUR"))
    part = flows.resolved("dec-1", line, FEES, Money(-400, "EUR"))
    assert moved(part) == {SUSPENSE.code: -400, FEES.code: 400}
    for to, minor in ((FEES, -1001), (FEES, 400), (FEES, 0), (SUSPENSE, -400)):
        with pytest.raises(AssertionError):
            suspense_resolved(flows.resolution("dec-1"), line, to, Money(minor, "EUR"))


def test_a_correction_says_why_who_approved_it_and_what_it_corrects() -> None:
    capture = FACTS["capture"]
    entry = flows.corrected("dec-3", capture, debit(FEE_INCOME, CENT), credit(PAYABLE, CENT))
    assert entry.why == "the provider's mail of 3 June (approved by ada, grace)"
    assert entry.reverses == capture.reference


def test_a_correction_needs_a_reason_and_two_people() -> None:
    for why, approved_by in (("", ("ada", "grace")), (" ", ("ada", "grace")), ("because", ("ada", "ada"))):
        with pytest.raises(AssertionError):
            Resolution(key="dec-1", why=why, approved_by=approved_by)


def test_a_withdrawal_that_is_taken_back_gives_its_hold_back() -> None:
    withdrawn = FACTS["dispute_withdrawn"]
    back = flows.taken_back("dec-3", withdrawn)
    assert moved(back) == less(withdrawn)
    assert back.hold == HoldChange(reference=withdrawn.reference, action=HoldAction.RELEASE)
    assert back.refundable == RefundableChange(payment=PAYMENT, disputed=-1000)


def test_what_has_moved_nothing_is_not_taken_back() -> None:
    with pytest.raises(AssertionError):
        flows.taken_back("dec-3", GATES["payout_reserve"])


# Entries


def test_an_entry_belongs_to_the_operation_of_its_reference() -> None:
    assert FACTS["capture"].operation == CAPTURE
    assert GATES["payout_reserve"].operation == PAYOUT


def test_the_fingerprint_is_that_of_the_content() -> None:
    entry = flows.capture(CAPTURE, PAYMENT, TEN)
    assert entry.fingerprint == flows.capture(CAPTURE, PAYMENT, TEN).fingerprint
    others = [
        flows.capture(CAPTURE, PAYMENT, Money(1001, "EUR")),
        flows.capture(CAPTURE, PAYMENT, Money(1000, "USD")),
        flows.capture(CAPTURE, PAYMENT, TEN, fee=Money(1, "EUR")),
        flows.capture(CAPTURE, PAYMENT, TEN, final=True),
        replace(entry, kind="other"),
        replace(entry, why="another reason"),
        replace(entry, reverses=Reference("something")),
    ]
    assert len({entry.fingerprint, *(other.fingerprint for other in others)}) == 1 + len(others)


def test_an_entry_that_does_not_balance_or_does_nothing_cannot_be_made() -> None:
    reference = Reference("bank:one/top-up")
    for lines in (
        (Line(BANK, TEN), Line(PAYABLE, Money(-999, "EUR"))),
        (Line(BANK, TEN), Line(PAYABLE, Money(-1000, "USD"))),
        (),
    ):
        with pytest.raises(AssertionError):
            Entry(reference=reference, kind="top_up", nature=Nature.FACT, lines=lines)
    with pytest.raises(AssertionError):
        replace(FACTS["top_up"], effective_at=datetime(2026, 6, 3))  # noqa: DTZ001  an instant without a zone


def test_the_document_says_what_the_functions_answer() -> None:
    assert ledger_docs.TARGET.read_text() == ledger_docs.text(), "run `python -m tests.support.ledger_docs`"
