"""The stack as a whole: what runs where, started in order, stopped in order, and written down for others to read."""

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import signal
import sys
import time
import urllib.request
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from domain.errors import HoldfastError
from workers.embedded import postgres, temporal
from workers.embedded.processes import ROOT, Child, Nursery, free_port, is_free
from workers.migrations import APP_ROLE, migrate
from workers.settings import environment_of

DATABASE = "holdfast"
READY_SECONDS = 60.0  # a cold disk and one busy core
FIXED = {"api": 8080, "simulator": 8090, "temporal": 7233, "temporal_ui": 8233, "postgres": 5433}
STOP_ORDER = ("api", "worker", "simulator", "temporal", "postgres")

Say = Callable[[str], None]


class DidNotStart(HoldfastError):
    """A process of the stack died or did not become ready; the text holds the end of its log."""


@dataclass(frozen=True)
class Stack:
    """Where everything of a running stack is; `.holdfast/stack.json`, readable by its owner only."""

    api: str
    simulator: str
    temporal: str
    temporal_ui: str
    postgres: str  # the superuser's address of the development database
    token: str  # of the development client
    pids: dict[str, int] = field(default_factory=dict[str, int])

    def write(self, path: Path) -> None:
        """Write it whole or not at all."""
        draft = path.with_suffix(".draft")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(asdict(self), indent=2) + "\n")
        draft.rename(path)

    @classmethod
    def read(cls, path: Path) -> "Stack":
        """Read what is written of a running stack; raises FileNotFoundError where there is none."""
        return cls(**json.loads(path.read_text()))


def home_of(root: Path = ROOT) -> Path:
    """Where a clone keeps its data, logs and addresses."""
    return root / ".holdfast"


@contextlib.contextmanager
def running(home: Path, *, fixed_ports: bool, say: Say = lambda _: None) -> Generator[Stack]:
    """Run the whole stack; SIGTERM ends it like Ctrl-C does.

    Raises `DidNotStart`, also where a stack of this home runs already.
    """
    home.mkdir(parents=True, exist_ok=True)
    lock = (home / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise DidNotStart(f"a stack of {home} runs already: `make down` stops it") from None
    kept = signal.signal(signal.SIGTERM, _interrupt)
    nursery = Nursery(home / "logs")
    written = home / "stack.json"
    try:
        stack = _start(home, nursery, _ports(fixed_ports, say), say)
        stack.write(written)
        yield stack
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is being stopped is stopped to the end
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        written.unlink(missing_ok=True)
        nursery.stop(*STOP_ORDER)
        nursery.close()
        lock.close()
        signal.signal(signal.SIGTERM, kept)
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _ports(fixed: bool, say: Say) -> dict[str, int]:
    chosen: dict[str, int] = {}
    for name, port in FIXED.items():
        if fixed and is_free(port):
            chosen[name] = port
            continue
        chosen[name] = free_port()
        if fixed:
            say(f"port {port} is taken; {name} listens on {chosen[name]}")
    return chosen


def _start(home: Path, nursery: Nursery, ports: dict[str, int], say: Say) -> Stack:
    """Start each process when what it needs is ready."""
    marks = {"HOLDFAST_STACK_HOME": str(home)}  # so that a person sees in `ps` whose it is
    cluster = postgres.prepare(home, ports["postgres"])
    server = nursery.start(
        "postgres", cluster.command(*postgres.DURABLE), stop=signal.SIGINT, user=cluster.user, environment=marks
    )
    target = f"127.0.0.1:{ports['temporal']}"
    engine = nursery.start(
        "temporal",
        temporal.command(port=ports["temporal"], ui_port=ports["temporal_ui"], database=home / "temporal.db"),
        environment={**marks, **temporal.ENVIRONMENT},
    )
    secret, token = secrets.token_urlsafe(24), f"dev_{secrets.token_urlsafe(24)}"
    api = f"http://127.0.0.1:{ports['api']}"
    simulator_url = f"http://127.0.0.1:{ports['simulator']}"
    webhooks = f"{api}/v1/webhooks/simulator"
    simulator = nursery.start(
        "simulator",
        [
            sys.executable,
            "-m",
            "simulator",
            "--port",
            str(ports["simulator"]),
            "--secret",
            secret,
            "--webhook-url",
            webhooks,
        ],
        environment=marks,
    )
    app_password = secrets.token_urlsafe(24)
    _until(server, lambda: asyncio.run(_prepare_database(cluster, app_password)))
    say("PostgreSQL 18 is ready, its migrations applied")
    _until(engine, lambda: asyncio.run(temporal.make_ready(target)))
    say(f"Temporal is ready, its UI on http://127.0.0.1:{ports['temporal_ui']}")
    _until(simulator, lambda: _answers(f"{simulator_url}/healthz"))
    say("the provider simulator is ready")
    settings = environment_of({
        "database_url": cluster.url(DATABASE, user=APP_ROLE, password=app_password),
        "temporal_target": target,
        "api_port": ports["api"],
        "development_token": token,
        "simulator_url": simulator_url,
        "simulator_secret": secret,
        "webhook_secret": secret,
    })  # fmt: skip
    worker = nursery.start("worker", [sys.executable, "-m", "workers.worker"], environment={**marks, **settings})
    served = nursery.start("api", [sys.executable, "-m", "workers.server"], environment={**marks, **settings})
    _until(served, lambda: _answers(f"{api}/readyz"))
    _until(worker, lambda: asyncio.run(_is_polled(target)))
    say(f"the worker and the API are ready, the API on {api}")
    return Stack(
        api=api,
        simulator=simulator_url,
        temporal=target,
        temporal_ui=f"http://127.0.0.1:{ports['temporal_ui']}",
        postgres=cluster.url(DATABASE),
        token=token,
        pids={"supervisor": os.getpid(), **{child.name: child.pid for child in nursery.children}},
    )


def _until(child: Child, ready: Callable[[], object]) -> None:
    """Call `ready` until it does not raise; give up when the child has died or the time is over."""
    until = time.monotonic() + READY_SECONDS
    while True:
        if not child.is_alive():
            raise DidNotStart(
                f"{child.name} has ended before it was ready; the end of {child.log}:\n{child.last_words()}"
            )
        try:
            ready()
        except (OSError, asyncpg.PostgresError, TimeoutError) as failure:
            if time.monotonic() > until:
                raise DidNotStart(f"{child.name} is not ready after {READY_SECONDS:.0f} s: {failure}") from failure
            time.sleep(0.05)
        else:
            return


async def _prepare_database(cluster: postgres.Cluster, app_password: str) -> None:
    connection = await asyncpg.connect(cluster.url())
    if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
        await connection.execute(f"CREATE DATABASE {DATABASE}")
    await connection.close()
    await migrate(cluster.url(DATABASE), app_password)


def _answers(url: str) -> None:
    with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  our own loopback addresses
        answer.read()


async def _is_polled(target: str) -> None:
    """Raise TimeoutError until a worker asks for payments."""
    client = await temporal.connect(target)
    if not await temporal.has_pollers(client):
        raise TimeoutError("no worker polls yet")


def describe(stack: Stack) -> dict[str, Any]:
    """What a person wants to know of a running stack."""
    return {
        "API": stack.api,
        "Temporal UI": stack.temporal_ui,
        "simulator": stack.simulator,
        "Postgres": stack.postgres,
    }
