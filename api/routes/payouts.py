"""Payouts: money of a merchant's balance to its bank. 201 says that the rail has it, not that it has arrived."""

from api import resources
from api.answers import Answer
from api.bodies import PageQuery, PayoutBody, RecallBody
from api.problems import OF_AMOUNTS, Code
from api.registrar import Asked, Auth, Idempotency, Operation
from api.resources import PayoutList, PayoutPage, PayoutResource, RecallResource
from api.routes.parts import owner_of, part
from api.routes.started import (
    STALE,
    Kind,
    admitted_until,
    asked_operation,
    before,
    created,
    made,
    must_be_permitted,
    page,
    start,
)
from domain.commands import Payout, Void
from domain.ids import MerchantId, OperationId, Prefix
from domain.lifecycle import PAYOUT, PayoutState
from domain.money import Money
from domain.outcomes import Reason
from identity.clients import Scope

PAYOUTS = Kind(
    prefix=Prefix.PAYOUT,
    path="/v1/payouts",
    lifecycle=PAYOUT,
    row=lambda reads, operation: reads.payout(operation),
    show=lambda operation, asked, known, live: resources.payout(operation, asked, known, live=live),
    missing=Code.PAYOUT_NOT_FOUND,
    refusals={
        **STALE,
        (PayoutState.DENIED, Reason.INSUFFICIENT_FUNDS): Code.INSUFFICIENT_FUNDS,
        (PayoutState.DENIED, Reason.NOT_REPLACEABLE): Code.NOT_REPLACEABLE,
    },
)


async def create(asked: Asked[PayoutBody]) -> Answer:
    """Pay a merchant out."""
    body, terms = asked.body, asked.deps.terms
    assert body is not None
    must_be_permitted(asked, body.merchant)
    command = Payout(
        id=asked_operation(asked),
        fingerprint=asked.fingerprint.hex(),
        client=asked.client.id,
        merchant=MerchantId(body.merchant),
        money=Money(body.amount, body.currency),
        promises=terms.promises,
        admit_until=admitted_until(asked),
        merchant_reference=body.merchant_reference or "",
        destination=body.destination,
        replaces=OperationId(body.replaces) if body.replaces else None,
    )
    return await start(PAYOUTS, asked, command)


async def recall(asked: Asked[RecallBody]) -> Answer:
    """Call a payout back that has not arrived."""
    operation, reads = asked_operation(asked), asked.deps.reads
    payout = await owner_of(PAYOUTS, asked, reads.void)
    command = Void(id=operation, fingerprint=asked.fingerprint.hex())
    heard = await asked.deps.runs.recall(payout.id, command, wait_seconds=asked.wait_seconds)
    told = await part(PAYOUTS, asked, payout, heard, reads.void)
    shown = RecallResource(
        id=operation,
        payout=payout.id,
        status=told.status,
        failure_code=told.reason or None,
        payout_status=PayoutState(told.owner_state),
        created_at=created(asked),
        livemode=asked.deps.terms.is_live,
    )
    return made(told.http_status, shown, f"{PAYOUTS.path}/{payout.id}")


async def show(asked: Asked[PayoutBody]) -> Answer:
    """Show a payout with its timeline."""
    return await page(PAYOUTS, asked, PayoutPage)


async def list_payouts(asked: Asked[PayoutBody]) -> Answer:
    """List the client's payouts by their rows, which may lag behind an answer."""
    query = asked.query
    assert isinstance(query, PageQuery)
    after = await before(PAYOUTS, asked, query.starting_after)
    rows = await asked.deps.reads.payouts(asked.client.id, query.limit + 1, after)
    live = asked.deps.terms.is_live
    data = [
        resources.payout(row.id, resources.asked_of(row), resources.from_row(row), live=live)
        for row in rows[: query.limit]
    ]
    return made(200, PayoutList(data=data, has_more=len(rows) > query.limit))


OPERATIONS = (
    Operation(
        id="createPayout",
        method="POST",
        path="/v1/payouts",
        summary="Pay a merchant out",
        perform=create,
        answers={201: PayoutResource, 202: PayoutResource},
        auth=Auth.BEARER,
        scope=Scope.PAYOUTS_CREATE,
        idempotency=Idempotency.KEY,
        audit="payout.requested",
        makes=Prefix.PAYOUT,
        body=PayoutBody,
        errors=(
            Code.MERCHANT_NOT_PERMITTED,
            Code.NOT_STARTED,
            Code.INSUFFICIENT_FUNDS,
            Code.NOT_REPLACEABLE,
            *OF_AMOUNTS,
        ),
    ),
    Operation(
        id="recallPayout",
        method="POST",
        path="/v1/payouts/{id}/recall",
        summary="Call a payout back that has not arrived",
        perform=recall,
        answers={201: RecallResource, 202: RecallResource},
        auth=Auth.BEARER,
        scope=Scope.PAYOUTS_RECALL,
        idempotency=Idempotency.KEY,
        audit="payout.recall.requested",
        makes=Prefix.VOID,
        body=RecallBody,
        body_optional=True,
        errors=(Code.PAYOUT_NOT_FOUND, Code.INVALID_STATE, Code.OPERATION_IN_DOUBT, Code.NOT_SUPPORTED),
    ),
    Operation(
        id="listPayouts",
        method="GET",
        path="/v1/payouts",
        summary="List payouts, newest first",
        perform=list_payouts,
        answers={200: PayoutList},
        auth=Auth.BEARER,
        scope=Scope.PAYOUTS_READ,
        query=PageQuery,
    ),
    Operation(
        id="getPayout",
        method="GET",
        path="/v1/payouts/{id}",
        summary="Show a payout with its timeline",
        perform=show,
        answers={200: PayoutPage},
        auth=Auth.BEARER,
        scope=Scope.PAYOUTS_READ,
        errors=(Code.PAYOUT_NOT_FOUND,),
    ),
)
