"""The provider simulator as a process of its own on a free port, and a small client of its control API."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import httpx

ROOT = Path(__file__).parents[2]
SECRET = "a-secret-of-the-tests"
READY_SECONDS = 10.0  # a busy machine
STOP_SECONDS = 5.0


class Effect(TypedDict):
    """One effect in the provider's books; `openMinor` is there for authorisations only."""

    reference: str
    kind: str
    amountMinor: int
    currency: str | None
    state: str
    authorisation: str | None
    id: str
    at: str


class Total(TypedDict):
    """What the effects in one currency amount to."""

    authorised_open: int
    collected: int
    paid_back: int
    transferred: int
    withdrawn: int
    given_back: int


class Movement(TypedDict):
    """One step of a dispute; `takenMinor` is below zero where the merchant got it back."""

    dispute: str
    movement: str
    reference: str
    state: str
    amountMinor: int
    takenMinor: int
    currency: str
    cause: str
    evidenceBy: str
    at: str


class Books(TypedDict):
    """The provider's books."""

    effects: list[Effect]
    disputes: list[Movement]
    totals: dict[str, Total]
    doubles: list[str]


class Call(TypedDict):
    """One call that the provider has received."""

    at: str
    operation: str
    merchantRef: str | None
    status: int | None
    behaviour: str | None


class Event(TypedDict):
    """One webhook and how its delivery goes."""

    eventId: str
    type: str
    at: str
    merchantRef: str
    state: str
    tries: int
    lastStatus: int | None


@dataclass(frozen=True)
class RunningSimulator:
    """One account of a running simulator. `http` is bound to its address and carries no credentials."""

    url: str
    secret: str
    pid: int
    http: httpx.AsyncClient

    async def script(
        self,
        operation: str,
        do: str,
        *,
        merchant_ref: str | None = None,
        token: str | None = None,
        nth: int = 1,
        times: int | None = 1,
        **fields: object,
    ) -> int:
        """Write a rule; `fields` are the behaviour's own. Returns the rule's id."""
        rule = {
            "operation": operation,
            "merchantRef": merchant_ref,
            "token": token,
            "nth": nth,
            "times": times,
            "behaviour": {"do": do, **fields},
        }
        return int((await self._post("/control/script", rule))["id"])

    async def clear_script(self) -> None:
        """Forget all rules."""
        (await self.http.delete("/control/script")).raise_for_status()

    async def books(self) -> Books:
        """Read the provider's books."""
        return (await self.http.get("/control/books")).raise_for_status().json()

    async def calls(self) -> Sequence[Call]:
        """Every call that was received, in order."""
        return (await self.http.get("/control/calls")).raise_for_status().json()

    async def events(self) -> Sequence[Event]:
        """The webhooks, the oldest first."""
        return (await self.http.get("/control/webhooks")).raise_for_status().json()

    async def settings(self, **wanted: object) -> None:
        """Change settings, by their names on the wire."""
        await self._post("/control/settings", wanted)

    async def advance(self, seconds: float) -> None:
        """Move the provider's clock on."""
        await self._post("/control/clock", {"advanceSeconds": seconds})

    async def end_challenge(self, merchant_ref: str, outcome: str) -> None:
        """Let the payer prove who they are, or not: `outcome` is pass or fail."""
        await self._post(f"/control/challenges/{merchant_ref}", {"outcome": outcome})

    async def take_back(self, merchant_ref: str, reason: str | None = None) -> None:
        """Let what has succeeded fail after all, or a transfer that has arrived come back."""
        await self._post("/control/failures", {"merchantRef": merchant_ref, "reason": reason})

    async def open_dispute(self, merchant_ref: str, **wanted: object) -> Movement:
        """Open a dispute; `wanted` by the names on the wire."""
        opened: Movement = await self._post("/control/disputes", {"merchantRef": merchant_ref, **wanted})
        return opened

    async def move_dispute(self, dispute: str, phase: str) -> Movement:
        """Let a dispute take its next step: WITHDRAWN, WON or LOST."""
        moved: Movement = await self._post(f"/control/disputes/{dispute}", {"phase": phase})
        return moved

    async def deliver(self, event_id: str, how: str) -> Event:
        """Let an event be sent, repeated or dropped now: `how` is send, repeat or drop."""
        answer: Event = (await self.http.post(f"/control/webhooks/{event_id}/{how}")).raise_for_status().json()
        return answer

    async def deliver_in_order(self, *event_ids: str) -> None:
        """Let events be sent now, one after the other."""
        await self._post("/control/webhooks/order", {"ids": list(event_ids)})

    async def reset(self) -> None:
        """Make it as new."""
        await self._post("/control/reset", {})

    async def _post(self, path: str, body: Mapping[str, object]) -> Any:
        return (await self.http.post(path, json=dict(body))).raise_for_status().json()


@contextlib.asynccontextmanager
async def second_account(running: RunningSimulator) -> AsyncGenerator[RunningSimulator]:
    """The second account of a running simulator, as long as the block lasts."""
    url = f"{running.url}/b"
    async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as http:
        yield replace(running, url=url, http=http)


@contextlib.asynccontextmanager
async def running_simulator(
    *, webhook_url: str | None = None, webhook_url_b: str | None = None, port: int = 0
) -> AsyncGenerator[RunningSimulator]:
    """Run a simulator as long as the block lasts; it ends with this process too, however that ends."""
    lifeline, held = os.pipe()
    command = ["-m", "simulator", "--port", str(port), "--secret", SECRET, "--parent-pipe", str(lifeline)]
    command += ["--webhook-url", webhook_url] if webhook_url else []
    command += ["--webhook-url-b", webhook_url_b] if webhook_url_b else []
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, pass_fds=(lifeline,)
    )
    os.close(lifeline)
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), READY_SECONDS)).decode()
        assert line.startswith("listening on "), "the simulator did not start; its standard error says why"
        url = line.removeprefix("listening on ").strip()
        async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as http:
            yield RunningSimulator(url, SECRET, process.pid, http)
    finally:
        os.close(held)
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
