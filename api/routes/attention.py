"""What waits for people, and what they say about it: for operators, known by tokens of their own.

An approval is written down under the operator's name and moves nothing. When another operator has said exactly the same
the two make a decision, which the run itself checks before it believes it (money rule 15).
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from api import resources
from api.answers import Answer
from api.bodies import ApprovalBody, AttentionQuery, RetryBody
from api.parked import run_of
from api.ports import EngineUnavailable, ParkedRun, StoredApproval
from api.problems import Code, Problem
from api.registrar import Asked, Auth, Idempotency, Operation
from api.resources import ApprovalGiven, ParkedList, ParkedResource, RetryAsked
from api.routes.started import made
from domain.ids import Reference
from domain.outcomes import Attention, Decision, Outcome
from identity.operators import OperatorScope

DECISION = "resolve"  # the update by which a run takes a decision; what waits for another update needs no approval


async def list_waiting(asked: Asked[BaseModel]) -> Answer:
    """List what waits for people, the oldest deadline first."""
    query = asked.query
    assert isinstance(query, AttentionQuery)
    runs, more = await asked.deps.parked.waiting(query.owner)
    data = await asyncio.gather(*(_shown(asked, run) for run in runs))
    return made(200, ParkedList(data=data, has_more=more))


async def show(asked: Asked[BaseModel]) -> Answer:
    """Show one open run, whether it waits or not."""
    return made(200, await _shown(asked, await _open_run(asked)))


async def approve(asked: Asked[ApprovalBody]) -> Answer:
    """Give one of two approvals; with the second the decision is handed to the run."""
    body, operator, run = asked.body, asked.operator, _run(asked)
    assert body is not None
    assert operator is not None
    reference, outcome = Reference(body.reference), Outcome(body.outcome)
    mine = _same(await asked.deps.approvals.of(run, reference), body, operator.name)
    if mine and mine[0].used_by is not None:  # said before, and acted upon: an answer that was lost on the way
        return await _given(asked, mine[0].id, outcome, await asked.deps.parked.look(run), decided=True)
    waiting = await _open_run(asked)
    wanted = _attention(waiting)
    if (wanted.reference, wanted.update) != (reference, DECISION):
        raise Problem(Code.NOT_PARKED)
    given = await asked.deps.approvals.give(run, reference, outcome, body.evidence, operator.name)
    other = _others(await asked.deps.approvals.of(run, reference), body, operator.name)
    if other is None:
        return await _given(asked, given, outcome, waiting, decided=False)
    first, second = sorted((other.id, given))  # the same pair, whoever of the two comes last
    decision = Decision(reference=reference, outcome=outcome, evidence=body.evidence, approvals=(first, second))
    if why_not := await asked.deps.parked.resolve(run, decision):
        raise Problem(Code.DECISION_REFUSED, why_not)
    return await _given(asked, given, outcome, await asked.deps.parked.decided(run, reference), decided=True)


async def retry(asked: Asked[RetryBody]) -> Answer:
    """Have a run ask the world again about what it waits for."""
    body, run = asked.body, _run(asked)
    assert body is not None
    reference = Reference(body.reference or _attention(await _open_run(asked)).reference)
    if why_not := await asked.deps.parked.retry(run, reference):
        raise Problem(Code.NOT_PARKED, why_not)
    now = await asked.deps.parked.decided(run, reference)
    return made(200, RetryAsked(reference=reference, run=await _shown(asked, now) if now else None))


def _run(asked: Asked[Any]) -> str:
    run = run_of(asked.path["run"])
    if run is None:
        raise Problem(Code.RUN_NOT_FOUND)
    return run


async def _open_run(asked: Asked[Any]) -> ParkedRun:
    found = await asked.deps.parked.look(_run(asked))
    if found is None:
        raise Problem(Code.RUN_NOT_FOUND)
    return found


def _attention(run: ParkedRun) -> Attention:
    """What a run asks. Raises `Problem` where it asks nothing, and `EngineUnavailable` where it does not say."""
    if run.view is None and not run.why:
        raise EngineUnavailable(run.run)
    if run.view is None or run.view.attention is None:
        raise Problem(Code.NOT_PARKED)
    return run.view.attention


def _same(approvals: Sequence[StoredApproval], body: ApprovalBody, actor: str) -> list[StoredApproval]:
    return [each for each in approvals if each.actor == actor and _says(each, body)]


def _others(approvals: Sequence[StoredApproval], body: ApprovalBody, actor: str) -> StoredApproval | None:
    """The oldest approval by another operator that says the same and has made no decision yet."""
    unused = [each for each in approvals if each.actor != actor and _says(each, body) and each.used_by is None]
    return unused[0] if unused else None


def _says(approval: StoredApproval, body: ApprovalBody) -> bool:
    return (approval.outcome, approval.evidence) == (body.outcome, body.evidence)


async def _given(
    asked: Asked[ApprovalBody], approval: str, outcome: Outcome, run: ParkedRun | None, *, decided: bool
) -> Answer:
    shown = ApprovalGiven(
        id=approval,
        outcome=outcome,
        decision="decided" if decided else "waiting",
        run=await _shown(asked, run) if run else None,
    )
    return made(201, shown)


async def _shown(asked: Asked[Any], run: ParkedRun) -> ParkedResource:
    attention = run.view.attention if run.view else None
    approvals = await asked.deps.approvals.of(run.run, attention.reference) if attention else ()
    return resources.parked(run, approvals)


OPERATIONS = (
    Operation(
        id="listAttention",
        method="GET",
        path="/v1/attention",
        summary="List what waits for people, the oldest deadline first",
        perform=list_waiting,
        answers={200: ParkedList},
        auth=Auth.OPERATOR,
        scope=OperatorScope.READ,
        query=AttentionQuery,
        errors=(Code.ENGINE_UNAVAILABLE,),
    ),
    Operation(
        id="getAttention",
        method="GET",
        path="/v1/attention/{run:path}",
        summary="Show an open run, and what it waits for",
        perform=show,
        answers={200: ParkedResource},
        auth=Auth.OPERATOR,
        scope=OperatorScope.READ,
        errors=(Code.RUN_NOT_FOUND, Code.ENGINE_UNAVAILABLE),
    ),
    Operation(
        id="createApproval",
        method="POST",
        path="/v1/attention/{run:path}/approvals",
        summary="Give one of the two approvals that a decision needs",
        perform=approve,
        answers={201: ApprovalGiven},
        auth=Auth.OPERATOR,
        scope=OperatorScope.APPROVE,
        idempotency=Idempotency.CONTENT,
        audit="attention.approval.given",
        body=ApprovalBody,
        errors=(Code.FIELD_MISSING, Code.RUN_NOT_FOUND, Code.NOT_PARKED, Code.DECISION_REFUSED),
    ),
    Operation(
        id="retryParked",
        method="POST",
        path="/v1/attention/{run:path}/retry",
        summary="Have a run that waits ask the world again; moves no money",
        perform=retry,
        answers={200: RetryAsked},
        auth=Auth.OPERATOR,
        scope=OperatorScope.ACT,
        idempotency=Idempotency.CONTENT,
        audit="attention.retry.requested",
        body=RetryBody,
        body_optional=True,
        errors=(Code.RUN_NOT_FOUND, Code.NOT_PARKED),
    ),
)
