"""When what nobody asks for happens, by Temporal's schedules: upkeep, and the sweeps of merchants' balances.

Those of upkeep are made or brought up to date at every start of an upkeep process, those of sweeps by a person. What
still runs when its time comes again is left alone. What a schedule missed while Temporal was down is made good only
where that helps.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleCalendarSpec,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode

from contracts.payouts import Sweep, sweep_id
from contracts.queues import PAYMENTS, TASK_TIMEOUT
from contracts.upkeep import QUEUE

SOON = timedelta(minutes=1)  # the shortest that Temporal keeps: nothing missed is made good
LATER_THE_SAME_DAY = timedelta(hours=12)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task: which workflow, when, and until how late a missed time is made good."""

    id: str
    workflow: str
    spec: ScheduleSpec
    overlap: ScheduleOverlapPolicy = ScheduleOverlapPolicy.SKIP
    missed: timedelta = SOON


def _at(hour: int, *, day: int | None = None) -> ScheduleSpec:
    """Every day at an hour, UTC, or on one day of each month."""
    days = ScheduleRange(1, 31) if day is None else ScheduleRange(day)
    return ScheduleSpec(calendars=[ScheduleCalendarSpec(hour=(ScheduleRange(hour),), day_of_month=(days,))])


def _every(interval: timedelta) -> ScheduleSpec:
    return ScheduleSpec(intervals=[ScheduleIntervalSpec(every=interval)])


TASKS = (
    # What is not sealed yet can be changed unseen, so the interval is what a tamperer has. One seal costs milliseconds.
    Task(id="ledger-seal", workflow="LedgerSeal", spec=_every(timedelta(minutes=1))),
    # Months are made a year ahead: a day is soon enough by far.
    Task(id="ledger-months", workflow="LedgerMonths", spec=_at(1), missed=LATER_THE_SAME_DAY),
    # At night, as all rows are read. A broken book keeps its run open for a person; the next night looks all the same.
    Task(
        id="ledger-verify",
        workflow="LedgerVerify",
        spec=_at(2),
        overlap=ScheduleOverlapPolicy.ALLOW_ALL,
        missed=LATER_THE_SAME_DAY,
    ),
    # On the second of a month, when the month before has certainly ended everywhere; after that night's verify.
    Task(id="ledger-archive", workflow="LedgerArchive", spec=_at(4, day=2), missed=LATER_THE_SAME_DAY),
    # Answers are kept for thirty days: an hour is soon enough, and a purge stays small.
    Task(id="claims-purge", workflow="ClaimsPurge", spec=_every(timedelta(hours=1))),
)


async def ensure(client: Client) -> None:
    """Make every schedule, or give the one that stands the present code's times; one that a person paused stays so."""
    await asyncio.gather(*(_ensure(client, task) for task in TASKS))


async def _ensure(client: Client, task: Task) -> None:
    wanted = Schedule(
        action=ScheduleActionStartWorkflow(task.workflow, id=f"upkeep/{task.id}", task_queue=QUEUE),
        spec=task.spec,
        policy=SchedulePolicy(overlap=task.overlap, catchup_window=task.missed),
    )
    await _ensure_schedule(client, task.id, wanted)


async def ensure_sweep(client: Client, sweep: Sweep, hour: int) -> None:
    """Sweep every day at an hour, UTC. A day that was missed is swept late the same day; the next takes the rest."""
    wanted = Schedule(
        action=ScheduleActionStartWorkflow(
            "PayoutSweep", sweep, id=f"{sweep_id(sweep)}/run", task_queue=PAYMENTS, task_timeout=TASK_TIMEOUT
        ),
        spec=_at(hour),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=LATER_THE_SAME_DAY),
    )
    await _ensure_schedule(client, sweep_id(sweep), wanted)


async def sweep_now(client: Client, sweep: Sweep) -> None:
    """Sweep at once, by its schedule."""
    await client.get_schedule_handle(sweep_id(sweep)).trigger()


async def remove_sweep(client: Client, sweep: Sweep) -> bool:
    """Sweep no more; False where there was no such schedule. A payout that was started goes on."""
    try:
        await client.get_schedule_handle(sweep_id(sweep)).delete()
    except RPCError as failure:
        if failure.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


async def _ensure_schedule(client: Client, name: str, wanted: Schedule) -> None:
    def renewed(standing: ScheduleUpdateInput) -> ScheduleUpdate:
        wanted.state = standing.description.schedule.state
        return ScheduleUpdate(wanted)

    try:
        await client.create_schedule(name, wanted)
    except ScheduleAlreadyRunningError:
        await client.get_schedule_handle(name).update(renewed)
