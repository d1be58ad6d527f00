"""Payments: authorize, list, show. What an initiator asks becomes a command, and the run's word an answer."""

from api import resources
from api.answers import Answer
from api.bodies import PageQuery, PaymentBody, ReturnBody
from api.problems import OF_AMOUNTS, Code
from api.registrar import Asked, Auth, Idempotency, Operation
from api.resources import PaymentList, PaymentPage, PaymentResource, TimelineList
from api.routes.started import (
    STALE,
    Kind,
    admitted_until,
    asked_operation,
    before,
    find,
    made,
    must_be_permitted,
    page,
    start,
)
from domain.commands import Payment
from domain.ids import MerchantId, OperationId, Prefix
from domain.lifecycle import PAYMENT
from domain.money import Money
from identity.clients import Scope

PAYMENTS = Kind(
    prefix=Prefix.PAYMENT,
    path="/v1/payments",
    lifecycle=PAYMENT,
    row=lambda reads, operation: reads.payment(operation),
    show=lambda operation, asked, known, live: resources.payment(operation, asked, known, live=live),
    missing=Code.PAYMENT_NOT_FOUND,
    refusals=STALE,  # a decline is a resource, not a problem
)


async def create(asked: Asked[PaymentBody]) -> Answer:
    """Authorize, and in automatic mode capture."""
    body, terms = asked.body, asked.deps.terms
    assert body is not None
    must_be_permitted(asked, body.merchant)
    command = Payment(
        id=asked_operation(asked),
        fingerprint=asked.fingerprint.hex(),
        client=asked.client.id,
        merchant=MerchantId(body.merchant),
        money=Money(body.amount, body.currency),
        promises=terms.promises,
        admit_until=admitted_until(asked),
        merchant_reference=body.merchant_reference or "",
        instrument=body.instrument,
        automatic=body.capture == "automatic",
        window_seconds=terms.window_seconds,
        fee_basis_points=terms.fee_basis_points,
        routes=terms.routes,
        warn_before_seconds=terms.warn_before_seconds,
        country=body.country or "",
    )
    return await start(PAYMENTS, asked, command)


async def show(asked: Asked[PaymentBody]) -> Answer:
    """Show a payment with its timeline."""
    return await page(PAYMENTS, asked, PaymentPage)


async def challenge_return(asked: Asked[ReturnBody]) -> Answer:
    """The payer is back: have the provider asked how it went, and show the payment."""
    payment = await find(PAYMENTS, asked, asked.path["id"])
    await asked.deps.runs.returned(payment.id, wait_seconds=asked.wait_seconds)
    return await page(PAYMENTS, asked, PaymentPage)


async def show_timeline(asked: Asked[PaymentBody]) -> Answer:
    """Show what happened to a payment, its captures, voids and refunds."""
    payment = await find(PAYMENTS, asked, asked.path["id"])
    rows = await asked.deps.reads.timeline(payment.id)
    return made(200, TimelineList(data=resources.moments(rows)))


async def list_payments(asked: Asked[PaymentBody]) -> Answer:
    """List the client's payments by their rows, which may lag behind an answer."""
    query = asked.query
    assert isinstance(query, PageQuery)
    after = await before(PAYMENTS, asked, query.starting_after)
    rows = await asked.deps.reads.payments(asked.client.id, query.limit + 1, after)
    live = asked.deps.terms.is_live
    data = [
        resources.payment(OperationId(row.id), resources.asked_of(row), resources.from_row(row), live=live)
        for row in rows[: query.limit]
    ]
    return made(200, PaymentList(data=data, has_more=len(rows) > query.limit))


OPERATIONS = (
    Operation(
        id="createPayment",
        method="POST",
        path="/v1/payments",
        summary="Authorize a payment, and capture it at once in automatic mode",
        perform=create,
        answers={201: PaymentResource, 202: PaymentResource},
        auth=Auth.BEARER,
        scope=Scope.PAYMENTS_CREATE,
        idempotency=Idempotency.KEY,
        audit="payment.create.requested",
        makes=Prefix.PAYMENT,
        body=PaymentBody,
        errors=(
            Code.MERCHANT_NOT_PERMITTED,
            Code.NOT_STARTED,
            *OF_AMOUNTS,
        ),
    ),
    Operation(
        id="returnFromChallenge",
        method="POST",
        path="/v1/payments/{id}/challenge-return",
        summary="Say that the payer has come back from the challenge, and show the payment",
        perform=challenge_return,
        answers={200: PaymentPage},
        auth=Auth.BEARER,
        scope=Scope.PAYMENTS_CREATE,
        idempotency=Idempotency.CONTENT,
        audit="payment.challenge.returned",
        body=ReturnBody,
        body_optional=True,
        errors=(Code.PAYMENT_NOT_FOUND,),
    ),
    Operation(
        id="listPayments",
        method="GET",
        path="/v1/payments",
        summary="List payments, newest first",
        perform=list_payments,
        answers={200: PaymentList},
        auth=Auth.BEARER,
        scope=Scope.PAYMENTS_READ,
        query=PageQuery,
    ),
    Operation(
        id="getPayment",
        method="GET",
        path="/v1/payments/{id}",
        summary="Show a payment with its timeline",
        perform=show,
        answers={200: PaymentPage},
        auth=Auth.BEARER,
        scope=Scope.PAYMENTS_READ,
        errors=(Code.PAYMENT_NOT_FOUND,),
    ),
    Operation(
        id="getPaymentTimeline",
        method="GET",
        path="/v1/payments/{id}/timeline",
        summary="Show what happened to a payment, oldest first",
        perform=show_timeline,
        answers={200: TimelineList},
        auth=Auth.BEARER,
        scope=Scope.PAYMENTS_READ,
        errors=(Code.PAYMENT_NOT_FOUND,),
    ),
)
