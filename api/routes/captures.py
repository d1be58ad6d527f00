"""Captures and voids: how much of an authorization is taken, and that the rest is given up."""

from api.answers import Answer
from api.bodies import CaptureBody, VoidBody
from api.ports import Heard
from api.problems import OF_AMOUNTS, Code
from api.registrar import Asked, Auth, Idempotency, Operation
from api.resources import CapturePage, CaptureResource, VoidResource
from api.routes import amounts
from api.routes.parts import owner_of, part
from api.routes.payments import PAYMENTS
from api.routes.started import asked_operation, created, made
from domain.commands import Capture, Void
from domain.ids import OperationId, Prefix
from domain.lifecycle import PaymentState
from domain.money import Money
from identity.clients import Scope

CAPTURES = amounts.Kind(
    prefix=Prefix.CAPTURE,
    path="/v1/captures",
    row=lambda reads: reads.capture,
    resource=CaptureResource,
    page=CapturePage,
    missing=Code.CAPTURE_NOT_FOUND,
)


async def capture(asked: Asked[CaptureBody]) -> Answer:
    """Take all or a part of an authorization."""
    body = asked.body
    assert body is not None
    final = body.final

    async def ask(payment: OperationId, operation: OperationId, money: Money) -> Heard:
        command = Capture(id=operation, fingerprint=asked.fingerprint.hex(), money=money, final=final)
        return await asked.deps.runs.capture(payment, command, wait_seconds=asked.wait_seconds)

    return await amounts.take(CAPTURES, asked, ask)


async def void(asked: Asked[VoidBody]) -> Answer:
    """Give up what is not captured."""
    operation = asked_operation(asked)
    payment = await owner_of(PAYMENTS, asked, asked.deps.reads.void)
    command = Void(id=operation, fingerprint=asked.fingerprint.hex())
    heard = await asked.deps.runs.void(payment.id, command, wait_seconds=asked.wait_seconds)
    told = await part(PAYMENTS, asked, payment, heard, asked.deps.reads.void)
    shown = VoidResource(
        id=operation,
        payment=payment.id,
        status=told.status,
        failure_code=told.reason or None,
        payment_status=PaymentState(told.owner_state),
        amount_captured=told.owner_total.minor,
        created_at=created(asked),
        livemode=asked.deps.terms.is_live,
    )
    return made(told.http_status, shown, f"{PAYMENTS.path}/{payment.id}")


async def show_capture(asked: Asked[CaptureBody]) -> Answer:
    """Show a capture whose outcome is known, with its timeline."""
    return await amounts.show(CAPTURES, asked)


OPERATIONS = (
    Operation(
        id="createCapture",
        method="POST",
        path="/v1/payments/{id}/captures",
        summary="Capture all or a part of an authorization",
        perform=capture,
        answers={201: CaptureResource, 202: CaptureResource},
        auth=Auth.BEARER,
        scope=Scope.PAYMENTS_CAPTURE,
        idempotency=Idempotency.KEY,
        audit="payment.capture.requested",
        makes=Prefix.CAPTURE,
        body=CaptureBody,
        errors=(
            Code.PAYMENT_NOT_FOUND,
            Code.INVALID_STATE,
            Code.OPERATION_IN_DOUBT,
            Code.NOT_SUPPORTED,
            Code.CAPTURE_EXCEEDS_AUTHORIZATION,
            Code.CURRENCY_MISMATCH,
            *OF_AMOUNTS,
        ),
    ),
    Operation(
        id="voidPayment",
        method="POST",
        path="/v1/payments/{id}/void",
        summary="Give up what is not captured",
        perform=void,
        answers={201: VoidResource, 202: VoidResource},
        auth=Auth.BEARER,
        scope=Scope.PAYMENTS_VOID,
        idempotency=Idempotency.KEY,
        audit="payment.void.requested",
        makes=Prefix.VOID,
        body=VoidBody,
        body_optional=True,
        errors=(Code.PAYMENT_NOT_FOUND, Code.INVALID_STATE, Code.OPERATION_IN_DOUBT, Code.NOT_SUPPORTED),
    ),
    Operation(
        id="getCapture",
        method="GET",
        path="/v1/captures/{id}",
        summary="Show a capture whose outcome is known",
        perform=show_capture,
        answers={200: CapturePage},
        auth=Auth.BEARER,
        scope=Scope.PAYMENTS_READ,
        errors=(Code.CAPTURE_NOT_FOUND,),
    ),
)
