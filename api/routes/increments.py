"""Increments: an authorization is raised, where its provider offers that."""

import asyncio

from api import resources
from api.answers import Answer
from api.bodies import IncrementBody
from api.intake import invalid
from api.problems import OF_AMOUNTS, Code, Problem
from api.registrar import Asked, Auth, Idempotency, Operation
from api.resources import IncrementPage, IncrementResource
from api.routes.parts import owner_of, part, status_of
from api.routes.payments import PAYMENTS
from api.routes.started import asked_operation, created, made
from domain.commands import Increment
from domain.ids import OperationId, Prefix, is_operation_id
from domain.lifecycle import PaymentState
from domain.money import Money
from identity.clients import Scope


async def increment(asked: Asked[IncrementBody]) -> Answer:
    """Raise an authorization; the payment's `amount` grows by it."""
    body, operation = asked.body, asked_operation(asked)
    assert body is not None
    payment = await owner_of(PAYMENTS, asked, asked.deps.reads.increment)
    if body.currency != payment.money.currency:
        raise invalid(Code.CURRENCY_MISMATCH, "/currency")
    money = Money(body.amount, body.currency)
    command = Increment(id=operation, fingerprint=asked.fingerprint.hex(), money=money)
    heard = await asked.deps.runs.increment(payment.id, command, wait_seconds=asked.wait_seconds)
    told = await part(PAYMENTS, asked, payment, heard, asked.deps.reads.increment)
    shown = IncrementResource(
        id=operation,
        payment=payment.id,
        amount=money.minor,
        currency=money.currency,
        status=told.status,
        failure_code=told.reason or None,
        payment_status=PaymentState(told.owner_state),
        created_at=created(asked),
        livemode=asked.deps.terms.is_live,
    )
    if told.status == "pending":  # it has a page of its own once its outcome is known
        return made(202, shown, f"{PAYMENTS.path}/{payment.id}")
    return made(201, shown, f"/v1/increments/{operation}")


async def show_increment(asked: Asked[IncrementBody]) -> Answer:
    """Show an increment whose outcome is known, with its timeline."""
    operation, reads = OperationId(asked.path["id"]), asked.deps.reads
    row = await reads.increment(operation) if is_operation_id(operation, Prefix.INCREMENT) else None
    if row is None or row.client != asked.client.id or row.payment is None:
        raise Problem(Code.INCREMENT_NOT_FOUND)
    payment, rows = await asyncio.gather(reads.payment(row.payment), reads.timeline(operation))
    assert payment is not None, f"{operation} without its payment"
    shown = IncrementPage(
        id=operation,
        payment=payment.id,
        amount=row.money.minor,
        currency=row.money.currency,
        status=status_of(row),
        failure_code=row.reason or None,
        payment_status=PaymentState(payment.state),
        created_at=resources.timestamp(row.created_at),
        livemode=asked.deps.terms.is_live,
        timeline=resources.moments(rows),
    )
    return made(200, shown)


OPERATIONS = (
    Operation(
        id="createIncrement",
        method="POST",
        path="/v1/payments/{id}/increments",
        summary="Raise an authorization",
        perform=increment,
        answers={201: IncrementResource, 202: IncrementResource},
        auth=Auth.BEARER,
        scope=Scope.PAYMENTS_INCREMENT,
        idempotency=Idempotency.KEY,
        audit="payment.increment.requested",
        makes=Prefix.INCREMENT,
        body=IncrementBody,
        errors=(
            Code.PAYMENT_NOT_FOUND,
            Code.INVALID_STATE,
            Code.OPERATION_IN_DOUBT,
            Code.NOT_SUPPORTED,
            Code.CURRENCY_MISMATCH,
            *OF_AMOUNTS,
        ),
    ),
    Operation(
        id="getIncrement",
        method="GET",
        path="/v1/increments/{id}",
        summary="Show an increment whose outcome is known",
        perform=show_increment,
        answers={200: IncrementPage},
        auth=Auth.BEARER,
        scope=Scope.PAYMENTS_READ,
        errors=(Code.INCREMENT_NOT_FOUND,),
    ),
)
