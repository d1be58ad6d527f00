"""Approvals: what operators have said about runs that wait for a decision, each word once and never altered.

A decision that may move money needs two of them (money rule 15). Who an operator is, and what a decision leads to, is
not known here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from domain.ids import Reference
from domain.outcomes import Outcome

EVIDENCE_LENGTH_MAX = 1000  # characters: where to look, not what is there; the table says the same


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredApproval:
    """One operator's word; `used_by` is the approval together with which it made a decision, if it has."""

    id: str
    run: str
    reference: Reference
    outcome: Outcome
    evidence: str
    actor: str
    at: datetime
    used_by: str | None


class Approvals:
    """The approvals behind a pool of connections."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def give(self, run: str, reference: Reference, outcome: Outcome, evidence: str, actor: str) -> str:
        """Write an operator's approval down and tell its id; the same again is the same approval.

        `run` is a workflow id. Raises `asyncpg.CheckViolationError` for an outcome other than done and refused, and for
        evidence that is empty or longer than `EVIDENCE_LENGTH_MAX`.
        """
        given: str = await self._pool.fetchval(
            "SELECT records.give_approval($1, $2, $3, $4, $5)", run, reference, outcome, evidence, actor
        )
        return given

    async def use(self, run: str, reference: Reference, outcome: Outcome, evidence: str, ids: Sequence[str]) -> str:
        """Use two approvals up for a decision; say why not where they do not make it, and nothing otherwise.

        They must be of two people, for exactly this run, reference, outcome and evidence, and not used for another
        decision. The same decision may ask again.
        """
        if len(ids) != 2:
            return f"two approvals are needed, and these are {len(ids)}"
        why_not: str = await self._pool.fetchval(
            "SELECT records.use_approvals($1, $2, $3, $4, $5, $6)", run, reference, outcome, evidence, *ids
        )
        return why_not

    async def of(self, run: str, reference: Reference) -> list[StoredApproval]:
        """The approvals about a run's reference, oldest first."""
        return [
            StoredApproval(
                id=row["id"],
                run=row["run"],
                reference=Reference(row["reference"]),
                outcome=Outcome(row["outcome"]),
                evidence=row["evidence"],
                actor=row["actor"],
                at=row["at"],
                used_by=row["used_by"],
            )
            for row in await self._pool.fetch(OF, run, reference)
        ]


OF = """
SELECT id, run, reference, outcome, evidence, actor, at, used_by FROM records.approval
WHERE run = $1 AND reference = $2 ORDER BY at, id
"""
