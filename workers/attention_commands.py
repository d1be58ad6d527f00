"""`holdfast attention`, `approve`, `retry`: what waits for a person, and what a person says about it.

What waits is asked of the runs themselves. What is said goes to the API under the operator's own token, which knows the
operator by it, writes it down under that name, and keeps the audit; no command writes an approval past it.
"""

import asyncio
import os
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from shlex import quote as quote_word  # what others wrote is pasted into a shell
from typing import Annotated, Any, Literal
from urllib.parse import quote

import asyncpg
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from temporalio.service import RPCError

from api import resources
from api.parked import TemporalParked, run_of
from api.ports import EngineUnavailable, ParkedRun
from api.resources import ApprovalResource, ParkedList, ParkedResource
from domain.errors import HoldfastError
from domain.ids import OperationId, Reference, operation_of
from domain.money import Money
from domain.outcomes import Doubt
from identity import operators
from records.approvals import Approvals, StoredApproval
from workers.embedded.home import home_of
from workers.embedded.stack import operators_file, read_operators
from workers.prompt import console, error_console, say, settings_here
from workers.settings import Mode, Settings
from workers.wiring import temporal

FROM_ENVIRONMENT = "HOLDFAST_OPERATOR_TOKEN"  # a person's own: no process of Holdfast reads it
OWNER = re.compile(r"[a-z-]{1,64}")
REQUEST_SECONDS = 20.0  # above the API's own deadline
CONNECT_SECONDS = 5.0

Json = Mapping[str, Any]
Run = Annotated[str, typer.Argument(metavar="RUN", help="e.g. pay_…, or a workflow id such as late/simulator/evt_1")]
As = Annotated[str, typer.Option("--as", metavar="NAME", help="an operator of the development stack, by its file")]
AsJson = Annotated[bool, typer.Option("--json", help="for programs: one JSON document, amounts in minor units")]


class NotSaid(HoldfastError):
    """The API, or the run, did not take what was said; the text says why."""


# Reading


def attention(
    *, owner: Annotated[str, typer.Option(help="only what waits for this owner")] = "", as_json: AsJson = False
) -> int:
    """List what waits for a person, the oldest deadline first, with the command that comes next."""
    if owner and not OWNER.fullmatch(owner):
        raise typer.BadParameter("an owner is written in a-z and -, such as payments-operations")
    listed = asyncio.run(_listed(settings_here(), owner or None))
    if as_json:
        console.print_json(listed.model_dump_json())
    elif not listed.data:
        say("nothing waits for a person")
    else:
        show_list(console, listed, datetime.now(UTC))
    return 0


async def _listed(settings: Settings, owner: str | None) -> ParkedList:
    try:
        runs, more = await TemporalParked(await temporal(settings)).waiting(owner)
    except (EngineUnavailable, RPCError, RuntimeError) as failure:
        raise NotSaid(f"Temporal does not answer at {settings.temporal_target}: {failure}") from failure
    said = await _said(settings, runs)
    return ParkedList(data=[resources.parked(run, said.get(run.run, ())) for run in runs], has_more=more)


async def _said(settings: Settings, runs: Sequence[ParkedRun]) -> Mapping[str, Sequence[StoredApproval]]:
    """What operators have said so far; nothing where our books are down, which is when the list is needed most."""
    try:
        async with asyncpg.create_pool(
            settings.database_url.get_secret_value(), min_size=1, max_size=1, timeout=CONNECT_SECONDS
        ) as pool:
            approvals = Approvals(pool)
            return {
                run.run: await approvals.of(run.run, run.view.attention.reference)
                for run in runs
                if run.view and run.view.attention
            }
    except (OSError, TimeoutError, asyncpg.PostgresError) as failure:
        error_console.print(f"the approvals given so far cannot be read: {failure}", style="yellow", markup=False)
        return {}


def show_list(to: Console, listed: ParkedList, now: datetime) -> None:
    """Print the list; a deadline that has passed is red."""
    table = Table(show_lines=True)
    for column in ("run, and what is waited for", "owner", "since, until (UTC)", "amount", "why"):
        table.add_column(column, justify="right" if column == "amount" else "left", overflow="fold")
    for each in listed.data:
        table.add_row(
            Text("\n".join(filter(None, (each.run, each.reference)))),
            Text(each.owner + (f"\nescalated {each.escalations} times" if each.escalations else "")),
            _until(each, now),
            Text(_amount(each)),
            Text("\n".join((each.reason, *map(_approved, each.approvals)))),
        )
    to.print(table)
    if listed.has_more:
        to.print("and more than can be listed: a provider is out", style="bold red")
    to.print("What comes next, once you have seen what happened:", style="bold")
    for each in listed.data:
        for command in next_commands(each):
            to.print(f"  {command}", soft_wrap=True, markup=False)


def _until(waiting: ParkedResource, now: datetime) -> Text:
    shown = Text(_moment(waiting.since))
    if waiting.deadline is not None:
        passed = datetime.fromisoformat(waiting.deadline) <= now
        shown.append(f"\n{_moment(waiting.deadline)}", style="bold red" if passed else "")
    return shown


def _amount(waiting: ParkedResource) -> str:
    known = waiting.amount is not None and waiting.currency is not None
    return str(Money(waiting.amount, waiting.currency)) if known else "–"  # pyright: ignore[reportArgumentType]


def _approved(approval: ApprovalResource) -> str:
    used = " (used)" if approval.made_a_decision else ""
    return f"{approval.actor} says {approval.outcome}{used}: {approval.evidence}"


def next_commands(waiting: ParkedResource) -> list[str]:
    """What a person types next: look, then decide."""
    match waiting.update:
        case "resolve":
            return _to_decide(waiting)
        case None if waiting.kind == "LedgerVerify":
            return ["holdfast ledger verify", _update(waiting.run, "acknowledge", '{"who": "…", "why": "…"}')]
        case None:
            return [f"temporal workflow show --workflow-id {quote_word(waiting.run)}"]
        case update:
            return [_update(waiting.run, update, waiting.payload or "")]


def _to_decide(waiting: ParkedResource) -> list[str]:
    """Where risk has spoken there is nothing to ask again: why it did is read instead."""
    run, reference = quote_word(_short(waiting.run)), Reference(waiting.reference or "")
    held = reference.endswith("/hold")
    look = f"holdfast risk explain {quote_word(operation_of(reference))}" if held else f"holdfast retry {run}"
    standing = [each for each in waiting.approvals if not each.made_a_decision]
    outcome, evidence = (standing[0].outcome, standing[0].evidence) if standing else ("done", "…")
    said = f"--reference {quote_word(reference)} --evidence {quote_word(evidence)}"
    return [look, f"holdfast approve {run} {outcome} {said}"]


def _update(run: str, name: str, payload: str) -> str:
    return (
        f"temporal workflow update execute --workflow-id {quote_word(run)} --name {name} --input {quote_word(payload)}"
    )


def _short(run: str) -> str:
    """A run by its operation's id, where that names it."""
    name = run.rpartition("/")[2]
    return name if run_of(name) == run else run


async def show_open_run(to: Console, settings: Settings, operation: OperationId) -> None:
    """Print what an operation's run says of itself while it is open: what is in doubt, and whom it waits for."""
    run = run_of(operation)
    if run is None:
        return
    try:
        found = await TemporalParked(await temporal(settings)).look(run)
    except (EngineUnavailable, RPCError, RuntimeError):
        to.print("its run cannot be asked: Temporal does not answer", style="yellow")
        return
    if found is None:
        return
    table = Table(show_header=False, box=None, title="Its run is open", title_style="bold", title_justify="left")
    for name, value in _told(found):
        table.add_row(name, Text(value))
    to.print(table)


def _told(run: ParkedRun) -> list[tuple[str, str]]:
    if run.view is None:
        return [("it", "does not answer: is a worker running?")]
    told = [("it is", run.view.state)]
    if run.view.doubt:
        told.append(_doubted(run.view.doubt))
    if run.view.challenge:
        told.append(("the payer is at", run.view.challenge))
    if wanted := run.view.attention:
        told.append(("waits for", f"{wanted.owner}, until {_moment(wanted.deadline)} UTC"))
        told.append(("about", f"{wanted.reference}: {wanted.reason}"))
        told += [("next", command) for command in next_commands(resources.parked(run, ()))]
    return told


def _doubted(doubt: Doubt) -> tuple[str, str]:
    word = "accepted, not decided" if doubt.accepted else "in doubt"
    return word, f"{doubt.reference} since {_moment(doubt.since)}, asked again at {_moment(doubt.next_check)} UTC"


def _moment(text: str) -> str:
    return f"{text[:10]} {text[11:19]}"


# Saying


def approve(
    run: Run,
    outcome: Annotated[Literal["done", "refused"], typer.Argument(help="what has happened")],
    *,
    reference: Annotated[str, typer.Option(help="what it is about; what the run waits for, where it is not said")] = "",
    evidence: Annotated[str, typer.Option(help="what you have seen, and where")] = "",
    as_: As = "",
) -> int:
    """Give one of the two approvals that a decision needs; with the second it is carried out."""
    with Speaker(settings_here(), as_) as speaker:
        if not reference or not evidence:  # said in full it is said at once, and once it was said it may have ended
            waiting = ParkedResource.model_validate(speaker.get(run))
            if waiting.reference is None:
                raise NotSaid(f"{waiting.run} waits for no decision")
            say(f"{waiting.run} waits about {waiting.reference}: {waiting.reason}")
            reference, evidence = reference or waiting.reference, evidence or _agreed(waiting, outcome)
        said = {"reference": reference, "outcome": outcome, "evidence": evidence}
        given = speaker.post(run, "approvals", said)
    if given["decision"] == "waiting":
        say(
            f"your approval {given['id']} is kept; another operator says the same, in the same words, and it is decided"
        )
    else:
        say(f"decided: {outcome}. {_now(given['run'])}")
    return 0


def retry(
    run: Run,
    *,
    reference: Annotated[str, typer.Option(help="what to look at; what the run waits for, where it is not said")] = "",
    as_: As = "",
) -> int:
    """Have a run that waits ask the world again; moves no money."""
    with Speaker(settings_here(), as_) as speaker:
        asked = speaker.post(run, "retry", {"reference": reference} if reference else {})
    say(f"it looks at {asked['reference']} again. {_now(asked['run'])}")
    return 0


def new_operator(name: Annotated[str, typer.Argument(help="a-z, 0-9, `.`, `_` and `-`")]) -> int:
    """Make a token for an operator; it is shown once, and its digest is what the API is given."""
    token = operators.new_token()
    entry = operators.entry(name, token)
    console.print(f"the token, for {name} alone:   {token}", soft_wrap=True, markup=False)
    console.print(f"to add to HOLDFAST_OPERATORS:  {entry}", soft_wrap=True, markup=False)
    return 0


COMMANDS = (attention, approve, retry, new_operator)


def _agreed(waiting: ParkedResource, outcome: str) -> str:
    """What another operator has seen, once this one has read it and says that they have seen it too."""
    said = [each for each in waiting.approvals if each.outcome == outcome and not each.made_a_decision]
    if not said:
        raise typer.BadParameter("say what you have seen, and where: --evidence")
    say(f"{said[0].actor} says: {said[0].evidence}")
    if not sys.stdin.isatty() or not typer.confirm("Have you looked yourself, and seen the same?"):
        raise typer.BadParameter("look yourself, and say what you have seen: --evidence")
    return said[0].evidence


def _now(run: Json | None) -> str:
    """How a run stands."""
    if run is None:
        return "It has ended."
    if run["reference"] is None:
        return f"It is {run['status']}, and waits for nobody."
    return f"It is {run['status']}, and waits about {run['reference']}: {run['reason']}"


class Speaker:
    """An operator at the API."""

    def __init__(self, settings: Settings, as_: str) -> None:
        import httpx  # noqa: PLC0415  the other commands do without

        address = settings.api_url or f"http://127.0.0.1:{settings.api_port}"
        headers = {"Authorization": f"Bearer {_token(settings, as_)}"}
        self._lost = httpx.TransportError
        self._http = httpx.Client(base_url=address, headers=headers, timeout=REQUEST_SECONDS)

    def __enter__(self) -> "Speaker":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, run: str) -> Json:
        """Ask how a run stands. Raises `NotSaid`."""
        return self._answered("GET", f"/v1/attention/{quote(run)}", None)

    def post(self, run: str, what: str, body: Mapping[str, str]) -> Json:
        """Say something about a run; the same again has the same effect. Raises `NotSaid`."""
        return self._answered("POST", f"/v1/attention/{quote(run)}/{what}", body)

    def _answered(self, method: str, path: str, body: Mapping[str, str] | None) -> Json:
        try:
            answer = self._http.request(method, path, json=body)
        except self._lost as failure:
            raise NotSaid(f"the API does not answer at {self._http.base_url}: {failure}") from failure
        try:
            content: Json = answer.json()
        except ValueError:
            raise NotSaid(f"{self._http.base_url} answers {answer.status_code}, and not as the API does") from None
        if answer.status_code in (200, 201):
            return content
        places = ", ".join(flaw["pointer"] for flaw in content["errors"])
        raise NotSaid(f"{content['title']}. {content['detail']} {places}".strip())


def _token(settings: Settings, as_: str) -> str:
    """The operator's token: of the development stack's file, of the environment, or typed in unseen."""
    if not as_:
        return os.environ.get(FROM_ENVIRONMENT) or typer.prompt("your operator's token", hide_input=True, err=True)
    if settings.mode is not Mode.DEVELOPMENT:
        raise typer.BadParameter("nobody is taken at their word here: use your own token")
    tokens = read_operators(home_of())
    if as_ not in tokens:
        raise typer.BadParameter(f"{as_} is not in {operators_file(home_of())}: {', '.join(tokens) or 'no stack runs'}")
    return tokens[as_]
