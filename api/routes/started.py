"""What payments, refunds, payouts and disputes have in common: a run of their own, a row, and a page.

A start is answered from the run's receipt; from the row where the run has closed; and with 202 where it is taken and
not done. The three never meet in one answer, and none of them is a guess.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from api import resources
from api.answers import JSON, Answer
from api.idempotency import admit_until
from api.intake import invalid
from api.ports import Before, EngineUnavailable, Reads, Refusal, Requested, Silence, Stored
from api.problems import Code, Problem
from api.registrar import Asked
from api.resources import Known
from domain.commands import Payment, Payout, Refund
from domain.ids import OperationId, Prefix, is_operation_id
from domain.lifecycle import Lifecycle, is_terminal
from domain.outcomes import Outcome, Reason, Receipt

DOUBT_RETRY_SECONDS = 5  # the first inquiries of a doubt are seconds apart
Show = Callable[[OperationId, Requested, Known, bool], BaseModel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One of the four. `refusals` are the ends that are told as problems, by state and reason."""

    prefix: Prefix
    path: str
    lifecycle: Lifecycle[Any]
    row: Callable[[Reads, OperationId], Awaitable[Stored | None]]
    show: Show
    missing: Code
    refusals: Mapping[tuple[str, str], Code]


STALE = {("not_started", str(Reason.STALE)): Code.NOT_STARTED}


async def start(kind: Kind, asked: Asked[Any], command: Payment | Refund | Payout) -> Answer:
    """Start the run of `command`, or meet it, and say what it says."""
    created_at = created(asked)
    requested = resources.asked_by(command, created_at)
    deps = asked.deps
    heard = await deps.runs.start(command, created_at=created_at, wait_seconds=asked.wait_seconds)
    match heard:
        case Receipt(outcome=Outcome.PENDING):  # the run lets its initiator go: the payer is asked, or a person
            must_be_ours(asked, heard.fingerprint)
            return await _underway(kind, asked, requested)
        case Receipt():
            must_be_ours(asked, heard.fingerprint)
            return _ended(kind, asked, requested, resources.from_receipt(heard))
        case Silence.CLOSED:
            row = await kind.row(deps.reads, command.id)
            if row is None:  # the engine has it, our books do not: it is not for us to say what became of it
                raise EngineUnavailable(command.id)
            must_be_ours(asked, row.fingerprint)
            return _ended(kind, asked, requested, resources.from_row(row))
        case Silence.UNDERWAY:
            return await _underway(kind, asked, requested)
        case Refusal():
            raise refused(heard)


async def _underway(kind: Kind, asked: Asked[Any], requested: Requested) -> Answer:
    """Say what is known while it is not done: what the run says, or nothing."""
    operation = asked_operation(asked)
    view = await asked.deps.runs.view(operation)
    known = resources.from_view(view) if view else resources.nothing_yet(requested.money)
    return made(202, _shown(kind, asked, operation, requested, known), f"{kind.path}/{operation}")


def _ended(kind: Kind, asked: Asked[Any], requested: Requested, known: Known) -> Answer:
    code = kind.refusals.get((known.state, known.reason))
    if code is not None:
        raise Problem(code)
    operation = asked_operation(asked)
    return made(201, _shown(kind, asked, operation, requested, known), f"{kind.path}/{operation}")


def _shown(kind: Kind, asked: Asked[Any], operation: OperationId, requested: Requested, known: Known) -> BaseModel:
    return kind.show(operation, requested, known, asked.deps.terms.is_live)


async def find(kind: Kind, asked: Asked[Any], operation: str) -> Stored:
    """Return the client's row. Raises `Problem` where there is none, or it is another client's."""
    if not is_operation_id(operation, kind.prefix):
        raise Problem(kind.missing)
    row = await kind.row(asked.deps.reads, OperationId(operation))
    if row is None or row.client != asked.client.id:
        raise Problem(kind.missing)
    return row


async def know(kind: Kind, asked: Asked[Any]) -> tuple[OperationId, Requested, Known]:
    """Tell what is known of the operation in the path: the run is asked first while it is not at rest (money rule 13).

    A run whose row is not written yet is shown by what it was started with.
    """
    deps, operation = asked.deps, OperationId(asked.path["id"])
    if not is_operation_id(operation, kind.prefix):
        raise Problem(kind.missing)
    row = await kind.row(deps.reads, operation)
    requested = resources.asked_of(row) if row else await deps.runs.requested(operation)
    if requested is None or requested.client != asked.client.id:
        raise Problem(kind.missing)
    known = resources.from_row(row) if row else resources.nothing_yet(requested.money)
    if row is None or not is_terminal(kind.lifecycle, type(next(iter(kind.lifecycle)))(row.state)):
        view = await deps.runs.view(operation)
        known = resources.from_view(view) if view else known
    return operation, requested, known


async def page(kind: Kind, asked: Asked[Any], page_of: type[BaseModel]) -> Answer:
    """Show the operation in the path with its timeline."""
    (operation, requested, known), rows = await asyncio.gather(
        know(kind, asked), asked.deps.reads.timeline(OperationId(asked.path["id"]))
    )
    shown = _shown(kind, asked, operation, requested, known)
    return made(200, page_of(**dict(shown), timeline=resources.moments(rows)))


async def before(kind: Kind, asked: Asked[Any], starting_after: str | None) -> Before | None:
    """Tell where the page before ended."""
    if starting_after is None:
        return None
    try:
        row = await find(kind, asked, starting_after)
    except Problem:
        raise invalid(Code.FIELD_INVALID, "/starting_after", "query") from None
    return row.created_at, row.id


def asked_operation(asked: Asked[Any]) -> OperationId:
    """The id of what a keyed request asks for."""
    assert asked.operation is not None
    return asked.operation


def created(asked: Asked[Any]) -> str:
    """When the key was first claimed: the operation's time in every answer to it."""
    assert asked.claimed is not None
    return resources.timestamp(asked.claimed.created_at)


def admitted_until(asked: Asked[Any]) -> float:
    """Until when the run may still be started."""
    assert asked.claimed is not None
    return admit_until(asked.claimed)


def must_be_ours(asked: Asked[Any], fingerprint: str) -> None:
    """Refuse to answer one command with another's receipt: Temporal asks nobody before it repeats one."""
    if fingerprint != asked.fingerprint.hex():
        raise Problem(Code.IDEMPOTENCY_KEY_REUSED)


def must_be_permitted(asked: Asked[Any], merchant: str) -> None:
    """Refuse a client that may not act for the merchant."""
    if not asked.client.may_act_for(merchant):
        raise Problem(Code.MERCHANT_NOT_PERMITTED)


def refused(refusal: Refusal) -> Problem:
    """Translate a validator's refusal: nothing was done, and nothing stands in the run's history."""
    match refusal:
        case Refusal.CONFLICT:
            return Problem(Code.IDEMPOTENCY_KEY_REUSED)
        case Refusal.IN_DOUBT:
            return Problem(Code.OPERATION_IN_DOUBT, retry_after_seconds=DOUBT_RETRY_SECONDS)
        case Refusal.CAPTURE_EXCEEDS_AUTHORIZATION:
            return Problem(Code.CAPTURE_EXCEEDS_AUTHORIZATION)
        case Refusal.INVALID_STATE:
            return Problem(Code.INVALID_STATE)
        case Refusal.NOT_SUPPORTED:
            return Problem(Code.NOT_SUPPORTED)


def made(status: int, resource: BaseModel, location: str | None = None) -> Answer:
    """Make an answer of a resource."""
    headers = [("Content-Type", JSON)]
    if location is not None:
        headers.append(("Location", location))
    return Answer(status=status, body=resource.model_dump_json().encode(), headers=tuple(headers))
