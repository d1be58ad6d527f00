"""What an authorization costs, against bare workflows of the same kind on the same server, in one interleaved run.

The product is asked over HTTP, as an initiator does, and answers when the provider's answer is known; the floors are
asked by update-with-start and answer after the activities that stand for the same. The simulator answers at once.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from bench.figures import Figure, cpu_seconds, p50, p99
from bench.floor_worker import QUEUE
from bench.floors import Ask, Bare, Naive
from contracts.payloads import DATA_CONVERTER
from contracts.queues import workflow_id
from domain.ids import OperationId
from workers.embedded.stack import Stack

SERIAL_ROUNDS = 60  # each of every kind in turn; the machine's drift meets them all alike
WIDE_ROUNDS = 3
WIDE = 240  # payments per kind and round
AT_ONCE = 16
PAUSE_SECONDS = 0.05  # lets the tail of one leave before the next begins
WARM = 12
HALF_SECONDS = 12

Send = Callable[[str], Awaitable[None]]


async def measure(stack: Stack, settings: dict[str, str]) -> tuple[list[Figure], list[str]]:
    """Measure everything against a stack that is up."""
    client = await Client.connect(stack.temporal, data_converter=DATA_CONVERTER)
    headers = {"Authorization": f"Bearer {stack.token}"}
    limits = httpx.Limits(max_connections=AT_ONCE * 2, max_keepalive_connections=AT_ONCE * 2)
    with ExitStack() as processes:
        floor = subprocess.Popen(  # noqa: ASYNC220  ours, and it starts in a second
            [sys.executable, "-m", "bench.floor_worker", stack.temporal], stdin=subprocess.DEVNULL
        )
        processes.callback(_end, floor)
        async with httpx.AsyncClient(base_url=stack.api, headers=headers, timeout=30, limits=limits) as http:
            kinds: dict[str, Send] = {
                "product": _product(http),
                "bare": _floor(client, Bare),
                "naive": _floor(client, Naive),
            }
            pids = {"product": stack.pids["worker"], "bare": floor.pid, "naive": floor.pid}
            await _silence_webhooks(stack)
            for name, send in kinds.items():
                for number in range(WARM):
                    await send(f"warm-{name}-{number}")
            serial = await _serially(kinds)
            wide, cpu = await _widely(kinds, pids)
            half = await _at_half_load(kinds["product"], p50(wide["product"]))
            histories, notes = await _histories(client, http)
        dbos = await _dbos(stack, settings)
    figures = _figures(serial, wide, cpu, half, dbos) + histories
    return figures, [*_notes(serial, cpu), *notes]


async def _silence_webhooks(stack: Stack) -> None:
    """Have the simulator answer only: an event per effect is the provider's load, and the floors have none."""
    async with httpx.AsyncClient(base_url=stack.simulator) as simulator:
        (await simulator.post("/control/settings", json={"webhooks": {"enabled": False}})).raise_for_status()


def _product(http: httpx.AsyncClient) -> Send:
    body = {"amount": 1000, "currency": "EUR", "merchant": "m_bakery", "instrument": "tok_visa"}

    async def send(key: str) -> None:
        answer = await http.post("/v1/payments", json=body, headers={"Idempotency-Key": f"{time.time_ns()}-{key}"})
        assert answer.status_code == 201, answer.text

    return send


def _floor(client: Client, kind: Any) -> Send:
    async def send(key: str) -> None:
        ask = Ask(f"{kind.__name__}-{time.time_ns()}-{key}")
        start = WithStartWorkflowOperation(
            kind.run,
            ask,
            id=f"floor/{ask.id}",
            task_queue=QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        )
        await client.execute_update_with_start_workflow(  # pyright: ignore[reportUnknownMemberType]
            kind.authorize, ask, id=ask.id, start_workflow_operation=start
        )

    return send


async def _serially(kinds: dict[str, Send]) -> dict[str, list[float]]:
    """Milliseconds of each, one at a time, the kinds in turn."""
    laps: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(SERIAL_ROUNDS):
        for name, send in kinds.items():
            laps[name].append(await _timed(send, f"serial{number}"))
            await asyncio.sleep(PAUSE_SECONDS)
    return laps


async def _timed(send: Send, key: str) -> float:
    began = time.perf_counter()
    await send(key)
    return (time.perf_counter() - began) * 1000


async def _widely(
    kinds: dict[str, Send], pids: dict[str, int]
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Payments per second with sixteen at once, and worker CPU milliseconds per payment, per round."""
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    cpu: dict[str, list[float]] = {name: [] for name in kinds}
    for round_ in range(WIDE_ROUNDS):
        for name, send in kinds.items():
            gate, used, began = asyncio.Semaphore(AT_ONCE), cpu_seconds(pids[name]), time.perf_counter()

            async def one(number: int, send: Send = send, gate: asyncio.Semaphore = gate, round_: int = round_) -> None:
                async with gate:
                    await send(f"wide{round_}-{number}")

            await asyncio.gather(*(one(number) for number in range(WIDE)))
            seconds = time.perf_counter() - began
            await asyncio.sleep(1.0)  # the tails belong to the work
            rates[name].append(WIDE / seconds)
            cpu[name].append((cpu_seconds(pids[name]) - used) * 1000 / WIDE)
    return rates, cpu


async def _at_half_load(send: Send, most_per_second: float) -> list[float]:
    """Latencies at half of the greatest rate, sent at even intervals whatever the answers do."""
    interval = 2 / most_per_second
    sends: list[asyncio.Task[float]] = []
    for number in range(int(HALF_SECONDS / interval)):
        sends.append(asyncio.create_task(_timed(send, f"half{number}")))
        await asyncio.sleep(interval)
    return await asyncio.gather(*sends)


async def _histories(client: Client, http: httpx.AsyncClient) -> tuple[list[Figure], list[str]]:
    """Events and bytes of each lifecycle's history, and what the events are."""
    run = f"history-{time.time_ns()}"
    payment = await _post(http, f"{run}-1", "/v1/payments", _payment(10_000))
    for part in (1, 2):
        body = {"amount": 5_000, "currency": "EUR"}
        await _post(http, f"{run}-c{part}", f"/v1/payments/{payment}/captures", body)
    refund = await _post(http, f"{run}-r", f"/v1/payments/{payment}/refunds", {"amount": 1_000, "currency": "EUR"})
    alone = await _post(http, f"{run}-2", "/v1/payments", _payment(1_000))
    automatic = await _post(http, f"{run}-3", "/v1/payments", _payment(1_000) | {"capture": "automatic"})
    body = {"amount": 1_000, "currency": "EUR", "merchant": "m_bakery", "destination": "acct_ok"}
    payout = await _post(http, f"{run}-p", "/v1/payouts", body)
    await asyncio.sleep(3)  # the payout arrives
    figures: list[Figure] = []
    notes: list[str] = []
    told = (("authorize", alone), ("authorize and two captures", payment), ("automatic", automatic),
            ("refund", refund), ("payout", payout))  # fmt: skip
    for what, operation in told:
        history = await client.get_workflow_handle(workflow_id(OperationId(operation))).fetch_history()
        name = what.replace(" ", "_")
        size = sum(event.ByteSize() for event in history.events) / 1024
        figures.append(Figure(f"saga.events.{name}", len(history.events), "events", what=f"history of {what}"))
        figures.append(Figure(f"saga.bytes.{name}", size, "KiB", what=f"history of {what}"))
        kinds = Counter(
            EventType.Name(event.event_type).removeprefix("EVENT_TYPE_").lower() for event in history.events
        )
        notes.append(f"{what}: " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()))
    return figures, notes


def _payment(amount: int) -> dict[str, object]:
    return {"amount": amount, "currency": "EUR", "merchant": "m_bakery", "instrument": "tok_visa"}


async def _post(http: httpx.AsyncClient, key: str, path: str, body: Mapping[str, object]) -> str:
    answer = await http.post(path, json=body, headers={"Idempotency-Key": key})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def _dbos(stack: Stack, settings: dict[str, str]) -> dict[str, float] | None:
    """Run the same steps on DBOS, in a process and a database of their own; None where it is not installed."""
    base = stack.postgres.rsplit("/", 1)[0]
    connection = await asyncpg.connect(stack.postgres)
    await connection.execute("DROP DATABASE IF EXISTS bench_dbos WITH (FORCE)")
    await connection.execute("CREATE DATABASE bench_dbos")
    await connection.close()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.dbos_saga", f"{base}/bench_dbos", str(SERIAL_ROUNDS), str(WIDE),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env={**os.environ, **settings},
    )  # fmt: skip
    out, _ = await process.communicate()
    if process.returncode:
        return None
    figures: dict[str, Any] = json.loads(out.decode().strip().splitlines()[-1])
    return {name: float(value) for name, value in figures.items()}


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    process.wait(timedelta(seconds=10).total_seconds())


def _figures(
    serial: dict[str, list[float]],
    wide: dict[str, list[float]],
    cpu: dict[str, list[float]],
    half: list[float],
    dbos: dict[str, float] | None,
) -> list[Figure]:
    ms = {name: p50(values) for name, values in serial.items()}
    rate = {name: p50(values) for name, values in wide.items()}
    used = {name: p50(values) for name, values in cpu.items()}
    figures = [
        Figure("saga.G1", ms["product"], "ms", ms["bare"], 1.35, what="authorize p50, serial, against bare"),
        Figure("saga.G2", ms["product"], "ms", ms["naive"], 0.70, what="authorize p50, serial, against naive"),
        Figure("saga.G4", rate["product"], "/s", rate["bare"], 0.75, at_most=False, what="16 at once, against bare"),
        Figure("saga.G3", rate["product"], "/s", rate["naive"], 1.15, at_most=False, what="16 at once, against naive"),
        Figure("saga.G7", used["product"], "ms CPU", used["bare"], 1.6, what="worker CPU per authorize, against bare"),
        Figure("saga.G6", p99(half) / p50(half), "", None, 3, what="p99 / p50 at half load"),
    ]
    if dbos is not None:
        figures += [
            Figure(
                "saga.dbos.p50", ms["product"], "ms", dbos["p50_ms"], what="authorize p50, against DBOS's three steps"
            ),
            Figure("saga.dbos.rate", rate["product"], "/s", dbos["per_second"], what="16 at once, against DBOS"),
            Figure(
                "saga.dbos.cpu", used["product"], "ms CPU", dbos["cpu_ms"], what="worker CPU, against DBOS's process"
            ),
        ]
    return figures


def _notes(serial: dict[str, list[float]], cpu: dict[str, list[float]]) -> list[str]:
    spread = ", ".join(
        f"{name} {p50(laps):.1f} (p90 {sorted(laps)[int(len(laps) * 0.9)]:.1f})" for name, laps in serial.items()
    )
    rounds = ", ".join(f"{name} {'/'.join(f'{each:.1f}' for each in values)}" for name, values in cpu.items())
    return [
        f"{os.cpu_count()} CPUs, shared by client, API, worker, Temporal (SQLite file, WAL), Postgres and simulator",
        f"serial, ms: {spread}; {SERIAL_ROUNDS} interleaved rounds",
        f"worker CPU ms per payment, per round: {rounds}",
        "the product's time beyond the floor: HTTP edge and claim (two commits), admission and hold (two commits),"
        " call journal (two commits), one call to the simulator, pydantic's strict reading of each payload",
        "the simulator sends no webhooks here; DBOS is asked for less: no update to answer early, no timer,"
        " no search attributes, no second queue, no HTTP edge",
    ]
