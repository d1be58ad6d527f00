"""What captures, increments, voids and recalls have in common: they are operations of another operation's run.

They are answered by their receipt, or by their row once the run has closed. Refuses without a run only what the row of
the owner proves for ever: another currency. All else the run decides, so that a doubt about one operation keeps the
others waiting (money rule 9).
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from api.ports import Heard, Refusal, Silence, Stored
from api.problems import Code, Problem
from api.registrar import Asked
from api.resources import PartStatus
from api.routes.started import Kind, asked_operation, find, must_be_ours, refused
from domain.ids import OperationId
from domain.money import Money
from domain.outcomes import Outcome, Reason, Receipt

PROBLEMS: dict[str, Code] = {
    Reason.CAPTURE_EXCEEDS_AUTHORIZATION: Code.CAPTURE_EXCEEDS_AUTHORIZATION,
    Reason.PAYMENT_CLOSED: Code.INVALID_STATE,
    Reason.NOT_SUPPORTED: Code.NOT_SUPPORTED,
}

Row = Callable[[OperationId], Awaitable[Stored | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What became of one, and where its owner stands."""

    status: PartStatus
    reason: str = ""
    owner_state: str
    owner_total: Money

    @property
    def http_status(self) -> int:
        """Whether its outcome is known."""
        return 202 if self.status == "pending" else 201


async def owner_of(kind: Kind, asked: Asked[Any], row: Row) -> Stored:
    """Return the owner, unless the id was used for another command: claims may be lost, rows are not."""
    owner, known = await asyncio.gather(find(kind, asked, asked.path["id"]), row(asked_operation(asked)))
    if known is not None:
        must_be_ours(asked, known.fingerprint)
    return owner


async def part(kind: Kind, asked: Asked[Any], owner: Stored, heard: Heard, row: Row) -> Part:
    """Say what the owner's run says. Raises `Problem` where it has not taken the operation."""
    match heard:
        case Receipt(outcome=Outcome.PENDING):
            must_be_ours(asked, heard.fingerprint)
            return await _underway(asked, owner)
        case Receipt():
            must_be_ours(asked, heard.fingerprint)
            status: PartStatus = "succeeded" if heard.outcome is Outcome.DONE else "failed"
            told = Part(status=status, reason=heard.reason, owner_state=heard.state, owner_total=heard.total)
        case Silence.CLOSED:
            told = await _of_closed_run(kind, asked, owner, row)
        case Silence.UNDERWAY:
            return await _underway(asked, owner)
        case Refusal():
            raise refused(heard)
    if told.status == "failed" and told.reason in PROBLEMS:
        raise Problem(PROBLEMS[told.reason])
    return told


async def _underway(asked: Asked[Any], owner: Stored) -> Part:
    view = await asked.deps.runs.view(owner.id)
    state, total = (view.state, view.total) if view else (owner.state, owner.total)
    return Part(status="pending", owner_state=state, owner_total=total)


async def _of_closed_run(kind: Kind, asked: Asked[Any], owner: Stored, row: Row) -> Part:
    """The run takes nothing more: either this operation ended before it did, or it comes too late."""
    known = await row(asked_operation(asked))
    if known is None:
        raise Problem(Code.INVALID_STATE)
    must_be_ours(asked, known.fingerprint)
    now = await kind.row(asked.deps.reads, owner.id) or owner
    return Part(status=status_of(known), reason=known.reason, owner_state=now.state, owner_total=now.total)


def status_of(row: Stored) -> PartStatus:
    """What became of one by its row, which is written when that is known."""
    return "succeeded" if row.state == "succeeded" else "failed"
