"""Commands of the ledger's flows, made as runs make them: same references, same holds. For tests and docs/ledger.md."""

from dataclasses import dataclass

from domain.commands import Booking, Prepare
from domain.ids import UNWRITTEN, MerchantId, OperationId, Prefix, Reference, Verb, derive, effect_reference
from domain.money import Money
from ledger import postings
from ledger.postings import Entry

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
        effect = effect_reference(of, Verb.CAPTURE, 1)
        booking = Booking(
            reference=Reference(f"{effect}/post"),
            on=effect,
            operation=of,
            merchant=self.merchant,
            provider=self.provider,
            money=money,
            hold=hold_of(payment),
            final=final,
            fee=fee,
            payment=payment,
        )
        return postings.capture(booking)

    def refund_reserve(self, of: OperationId, payment: OperationId, money: Money) -> Entry:
        return postings.refund_reserve(self._prepare(of, money, payment=payment))

    def refund_done(self, of: OperationId, payment: OperationId, money: Money) -> Entry:
        return postings.refund_done(self._booking(of, Verb.REFUND, "post", money, payment=payment))

    def payout_reserve(self, of: OperationId, money: Money) -> Entry:
        return postings.payout_reserve(self._prepare(of, money))

    def payout_accepted(self, of: OperationId, money: Money) -> Entry:
        return postings.payout_accepted(self._booking(of, Verb.PAY_OUT, "post", money))

    def payout_paid(self, of: OperationId, money: Money) -> Entry:
        return postings.payout_paid(self._booking(of, Verb.PAY_OUT, "paid", money))

    def payout_failed(self, of: OperationId, money: Money) -> Entry:
        return postings.payout_failed(self._booking(of, Verb.PAY_OUT, "reversed", money))

    def top_up(self, key: str, money: Money) -> Entry:
        return postings.top_up(Reference(f"bank:{key}/top-up"), self.merchant, money)

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
