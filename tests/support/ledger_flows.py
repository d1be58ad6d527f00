"""Commands of the ledger's flows, made as runs make them: same references, same holds. For tests and docs/ledger.md."""

from domain.commands import Booking, Prepare
from domain.ids import MerchantId, OperationId, Prefix, Reference, Verb, derive, effect_reference
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


def prepare(
    of: OperationId,
    money: Money,
    *,
    payment: OperationId | None = None,
    expires_seconds: float = 0,
    merchant: MerchantId = MERCHANT,
    provider: str = PROVIDER,
) -> Prepare:
    """A preparation of an operation: its gate."""
    return Prepare(
        reference=hold_of(of),
        operation=of,
        client="tests",
        merchant=merchant,
        provider=provider,
        money=money,
        fingerprint="asked",
        admit_until=0,
        payment=payment,
        expires_seconds=expires_seconds,
    )


def hold(payment: OperationId, money: Money, expires_seconds: float = 0) -> Entry:
    return postings.authorization_hold(prepare(payment, money, expires_seconds=expires_seconds))


def release(of: OperationId, money: Money) -> Entry:
    """The undo of an operation's gate."""
    undo = Prepare(
        reference=Reference(f"{of}/release"),
        on=hold_of(of),
        operation=of,
        client="tests",
        merchant=MERCHANT,
        provider=PROVIDER,
        money=money,
        fingerprint="asked",
        admit_until=0,
    )
    return postings.release(undo)


def capture(
    of: OperationId,
    payment: OperationId,
    money: Money,
    *,
    fee: Money | None = None,
    final: bool = False,
    merchant: MerchantId = MERCHANT,
) -> Entry:
    effect = effect_reference(of, Verb.CAPTURE, 1)
    return postings.capture(
        Booking(
            reference=Reference(f"{effect}/post"),
            on=effect,
            operation=of,
            merchant=merchant,
            provider=PROVIDER,
            money=money,
            hold=hold_of(payment),
            final=final,
            fee=fee,
            payment=payment,
        )
    )


def refund_reserve(of: OperationId, payment: OperationId, money: Money) -> Entry:
    return postings.refund_reserve(prepare(of, money, payment=payment))


def refund_done(of: OperationId, payment: OperationId, money: Money) -> Entry:
    effect = effect_reference(of, Verb.REFUND, 1)
    return postings.refund_done(_booking(of, effect, "post", money, payment=payment))


def payout_reserve(of: OperationId, money: Money, merchant: MerchantId = MERCHANT) -> Entry:
    return postings.payout_reserve(prepare(of, money, merchant=merchant))


def payout_accepted(of: OperationId, money: Money) -> Entry:
    return postings.payout_accepted(_booking(of, effect_reference(of, Verb.PAY_OUT, 1), "post", money))


def payout_paid(of: OperationId, money: Money) -> Entry:
    return postings.payout_paid(_booking(of, effect_reference(of, Verb.PAY_OUT, 1), "paid", money))


def payout_failed(of: OperationId, money: Money) -> Entry:
    return postings.payout_failed(_booking(of, effect_reference(of, Verb.PAY_OUT, 1), "reversed", money))


def top_up(key: str, money: Money, merchant: MerchantId = MERCHANT) -> Entry:
    return postings.top_up(Reference(f"bank:{key}/top-up"), merchant, money)


def _booking(
    of: OperationId, effect: Reference, kind: str, money: Money, payment: OperationId | None = None
) -> Booking:
    return Booking(
        reference=Reference(f"{effect}/{kind}"),
        on=effect,
        operation=of,
        merchant=MERCHANT,
        provider=PROVIDER,
        money=money,
        hold=hold_of(of),
        final=True,
        payment=payment,
    )
