"""Increments: an authorization is raised, where its provider offers that."""

from api.answers import Answer
from api.bodies import IncrementBody
from api.ports import Heard
from api.problems import OF_AMOUNTS, Code
from api.registrar import Asked, Auth, Idempotency, Operation
from api.resources import IncrementPage, IncrementResource
from api.routes import amounts
from domain.commands import Increment
from domain.ids import OperationId, Prefix
from domain.money import Money
from identity.clients import Scope

INCREMENTS = amounts.Kind(
    prefix=Prefix.INCREMENT,
    path="/v1/increments",
    row=lambda reads: reads.increment,
    resource=IncrementResource,
    page=IncrementPage,
    missing=Code.INCREMENT_NOT_FOUND,
)


async def increment(asked: Asked[IncrementBody]) -> Answer:
    """Raise an authorization; the payment's `amount` grows by it."""

    async def ask(payment: OperationId, operation: OperationId, money: Money) -> Heard:
        command = Increment(id=operation, fingerprint=asked.fingerprint.hex(), money=money)
        return await asked.deps.runs.increment(payment, command, wait_seconds=asked.wait_seconds)

    return await amounts.take(INCREMENTS, asked, ask)


async def show_increment(asked: Asked[IncrementBody]) -> Answer:
    """Show an increment whose outcome is known, with its timeline."""
    return await amounts.show(INCREMENTS, asked)


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
