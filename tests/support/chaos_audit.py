"""What must hold when all faults are over: asked of both books, the API, Temporal and the histories, not of the shops.

Each check gives what it has found broken, one line each, and a sentence of what it has looked at.
"""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass

from temporalio.client import WorkflowExecution, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Replayer

from contracts import attributes, queues
from contracts.payloads import DATA_CONVERTER
from domain.ids import OperationId
from domain.money import Money
from ledger.journal import Journal
from tests.support.chaos_shop import Shop, Wish
from tests.support.live import Live, moved
from workers.sandbox import SANDBOX
from workers.wiring import UPKEEP_WORKFLOWS, WORKFLOWS

IN_FLIGHT = 409  # its answer died with its database, and the claim is somebody's until its lease of 15 s is over
LEASE_OVER_SECONDS = 20.0
QUIET_SECONDS = 30.0  # the last tails of runs, and the index that Temporal's lists come from
OURS = " OR ".join(f"WorkflowId STARTS_WITH '{kind}/'" for kind in (*queues.WORKFLOW_OF.values(), "late"))
NOT_AT_ITS_END = """
SELECT o.id, o.payment, o.state FROM records.operation o
WHERE NOT EXISTS (SELECT FROM records.terminal t WHERE t.kind = o.kind AND t.state = o.state)
"""


@dataclass(frozen=True)
class Finding:
    """One invariant: its name, what was looked at, and what breaks it."""

    name: str
    seen: str
    broken: tuple[str, ...]


@dataclass(frozen=True)
class Audit:
    """Everything that was looked at. `money_difference` is in minor units, of all currencies alike."""

    money_difference: int
    money: Finding
    acknowledged: Finding
    owned: Finding
    replayed: Finding
    others: tuple[Finding, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        return (self.money, self.acknowledged, self.owned, self.replayed, *self.others)

    @property
    def is_sound(self) -> bool:
        return not any(finding.broken for finding in self.findings)


async def audit(live: Live, shop: Shop) -> Audit:
    """Look at everything. The faults must be over."""
    owned = await _owned(live)
    difference, money = await _money(live)
    return Audit(
        money_difference=difference,
        money=money,
        acknowledged=await _acknowledged(live, shop),
        owned=owned,
        replayed=await _replayed(live),
        others=(await _book(live), await _nothing_twice(live), await _nothing_held(live), _no_complaint(shop)),
    )


async def _money(live: Live) -> tuple[int, Finding]:
    """Every effect at the provider is booked once, under its reference, with its amount; and nothing else is."""
    ours, theirs = await live.booked(), moved(await live.books())
    apart = ours ^ theirs
    broken = [f"only {'in the ledger' if each in ours else 'at the provider'}: {each}" for each in sorted(apart)]
    sums = Counter[tuple[str, str]]()
    for _, kind, minor, currency in ours:
        sums[kind, currency] += minor
    seen = ", ".join(f"{kind} {Money(minor, currency)}" for (kind, currency), minor in sorted(sums.items()))
    return sum(minor for _, _, minor, _ in apart), Finding(
        "provider money equals ledger money, by reference", f"{len(ours)} effects: {seen}", tuple(broken)
    )


async def _acknowledged(live: Live, shop: Shop) -> Finding:
    """Every success that was answered is there, and the same key is answered with the same operation again."""
    answered = [wish for wish in shop.wishes if wish.said is not None]
    made = {str(wish.said.made["id"]) for wish in answered if wish.said}
    rows = await live.pool.fetch("SELECT id FROM records.operation WHERE id = ANY($1)", list(made))
    lost = [f"{each} was acknowledged and is not there" for each in sorted(made - {row["id"] for row in rows})]
    same, gate = Counter[str](), asyncio.Semaphore(8)

    async def again(wish: Wish) -> str | None:
        async with gate:
            return await _asked_again(live, wish, same)

    changed = [said for said in await asyncio.gather(*map(again, answered)) if said]
    seen = f"{len(answered)} answers asked for again: {same['bytes']} byte for byte, {same['operation']} made afresh"
    return Finding("no acknowledged request lost", seen, (*lost, *changed))


async def _asked_again(live: Live, wish: Wish, same: Counter[str]) -> str | None:
    said = wish.said
    assert said is not None
    until = time.monotonic() + LEASE_OVER_SECONDS
    while (answer := await live.ask(wish.path, wish.body, key=wish.key)).status_code == IN_FLIGHT:
        if time.monotonic() > until or not answer.json().get("retryable"):
            break
        await asyncio.sleep(1)
    if (answer.status_code, answer.content) == (said.status, said.body):
        same["bytes"] += 1
        return None
    # An answer is kept without waiting for the disk: one that died with its database is made again from its run.
    if answer.is_success and answer.json()["id"] == said.made["id"]:
        same["operation"] += 1
        return None
    return f"{wish.key} was answered {said.status} {said.made['id']}, now {answer.status_code} {answer.text}"


async def _owned(live: Live) -> Finding:
    """Every open run waits for a person who is named; every operation has ended, or is in an open run's hands."""
    until = time.monotonic() + QUIET_SECONDS
    while (left := await _unowned(live)) and time.monotonic() < until:
        await asyncio.sleep(1)
    counts = {status: await live.temporal.count_workflows(f"({OURS}) AND ExecutionStatus = '{status}'")
              for status in ("Running", "Completed", "Failed", "Terminated", "TimedOut", "Canceled")}  # fmt: skip
    seen = ", ".join(f"{count.count} {status.lower()}" for status, count in counts.items() if count.count)
    return Finding("no run and no operation unowned", f"runs: {seen}", tuple(left))


async def _unowned(live: Live) -> list[str]:
    wrong: list[str] = []
    parked = set[str]()
    async for run in live.temporal.list_workflows(OURS):
        match run.status:
            case WorkflowExecutionStatus.RUNNING if _has_owner(run):
                parked.add(run.id)
            case WorkflowExecutionStatus.COMPLETED | WorkflowExecutionStatus.CONTINUED_AS_NEW:
                pass
            case status:
                wrong.append(f"{run.id} is {status.name if status else 'nothing'}, and nobody's")
    for row in await live.pool.fetch(NOT_AT_ITS_END):
        run = queues.workflow_id(OperationId(row["id"] if queues.starts_a_run(row["id"]) else row["payment"]))
        if run not in parked and not await _is_open(live, run):
            wrong.append(f"{row['id']} is {row['state']}, and no run has it")
    return wrong


def _has_owner(run: WorkflowExecution) -> bool:
    return bool(
        run.typed_search_attributes.get(attributes.NEEDS_ATTENTION)
        and run.typed_search_attributes.get(attributes.OWNER)
    )


async def _is_open(live: Live, run: str) -> bool:
    try:
        described = await live.temporal.get_workflow_handle(run).describe()
    except RPCError as failure:
        if failure.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return described.status is WorkflowExecutionStatus.RUNNING


async def _replayed(live: Live) -> Finding:
    """Every history replays under the code of today, behind the product's own guard; and none is missing."""
    replayer = Replayer(
        workflows=[*WORKFLOWS, *UPKEEP_WORKFLOWS], workflow_runner=SANDBOX, data_converter=DATA_CONVERTER
    )
    seen, broken = set[str](), list[str]()
    histories = live.temporal.list_workflows(OURS).map_histories()
    async with replayer.workflow_replay_iterator(histories) as results:
        async for result in results:
            seen.add(result.history.workflow_id)
            if result.replay_failure is not None:
                broken.append(f"{result.history.workflow_id}: {result.replay_failure}")
    rows = await live.pool.fetch("SELECT id FROM records.operation")
    missing = {queues.workflow_id(OperationId(row["id"])) for row in rows if queues.starts_a_run(row["id"])} - seen
    broken += [f"{run}: its history is not listed" for run in sorted(missing)]
    return Finding("every history replays", f"{len(seen)} histories", tuple(broken))


async def _book(live: Live) -> Finding:
    verified = await Journal(live.pool).verify()
    entries = await live.pool.fetchval("SELECT count(*) FROM ledger.entry")
    return Finding("the ledger agrees with itself", f"{entries} entries", (str(verified),) if verified else ())


async def _nothing_twice(live: Live) -> Finding:
    doubles: list[str] = (await live.books())["doubles"]
    calls = len(await live.calls(""))
    return Finding("no effect twice under one reference", f"{calls} calls of the provider", tuple(doubles))


async def _nothing_held(live: Live) -> Finding:
    hanging = await live.hanging(await live.books())
    return Finding("what has ended holds nothing", "holds and authorizations", tuple(hanging))


def _no_complaint(shop: Shop) -> Finding:
    ends = ", ".join(f"{count} {end}" for end, count in sorted(shop.ends.items()))
    return Finding("every journey was answered and ended", ends, tuple(shop.complaints))
