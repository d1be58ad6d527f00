"""Do the grids find faults? Each mutant breaks one rule of the engine, and some row must then read otherwise.

A mutant is put into the running worker (workflow modules are passed through the sandbox) and taken out again. Only the
rows are lived that were chosen to find it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy

from domain.commands import Operation, Patience, Void
from domain.ids import Reference
from domain.outcomes import Answer, Found, Outcome, refused
from tests.saga import grid
from tests.saga.grid import lines_of
from tests.saga.grids import golden_line, row
from workflows import payment, payout, run, saga
from workflows.saga import Saga

pytestmark = pytest.mark.usefixtures("nobody_else_is_asked")
HANGING_ROW_SECONDS = 3  # some mutants leave a run hanging; the others must be found by what their row says


def _engine(name: str) -> Callable[..., Any]:
    """The engine's own method, to be called by a mutant of it."""
    return cast(Callable[..., Any], getattr(Saga, name))


async def guesses_absence(self: Saga, *_: object) -> Answer:
    return Answer(outcome=Outcome.UNAVAILABLE, reason="guessed")


async def guesses_refusal(self: Saga, *_: object) -> Answer:
    return refused("guessed")


def not_cleared_up(answer: Answer | None) -> bool:
    return answer is not None


async def believes_none_at_once(self: Saga, *doubt: Any) -> Answer | None:
    promises = self._run.promises  # pyright: ignore[reportPrivateUsage]
    self._run.promises = replace(promises, horizon_seconds=0)  # pyright: ignore[reportPrivateUsage]
    return await CLEAR_UP(self, *doubt)


async def every_inquiry_is_complete(self: Saga, *doubt: Any) -> Answer | None:
    promises = self._run.promises  # pyright: ignore[reportPrivateUsage]
    self._run.promises = replace(promises, inquiry_is_complete=True)  # pyright: ignore[reportPrivateUsage]
    return await CLEAR_UP(self, *doubt)


async def no_retry_after(self: Saga, step: Any, command: Any) -> tuple[Answer, float]:
    answer, _ = await ONCE(self, step, command)
    return answer, 0


async def canceled_at_once(self: run.Run, life: Any) -> Any:
    """Temporal's default: the cancellation ends the run, whatever is on the wire."""
    task = asyncio.create_task(life)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        self.cancel_requested = True
        raise


async def oldest_first(self: Saga, **options: bool) -> Answer:
    self._may_have_happened.reverse()  # pyright: ignore[reportPrivateUsage]
    return await UNWIND(self, **options)


async def found_is_dropped(self: payment.PaymentWorkflow, void: Reference, found: Found) -> None:
    pass


async def asked_twice_is_done_twice(self: run.Run, operation: Operation) -> Any:
    self._queue.append(operation)  # pyright: ignore[reportPrivateUsage]
    await workflow.wait_condition(lambda: operation.id in self._receipts)  # pyright: ignore[reportPrivateUsage]
    return self._receipts[operation.id]  # pyright: ignore[reportPrivateUsage]


def admits_everything(self: run.Run, operation: Operation) -> None:
    pass


async def void_is_forgotten(self: payment.PaymentWorkflow, void: Any) -> None:
    """What expires is given up in our books alone."""
    self.move(payment.S.VOIDING)
    self.move(payment.S.EXPIRED if not isinstance(void, Void) else payment.S.VOIDED)


def no_patience(patience: Patience) -> float:
    return 0


def nothing(self: Saga) -> None:
    pass


CLEAR_UP: Callable[..., Awaitable[Answer | None]] = _engine("_clear_up")
ONCE: Callable[..., Awaitable[tuple[Answer, float]]] = _engine("_once")
UNWIND: Callable[..., Awaitable[Answer]] = _engine("unwind")
FEW = RetryPolicy(maximum_attempts=3)
JUST_ONE = RetryPolicy(maximum_attempts=1)


@dataclass(frozen=True)
class Mutant:
    """What is put in whose place, and the row that must tell."""

    name: str
    owner: object
    attribute: str
    value: object
    row: str
    hangs: bool = False


def _undo(step: Any, undo: object) -> Any:
    return replace(step, undo=undo)


GONE = saga.Nothing("mutant")
MUTANTS = (
    Mutant(
        "unknown counts as nothing happened",
        Saga,
        "_clear_up",
        guesses_absence,
        "payment manual 40 void provider.capture lost after",
    ),
    Mutant(
        "unknown counts as refused",
        Saga,
        "_clear_up",
        guesses_refusal,
        "payment manual 40 void provider.capture lost after",
    ),
    Mutant(
        "unknown is not cleared up at all",
        saga,
        "decided",
        not_cleared_up,
        "payment automatic - provider.capture lost after",
    ),
    Mutant(
        "none is believed at once",
        Saga,
        "_clear_up",
        believes_none_at_once,
        "payment manual 40 void provider.capture late",
    ),
    Mutant(
        "every inquiry is complete",
        Saga,
        "_clear_up",
        every_inquiry_is_complete,
        "payment manual 40 void provider.authorize blind, late",
    ),
    Mutant(
        "what was seen is forgotten",
        Answer,
        "shows_it",
        property(lambda self: False),
        "payment manual 40 void provider.capture pending, none",
    ),
    Mutant("Temporal repeats effects", saga, "ONCE", FEW, "payment manual 40 void provider.capture lost, then down"),
    Mutant("Retry-After is ignored", Saga, "_once", no_retry_after, "payment manual 40 void provider.authorize busy"),
    Mutant(
        "an outage is not waited for",
        payment,
        "AUTHORIZE",
        replace(payment.AUTHORIZE, policy=replace(payment.WHILE_A_PAYER_WAITS, patience=no_patience)),
        "payment manual 40 void provider.authorize outage",
    ),
    Mutant(
        "an authorization is sent when nobody waits",
        payment,
        "AUTHORIZE",
        replace(payment.AUTHORIZE, policy=payment.AS_ASKED),
        "payment manual 40 void provider.authorize absent late",
    ),
    Mutant(
        "authorize has no undo",
        payment,
        "AUTHORIZE",
        _undo(payment.AUTHORIZE, GONE),
        "payment automatic - provider.capture refused",
    ),
    Mutant(
        "the hold has no undo",
        payment,
        "PREPARE",
        _undo(payment.PREPARE, GONE),
        "payment automatic - provider.capture refused",
    ),
    Mutant(
        "the hold is released before the void",
        Saga,
        "unwind",
        oldest_first,
        "payment automatic - provider.capture refused",
    ),
    Mutant(
        "cancellation ends the run at once",
        run.Run,
        "to_the_end",
        canceled_at_once,
        "payment manual 40 void provider.authorize lost after on the wire",
        hangs=True,
    ),
    Mutant(
        "cancellation is forgotten",
        Saga,
        "_honour_cancellation",
        nothing,
        "payment automatic - provider.authorize late on the wire",
    ),
    Mutant(
        "cancellation is honoured after a capture",
        payment,
        "CHARGE",
        _undo(payment.CHARGE, GONE),
        "payment automatic - provider.capture lost after on the wire",
    ),
    Mutant(
        "cancellation is honoured after a payout",
        payout,
        "PAY_OUT",
        _undo(payout.PAY_OUT, GONE),
        "payout provider.pay_out lost after on the wire",
    ),
    Mutant(
        "our own books are tried once", saga, "FOR_EVER", JUST_ONE, "payment manual 40 void provider.void unavailable"
    ),
    Mutant(
        "what a void finds is dropped",
        payment.PaymentWorkflow,
        "_book_found",
        found_is_dropped,
        "payment manual 40 void provider.void captured",
    ),
    Mutant(
        "an expiry voids in our books alone",
        payment.PaymentWorkflow,
        "_void",
        void_is_forgotten,
        "payment manual - provider.void done",
    ),
    Mutant(
        "asked twice is done twice",
        run.Run,
        "ask",
        asked_twice_is_done_twice,
        "payment manual 40 void every call repeated",
        hangs=True,
    ),
    Mutant(
        "a known id takes another command",
        run.Run,
        "admit",
        admits_everything,
        "refund every call repeated",
        hangs=True,
    ),
)


@contextmanager
def _mutated(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(mutant.owner, mutant.attribute, mutant.value)
        if mutant.hangs:
            patch.setattr(grid, "ROW_SECONDS", HANGING_ROW_SECONDS)
        yield


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
async def test_a_broken_rule_is_found_by_the_grid(
    client: Client, mutant: Mutant, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    with _mutated(mutant, monkeypatch):
        (line,) = await lines_of(client, [row(mutant.row)], mutant.name)
    assert line != golden_line(mutant.row), f"{mutant.name} survives {mutant.row}"
    assert mutant.hangs or "TimeoutError" not in line, f"found only by its slowness: {line}"
    record_property("killed by", line)
