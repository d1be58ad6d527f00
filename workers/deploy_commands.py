"""`holdfast deploy …`: which build new runs go to. Run it with the code that is to be deployed: it acts for that build.

Thin: each command asks the deployment one thing. Before this build gets a run, its code replays what the server holds.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Annotated

import typer
from rich.table import Table
from temporalio.client import Client

from contracts.queues import PAYMENTS
from contracts.upkeep import QUEUE as UPKEEP
from domain.errors import HoldfastError
from workers.deployment import Deployment, Routing
from workers.prompt import console, error_console, say, settings_here
from workers.replay_gate import BUILD, OPEN_MAX, replay
from workers.settings import Settings
from workers.wiring import WORKFLOWS, temporal
from workflows.upkeep import WORKFLOWS as UPKEEP_WORKFLOWS

QUEUES = (PAYMENTS, UPKEEP)
MISFITS_SHOWN = 20  # more of them have the same reason

application = typer.Typer(no_args_is_help=True, help="Deploy this build: check it, ramp it, make it current, go back.")

Actor = Annotated[str, typer.Option("--as", help="who you are, as Temporal keeps it; your login here by default")]
AsJson = Annotated[bool, typer.Option("--json", help="for programs: one JSON document")]
Leave = Annotated[
    list[str] | None, typer.Option(metavar="BUILD", help="a faulty build, whose runs are left to its own workers")
]


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is open on a build: runs, those that wait for a person, those whose tasks fail again and again."""

    open: int
    attention: int
    failing: int


class Nameless(HoldfastError):
    """This code is no build."""


@application.command()
def status(*, as_json: AsJson = False) -> int:
    """Where new runs go, and what is open on each build."""
    routing, loads = asyncio.run(_status(settings_here()))
    states = {build.id: (build.state, build.since.strftime("%Y-%m-%d %H:%M:%S")) for build in routing.builds}
    rows = [(build or "(without)", *states.get(build, ("", "")), load) for build, load in loads.items()]
    if as_json:
        document = {
            "current": routing.current,
            "ramping": routing.ramping,
            "percentage": routing.percentage,
            "changed_by": routing.changed_by,
            "is_settled": routing.is_settled,
            "builds": [
                {"build": build, "state": state, "since": at, **asdict(load)} for build, state, at, load in rows
            ],
        }
        console.print_json(json.dumps(document))
        return 0
    table = Table("build", "state", "since (UTC)", box=None, title=f"{_told(routing)}, by {routing.changed_by}")
    for title in ("open runs", "need attention", "failing tasks"):
        table.add_column(title, justify="right")
    for build, state, at, load in rows:
        table.add_row(build, state, at, str(load.open), str(load.attention), str(load.failing))
    console.print(table)
    return 0


async def _status(settings: Settings) -> tuple[Routing, dict[str, Load]]:
    """The routing, and per build what is open on it; what began without a build stands under an empty one."""
    client = await temporal(settings)
    routing = await Deployment(client, settings.deployment_name).routing()
    queues = ", ".join(repr(queue) for queue in QUEUES)
    loads = {
        build.id: await _load(client, f"{BUILD.name} = '{settings.deployment_name}:{build.id}'")
        for build in routing.builds
    }
    loads[""] = await _load(client, f"TaskQueue IN ({queues}) AND {BUILD.name} IS NULL")
    return routing, loads


async def _load(client: Client, of: str) -> Load:
    conditions = ("", " AND NeedsAttention = true", " AND TemporalReportedProblems IS NOT NULL")
    counted = [await client.count_workflows(f"{of} AND ExecutionStatus = 'Running'{each}") for each in conditions]
    return Load(open=counted[0].count, attention=counted[1].count, failing=counted[2].count)


@application.command()
def check(*, leave: Leave = None) -> int:
    """Replay the open runs, and the last that closed, under this code; 1 where one cannot go on under it."""
    settings = settings_here()

    async def look() -> bool:
        return await _fits(await temporal(settings), leave or [])

    return 0 if asyncio.run(look()) else 1


@application.command()
def ramp(
    percent: Annotated[float, typer.Argument(help="how many of a hundred new runs, chosen by a hash of their id")],
    *,
    leave: Leave = None,
    actor: Actor = "",
) -> int:
    """Check this build, then send it a share of the new runs."""
    return _deploy(lambda deployment, build: deployment.ramp(build, percent), leave, actor)


@application.command()
def current(*, leave: Leave = None, actor: Actor = "") -> int:
    """Check this build, then send it all new runs."""
    return _deploy(lambda deployment, build: deployment.make_current(build), leave, actor)


@application.command()
def rollback(
    *, to: Annotated[str, typer.Option(metavar="BUILD", help="also make this one current")] = "", actor: Actor = ""
) -> int:
    """End the ramp. Checks nothing, is harmless again, and may be run with any code."""
    settings = settings_here()

    async def go() -> Routing:
        return await Deployment(await temporal(settings), settings.deployment_name, actor).roll_back(to)

    say(_told(asyncio.run(go())))
    say("runs that began on another build end there: keep its workers until `holdfast deploy status` says drained")
    return 0


def _deploy(change: Callable[[Deployment, str], Awaitable[None]], leave: list[str] | None, actor: str) -> int:
    settings = settings_here()
    if not settings.build_id:
        raise Nameless("HOLDFAST_BUILD_ID is not set: this code has no name that runs could be sent to")

    async def go() -> bool:
        client = await temporal(settings)
        deployment = Deployment(client, settings.deployment_name, actor)
        if not await _fits(client, leave or []):
            return False
        await change(deployment, settings.build_id)
        say(_told(await deployment.routing()))
        return True

    return 0 if asyncio.run(go()) else 1


async def _fits(client: Client, leave: list[str]) -> bool:
    """Replay, and tell what came of it; False where a run cannot go on under this code."""
    logging.getLogger("temporalio").setLevel(logging.CRITICAL)  # each misfit is told below, in one line
    replayed = await replay(client, [*WORKFLOWS, *UPKEEP_WORKFLOWS], QUEUES, leave=leave)
    left = f"; {replayed.left} were left to {', '.join(leave)}" if leave else ""
    say(f"{replayed.open} of {replayed.open_in_all} open runs and {replayed.closed} closed ones were replayed{left}")
    if replayed.open_in_all > OPEN_MAX:
        say(f"the oldest open runs were not: {OPEN_MAX} are looked at")
    for each in replayed.misfits[:MISFITS_SHOWN]:
        on = f" on {each.build}" if each.build else ""
        error_console.print(f"{each.workflow_id} ({each.workflow}{on}): {each.why}", style="red", markup=False)
    if replayed.misfits:
        error_console.print(f"{len(replayed.misfits)} runs cannot go on under this code", style="bold red")
    return not replayed.misfits


def _told(routing: Routing) -> str:
    to, yet = (
        routing.current or "workers without a build",
        "" if routing.is_settled else "; not every queue confirms it",
    )
    if not routing.ramping:
        return f"all new runs go to {to}{yet}"
    return f"{routing.percentage:g} % of new runs go to {routing.ramping}, the others to {to}{yet}"
