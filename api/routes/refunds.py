"""Refunds: a run of their own, about a payment that may have closed long ago."""

from api import resources
from api.answers import Answer
from api.bodies import RefundBody
from api.intake import invalid
from api.ports import Stored
from api.problems import OF_AMOUNTS, Code, Problem
from api.registrar import Asked, Auth, Idempotency, Operation
from api.resources import RefundPage, RefundResource
from api.routes.payments import PAYMENTS
from api.routes.started import STALE, Kind, admitted_until, asked_operation, find, page, start
from domain.commands import Refund
from domain.ids import Prefix
from domain.lifecycle import REFUND, RefundState
from domain.money import Money
from domain.outcomes import Reason
from identity.clients import Scope

REFUNDS = Kind(
    prefix=Prefix.REFUND,
    path="/v1/refunds",
    lifecycle=REFUND,
    row=lambda reads, operation: reads.refund(operation),
    show=lambda operation, asked, known, live: resources.refund(operation, asked, known, live=live),
    missing=Code.REFUND_NOT_FOUND,
    refusals={
        **STALE,
        (RefundState.REJECTED, Reason.REFUND_EXCEEDS_CAPTURED): Code.REFUND_EXCEEDS_CAPTURED,
        (RefundState.REJECTED, Reason.PAYMENT_DISPUTED): Code.PAYMENT_DISPUTED,
    },
)


async def create(asked: Asked[RefundBody]) -> Answer:
    """Give all or a part of what was captured back to the payer."""
    body, terms = asked.body, asked.deps.terms
    assert body is not None
    payment = await find(PAYMENTS, asked, asked.path["id"])
    if body.currency != payment.money.currency:
        raise invalid(Code.CURRENCY_MISMATCH, "/currency")
    money = Money(body.amount, body.currency)
    await _must_be_refundable(asked, payment, money)
    command = Refund(
        id=asked_operation(asked),
        fingerprint=asked.fingerprint.hex(),
        client=asked.client.id,
        merchant=payment.merchant,
        money=money,
        promises=terms.of(payment.provider),  # where the money was taken, whoever takes it today
        admit_until=admitted_until(asked),
        merchant_reference=body.merchant_reference or "",
        payment=payment.id,
        on=payment.reference,
        on_provider_id=payment.provider_id,
    )
    return await start(REFUNDS, asked, command)


async def _must_be_refundable(asked: Asked[RefundBody], payment: Stored, money: Money) -> None:
    """Refuse early what the ledger's gate would refuse (money rule 10), with nothing started and nothing written.

    What is left may be small because THIS refund has reserved it before its first request died. So a claim that was
    taken over is left to the gate, and the sum is read before the row: whoever has reserved has a row.
    """
    assert asked.claimed is not None
    refundable = await asked.deps.balances.refundable(payment.id, money.currency)
    left = refundable.left if refundable else 0
    if money.minor <= left or asked.claimed.taken_over:
        return
    if await asked.deps.reads.refund(asked_operation(asked)) is None:
        raise Problem(Code.REFUND_EXCEEDS_CAPTURED)


async def show(asked: Asked[RefundBody]) -> Answer:
    """Show a refund with its timeline."""
    return await page(REFUNDS, asked, RefundPage)


OPERATIONS = (
    Operation(
        id="createRefund",
        method="POST",
        path="/v1/payments/{id}/refunds",
        summary="Refund all or a part of what was captured",
        perform=create,
        answers={201: RefundResource, 202: RefundResource},
        auth=Auth.BEARER,
        scope=Scope.REFUNDS_CREATE,
        idempotency=Idempotency.KEY,
        audit="refund.requested",
        makes=Prefix.REFUND,
        body=RefundBody,
        errors=(
            Code.PAYMENT_NOT_FOUND,
            Code.NOT_STARTED,
            Code.REFUND_EXCEEDS_CAPTURED,
            Code.PAYMENT_DISPUTED,
            Code.CURRENCY_MISMATCH,
            *OF_AMOUNTS,
        ),
    ),
    Operation(
        id="getRefund",
        method="GET",
        path="/v1/refunds/{id}",
        summary="Show a refund with its timeline",
        perform=show,
        answers={200: RefundPage},
        auth=Auth.BEARER,
        scope=Scope.PAYMENTS_READ,
        errors=(Code.REFUND_NOT_FOUND,),
    ),
)
