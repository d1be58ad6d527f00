"""What the grids share: how one row is lived through, the person who looks at a parked run, the golden text.

A row is one run in which one thing goes wrong. It is judged by its sums, by the rules of its case and by its golden
line, so that a change in the order of calls shows. Knows no workflow's steps.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from temporalio.client import Client, WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError

from contracts import attributes
from domain.commands import Operation, Promises
from domain.outcomes import Attention, Decision, Outcome, Receipt, View
from tests.support.engine import (
    BEGINS_WITH,
    PROMISES,
    Asked,
    Handle,
    Starting,
    ask,
    begin,
    handle_of,
    refusal,
    resolve,
    retry,
    submit,
    workflows,
)
from tests.support.world import WORLDS, World

AT_ONCE = 16  # rows in flight: enough to keep two cores busy while each waits for the server
ROW_SECONDS = 20  # of the wall clock; a row takes one or two. One that is parked and should not be ends here
EXISTS_SECONDS = 0.02  # of the wall clock, until a start is seen
LOOK_SECONDS = 0.2  # of the wall clock, between a person's looks; a parked run waits without end

NONE, ON_THE_WIRE, UNWINDING, FIRST_TASK = "", "on the wire", "unwinding", "first task"
CANCELS = (NONE, ON_THE_WIRE, UNWINDING)
MISBEHAVIOURS = ("refused", "unavailable", "lost after", "lost before", "late")
BLIND = ("blind, lost after", "blind, lost before", "blind, late")
SCRIPTS = {
    "unavailable": ["unavailable"] * 2,
    "local only": ["unavailable"] * 4,  # a local activity's three tries, and one of the regular kind
    "outage": ["unavailable"] * 4,  # 7.5 seconds of pauses at most: shorter than any patience
    "down": ["unavailable"] * 500,  # longer than any
    "lost, then down": ["lost after", *["unavailable"] * 500],
    "down, then lost": ["unavailable", "lost after"],
    "absent twice": ["lost before", "lost before"],
    "absent late": ["lost before"],
    **{behaviour: [behaviour.removeprefix("blind, ")] for behaviour in BLIND},
}
LATE_HORIZON_SECONDS = PROMISES.patience.authorize + 5  # proof of absence comes when no payer waits any more


@dataclass(frozen=True)
class Case:
    """One row: which activity misbehaves, how, and where a cancellation arrives. Each grid says the rest."""

    step: str
    behaviour: str
    cancel: str = NONE

    def life(self, key: str) -> "Life":
        """Make the run that is to be lived, in a world that misbehaves."""
        raise NotImplementedError

    def faults(self, played: "Played") -> list[str]:
        """What this row must show, beside its sums, and does not."""
        raise NotImplementedError

    @property
    def title(self) -> str:
        return f"{self.step:27} {self.behaviour:18} {self.cancel:11}"

    @property
    def blind(self) -> bool:
        return self.behaviour in BLIND

    @property
    def parks(self) -> bool:
        """A person is needed."""
        raise NotImplementedError

    @property
    def script(self) -> dict[str, list[str]]:
        return {self.step: list(SCRIPTS.get(self.behaviour, [self.behaviour]))}

    @property
    def promises(self) -> Promises:
        horizon = LATE_HORIZON_SECONDS if self.behaviour == "absent late" else PROMISES.horizon_seconds
        return replace(PROMISES, horizon_seconds=horizon, inquiry_is_complete=not self.blind)


@dataclass
class Played:
    """What became of a row."""

    world: World
    state: str
    receipts: list[Receipt]
    parked: bool  # it has asked for a person
    by: str  # what the person did
    complaints: list[str]  # what was wrong on the way

    @property
    def reasons(self) -> set[str]:
        return {receipt.reason for receipt in self.receipts if receipt.outcome is Outcome.REFUSED}


@dataclass(frozen=True)
class Life:
    """One run to be lived: its start, and what else is asked while `effect` is first on the wire."""

    start: Starting
    effect: str
    undos: Sequence[str]
    then: Sequence[tuple[str, Operation]] = ()
    repeated: bool = False


async def live(client: Client, life: Life, case: Case) -> Played:
    """Start the run, ask everything, cancel where the case says, look after it while it is parked, to its end."""
    world, handle = WORLDS[life.start.id], handle_of(client, life.start)
    played = Played(world=world, state="", receipts=[], parked=False, by="", complaints=[])
    asked: list[Asked] = []

    async def queue() -> None:
        """Ask while the effect is on the wire: afterwards the clock would jump to the window's end."""
        asked.extend([await submit(handle, name, operation) for name, operation in life.then])
        if life.repeated:
            played.complaints += await _repeat(handle, life, asked)

    async def cancel() -> None:
        await handle.cancel()

    world.tell = lambda fact: handle.signal("observe", fact)
    world.during(life.effect, queue)
    match case.cancel:
        case "on the wire":
            world.during(case.step, cancel)
        case "unwinding":
            for undo in life.undos:
                world.during(undo, cancel, cancel)
        case _:
            pass
    async with _person(handle, world, played, case):
        if case.cancel == FIRST_TASK:
            asked.insert(0, await _cancel_before_the_first_task(client, life.start, handle))
        else:
            asked.insert(0, await begin(client, life.start))
        played.state = await handle.result()
    played.receipts, complaints = _one_receipt_each([await each.result() for each in asked])
    played.complaints += complaints
    await _read_search_attributes(handle, played)
    return played


async def _read_search_attributes(handle: Handle, played: Played) -> None:
    """A run that has ended is found by its state, in doubt no more and waiting for nobody."""
    found = (await handle.describe()).typed_search_attributes
    played.parked = found.get(attributes.NEEDS_ATTENTION) is not None  # set the first time that a person is asked
    wrong = {
        "found by another state": found.get(attributes.PAYMENT_STATE) != played.state,
        "found as in doubt": found.get(attributes.UNKNOWN_SINCE) is not None,
        "found as waiting": bool(found.get(attributes.NEEDS_ATTENTION)) or found.get(attributes.OWNER) is not None,
    }
    played.complaints += [complaint for complaint, so in wrong.items() if so]


async def _cancel_before_the_first_task(client: Client, start: Starting, handle: Handle) -> Asked:
    """Cancel, with the initiator already waiting, before there is a worker for the first workflow task."""
    queue = f"alone-{start.id}"
    beginning = asyncio.create_task(begin(client, start, queue=queue))
    while not await _exists(handle):
        await asyncio.sleep(EXISTS_SECONDS)
    await handle.cancel()
    async with workflows(client, queue):
        await handle.result()
        return await beginning


async def _exists(handle: Handle) -> bool:
    try:
        await handle.describe()
    except RPCError:
        return False
    return True


async def _repeat(handle: Handle, life: Life, asked: list[Asked]) -> list[str]:
    """Ask everything again under the same id and under another; what differs under a known id must be refused."""
    complaints: list[str] = []
    for name, operation in ((BEGINS_WITH[type(life.start)], life.start), *life.then):
        asked.append(await submit(handle, name, operation))
        asked.append(await submit(handle, name, operation, update_id=f"{operation.id}-again"))
        changed = replace(operation, fingerprint="of another command")
        refused = await refusal(ask(handle, name, changed, update_id=f"{operation.id}-changed"))
        if refused.type != "Conflict":
            complaints.append(f"{name} with another fingerprint: {refused}")
    return complaints


def _one_receipt_each(receipts: Sequence[Receipt]) -> tuple[list[Receipt], list[str]]:
    """An operation has one receipt, however often and under whatever update id it was asked for."""
    first: dict[str, Receipt] = {}
    complaints = [f"two receipts: {each}" for each in receipts if first.setdefault(each.operation, each) != each]
    return list(first.values()), complaints


@asynccontextmanager
async def _person(handle: Handle, world: World, played: Played, case: Case) -> AsyncGenerator[None]:
    """Have somebody look after a run that will be parked. The others are left in peace: a query takes a task's turn."""
    if not case.parks:
        yield
        return
    looking = asyncio.create_task(
        _look_after(handle, world, played, decides=case.blind or case.behaviour == "conflict")
    )
    try:
        yield
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError, WorkflowUpdateRPCTimeoutOrCancelledError):
            await looking


async def _look_after(handle: Handle, world: World, played: Played, *, decides: bool) -> None:
    """Be the person: what the run asks for must be there to act upon; have it retry, or tell what was seen."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        attention = await _attention(handle)
        if attention is None:
            continue
        played.complaints += unfit(attention)
        played.by = "resolved" if decides else "retried"
        seen = Outcome.DONE if world.looked_at(attention.reference) else Outcome.REFUSED
        approvals = ("ann", "bob")
        with contextlib.suppress(WorkflowUpdateFailedError, RPCError):  # it is parked no more
            if decides:
                await resolve(handle, Decision(
                    reference=attention.reference, outcome=seen, evidence="seen in their books", approvals=approvals,
                ))  # fmt: skip
            else:
                await retry(handle, attention.reference)


async def _attention(handle: Handle) -> Attention | None:
    try:
        view: View = await handle.query("view", result_type=View)
    except RPCError:  # not started, or no worker yet
        return None
    return view.attention


def unfit(attention: Attention) -> list[str]:
    """What is missing for a person to act upon: an owner, a deadline, an update and JSON that it accepts."""
    complaints = [f"no {name}" for name in ("owner", "reason", "update") if not getattr(attention, name)]
    if datetime.fromisoformat(attention.deadline) <= datetime.fromisoformat(attention.since):
        complaints.append("the deadline is before the beginning")
    payload = json.loads(attention.payload)
    if payload["reference"] != attention.reference or set(payload) != {"reference", "outcome", "evidence", "approvals"}:
        complaints.append(f"the payload does not fit: {attention.payload}")
    return complaints


def unsound(played: Played) -> list[str]:
    """What no row may show, whatever went wrong in it (money rules 2, 5 and 6)."""
    world = played.world
    faults = [
        (world.provider_total != world.ledger_total, f"{world.provider_total} moved, {world.ledger_total} booked"),
        (bool(world.authorized), "an authorization stands open"),
        (world.open_holds > 0, "a hold stands open"),
        (world.doubles > 0, "an effect happened twice"),
    ]
    return [*(why for wrong, why in faults if wrong), *played.complaints]


async def line_of(client: Client, row: Case, key: str) -> str:
    """Live a row and write its line."""
    life = row.life(key)
    try:
        async with asyncio.timeout(ROW_SECONDS):
            played = await live(client, life, row)
    except Exception as failure:  # noqa: BLE001  a row that fails is a broken line among whole ones
        return f"{row.title} → BROKEN {failure!r} {failure.__cause__!r} | {' '.join(WORLDS[life.start.id].trace)}"
    money = f"{played.world.provider_total} = {played.world.ledger_total}"
    faults = [*unsound(played), *row.faults(played)]
    if played.parked != row.parks:
        faults.append("a person was asked" if played.parked else "no person was asked")
    verdict = f"BROKEN {'; '.join(faults)}" if faults else money
    parked = f"parked, {played.by}".rstrip(", ") if played.parked else ""
    return f"{row.title} → {played.state:11} {verdict:9} {parked:16} | {' '.join(played.world.trace)}"


async def lines_of(client: Client, rows: Sequence[Case], salt: str = "") -> list[str]:
    """Live rows at once, and give their lines in order."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(row: Case) -> str:
        async with gate:
            return await line_of(client, row, f"{row.title}{salt}")

    return list(await asyncio.gather(*map(one, rows)))


def differences(lines: Sequence[str], golden: Path) -> list[str]:
    """Compare with the golden text, line by line; with `GRID=write` write it instead, for the diff to be read."""
    if os.environ.get("GRID") == "write":
        golden.write_text("\n".join([*lines, ""]))
    kept = golden.read_text().splitlines()
    differ = [f"- {old}\n+ {new}" for old, new in zip(kept, lines, strict=False) if old != new]
    if len(kept) != len(lines):
        differ.append(f"{len(kept)} golden lines, {len(lines)} rows")
    return differ
