"""One key, one effect, one answer: the claim, what may be stored under it, and the same bytes for every repetition.

A claim is a lease. A request that dies leaves it to lapse; the next one takes it over and reaches the SAME run, because
the operation's id is made from the key (`domain.ids.derive`). The request's deadline is below the lease, so a claim is
taken over only from an owner that is gone or frozen, whose late answer the fence then keeps out.

Stored are answers that are final: the resource, and refusals that no repetition changes. Never 5xx, and nothing that
was decided before the claim.
"""

import asyncio
import hashlib
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from api import strict_json
from api.answers import Answer
from api.ports import Claimed, Claims, EngineUnavailable, InFlight, Mismatch, StoredAnswer
from api.problems import Code, Problem
from domain.errors import Unavailable
from domain.ids import ClientId, OperationId

KEY_LENGTH_MAX = 255
LEASE_SECONDS = 15.0
DEADLINE_SECONDS = 12.0  # below the lease by more than a store of the answer takes
ADMIT_SECONDS = 900.0  # past the lease nobody waits; a start that is a quarter of an hour late is stale

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)
Effect = Callable[[Claimed], Awaitable[Answer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyed:
    """A request under its key. `resource` is the id of the operation that it asks for."""

    client: ClientId
    mode: str
    key: str
    operation: str
    fingerprint: bytes
    resource: OperationId


def check_key(lines: list[str]) -> str:
    """Return the one key among the header's lines. Raises `Problem` where it is missing or not acceptable."""
    if not lines:
        raise Problem(Code.IDEMPOTENCY_KEY_MISSING)
    key = lines[0]
    if len(lines) > 1 or not 1 <= len(key) <= KEY_LENGTH_MAX or not all("!" <= letter <= "~" for letter in key):
        raise Problem(Code.IDEMPOTENCY_KEY_INVALID)
    return key


def fingerprint(operation: str, path: Mapping[str, str], query: Mapping[str, str], body: Any) -> bytes:
    """Digest what is asked for, as it was parsed: spaces and the order of names do not make another request."""
    parts = (
        b"fp1",
        operation.encode(),
        strict_json.canonical(dict(path)),
        strict_json.canonical(dict(query)),
        strict_json.canonical(body),
    )
    return hashlib.sha256(b"\0".join(parts)).digest()


def admit_until(claimed: Claimed) -> float:
    """Tell until when, in unix seconds by the database's clock, the run that this claim starts is still wanted."""
    return claimed.lease_until + ADMIT_SECONDS


async def once(claims: Claims, keyed: Keyed, effect: Effect, request_id: str) -> Answer:
    """Answer under the key: perform `effect` if the key is ours, else say what was said before.

    Raises `Problem` with `idempotency_key_in_flight`, `idempotency_key_reused`, and those of `effect` that are not
    final. `domain.errors.Unavailable` of the claim itself passes: nothing has happened.
    """
    claim = await claims.claim(
        keyed.client, keyed.mode, keyed.key, keyed.operation, keyed.fingerprint, keyed.resource, LEASE_SECONDS
    )
    match claim:
        case Claimed():
            return await _perform(claims, keyed, claim, effect, request_id)
        case StoredAnswer():
            return _replayed(claim)
        case InFlight():
            seconds = max(1, math.ceil(claim.retry_after_seconds))
            raise Problem(Code.IDEMPOTENCY_KEY_IN_FLIGHT, retry_after_seconds=seconds)
        case Mismatch():
            raise Problem(Code.IDEMPOTENCY_KEY_REUSED)


async def _perform(claims: Claims, keyed: Keyed, claim: Claimed, effect: Effect, request_id: str) -> Answer:
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            answer = await effect(claim)
    except Problem as problem:
        if not problem.spec.kept:
            await _release(claims, keyed, claim)
            raise
        answer = problem.answer(request_id)
    except (EngineUnavailable, TimeoutError):
        # It may have been started: the claim lapses, and whoever repeats reaches the same run.
        raise Problem(Code.ENGINE_UNAVAILABLE, retry_after_seconds=math.ceil(LEASE_SECONDS)) from None
    return await _finish(claims, keyed, claim, answer)


async def _finish(claims: Claims, keyed: Keyed, claim: Claimed, answer: Answer) -> Answer:
    """Store the answer. What is true is said even where it cannot be stored: a repetition reaches the same run."""
    try:
        stored = await claims.finish(
            keyed.client, keyed.mode, keyed.key, claim.fence, answer.status, dict(answer.headers), answer.body
        )
    except Unavailable:
        log.exception("idempotency.answer_not_stored", resource=keyed.resource)
        return answer
    return answer if stored is None else _replayed(stored)


async def _release(claims: Claims, keyed: Keyed, claim: Claimed) -> None:
    """Free the key; where that fails it frees itself when the lease lapses."""
    try:
        await claims.release(keyed.client, keyed.mode, keyed.key, claim.fence)
    except Unavailable:
        log.warning("idempotency.not_released", resource=keyed.resource)


def _replayed(stored: StoredAnswer) -> Answer:
    return Answer(status=stored.status, body=stored.body, headers=tuple(stored.headers.items()), replayed=True)
