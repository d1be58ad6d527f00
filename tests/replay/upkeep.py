"""The lives of upkeep's runs that are kept as histories: each workflow's, and verify's with a broken book."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.worker import Worker

from contracts.upkeep import QUEUE, Acknowledgement, Archived, Finding, Months, Purged, Sealed, Upkeep, Verified
from workers.sandbox import SANDBOX
from workflows.upkeep import WORKFLOWS

BROKEN = Finding(what="a balance is not the sum of its postings", subject="holdfast:bank EUR", detail="version 1")


@dataclass(frozen=True, kw_only=True)
class Life:
    """A run of a workflow; of verify also whether it finds the book broken, and whether a person takes it then."""

    workflow: str
    name: str = "done"
    is_broken: bool = False
    taken_by: str = ""

    @property
    def run(self) -> str:
        return f"upkeep/{self.workflow}-{self.name}"


LIVES = (
    Life(workflow="LedgerMonths"),
    Life(workflow="LedgerSeal"),
    Life(workflow="LedgerArchive"),
    Life(workflow="ClaimsPurge"),
    Life(workflow="LedgerVerify", name="fine"),
    Life(workflow="LedgerVerify", name="broken-taken", is_broken=True, taken_by="ada"),
    Life(workflow="LedgerVerify", name="broken-nobody", is_broken=True),
)


class FakeUpkeep(Upkeep):
    """Upkeep that has always just been done."""

    @activity.defn(name="ledger.ensure_months")
    async def ensure_months(self) -> Months:
        return Months(ahead=12)

    @activity.defn(name="ledger.seal")
    async def seal(self) -> Sealed:
        return Sealed(seals=1, rows=7, lag_seconds=0.5)

    @activity.defn(name="ledger.verify")
    async def verify(self) -> Verified:
        life = next(life for life in LIVES if life.run == activity.info().workflow_id)
        return Verified(checks=15, seconds=1.5, broken=BROKEN if life.is_broken else None)

    @activity.defn(name="ledger.archive")
    async def archive(self) -> Archived:
        return Archived(months=("2020-01",))

    @activity.defn(name="claims.purge")
    async def purge_claims(self) -> Purged:
        return Purged(claims=3)


@asynccontextmanager
async def upkeep_worker(client: Client) -> AsyncGenerator[None]:
    """Run upkeep's workflows over the fake."""
    fake = FakeUpkeep()
    activities = [fake.ensure_months, fake.seal, fake.verify, fake.archive, fake.purge_claims]
    async with Worker(client, task_queue=QUEUE, workflows=WORKFLOWS, activities=activities, workflow_runner=SANDBOX):
        yield


async def lived(client: Client, life: Life) -> WorkflowHandle[Any, str]:
    """Live a run to its end."""
    run: WorkflowHandle[Any, str] = await client.start_workflow(
        life.workflow, id=life.run, task_queue=QUEUE, result_type=str
    )
    if life.taken_by:
        acknowledgement = Acknowledgement(who=life.taken_by, why="incident 12")
        while True:
            try:
                await run.execute_update("acknowledge", acknowledgement)  # pyright: ignore[reportUnknownMemberType]
                break
            except WorkflowUpdateFailedError:  # it has not found it yet
                await asyncio.sleep(0.05)
    await run.result()
    return run
