"""What captures and increments have in common: an amount of a payment, and a page once the outcome is known."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from api import resources
from api.answers import Answer
from api.bodies import CaptureBody, IncrementBody
from api.intake import invalid
from api.ports import Heard, Reads
from api.problems import Code, Problem
from api.registrar import Asked
from api.resources import CapturePage, CaptureResource, IncrementPage, IncrementResource
from api.routes.parts import Row, owner_of, part, status_of
from api.routes.payments import PAYMENTS
from api.routes.started import asked_operation, created, made
from domain.ids import OperationId, Prefix, is_operation_id
from domain.lifecycle import PaymentState
from domain.money import Money


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One of the two: its ids, where it is shown and as what, and how its rows are read."""

    prefix: Prefix
    path: str
    row: Callable[[Reads], Row]
    resource: type[CaptureResource] | type[IncrementResource]
    page: type[CapturePage] | type[IncrementPage]
    missing: Code


Ask = Callable[[OperationId, OperationId, Money], Awaitable[Heard]]  # of a payment, as an operation, an amount


async def take(kind: Kind, asked: Asked[CaptureBody] | Asked[IncrementBody], ask: Ask) -> Answer:
    """Ask the payment's run, and answer what it says."""
    body, operation = asked.body, asked_operation(asked)
    assert body is not None
    row = kind.row(asked.deps.reads)
    payment = await owner_of(PAYMENTS, asked, row)
    if body.currency != payment.money.currency:
        raise invalid(Code.CURRENCY_MISMATCH, "/currency")
    money = Money(body.amount, body.currency)
    told = await part(PAYMENTS, asked, payment, await ask(payment.id, operation, money), row)
    shown = kind.resource(
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
    return made(201, shown, f"{kind.path}/{operation}")


async def show(kind: Kind, asked: Asked[Any]) -> Answer:
    """Show one whose outcome is known, with its timeline."""
    operation, reads = OperationId(asked.path["id"]), asked.deps.reads
    row = await kind.row(reads)(operation) if is_operation_id(operation, kind.prefix) else None
    if row is None or row.client != asked.client.id or row.payment is None:
        raise Problem(kind.missing)
    payment, rows = await asyncio.gather(reads.payment(row.payment), reads.timeline(operation))
    assert payment is not None, f"{operation} without its payment"
    shown = kind.page(
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
