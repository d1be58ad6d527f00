"""Disputes: a payer's bank wants money back. Providers open and decide them; an initiator reads how they stand."""

from pydantic import BaseModel

from api import resources
from api.answers import Answer
from api.bodies import PageQuery
from api.problems import Code
from api.registrar import Asked, Auth, Operation
from api.resources import DisputeList, DisputePage
from api.routes.started import Kind, before, made, page
from domain.ids import Prefix
from domain.lifecycle import DISPUTE
from identity.clients import Scope

DISPUTES = Kind(
    prefix=Prefix.DISPUTE,
    path="/v1/disputes",
    lifecycle=DISPUTE,
    row=lambda reads, operation: reads.dispute(operation),
    show=lambda operation, asked, known, live: resources.dispute(operation, asked, known, live=live),
    missing=Code.DISPUTE_NOT_FOUND,
    refusals={},  # nobody asks for one
)


async def show(asked: Asked[BaseModel]) -> Answer:
    """Show a dispute with its timeline."""
    return await page(DISPUTES, asked, DisputePage)


async def list_disputes(asked: Asked[BaseModel]) -> Answer:
    """List the disputes of the client's payments by their rows."""
    query = asked.query
    assert isinstance(query, PageQuery)
    after = await before(DISPUTES, asked, query.starting_after)
    rows = await asked.deps.reads.disputes(asked.client.id, query.limit + 1, after)
    live = asked.deps.terms.is_live
    data = [
        resources.dispute(row.id, resources.asked_of(row), resources.from_row(row), live=live)
        for row in rows[: query.limit]
    ]
    return made(200, DisputeList(data=data, has_more=len(rows) > query.limit))


OPERATIONS = (
    Operation(
        id="listDisputes",
        method="GET",
        path="/v1/disputes",
        summary="List disputes, newest first",
        perform=list_disputes,
        answers={200: DisputeList},
        auth=Auth.BEARER,
        scope=Scope.DISPUTES_READ,
        query=PageQuery,
    ),
    Operation(
        id="getDispute",
        method="GET",
        path="/v1/disputes/{id}",
        summary="Show a dispute with its timeline",
        perform=show,
        answers={200: DisputePage},
        auth=Auth.BEARER,
        scope=Scope.DISPUTES_READ,
        errors=(Code.DISPUTE_NOT_FOUND,),
    ),
)
