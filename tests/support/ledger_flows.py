"""The ledger's flows as runs, files and people make them: same references, same holds. For tests and docs/ledger.md."""

from dataclasses import dataclass, replace

from domain.commands import Booking, Prepare
from domain.ids import UNWRITTEN, MerchantId, OperationId, Prefix, Reference, Verb, derive, effect_reference
from domain.money import Money
from ledger import corrections, disputes, postings, settlements
from ledger.accounts import OUR_BANK, Account, payable
from ledger.corrections import Resolution
from ledger.disputes import Ending, Withdrawal
from ledger.entry import Entry, Line
from ledger.postings import Told, told_reference
from ledger.settlements import BankLine, Exchange, LineKind, Return, SettlementLine

MERCHANT = MerchantId("acme")
PROVIDER = "simulator"


def operation(prefix: Prefix, key: str) -> OperationId:
    """The id of an operation; the same key gives the same one."""
    return derive(prefix, client="tests", mode="test", operation=prefix, key=key)


def hold_of(of: OperationId) -> Reference:
    """The reference of an operation's gate, by which its hold is known."""
    return Reference(f"{of}/hold")


@dataclass(frozen=True)
class Flows:
    """The entries of one merchant at one provider."""

    merchant: MerchantId = MERCHANT
    provider: str = PROVIDER

    def hold(self, payment: OperationId, money: Money, expires_seconds: float = 0) -> Entry:
        return postings.authorization_hold(self._prepare(payment, money, expires_seconds=expires_seconds))

    def release(self, of: OperationId) -> Entry:
        """The undo of an operation's gate. What it gives back only the ledger knows."""
        undo = self._prepare(of, Money(0, "EUR"), reference=Reference(f"{of}/release"), on=hold_of(of))
        return postings.release(undo)

    def capture(
        self, of: OperationId, payment: OperationId, money: Money, *, fee: Money | None = None, final: bool = False
    ) -> Entry:
        booking = self._booking(of, Verb.CAPTURE, "post", money, payment=payment)
        return postings.capture(replace(booking, hold=hold_of(payment), final=final, fee=fee))

    def capture_failed(
        self, of: OperationId, payment: OperationId, money: Money, *, settled: bool, fee: Money | None = None
    ) -> Entry:
        booking = self._booking(of, Verb.CAPTURE, "reversed", money, payment=payment)
        return postings.capture_failed(replace(booking, hold=hold_of(payment), fee=fee), settled=settled)

    def refund_reserve(self, of: OperationId, payment: OperationId, money: Money) -> Entry:
        return postings.refund_reserve(self._prepare(of, money, payment=payment))

    def refund_done(self, of: OperationId, payment: OperationId, money: Money) -> Entry:
        return postings.refund_done(self._booking(of, Verb.REFUND, "post", money, payment=payment))

    def refund_failed(self, of: OperationId, payment: OperationId, money: Money) -> Entry:
        return postings.refund_failed(self._booking(of, Verb.REFUND, "reversed", money, payment=payment))

    def payout_reserve(self, of: OperationId, money: Money) -> Entry:
        return postings.payout_reserve(self._prepare(of, money))

    def payout_accepted(self, of: OperationId, money: Money) -> Entry:
        return postings.payout_accepted(self._booking(of, Verb.PAY_OUT, "post", money))

    def payout_paid(self, of: OperationId, money: Money, source: str = OUR_BANK) -> Entry:
        return postings.payout_paid(self._booking(of, Verb.PAY_OUT, "paid", money), source)

    def payout_failed(self, of: OperationId, money: Money) -> Entry:
        return postings.payout_failed(self._booking(of, Verb.PAY_OUT, "reversed", money))

    def payout_returned(self, key: str, of: OperationId, money: Money, source: str = OUR_BANK) -> Entry:
        payout = effect_reference(of, Verb.PAY_OUT, 1)
        return settlements.payout_returned(
            Return(source=source, key=key, payout=payout, merchant=self.merchant, money=money)
        )

    def top_up(self, key: str, money: Money) -> Entry:
        return postings.top_up(told_reference(OUR_BANK, key, Told.TOP_UP), self.merchant, money)

    def funds_withdrawn(self, key: str, payment: OperationId, money: Money) -> Entry:
        return disputes.funds_withdrawn(self._withdrawal(key, payment, money))

    def dispute_won(
        self,
        key: str,
        withdrawal: str,
        payment: OperationId,
        money: Money,
        *,
        part: Money | None = None,
        final: bool = True,
    ) -> Entry:
        """Win `part`, or all, of the withdrawal of `money` that the provider knows by the key `withdrawal`."""
        withdrawn = self._withdrawal(withdrawal, payment, money)
        return disputes.dispute_won(Ending(withdrawal=withdrawn, key=key, money=part or money, final=final))

    def dispute_lost(
        self,
        key: str,
        withdrawal: str,
        payment: OperationId,
        money: Money,
        *,
        part: Money | None = None,
        final: bool = True,
    ) -> Entry:
        withdrawn = self._withdrawal(withdrawal, payment, money)
        return disputes.dispute_lost(Ending(withdrawal=withdrawn, key=key, money=part or money, final=final))

    def line(self, key: str, kind: LineKind, money: Money, settles: Entry | None = None) -> Entry:
        return settlements.settlement_line(self.read_line(key, kind, money, settles))

    def capture_line(self, key: str, money: Money, fee: Money, settles: Entry | None = None) -> Entry:
        line = SettlementLine(
            provider=self.provider,
            key=key,
            kind=LineKind.CAPTURE,
            money=money,
            settles=settles.reference if settles else None,
            merchant=self.merchant,
            fee=fee,
        )
        return settlements.settlement_line(line)

    def read_line(self, key: str, kind: LineKind, money: Money, settles: Entry | None = None) -> SettlementLine:
        """A line of the provider's file, in normal form."""
        return SettlementLine(
            provider=self.provider, key=key, kind=kind, money=money, settles=settles.reference if settles else None
        )

    def bank_line(self, key: str, money: Money) -> Entry:
        return settlements.unexplained_bank_line(BankLine(key=key, money=money))

    def resolved(self, key: str, line: SettlementLine | BankLine, to: Account, money: Money | None = None) -> Entry:
        return corrections.suspense_resolved(self.resolution(key), line, to, money or line.money)

    def corrected(self, key: str, of: Entry, *lines: Line) -> Entry:
        return corrections.correction(self.resolution(key), of.reference, lines)

    def taken_back(self, key: str, entry: Entry) -> Entry:
        return corrections.taken_back(self.resolution(key), entry)

    def resolution(self, key: str) -> Resolution:
        """What two people have decided."""
        return Resolution(key=key, why="the provider's mail of 3 June", approved_by=("ada", "grace"))

    def exchanged(self, key: str, sold: Money, bought: Money, *, account: Account | None = None) -> Entry:
        """Exchange what is payable to the merchant, or the money in another account."""
        holder = account or payable(self.merchant)
        return settlements.exchanged(Exchange(desk="treasury", key=key, account=holder, sold=sold, bought=bought))

    def _withdrawal(self, key: str, payment: OperationId, money: Money) -> Withdrawal:
        return Withdrawal(provider=self.provider, key=key, merchant=self.merchant, payment=payment, money=money)

    def _prepare(
        self,
        of: OperationId,
        money: Money,
        *,
        reference: Reference | None = None,
        on: Reference = UNWRITTEN,
        payment: OperationId | None = None,
        expires_seconds: float = 0,
    ) -> Prepare:
        return Prepare(
            reference=reference or hold_of(of),
            on=on,
            operation=of,
            client="tests",
            merchant=self.merchant,
            provider=self.provider,
            money=money,
            fingerprint="asked",
            admit_until=0,
            payment=payment,
            expires_seconds=expires_seconds,
        )

    def _booking(
        self, of: OperationId, verb: Verb, kind: str, money: Money, payment: OperationId | None = None
    ) -> Booking:
        effect = effect_reference(of, verb, 1)
        return Booking(
            reference=Reference(f"{effect}/{kind}"),
            on=effect,
            operation=of,
            merchant=self.merchant,
            provider=self.provider,
            money=money,
            hold=hold_of(of),
            final=True,
            payment=payment,
        )


flows = Flows()
