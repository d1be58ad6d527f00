"""Whatever goes wrong at once, and whenever captures, voids, cancellations and the window's end meet: money is right.

Hypothesis makes the schedule: how each call behaves, and during which call each message arrives. The grids try one
fault at a time by name; here they meet. No time passes but the run's own, so a schedule fails again as it failed.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from itertools import count

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.service import RPCError

from domain.commands import Payment
from domain.outcomes import Receipt, View
from tests.support.engine import (
    Asked,
    Handle,
    begin,
    capture,
    handle_of,
    payment,
    skipping_server,
    submit,
    void,
    worker,
)
from tests.support.world import WORLDS, Happening

SCHEDULES = 60  # about ten seconds; `make sim` searches for hours
SECONDS = 30  # of the wall clock, for one schedule
LOCAL_TIMERS_SECONDS = 2.1  # local activities leave timers of 2 s, which complain of a worker that is gone

LOST = ("lost after", "lost before", "late")
EFFECT = st.lists(
    st.sampled_from(("done", "done", "refused", "unavailable", "pending", "pending, told", *LOST)), max_size=3
)
UNDO = st.lists(st.sampled_from(("done", "unavailable", *LOST)), max_size=3)
BOOK = st.lists(st.sampled_from(("done", "unavailable", *LOST)), max_size=4)
WHERE = (
    "provider.authorize",
    "provider.inquire",
    "provider.capture",
    "records.note",
    "provider.void",
    "ledger.release",
)


@dataclass(frozen=True)
class Message:
    """Something that arrives while a call is first on the wire: a capture's amount, `void` or `cancel`."""

    during: str
    what: str


SCRIPT = st.fixed_dictionaries({
    "payment.prepare": BOOK, "provider.authorize": EFFECT, "provider.capture": EFFECT, "ledger.book_capture": BOOK,
    "records.note": BOOK, "provider.void": UNDO, "ledger.release": BOOK,
})  # fmt: skip
MESSAGES = st.lists(
    st.builds(Message, st.sampled_from(WHERE), st.sampled_from(("40", "60", "100", "void", "cancel"))), max_size=5
)
NUMBERS = count()  # a schedule that is tried again needs another run


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client() -> AsyncGenerator[Client]:
    """A client of a server whose clock skips, with a worker on the product's queues."""
    async with skipping_server() as connected, worker(connected):
        yield connected
        await asyncio.sleep(LOCAL_TIMERS_SECONDS)


@pytest.mark.timeout(600)  # a failure is shrunk first
@given(script=SCRIPT, messages=MESSAGES, automatic=st.booleans())
@settings(
    max_examples=SCHEDULES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_what_meets_whatever_else_leaves_the_money_right(
    client: Client, script: dict[str, list[str]], messages: list[Message], automatic: bool
) -> None:
    start = payment(f"race {next(NUMBERS)}", automatic=automatic)
    world, handle = WORLDS[start.id], handle_of(client, start)
    world.script = {name: list(behaviours) for name, behaviours in script.items()}
    world.tell = lambda fact: handle.signal("observe", fact)
    asked: list[Asked] = []
    for place, message in enumerate(messages):
        world.during(message.during, _arrival(handle, start, message.what, place, asked))
    async with asyncio.timeout(SECONDS):
        asked.append(await begin(client, start))
        state = await handle.result()
        receipts = [receipt for each in asked if (receipt := await _receipt(each))]
    known: View = await handle.query("view", result_type=View)
    assert world.provider_total == world.ledger_total == known.total.minor, world.trace
    assert not world.authorized, world.trace
    assert not world.open_holds, world.trace
    assert not world.doubles, world.trace
    assert known.doubt is None
    assert known.attention is None
    assert world.states[start.id] == state
    assert (state == "captured") == (world.provider_total > 0)
    captured = sum(each.moved.minor for each in receipts if each.operation.startswith("cap_"))
    assert automatic or captured == world.provider_total, (receipts, world.trace)


def _arrival(handle: Handle, start: Payment, what: str, place: int, asked: list[Asked]) -> Happening:
    """Make what cancels, or asks; a run that has ended meanwhile is asked in vain."""

    async def arrive() -> None:
        key = f"{start.fingerprint} {place}"
        with contextlib.suppress(RPCError):
            match what:
                case "cancel":
                    await handle.cancel()
                case "void":
                    asked.append(await submit(handle, "void", void(key, start)))
                case _:
                    asked.append(await submit(handle, "capture", capture(key, start, int(what))))

    return arrive


async def _receipt(asked: Asked) -> Receipt | None:
    """What was answered; nothing where a validator refused."""
    try:
        return await asked.result()
    except WorkflowUpdateFailedError:
        return None
