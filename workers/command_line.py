"""`holdfast`: everything that a person does with Holdfast at a prompt. Thin: each command calls what does it.

Commands that look at a stack take its addresses from `.holdfast`, and settings from the environment before those.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.table import Table

from domain.errors import HoldfastError
from domain.ids import MerchantId, OperationId, Prefix, is_merchant_id, is_operation_id
from domain.money import parse
from workers import (
    attention_commands,
    deploy_commands,
    dossier,
    ledger_commands,
    payout_commands,
    risk_commands,
    seed,
)
from workers.embedded import postgres, temporal
from workers.embedded.home import AlreadyRuns, home_of, supervisor_of
from workers.embedded.processes import ROOT
from workers.embedded.stack import Stack, read_settings
from workers.embedded.supervisor import READY, leave, running
from workers.migrations import migrate as apply_migrations
from workers.prompt import console, say, settings_here

STOP_SECONDS = 60.0  # six processes in turn, each with its own grace


def _exit(code: int) -> None:
    raise typer.Exit(code)


application = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, result_callback=_exit
)
application.add_typer(deploy_commands.application, name="deploy")
application.add_typer(ledger_commands.application, name="ledger")
application.add_typer(payout_commands.application, name="payouts")
application.add_typer(risk_commands.application, name="risk")
for command in attention_commands.COMMANDS:
    application.command()(command)


@application.command()
def up(
    *,
    keep: Annotated[bool, typer.Option(help="return when all is ready, and leave it running")] = False,
    demo: Annotated[bool, typer.Option(help="tell the demonstration, then stop")] = False,
) -> int:
    """Start Postgres, Temporal, the provider simulator, a worker, the API and upkeep."""
    home = home_of()
    if supervisor_of(home):
        return _beside_a_running_stack(home, demo=demo)
    if keep:
        code = _start_detached(home)
        return code or (_tell_demo(Stack.read(home)) if demo else _show_places(Stack.read(home)))
    with running(home, fixed_ports=not demo, say=say) as supervisor:
        if demo:
            return _tell_demo(supervisor.stack)
        _show_places(supervisor.stack)
        supervisor.watch()
    return 0


def _beside_a_running_stack(home: Path, *, demo: bool) -> int:
    """Use the stack that runs already; it stays."""
    try:
        stack = Stack.read(home)
    except FileNotFoundError:
        raise AlreadyRuns("a stack of this clone is being started or stopped: try again in a moment") from None
    say("a stack of this clone runs already, and stays")
    return _tell_demo(stack) if demo else _show_places(stack)


def _start_detached(home: Path) -> int:
    """Start a supervisor in a session of its own and follow it until all is ready. Ctrl-C stops what has started."""
    logs = home / "logs"
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (logs / "supervisor.log").open("ab") as log:
        supervisor = subprocess.Popen(  # noqa: S603  our own command
            [sys.executable, "-m", "workers.embedded.supervisor", str(home)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, cwd=ROOT, start_new_session=True, text=True,
        )  # fmt: skip
    assert supervisor.stdout is not None
    try:
        for line in supervisor.stdout:
            if line.strip() == READY:
                return 0
            say(line.strip())
    except KeyboardInterrupt:
        supervisor.terminate()
        supervisor.wait()
        raise
    supervisor.wait()
    console.print(f"the stack did not start; the end of {logs / 'supervisor.log'}:", style="bold red")
    console.print("\n".join((logs / "supervisor.log").read_text().splitlines()[-15:]), markup=False)
    return 1


@application.command()
def down() -> int:
    """Stop what `up --keep` left running; as root also remove the database, which lives under /var/tmp then."""
    home = home_of()
    supervisor = supervisor_of(home)
    if supervisor:
        os.kill(supervisor, signal.SIGTERM)
        until = time.monotonic() + STOP_SECONDS
        while supervisor_of(home):
            if time.monotonic() > until:
                console.print(f"process {supervisor} does not stop: see {home / 'logs'}", style="bold red")
                return 1
            time.sleep(0.05)
    if os.geteuid() == 0:
        postgres.remove(home)
    say("stopped" if supervisor else "nothing was running")
    return 0


@application.command()
def demo() -> int:
    """Tell the demonstration against the stack that runs."""
    return _tell_demo(_running_stack())


@application.command()
def worker() -> NoReturn:
    """Run one worker process in the foreground."""
    _become("workers.worker")


@application.command()
def api() -> NoReturn:
    """Run one API process in the foreground."""
    _become("workers.server")


@application.command()
def upkeep() -> NoReturn:
    """Run one upkeep process in the foreground: seals, verifies and archives the ledger on schedules."""
    _become("workers.upkeep")


def _become(module: str) -> NoReturn:
    """Replace this process, so that signals meet the module itself."""
    environment = {**read_settings(home_of()), **os.environ}
    os.execve(sys.executable, [sys.executable, "-m", module], environment)  # noqa: S606  our own module


@application.command()
def migrate() -> int:
    """Apply the migrations that are missing; each login gets the password that its address in the settings has."""
    settings = settings_here()
    if settings.admin_url is None:
        console.print("HOLDFAST_ADMIN_URL is not set: the address of the database as a superuser", style="bold red")
        return 2
    applied = asyncio.run(apply_migrations(settings.admin_url.get_secret_value(), settings.database_passwords))
    for name in applied:
        say(f"applied {name}")
    say("the database is up to date")
    return 0


@application.command()
def register() -> int:
    """Set the Temporal namespace's retention and register the search attributes; again is harmless."""
    settings = settings_here()
    asyncio.run(temporal.make_ready(settings.temporal_target, settings.temporal_namespace))
    say(f"the namespace {settings.temporal_namespace} is ready")
    return 0


@application.command()
def show(operation: Annotated[str, typer.Argument(metavar="PAYMENT", help="or a refund, or a payout")]) -> int:
    """Show a payment: its row, what was done with it, its timeline, its entries in the ledger."""
    if not any(is_operation_id(operation, prefix) for prefix in Prefix):
        raise typer.BadParameter(f"{operation} is not the id of an operation")
    return 0 if asyncio.run(_show(OperationId(operation))) else 1


async def _show(operation: OperationId) -> bool:
    settings = settings_here()
    if not await dossier.show(console, settings.database_url.get_secret_value(), operation):
        return False
    await attention_commands.show_open_run(console, settings, operation)
    return True


@application.command()
def top_up(
    merchant: str,
    amount: Annotated[str, typer.Argument(help="in major units, e.g. 10.50")],
    currency: str,
    key: Annotated[str, typer.Option(help="the same key again books nothing more")] = "",
) -> int:
    """Book money that a merchant has sent to our bank; in development only."""
    if not is_merchant_id(merchant):
        raise typer.BadParameter("a merchant is 3 to 32 characters of a-z, 0-9 and _, a letter first")
    settings, money = settings_here(), parse(amount, currency.upper())
    url = settings.database_url.get_secret_value()
    posted = asyncio.run(
        seed.top_up_by_hand(url, settings.mode, key or f"{time.time_ns()}", MerchantId(merchant), money)
    )
    say(f"{money} for {merchant}: {posted.status}")
    return 0 if posted.stands else 1


def _running_stack() -> Stack:
    try:
        return Stack.read(home_of())
    except FileNotFoundError:
        console.print("no stack of this clone runs: `make up` starts one", style="bold red")
        raise typer.Exit(2) from None


def _tell_demo(stack: Stack) -> int:
    from workers import demo as stories  # noqa: PLC0415  needs httpx, which the other commands do without

    return 0 if asyncio.run(stories.run(stack)) else 1


def _show_places(stack: Stack) -> int:
    table = Table(show_header=False, box=None)
    for name, place in stack.places.items():
        table.add_row(name, place)
    console.print(table)
    return 0


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run one command. Exit codes: 0 done, 1 not done, 2 asked wrongly, 130 interrupted."""
    try:
        application(arguments)
    except HoldfastError as failure:
        console.print(str(failure), style="bold red", markup=False)
        leave(1)
    except SystemExit as end:
        leave(end.code if isinstance(end.code, int) else 1)
    leave(0)


if __name__ == "__main__":
    main()
