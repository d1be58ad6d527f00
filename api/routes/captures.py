"""Captures and voids: operations of a payment's run, answered by their receipt, or by their row once it has closed.

Refuses without a run only what the payment's row proves for ever: another currency. All else the run decides, so that
a doubt about one operation keeps the others waiting (money rule 9).
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from api import resources
from api.answers import Answer
from api.bodies import CaptureBody, VoidBody
from api.intake import invalid
from api.ports import Heard, Refusal, Silence, Stored
from api.problems import OF_AMOUNTS, Code, Problem
from api.registrar import Asked, Auth, Idempotency, Operation
from api.resources import CapturePage, CaptureResource, PartStatus, VoidResource
from api.routes.payments import PAYMENTS
from api.routes.started import asked_operation, created, find, made, must_be_ours, refused
from domain.commands import Capture, Void
from domain.ids import OperationId, Prefix, is_operation_id
from domain.lifecycle import PaymentState
from domain.money import Money
from domain.outcomes import Outcome, Reason, Receipt
from identity.clients import Scope

PROBLEMS: dict[str, Code] = {
    Reason.CAPTURE_EXCEEDS_AUTHORIZATION: Code.CAPTURE_EXCEEDS_AUTHORIZATION,
    Reason.PAYMENT_CLOSED: Code.INVALID_STATE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What became of a capture or a void, and where its payment stands."""

    status: PartStatus
    reason: str = ""
    payment_state: str
    captured: Money


async def capture(asked: Asked[CaptureBody]) -> Answer:
    """Take all or a part of an authorization."""
    body, operation = asked.body, asked_operation(asked)
    assert body is not None
    payment = await _payment_of(asked, asked.deps.reads.capture)
    if body.currency != payment.money.currency:
        raise invalid(Code.CURRENCY_MISMATCH, "/currency")
    money = Money(body.amount, body.currency)
    command = Capture(id=operation, fingerprint=asked.fingerprint.hex(), money=money, final=body.final)
    heard = await asked.deps.runs.capture(payment.id, command, wait_seconds=asked.wait_seconds)
    part = await _part(asked, payment, heard, asked.deps.reads.capture)
    shown = CaptureResource(
        id=operation,
        payment=payment.id,
        amount=money.minor,
        currency=money.currency,
        status=part.status,
        failure_code=part.reason or None,
        payment_status=PaymentState(part.payment_state),
        created_at=created(asked),
        livemode=asked.deps.terms.is_live,
    )
    if part.status == "pending":  # it has a page of its own once its outcome is known
        return made(202, shown, f"{PAYMENTS.path}/{payment.id}")
    return made(201, shown, f"/v1/captures/{operation}")


async def void(asked: Asked[VoidBody]) -> Answer:
    """Give up what is not captured."""
    operation = asked_operation(asked)
    payment = await _payment_of(asked, asked.deps.reads.void)
    command = Void(id=operation, fingerprint=asked.fingerprint.hex())
    heard = await asked.deps.runs.void(payment.id, command, wait_seconds=asked.wait_seconds)
    part = await _part(asked, payment, heard, asked.deps.reads.void)
    shown = VoidResource(
        id=operation,
        payment=payment.id,
        status=part.status,
        failure_code=part.reason or None,
        payment_status=PaymentState(part.payment_state),
        amount_captured=part.captured.minor,
        created_at=created(asked),
        livemode=asked.deps.terms.is_live,
    )
    return made(202 if part.status == "pending" else 201, shown, f"{PAYMENTS.path}/{payment.id}")


async def show_capture(asked: Asked[CaptureBody]) -> Answer:
    """Show a capture whose outcome is known, with its timeline."""
    operation, reads = OperationId(asked.path["id"]), asked.deps.reads
    row = await reads.capture(operation) if is_operation_id(operation, Prefix.CAPTURE) else None
    if row is None or row.client != asked.client.id or row.payment is None:
        raise Problem(Code.CAPTURE_NOT_FOUND)
    payment, rows = await asyncio.gather(reads.payment(row.payment), reads.timeline(operation))
    assert payment is not None, f"{operation} without its payment"
    shown = CapturePage(
        id=operation,
        payment=payment.id,
        amount=row.money.minor,
        currency=row.money.currency,
        status=_status(row),
        failure_code=row.reason or None,
        payment_status=PaymentState(payment.state),
        created_at=resources.timestamp(row.created_at),
        livemode=asked.deps.terms.is_live,
        timeline=resources.moments(rows),
    )
    return made(200, shown)


Row = Callable[[OperationId], Awaitable[Stored | None]]


async def _payment_of(asked: Asked[Any], row: Row) -> Stored:
    """Return the payment, unless the id was used for another command: claims may be lost, rows are not."""
    payment, known = await asyncio.gather(find(PAYMENTS, asked, asked.path["id"]), row(asked_operation(asked)))
    if known is not None:
        must_be_ours(asked, known.fingerprint)
    return payment


async def _part(asked: Asked[Any], payment: Stored, heard: Heard, row: Row) -> Part:
    match heard:
        case Receipt():
            must_be_ours(asked, heard.fingerprint)
            status: PartStatus = "succeeded" if heard.outcome is Outcome.DONE else "failed"
            part = Part(status=status, reason=heard.reason, payment_state=heard.state, captured=heard.total)
        case Silence.CLOSED:
            part = await _of_closed_run(asked, payment, row)
        case Silence.UNDERWAY:
            view = await asked.deps.runs.view(payment.id)
            state, captured = (view.state, view.total) if view else (payment.state, payment.total)
            return Part(status="pending", payment_state=state, captured=captured)
        case Refusal():
            raise refused(heard)
    if part.status == "failed" and part.reason in PROBLEMS:
        raise Problem(PROBLEMS[part.reason])
    return part


async def _of_closed_run(asked: Asked[Any], payment: Stored, row: Row) -> Part:
    """The run takes nothing more: either this operation ended before it did, or it comes too late."""
    known = await row(asked_operation(asked))
    if known is None:
        raise Problem(Code.INVALID_STATE)
    must_be_ours(asked, known.fingerprint)
    now = await asked.deps.reads.payment(payment.id) or payment
    return Part(status=_status(known), reason=known.reason, payment_state=now.state, captured=now.total)


def _status(row: Stored) -> PartStatus:
    return "succeeded" if row.state == "succeeded" else "failed"


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
        errors=(Code.PAYMENT_NOT_FOUND, Code.INVALID_STATE, Code.OPERATION_IN_DOUBT),
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
