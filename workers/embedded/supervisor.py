"""Runs the embedded stack: starts each process when what it needs is ready, restarts what dies, stops all in order.

`python -m workers.embedded.supervisor HOME` is the detached form that `make up` leaves running. Whatever becomes of the
supervisor, its processes do not outlive it (`guardian.py`).
"""

import argparse
import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import asyncpg
from temporalio.service import RPCError

from domain.errors import HoldfastError
from identity import operators
from ledger.seal_keys import SealKey
from workers.embedded import postgres, temporal
from workers.embedded.home import claimed
from workers.embedded.processes import Child, Nursery, free_ports, is_free
from workers.embedded.stack import Stack, forget, operators_file, write_operators, write_private, write_settings
from workers.migrations import API_ROLE, APP_ROLE, UPKEEP_ROLE, WORKER_ROLE, migrate
from workers.seed import seed
from workers.settings import environment_of

DATABASE = "holdfast"
FIXED = {"api": 8080, "simulator": 8090, "temporal": 7233, "temporal_ui": 8233, "postgres": 5433}
ALL = ("postgres", "temporal", "simulator", "worker", "api", "upkeep")
STOP_ORDER = ("api", "worker", "upkeep", "simulator", "temporal", "postgres")
READY_SECONDS = 120.0  # measured: 1 s on an idle machine, 25 s on one five times overloaded
TRIES = 3  # between finding a free port and listening on it another process may take it; not three times in a row
LOOK_SECONDS = 0.2  # how soon a death is seen
RESTART_PAUSE_SECONDS = 0.5  # what it leaves behind, a Postgres backend or a bound port, is gone by then
RESTARTS_MAX = 20  # of one process in a minute: one that cannot live ends thirty times
RESTART_WINDOW_SECONDS = 60.0
MARK = "HOLDFAST_STACK_HOME"  # in each process's environment, so that a person sees whose it is
MODULE = (sys.executable, "-m")
SEAL_KEY, SEAL_FILE, ARCHIVE = "seal.key", "seals.jsonl", "archive"  # in the stack's home
LOGIN_SETTINGS = {
    "database_url": APP_ROLE,
    "worker_database_url": WORKER_ROLE,
    "api_database_url": API_ROLE,
    "upkeep_database_url": UPKEEP_ROLE,
}
OPERATORS = ("ann", "bob")  # two: what moves money by hand needs two people
READY = "ready"  # the last line of the detached form's output

Say = Callable[[str], None]


class DidNotStart(HoldfastError):
    """A process of the stack died or did not become ready; the text holds the end of its log."""


class Fell(HoldfastError):
    """A process of the stack ended and is not started again."""


@contextlib.contextmanager
def running(
    home: Path,
    *,
    fixed_ports: bool,
    say: Say = lambda _: None,
    parts: Sequence[str] = ALL,
    second_account: bool = False,
) -> Generator["Supervisor"]:
    """Run the stack, or some of its parts; SIGTERM and SIGHUP end it like Ctrl-C does.

    With a second account at the simulator, payments are routed to it where the first certainly did nothing. Raises
    `DidNotStart`, and `AlreadyRuns` where a stack of this home runs already.
    """
    with claimed(home) as lock, _interruptible():
        nursery = Nursery(home / "logs", lock)
        supervisor = Supervisor(home, nursery, parts, say, second_account=second_account)
        try:
            supervisor.start(fixed_ports=fixed_ports)
            yield supervisor
        finally:
            for number in INTERRUPTS:  # what is being stopped is stopped to the end
                signal.signal(number, signal.SIG_IGN)
            supervisor.stop()
            nursery.close()


INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def _interruptible() -> Generator[None]:
    kept = [(number, signal.signal(number, _interrupt)) for number in INTERRUPTS]
    try:
        yield
    finally:
        for number, handler in kept:
            signal.signal(number, handler)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


class Supervisor:
    """Starts the parts of a stack and watches them."""

    def __init__(
        self, home: Path, nursery: Nursery, parts: Sequence[str], say: Say, *, second_account: bool = False
    ) -> None:
        self._home = home
        self._nursery = nursery
        self._parts = parts
        self._say = say
        self._second_account = second_account
        self._restarts: dict[str, list[float]] = {}
        self._stopping = threading.Event()  # tests watch from a thread of their own
        self._stack: Stack | None = None

    @property
    def stack(self) -> Stack:
        assert self._stack is not None
        return self._stack

    def start(self, *, fixed_ports: bool) -> None:
        """Start everything, and write down where it is."""
        for left in reversed(range(TRIES)):
            try:
                self._start(self._ports(fixed_ports))
                break
            except DidNotStart as failure:
                self._nursery.stop()
                if not left or "in use" not in str(failure):
                    raise
                self._say("a port was taken at the last moment; starting again on others")
        self._write()

    def watch(self) -> None:
        """Start again what ends, as an orchestrator would in production, until `stop`.

        Raises `Fell` when the simulator has ended, whose books are gone with it, or when one ends again and again.
        """
        while not self._stopping.wait(LOOK_SECONDS):
            for child in [each for each in self._nursery.children if not each.is_alive()]:
                self._start_again(child)

    def _start_again(self, child: Child) -> None:
        now = time.monotonic()
        lately = [each for each in self._restarts.get(child.name, ()) if each > now - RESTART_WINDOW_SECONDS]
        if child.name == "simulator" or len(lately) >= RESTARTS_MAX:
            raise Fell(f"{child.name} has ended; the end of {child.log}:\n{child.last_words()}")
        self._restarts[child.name] = [*lately, now]
        if self._stopping.wait(RESTART_PAUSE_SECONDS):
            return
        self._say(f"{child.name} had ended; it is started again")
        self._nursery.restart(child)
        self._write()

    def stop(self) -> None:
        """Stop everything in order; what is still being watched is not started again."""
        self._stopping.set()
        forget(self._home)
        self._nursery.stop(*STOP_ORDER)

    def _ports(self, fixed: bool) -> dict[str, int]:
        chosen = dict(zip(FIXED, free_ports(len(FIXED)), strict=True))
        for name, port in FIXED.items() if fixed else ():
            if is_free(port):
                chosen[name] = port
            else:
                self._say(f"port {port} is taken; {name.replace('_', ' ')} listens on {chosen[name]}")
        return chosen

    def _start(self, ports: dict[str, int]) -> None:
        """Start what needs nobody at once, wait for it, then what needs it."""
        if postgres.is_new(self._home):
            _forget_the_old_database(self._home)
        cluster = postgres.prepare(self._home, ports["postgres"])
        stack = self._stack = _stack_on(ports, cluster)
        app_password, simulator_secret = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        urls = {
            login: cluster.url(DATABASE, user=role, password=app_password) for login, role in LOGIN_SETTINGS.items()
        }
        shared: dict[str, object] = {
            "temporal_target": stack.temporal,
            "simulator_url": stack.simulator,
            **({"simulator_b_url": f"{stack.simulator}/b"} if self._second_account else {}),
            "simulator_secret": simulator_secret,
            "webhook_secret": simulator_secret,
        }
        of_worker = {**shared, "worker_database_url": urls["worker_database_url"]}
        of_api = {
            **shared,
            "api_database_url": urls["api_database_url"],
            "api_port": ports["api"],
            "development_token": stack.token,
            "operators": self._operators(),
        }
        of_upkeep = {
            **shared,
            "upkeep_database_url": urls["upkeep_database_url"],
            **_settings_of_seals(self._home),
        }
        write_settings(self._home, environment_of({**of_worker, **of_api, **of_upkeep, **urls}))
        engine = temporal.command(
            port=ports["temporal"], ui_port=ports["temporal_ui"], database=self._home / "temporal.db"
        )
        provider = simulator_command(ports["simulator"], simulator_secret, webhooks_to=stack.api)
        begin, wait = self._begin, self._wait
        begin("postgres", cluster.command(*postgres.DURABLE), stop=signal.SIGINT, user=cluster.user)
        begin("temporal", engine, environment=temporal.ENVIRONMENT)
        begin("simulator", provider)
        wait("postgres", lambda: asyncio.run(_prepare_database(cluster, app_password)), "its migrations applied")
        wait("temporal", lambda: asyncio.run(temporal.make_ready(stack.temporal)), f"its UI on {stack.temporal_ui}")
        wait("simulator", lambda: _answers(f"{stack.simulator}/healthz"), f"on {stack.simulator}")
        begin("worker", [*MODULE, "workers.worker"], environment=environment_of(of_worker))
        begin("api", [*MODULE, "workers.server"], environment=environment_of(of_api))
        wait("worker", lambda: asyncio.run(_is_polled(stack.temporal)), "it polls")
        wait("api", lambda: _answers(f"{stack.api}/readyz"), f"on {stack.api}")
        begin("upkeep", [*MODULE, "workers.upkeep"], environment=environment_of(of_upkeep))  # nobody waits for it

    def _operators(self) -> str:
        """Make the operators of this stack, and say where their tokens are."""
        tokens = {name: operators.new_token() for name in OPERATORS}
        write_operators(self._home, tokens)
        self._say(f"operators {' and '.join(OPERATORS)} have their tokens in {operators_file(self._home)}")
        return ",".join(operators.entry(name, token) for name, token in tokens.items())

    def _begin(
        self,
        part: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        stop: signal.Signals = signal.SIGTERM,
        user: str | None = None,
    ) -> None:
        if part in self._parts:
            marked = {MARK: str(self._home), **(environment or {})}
            self._nursery.start(part, command, stop=stop, environment=marked, user=user)

    def _wait(self, part: str, ready: Callable[[], object], said: str) -> None:
        for child in [each for each in self._nursery.children if each.name == part]:
            _until(child, ready)
            self._say(f"{part} is ready, {said}")

    def _write(self) -> None:
        pids = {"supervisor": os.getpid(), **{child.name: child.pid for child in self._nursery.children}}
        self._stack = replace(self.stack, pids=pids)
        self._stack.write(self._home)


def simulator_command(port: int, secret: str, *, webhooks_to: str) -> list[str]:
    """The command that runs the provider simulator, its webhooks going to the API."""
    # The secret in one word with its option: it may begin with a dash.
    options = ["--port", str(port), f"--secret={secret}"]
    urls = ["--webhook-url", f"{webhooks_to}/v1/webhooks/simulator"]
    urls += ["--webhook-url-b", f"{webhooks_to}/v1/webhooks/simulator_b"]
    return [*MODULE, "simulator", *options, *urls]


def _stack_on(ports: Mapping[str, int], cluster: postgres.Cluster) -> Stack:
    return Stack(
        api=f"http://127.0.0.1:{ports['api']}",
        simulator=f"http://127.0.0.1:{ports['simulator']}",
        temporal=f"127.0.0.1:{ports['temporal']}",
        temporal_ui=f"http://127.0.0.1:{ports['temporal_ui']}",
        postgres=cluster.url(DATABASE),
        token=f"dev_{secrets.token_urlsafe(24)}",
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
        except (OSError, asyncpg.PostgresError, RPCError, TimeoutError) as failure:
            if time.monotonic() > until:
                raise DidNotStart(f"{child.name} is not ready after {READY_SECONDS:.0f} s: {failure}") from failure
            time.sleep(0.05)
        else:
            return


def _forget_the_old_database(home: Path) -> None:
    """Remove what others remember of a database that is gone: runs would miss their rows, seals their windows."""
    for file in (*home.glob("temporal.db*"), home / SEAL_FILE):
        file.unlink(missing_ok=True)
    shutil.rmtree(home / ARCHIVE, ignore_errors=True)


def _settings_of_seals(home: Path) -> dict[str, object]:
    """The key that this home seals with, made once, and where seals and archived months go."""
    file = home / SEAL_KEY
    if not file.exists():
        write_private(file, SealKey.generate().text)
    key = SealKey.parse(file.read_text())
    return {
        "seal_key": key.text,
        "seal_public_keys": key.public.text,
        "seal_file": home / SEAL_FILE,
        "archive_directory": home / ARCHIVE,
    }


async def _prepare_database(cluster: postgres.Cluster, app_password: str) -> None:
    connection = await asyncpg.connect(cluster.url())
    if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
        await connection.execute(f"CREATE DATABASE {DATABASE}")
    await connection.close()
    await migrate(cluster.url(DATABASE), app_password)
    await seed(cluster.url(DATABASE, user=APP_ROLE, password=app_password))


def _answers(url: str) -> None:
    with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  our own loopback addresses
        answer.read()


async def _is_polled(target: str) -> None:
    """Raise TimeoutError until a worker asks for payments."""
    if not await temporal.has_pollers(await temporal.connect(target)):
        raise TimeoutError("no worker polls yet")


def main(arguments: Sequence[str]) -> int:
    """Supervise the stack of HOME, and tell on standard output how the start goes; return the exit code."""
    parser = argparse.ArgumentParser(prog="workers.embedded.supervisor", description=main.__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("--free-ports", action="store_true", help="instead of those of `make up`")
    parser.add_argument("--part", choices=ALL, action="append", help="run this part only; may be given again")
    chosen = parser.parse_args(arguments)

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()  # who no longer listens has given up: then this raises, and all is stopped

    try:
        with running(chosen.home, fixed_ports=not chosen.free_ports, say=say, parts=chosen.part or ALL) as supervisor:
            say(READY)
            os.dup2(2, 1)  # from now on into the log: who started us has gone
            supervisor.watch()
    except HoldfastError as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    except (KeyboardInterrupt, BrokenPipeError):
        return 0
    return 0


def leave(code: int) -> NoReturn:
    """End this process now: one that has used the Temporal client may abort in the interpreter's own ending."""
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
