"""Captures and voids: operations of a payment's run, answered by their receipt, or by their row once it has closed.

Refuses without a run only what the payment's row proves for ever: another currency. All else the run decides, so that
a doubt about one operation keeps the others waiting (money rule 9).
"""

import asyncio

from api import resources
from api.answers import Answer
from api.bodies import CaptureBody, VoidBody
from api.intake import invalid
from api.ports import Heard, Refusal, Silence, Stored
from api.problems import Code, Problem
from api.registrar import Asked, Auth, Idempotency, Operation
from api.resources import CaptureResource, VoidResource
from api.routes.payments import PAYMENTS
from api.routes.started import asked_operation, created, find, made, must_be_ours, refused
from domain.commands import Capture, Void
from domain.ids import OperationId, Prefix, is_operation_id
from domain.lifecycle import PaymentState
from domain.money import Money
from domain.outcomes import Outcome, Reason, Receipt
from identity.clients import Scope

REFUSALS = {
    Reason.CAPTURE_EXCEEDS_AUTHORIZATION: Code.CAPTURE_EXCEEDS_AUTHORIZATION,
    Reason.PAYMENT_CLOSED: Code.INVALID_STATE,
}


async def capture(asked: Asked[CaptureBody]) -> Answer:
    """Take all or a part of an authorization."""
    body, operation = asked.body, asked_operation(asked)
    assert body is not None
    payment, known = await asyncio.gather(
        find(PAYMENTS, asked, asked.path["id"]), asked.deps.reads.capture(operation)
    )
    _must_be_the_same(asked, known)
    if body.currency != payment.money.currency:
        raise invalid(Code.CURRENCY_MISMATCH, "/currency")
    money = Money(body.amount, body.currency)
    command = Capture(id=operation, fingerprint=asked.fingerprint.hex(), money=money, final=body.final)
    heard = await asked.deps.runs.capture(payment.id, command, wait_seconds=asked.wait_seconds)
    part = await _outcome(asked, payment, heard, asked.deps.reads.capture)
    shown = CaptureResource(
        id=operation,
        payment=payment.id,
        amount=money.minor,
        currency=money.currency,
        status=part.status,
        failure_code=part.reason or None,
        payment_status=part.payment_status,
        created_at=created(asked),
        livemode=asked.deps.terms.is_live,
    )
    if part.status == "pending":  # it has a page of its own once its outcome is known
        return made(202, shown, f"{PAYMENTS.path}/{payment.id}")
    return made(201, shown, f"/v1/captures/{operation}")
