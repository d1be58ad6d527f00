"""The command line: `holdfast up`, `down`, `demo`, `worker`, `api`, `migrate`, `show`, `top-up`."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any, NoReturn

import asyncpg
import typer
from rich.console import Console
from rich.table import Table

from domain.errors import HoldfastError
from domain.ids import MerchantId, OperationId, is_merchant_id
from domain.money import Money
from ledger.journal import Journal
from records.operations import Operations, StoredOperation
from workers import demo as demonstration
from workers import seed, server, worker
from workers.embedded import postgres
from workers.embedded.processes import ROOT
from workers.embedded.stack import DidNotStart, Stack, describe, home_of, running
from workers.migrations import migrate as apply_migrations
from workers.settings import Mode, Settings

UP_SECONDS = 120  # a first start copies binaries and makes a cluster on a cold disk
DOWN_SECONDS = 30

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Holdfast: durable payment sagas.")
console = Console(highlight=False)


@app.command()
def up(
    *,
    keep: Annotated[bool, typer.Option(help="Leave it running and return.")] = False,
    demo: Annotated[bool, typer.Option(help="Tell the demonstration's stories against it.")] = False,
    foreground: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Start the whole stack: Postgres, Temporal, the provider simulator, a worker and the API."""
    home = home_of()
    if foreground:
        _leave(_serve(home))
    if keep:
        stack = _detached(home)
        _print(stack)
        _leave(_tell(stack) if demo else 0)
    try:
        # A demonstration uses free ports, so that it can run beside another copy and beside `make up`.
        with running(home / "demo" if demo else home, fixed_ports=not demo, say=_say) as stack:
            _seeded(stack)
            if demo:
                code = _tell(stack)
            else:
                _print(stack)
                code = _wait()
    except DidNotStart as failure:
        console.print(f"[bold red]✗[/] {failure}", markup=True)
        code = 1
    except KeyboardInterrupt:
        console.print("stopped")
        code = 130
    _leave(code)


@app.command()
def down() -> None:
    """Stop what `up --keep` left running, and remove what was copied for it."""
    home = home_of()
    try:
        stack = Stack.read(home / "stack.json")
    except FileNotFoundError:
        console.print("nothing is running")
    else:
        with contextlib.suppress(ProcessLookupError):
            os.kill(stack.pids["supervisor"], signal.SIGTERM)
        until = time.monotonic() + DOWN_SECONDS
        while (home / "stack.json").exists() or _alive(stack.pids["supervisor"]):
            if time.monotonic() > until:
                console.print(f"[bold red]✗[/] process {stack.pids['supervisor']} has not stopped")
                raise typer.Exit(1)
            time.sleep(0.1)
        console.print("stopped")
    if os.geteuid() == 0:
        postgres.remove(home)
        postgres.remove(home / "demo")


@app.command()
def demo() -> None:
    """Tell the demonstration's stories against the stack that is up."""
    _leave(_tell(_running_stack()))


@app.command(name="worker")
def run_worker() -> None:
    """Run a worker in this process, by the settings of the environment."""
    asyncio.run(worker.main())
    _leave(0)


@app.command(name="api")
def run_api() -> None:
    """Run the API in this process, by the settings of the environment."""
    asyncio.run(server.main())
    _leave(0)


@app.command()
def migrate(
    admin_url: Annotated[str, typer.Option(envvar="HOLDFAST_ADMIN_URL", help="The database, as a superuser.")],
    app_password: Annotated[
        str, typer.Option(envvar="HOLDFAST_APP_PASSWORD", help="What role `holdfast` logs in with.")
    ],
) -> None:
    """Apply the migrations that are missing."""
    applied = asyncio.run(apply_migrations(admin_url, app_password))
    for name in applied or ["nothing to apply"]:
        console.print(name)


@app.command()
def show(payment: Annotated[str, typer.Argument(help="The id of a payment, refund or payout.")]) -> None:
    """Show an operation: its row, what happened to it, and what the ledger holds of it."""
    _leave(asyncio.run(_show(_running_stack(), OperationId(payment))))


@app.command(name="top-up")
def top_up(merchant: str, amount: str, currency: str) -> None:
    """Book money that a merchant has sent us: development only. AMOUNT is in major units, e.g. 100.00."""
    if Settings().mode is not Mode.DEVELOPMENT:
        console.print("[bold red]✗[/] top-ups by hand are for development only")
        raise typer.Exit(2)
    if not is_merchant_id(merchant):
        console.print("[bold red]✗[/] a merchant's name is 3 to 32 characters of a-z, 0-9 and _, a letter first")
        raise typer.Exit(2)

    async def book(pool: asyncpg.Pool) -> Money:
        return await seed.top_up_by_hand(pool, MerchantId(merchant), amount, currency, str(time.time_ns()))

    money = asyncio.run(_with_pool(_running_stack(), book))
    console.print(f"booked {money} for {merchant}")


def _serve(home: Path) -> int:
    """Run the stack until it is asked to stop: what `up --keep` leaves behind."""
    try:
        with running(home, fixed_ports=True, say=_say) as stack:
            _seeded(stack)
            (home / "ready").touch()
            return _wait()
    except DidNotStart as failure:
        console.print(f"✗ {failure}", markup=False)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        (home / "ready").unlink(missing_ok=True)


def _wait() -> int:
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            signal.pause()
    return 0


def _detached(home: Path) -> Stack:
    """Start the stack in a session of its own and wait until it is ready; use the one that runs already."""
    with contextlib.suppress(FileNotFoundError):
        stack = Stack.read(home / "stack.json")
        if _alive(stack.pids["supervisor"]) and (home / "ready").exists():
            _say("it runs already")
            return stack
    log = home / "logs" / "supervisor.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    (home / "ready").unlink(missing_ok=True)
    with log.open("wb") as out:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "workers.command_line", "up", "--foreground"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    until = time.monotonic() + UP_SECONDS
    try:
        while not (home / "ready").exists():
            if supervisor.poll() is not None or time.monotonic() > until:
                console.print("[bold red]✗[/] the stack did not start")
                console.print(log.read_text(errors="replace"), markup=False)
                _stop(supervisor)
                _leave(1)
            time.sleep(0.1)
    except KeyboardInterrupt:
        _stop(supervisor)
        _leave(130)
    console.print(log.read_text(errors="replace").rstrip(), markup=False)
    return Stack.read(home / "stack.json")


def _stop(supervisor: "subprocess.Popen[bytes]") -> None:
    supervisor.terminate()
    supervisor.wait(DOWN_SECONDS)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """A process that has ended and whom nobody has waited for; only Linux tells."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (OSError, IndexError):
        return False


def _running_stack() -> Stack:
    try:
        return Stack.read(home_of() / "stack.json")
    except FileNotFoundError:
        console.print("[bold red]✗[/] nothing is running: `make up` starts it")
        _leave(1)


def _say(what: str) -> None:
    console.print(f"[green]✓[/] {what}")


def _print(stack: Stack) -> None:
    table = Table(show_header=False, box=None)
    for name, where in describe(stack).items():
        table.add_row(name, where)
    table.add_row("token", f"in {home_of() / 'stack.json'}")
    console.print(table)
    console.print("`make down` stops it; `.venv/bin/holdfast demo` tells the demonstration's stories")


def _tell(stack: Stack) -> int:
    return 0 if asyncio.run(demonstration.run(stack)) else 1


def _seeded(stack: Stack) -> None:
    asyncio.run(_with_pool(stack, seed.seed))
    _say("the development merchants have their first money")


async def _with_pool(stack: Stack, act: Any) -> Any:
    async with asyncpg.create_pool(stack.postgres, min_size=1, max_size=2) as pool:
        return await act(pool)


async def _show(stack: Stack, operation: OperationId) -> int:
    async with asyncpg.create_pool(stack.postgres, min_size=1, max_size=2) as pool:
        operations = Operations(pool)
        found = [await find(operation) for find in (operations.payment, operations.refund, operations.payout)]
        row = next((each for each in found if each is not None), None)
        if row is None:
            console.print(f"[bold red]✗[/] there is no operation {operation}")
            return 1
        children = await operations.children(operation)
        _show_rows([row, *children])
        table = Table(title="What happened", title_style="bold")
        for column in ("at", "operation", "what", "detail"):
            table.add_column(column, overflow="fold")
        for moment in await operations.timeline(operation):
            table.add_row(f"{moment.at:%Y-%m-%d %H:%M:%S.%f}"[:-3], moment.operation, moment.what, moment.detail)
        console.print(table)
        entries = Table(title="What the ledger has booked", title_style="bold")
        for column in ("at", "reference", "kind", "amount"):
            entries.add_column(column, overflow="fold")
        journal = Journal(pool)
        for each in [row, *children]:
            for entry in await journal.entries_of(each.id):
                entries.add_row(f"{entry.posted_at:%H:%M:%S.%f}"[:-3], entry.reference, entry.kind, str(entry.money))
        console.print(entries)
    return 0


def _show_rows(rows: list[StoredOperation]) -> None:
    table = Table(title="Operations", title_style="bold")
    for column in ("id", "state", "amount", "total", "reason", "provider's id"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(row.id, row.state, str(row.money), str(row.total), row.reason, row.provider_id)
    console.print(table)


def _leave(code: int) -> NoReturn:
    """Exit without the interpreter's own end, at which the Temporal client can abort."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    """Run the command line; what is known to go wrong is said in a line, without a trace."""
    try:
        app()
    except HoldfastError as failure:
        console.print(f"[bold red]✗[/] {failure}")
        _leave(1)


if __name__ == "__main__":
    main()
