"""The product's own relay of the inbox (`workers.relay`), over books in memory and the driver in place of a client.

What it adds is the client's calls; which run an event belongs to, and whether it is news, is the relay's own code.
"""

from collections.abc import Mapping
from typing import Any, cast

from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from domain.commands import Promises
from records.inbox import Waiting
from tests.simulation.books import MemoryCallJournal, MemoryJournal, MemoryOperations
from tests.simulation.driver import NotFound, Server
from workers.relay import Relay
from workflows.dispute import DisputeWorkflow
from workflows.late import LateWorkflow
from workflows.run import Run

RUNS: Mapping[Any, type] = {LateWorkflow.run: LateWorkflow, DisputeWorkflow.run: DisputeWorkflow}
SIGNALS: Mapping[Any, str] = {Run.observe: "observe"}


class _Handle:
    def __init__(self, server: Server, run: str) -> None:
        self._server, self._run = server, run

    async def signal(self, signal: Any, content: Any) -> None:
        try:
            self._server.signal(self._run, SIGNALS[signal], content)
        except NotFound:
            raise RPCError("workflow execution already completed", RPCStatusCode.NOT_FOUND, b"") from None


class _Client:
    """The two calls of `temporalio.client.Client` that the relay makes."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def get_workflow_handle(self, run: str) -> _Handle:
        return _Handle(self._server, run)

    async def start_workflow(
        self,
        workflow: Any,
        content: Any,
        *,
        id: str,  # noqa: A002  as the client's own
        start_signal: str = "",
        start_signal_args: Any = (),
        **_: Any,
    ) -> None:
        signal = (start_signal, start_signal_args[0]) if start_signal else None
        try:
            self._server.begin(RUNS[workflow], content, id, signal=signal)
        except NotFound:
            raise WorkflowAlreadyStartedError(id, RUNS[workflow].__name__) from None


class InProcessRelay(Relay):
    """The relay of one schedule."""

    def __init__(
        self,
        server: Server,
        promises: Mapping[str, Promises],
        journal: MemoryJournal,
        operations: MemoryOperations,
        calls: MemoryCallJournal,
    ) -> None:
        self._client = cast("Any", _Client(server))
        self._promises = promises
        self._journal, self._operations, self._calls = cast("Any", journal), cast("Any", operations), cast("Any", calls)

    async def hand_on(self, number: int, provider: str, event_id: str, raw: bytes) -> str:
        """Hand one event on, and tell what became of it."""
        waiting = Waiting(id=number, provider=provider, event_id=event_id, raw=raw)
        return (await self._hand_on(waiting)).note
