"""Every path of money, with numbers, and what it leaves: for the book in memory and for the ledger.

Provider receivable, provider balance, disputed funds, payouts in transit and merchant unsettled are ways, not places:
whatever stays there is a break.
"""

from collections.abc import Callable, Iterator

from domain.ids import Prefix
from domain.money import Money
from ledger import accounts
from ledger.accounts import Account, payable, provider_balance, provider_fees, receivable, unsettled
from ledger.entry import Entry
from ledger.postings import credit, debit
from ledger.settlements import BankLine, LineKind
from tests.support.ledger_flows import MERCHANT, PROVIDER, flows, operation

PAYMENT = operation(Prefix.PAYMENT, "one")
FIRST, SECOND = operation(Prefix.CAPTURE, "one"), operation(Prefix.CAPTURE, "two")
REFUND = operation(Prefix.REFUND, "one")
PAYOUT = operation(Prefix.PAYOUT, "one")

WAYS = (
    receivable(PROVIDER),
    provider_balance(PROVIDER),
    accounts.DISPUTED_FUNDS,
    accounts.PAYOUTS_IN_TRANSIT,
    unsettled(MERCHANT),
)
PAYABLE = payable(MERCHANT)
BANK, FEES, OUR_FEES, SUSPENSE = accounts.BANK, provider_fees(PROVIDER), accounts.FEE_INCOME, accounts.SUSPENSE
POSITION = accounts.fx("treasury")

Path = Callable[[], Iterator[Entry]]
PATHS: dict[str, tuple[Path, dict[Account, int]]] = {}


def ends(**balances: int) -> Callable[[Path], Path]:
    """Say what a path leaves, in cents: what is owed to the merchant, in our bank, paid and earned in fees."""
    named = {"payable": PAYABLE, "bank": BANK, "fees": FEES, "our_fees": OUR_FEES, "suspense": SUSPENSE}

    def keep(path: Path) -> Path:
        PATHS[path.__name__.replace("_", " ")] = path, {named[name]: amount for name, amount in balances.items()}
        return path

    return keep


def euro(minor: int) -> Money:
    return Money(minor, "EUR")


def sold() -> Iterator[Entry]:
    """100.00 authorized and captured, our fee 1.00, settled to our balance with the provider."""
    yield flows.hold(PAYMENT, euro(10_000))
    yield flows.capture(FIRST, PAYMENT, euro(10_000), fee=euro(100), final=True)
    yield flows.capture_line("line-1", euro(10_000), euro(100))


def to_bank(minor: int) -> Entry:
    return flows.line("to-bank", LineKind.PAYOUT, euro(-minor))


@ends(payable=-9_900, bank=10_000, our_fees=-100)
def a_capture_is_settled() -> Iterator[Entry]:
    yield from sold()
    yield to_bank(10_000)


@ends(payable=-6_950, bank=7_000, our_fees=-50)
def two_captures_and_the_rest_is_voided() -> Iterator[Entry]:
    yield flows.hold(PAYMENT, euro(10_000))
    yield flows.capture(FIRST, PAYMENT, euro(4_000), fee=euro(40))
    yield flows.capture(SECOND, PAYMENT, euro(3_000), fee=euro(10))
    yield flows.release(PAYMENT)
    yield flows.capture_line("line-2", euro(3_000), euro(10))
    yield flows.capture_line("line-1", euro(4_000), euro(40))
    yield to_bank(7_000)


@ends(payable=-12_000, bank=12_000)
def a_capture_comes_above_its_hold_and_another_after_its_end() -> Iterator[Entry]:
    yield flows.hold(PAYMENT, euro(5_000))
    yield flows.capture(FIRST, PAYMENT, euro(6_000))
    yield flows.release(PAYMENT)
    yield flows.capture(SECOND, PAYMENT, euro(6_000))
    yield flows.capture_line("line-1", euro(6_000), euro(0))
    yield flows.capture_line("line-2", euro(6_000), euro(0))
    yield to_bank(12_000)


@ends(payable=-8_400, bank=8_345, fees=155, our_fees=-100)
def a_refund_is_done_and_fees_are_taken_and_partly_given_back() -> Iterator[Entry]:
    yield from sold()
    yield flows.refund_reserve(REFUND, PAYMENT, euro(1_500))
    yield flows.refund_done(REFUND, PAYMENT, euro(1_500))
    yield flows.line("line-2", LineKind.REFUND, euro(-1_500))
    yield flows.line("line-3", LineKind.FEE, euro(-200))
    yield flows.line("line-4", LineKind.FEE, euro(45))
    yield to_bank(8_345)


@ends(payable=100, bank=0, our_fees=-100)
def all_is_refunded_before_the_capture_is_settled_and_the_fee_is_owed() -> Iterator[Entry]:
    capture_and_line = list(sold())
    yield from capture_and_line[:2]
    yield flows.refund_reserve(REFUND, PAYMENT, euro(10_000))
    yield flows.refund_done(REFUND, PAYMENT, euro(10_000))
    yield flows.line("line-2", LineKind.REFUND, euro(-10_000))
    yield capture_and_line[2]


@ends(payable=1_500, bank=-1_500)
def a_refund_is_done_after_all_was_paid_out_and_our_bank_pays_the_provider() -> Iterator[Entry]:
    yield flows.hold(PAYMENT, euro(10_000))
    yield flows.capture(FIRST, PAYMENT, euro(10_000), final=True)
    yield flows.capture_line("line-1", euro(10_000), euro(0))
    yield to_bank(10_000)
    yield from paid_out(10_000)
    yield flows.refund_reserve(REFUND, PAYMENT, euro(1_500))
    yield flows.refund_done(REFUND, PAYMENT, euro(1_500))
    yield flows.line("line-2", LineKind.REFUND, euro(-1_500))
    yield flows.line("from-bank", LineKind.PAYOUT, euro(1_500))


@ends(payable=-9_900, bank=10_000, our_fees=-100)
def a_refund_fails_before_it_is_done() -> Iterator[Entry]:
    yield from sold()
    yield flows.refund_reserve(REFUND, PAYMENT, euro(1_500))
    yield flows.release(REFUND)
    yield to_bank(10_000)


@ends(payable=-9_900, bank=10_000, our_fees=-100)
def a_refund_fails_after_it_was_done() -> Iterator[Entry]:
    yield from sold()
    yield flows.refund_reserve(REFUND, PAYMENT, euro(1_500))
    yield flows.refund_done(REFUND, PAYMENT, euro(1_500))
    yield flows.line("line-2", LineKind.REFUND, euro(-1_500))
    yield flows.refund_failed(REFUND, PAYMENT, euro(1_500))
    yield flows.line("line-3", LineKind.REFUND, euro(1_500))
    yield to_bank(10_000)


@ends(payable=0, bank=0, our_fees=0)
def a_capture_fails_and_never_has_a_line() -> Iterator[Entry]:
    yield flows.hold(PAYMENT, euro(10_000))
    yield flows.capture(FIRST, PAYMENT, euro(10_000), fee=euro(100), final=True)
    yield flows.capture_failed(FIRST, PAYMENT, euro(10_000), settled=False, fee=euro(100))


@ends(payable=0, bank=0, our_fees=0)
def a_capture_fails_before_its_line_which_is_taken_off_again() -> Iterator[Entry]:
    yield from a_capture_fails_and_never_has_a_line()
    yield flows.line("line-1", LineKind.CAPTURE_FAILED, euro(10_000))
    yield flows.line("line-2", LineKind.CAPTURE_FAILED, euro(-10_000))


@ends(payable=0, bank=0, our_fees=0)
def a_capture_fails_after_its_line() -> Iterator[Entry]:
    yield from sold()
    yield flows.capture_failed(FIRST, PAYMENT, euro(10_000), settled=True, fee=euro(100))
    yield flows.line("line-2", LineKind.CAPTURE_FAILED, euro(-10_000))


@ends(payable=-9_900, bank=10_000, our_fees=-100)
def a_dispute_is_won() -> Iterator[Entry]:
    yield from sold()
    yield from disputed_and_won()
    yield to_bank(10_000)


def disputed_and_won() -> Iterator[Entry]:
    yield flows.funds_withdrawn("wd-1", PAYMENT, euro(2_500))
    yield flows.line("line-2", LineKind.DISPUTE, euro(-2_500))
    yield flows.dispute_won("won-1", "wd-1", PAYMENT, euro(2_500))
    yield flows.line("line-3", LineKind.DISPUTE, euro(2_500))


@ends(payable=-7_400, bank=7_000, fees=500, our_fees=-100)
def a_dispute_is_lost_and_costs_a_fee() -> Iterator[Entry]:
    yield from sold()
    yield flows.funds_withdrawn("wd-1", PAYMENT, euro(2_500))
    yield flows.line("line-2", LineKind.DISPUTE, euro(-2_500))
    yield flows.dispute_lost("lost-1", "wd-1", PAYMENT, euro(2_500))
    yield flows.line("line-3", LineKind.FEE, euro(-500))
    yield to_bank(7_000)


@ends(payable=-7_400, bank=7_500, our_fees=-100)
def a_dispute_is_won_taken_up_again_and_lost() -> Iterator[Entry]:
    yield from sold()
    yield from disputed_and_won()
    yield flows.funds_withdrawn("wd-2", PAYMENT, euro(2_500))
    yield flows.line("line-4", LineKind.DISPUTE, euro(-2_500))
    yield flows.dispute_lost("lost-2", "wd-2", PAYMENT, euro(2_500))
    yield to_bank(7_500)


@ends(payable=-8_900, bank=9_000, our_fees=-100)
def a_dispute_is_won_for_a_part() -> Iterator[Entry]:
    yield from sold()
    yield flows.funds_withdrawn("wd-1", PAYMENT, euro(2_500))
    yield flows.line("line-2", LineKind.DISPUTE, euro(-2_500))
    yield flows.dispute_won("won-1", "wd-1", PAYMENT, euro(2_500), part=euro(1_500), final=False)
    yield flows.dispute_lost("lost-1", "wd-1", PAYMENT, euro(2_500), part=euro(1_000))
    yield flows.line("line-3", LineKind.DISPUTE, euro(1_500))
    yield to_bank(9_000)


@ends(payable=-9_900, bank=10_000, our_fees=-100)
def a_dispute_is_told_backwards() -> Iterator[Entry]:
    yield from sold()
    yield from reversed(list(disputed_and_won()))
    yield to_bank(10_000)


@ends(payable=2_500, bank=-2_400, our_fees=-100)
def a_dispute_is_lost_after_all_was_paid_out() -> Iterator[Entry]:
    yield from sold()
    yield to_bank(10_000)
    yield from paid_out(9_900)
    yield flows.funds_withdrawn("wd-1", PAYMENT, euro(2_500))
    yield flows.dispute_lost("lost-1", "wd-1", PAYMENT, euro(2_500))
    yield flows.line("line-2", LineKind.DISPUTE, euro(-2_500))
    yield flows.line("from-bank", LineKind.PAYOUT, euro(2_500))


def paid_out(minor: int) -> Iterator[Entry]:
    yield flows.payout_reserve(PAYOUT, euro(minor))
    yield flows.payout_accepted(PAYOUT, euro(minor))
    yield flows.payout_paid(PAYOUT, euro(minor))


@ends(payable=-4_900, bank=5_000, our_fees=-100)
def a_payout_is_paid_by_our_bank() -> Iterator[Entry]:
    yield from sold()
    yield to_bank(10_000)
    yield from paid_out(5_000)


@ends(payable=-4_900, bank=5_000, our_fees=-100)
def a_payout_is_paid_out_of_our_balance_with_the_provider() -> Iterator[Entry]:
    yield from sold()
    yield flows.payout_reserve(PAYOUT, euro(5_000))
    yield flows.payout_accepted(PAYOUT, euro(5_000))
    yield flows.payout_paid(PAYOUT, euro(5_000), PROVIDER)
    yield to_bank(5_000)


@ends(payable=-9_900, bank=10_000, our_fees=-100)
def a_payout_is_refused_before_it_is_accepted() -> Iterator[Entry]:
    yield from sold()
    yield to_bank(10_000)
    yield flows.payout_reserve(PAYOUT, euro(5_000))
    yield flows.release(PAYOUT)


@ends(payable=-9_900, bank=10_000, our_fees=-100)
def a_payout_fails_after_it_was_accepted() -> Iterator[Entry]:
    yield from sold()
    yield to_bank(10_000)
    yield flows.payout_reserve(PAYOUT, euro(5_000))
    yield flows.payout_accepted(PAYOUT, euro(5_000))
    yield flows.payout_failed(PAYOUT, euro(5_000))


@ends(payable=-9_900, bank=10_000, our_fees=-100)
def a_payout_comes_back_to_our_bank() -> Iterator[Entry]:
    yield from a_payout_is_paid_by_our_bank()
    yield flows.payout_returned("back-1", PAYOUT, euro(5_000))


@ends(payable=-9_900, bank=10_000, our_fees=-100)
def a_payout_comes_back_to_our_balance_with_the_provider() -> Iterator[Entry]:
    yield from a_payout_is_paid_out_of_our_balance_with_the_provider()
    yield flows.payout_returned("back-1", PAYOUT, euro(5_000), PROVIDER)
    yield flows.line("to-bank-2", LineKind.PAYOUT, euro(-5_000))


@ends(payable=-20_000, bank=20_000)
def a_merchant_tops_up() -> Iterator[Entry]:
    yield flows.top_up("line-1", euro(20_000))


@ends(payable=-4_000, bank=7_000, suspense=-3_000)
def an_unexplained_line_is_resolved_in_part() -> Iterator[Entry]:
    yield flows.line("line-1", LineKind.UNEXPLAINED, euro(7_000))
    line = flows.read_line("line-1", LineKind.UNEXPLAINED, euro(7_000))
    yield flows.resolved("dec-1", line, PAYABLE, euro(4_000))
    yield to_bank(7_000)


@ends(payable=0, bank=-800, fees=800, suspense=0)
def an_unexplained_line_below_zero_is_a_fee() -> Iterator[Entry]:
    yield flows.line("line-1", LineKind.UNEXPLAINED, euro(-800))
    yield flows.resolved("dec-1", flows.read_line("line-1", LineKind.UNEXPLAINED, euro(-800)), FEES)
    yield flows.line("from-bank", LineKind.PAYOUT, euro(800))


@ends(payable=-600, bank=600, suspense=0)
def an_unexplained_bank_line_is_a_merchants() -> Iterator[Entry]:
    yield flows.bank_line("line-1", euro(600))
    yield flows.resolved("dec-1", BankLine(key="line-1", money=euro(600)), PAYABLE)


@ends(payable=-9_900, bank=10_000, our_fees=-100)
def a_capture_booked_in_error_is_taken_back_and_booked_anew() -> Iterator[Entry]:
    yield flows.hold(PAYMENT, euro(10_000))
    wrong = flows.capture(SECOND, PAYMENT, euro(1_000))
    yield wrong
    yield flows.taken_back("dec-1", wrong)
    yield flows.capture(FIRST, PAYMENT, euro(10_000), fee=euro(100), final=True)
    yield flows.capture_line("line-1", euro(10_000), euro(100))
    yield to_bank(10_000)


@ends(payable=-9_950, bank=10_000, our_fees=-50)
def a_fee_is_corrected() -> Iterator[Entry]:
    yield from sold()
    of = flows.capture(FIRST, PAYMENT, euro(10_000), fee=euro(100), final=True)
    yield flows.corrected("dec-1", of, debit(OUR_FEES, euro(50)), credit(PAYABLE, euro(50)))
    yield to_bank(10_000)


@ends(payable=-4_900, bank=5_000, our_fees=-100)
def a_provider_exchanges_what_it_settles() -> Iterator[Entry]:
    yield from sold()
    dollars = Money(5_400, "USD")
    yield flows.exchanged("fx-1", euro(5_000), dollars)
    yield flows.exchanged("fx-2", euro(5_000), dollars, account=provider_balance(PROVIDER))
    yield flows.line("line-2", LineKind.PAYOUT, Money(-5_400, "USD"))
    yield to_bank(5_000)
