"""`holdfast risk …`: the rules in force, what other rules would do, and why an operation was decided as it was.

Thin: each command asks risk one thing and shows the answer, by the login `holdfast`.
"""

import asyncio
import getpass
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import asyncpg
import typer

from contracts.queues import workflow_id
from domain.errors import HoldfastError
from domain.ids import MerchantId, OperationId, Prefix, Reference, is_merchant_id, is_operation_id
from identity.standing import ANSWERS, Check, Checked, Standings
from records.approvals import Approvals
from risk.decisions import Decisions, Kept
from risk.deny_lists import DenyLists
from risk.rehearsal import Candidate, Rehearsal, read_candidate
from risk.rule_sets import RuleSets, Version
from risk.rules import SCORE_MAX, By
from risk.scores import Scored, Scores
from workers import risk_tables as tables
from workers.prompt import console, say, settings_here

T = TypeVar("T")
DECISIONS_MAX = 100_000  # each is judged anew; so many take minutes

application = typer.Typer(no_args_is_help=True, help="Read, try and change the rules of risk; explain its decisions.")

File = Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="rules and examples, JSON")]
Actor = Annotated[str, typer.Option("--as", metavar="NAME", help="who you are; your login here by default")]
Why = Annotated[str, typer.Option(help="the reason, which stays with it")]


class NotAsExpected(HoldfastError):
    """An example of the candidate came to another verdict than its author expects. Nothing was installed."""


class NothingDecided(HoldfastError):
    """Risk was never asked about the operation."""


@application.command()
def rules(
    *,
    install: Annotated[
        Path | None, typer.Option("--set", metavar="FILE", exists=True, dir_okay=False, help="install these instead")
    ] = None,
    why: Why = "",
    actor: Actor = "",
) -> int:
    """Show the rules in force and who installed which version; with --set, install others as the next version."""
    if install is None:
        versions = _ask(lambda pool: RuleSets(pool).history())
        tables.show_rules(console, versions[0], versions[0].read().rules)
        tables.show_history(console, versions)
        return 0
    if not why:
        raise typer.BadParameter("rules are changed for a reason: say --why")
    candidate = read_candidate(install.read_text())
    before, number = _ask(lambda pool: _install(pool, candidate, why, actor or getpass.getuser()))
    say(f"version {number} is in force, in place of {before.number}")
    tables.show_differences(console, before.read().rules, candidate.rules)
    return 0


async def _install(pool: asyncpg.Pool, candidate: Candidate, why: str, author: str) -> tuple[Version, int]:
    sets = RuleSets(pool)
    before = await sets.in_force()
    for example, judgement in await Rehearsal(pool, Standings(pool), candidate).examples():
        if judgement.verdict is not example.expect:
            raise NotAsExpected(
                f"the example {example.name!r} comes to {judgement.verdict}, not to {example.expect}: "
                "look at it with `holdfast risk test`"
            )
    return before, await sets.install(candidate.rules, author=author, why=why, after=before.number)


@application.command("test")
def rehearse(
    file: File,
    *,
    against: Annotated[int, typer.Option(min=0, max=DECISIONS_MAX, help="so many latest decisions")] = 1000,
) -> int:
    """Show what other rules would have decided otherwise; 1 is returned where an example is not as expected."""
    candidate = read_candidate(file.read_text())

    async def judge(pool: asyncpg.Pool) -> bool:
        rehearsal = Rehearsal(pool, Standings(pool), candidate)
        past = await Decisions(pool).latest(against)
        examples = await rehearsal.examples()
        if examples:
            tables.show_examples(console, examples)
        tables.show_changes(console, await rehearsal.changes(past), len(past))
        return all(judgement.verdict is example.expect for example, judgement in examples)

    return 0 if _ask(judge) else 1


@application.command()
def explain(operation: Annotated[str, typer.Argument(metavar="PAYMENT", help="or a refund, or a payout")]) -> int:
    """Tell how an operation was decided, by which rules and figures, and what people said of it."""
    if not any(is_operation_id(operation, prefix) for prefix in Prefix):
        raise typer.BadParameter(f"{operation} is not the id of an operation")

    async def tell(pool: asyncpg.Pool) -> None:
        decisions = await Decisions(pool).of(OperationId(operation))
        if not decisions:
            raise NothingDecided(f"risk was never asked about {operation}: captures and voids do not ask")
        for kept in decisions:
            tables.show_decision(console, kept)
            if not kept.subject.cleared:
                tables.show_approvals(console, await Approvals(pool).of(_run_of(kept), _reference_of(kept)))

    _ask(tell)
    return 0


def _run_of(kept: Kept) -> str:
    """The run that waits for people; an increment's is that of its payment."""
    subject = kept.subject
    if subject.kind is Prefix.INCREMENT and subject.payment:
        return workflow_id(subject.payment)
    return workflow_id(subject.operation)


def _reference_of(kept: Kept) -> Reference:
    """What people decide about: the gate that the operation was at."""
    return Reference(f"{kept.subject.operation}/hold")


@application.command()
def denied(name: Annotated[str, typer.Argument(metavar="LIST")]) -> int:
    """Show what stands on a deny list."""
    tables.show_denied(console, name, _ask(lambda pool: DenyLists(pool).of(name)))
    return 0


@application.command()
def deny(
    name: Annotated[str, typer.Argument(metavar="LIST", help="as rules name it")],
    value: Annotated[str, typer.Argument(help="an instrument's token, a merchant, a country, a client")],
    *,
    why: Why,
    off: Annotated[bool, typer.Option("--off", help="take it off the list again")] = False,
    actor: Actor = "",
) -> int:
    """Put a value on a deny list, or take it off."""
    author = actor or getpass.getuser()
    _ask(lambda pool: DenyLists(pool).write(name, value, denied=not off, author=author, why=why))
    say(f"{value} is off {name}" if off else f"{value} is on {name}")
    return 0


@application.command()
def score(
    by: By,
    key: Annotated[str, typer.Argument(help="whose score: an operation's id, an instrument's token …")],
    value: Annotated[int, typer.Argument(min=0, max=SCORE_MAX, help="0 certainly good, 1000 certainly bad")],
    *,
    source: Annotated[str, typer.Option(help="who gives it")],
    event: Annotated[str, typer.Option(help="the source's own id of it; the same again changes nothing")],
) -> int:
    """Receive one score by hand."""
    scored = Scored(by=by, key=key, value=value, source=source, event=event, scored_at=datetime.now(UTC))
    _ask(lambda pool: Scores(pool).receive(scored))
    say(f"{source} gives the {by} {key} {value}")
    return 0


@application.command()
def standing(
    merchant: str,
    *,
    kyc: Annotated[Checked | None, typer.Option(help="verified, rejected or pending")] = None,
    sanctions: Annotated[Checked | None, typer.Option(help="clear, hit or pending")] = None,
    why: Why = "",
    actor: Actor = "",
) -> int:
    """Show what checks of a merchant have answered; with --kyc or --sanctions, add an answer."""
    if not is_merchant_id(merchant):
        raise typer.BadParameter("a merchant is 3 to 32 characters of a-z, 0-9 and _, a letter first")
    answers = {check: each for check, each in ((Check.KYC, kyc), (Check.SANCTIONS, sanctions)) if each}
    for check, answer in answers.items():
        if answer not in ANSWERS[check]:
            raise typer.BadParameter(f"{check} is answered by {', '.join(ANSWERS[check])}")
    if answers and not why:
        raise typer.BadParameter("an answer has its reason, e.g. the check's own id: say --why")

    async def answer_and_show(pool: asyncpg.Pool) -> None:
        standings = Standings(pool)
        for check, answer in answers.items():
            await standings.record(MerchantId(merchant), check, answer, actor=actor or getpass.getuser(), why=why)
        tables.show_standing(console, merchant, await standings.of(MerchantId(merchant)))

    _ask(answer_and_show)
    return 0


def _ask(ask: Callable[[asyncpg.Pool], Awaitable[T]]) -> T:
    """Ask the database one thing, as `holdfast`."""

    async def asked() -> T:
        async with _pool() as pool:
            return await ask(pool)

    return asyncio.run(asked())


@asynccontextmanager
async def _pool() -> AsyncGenerator[asyncpg.Pool]:
    url = settings_here().database_url.get_secret_value()
    async with asyncpg.create_pool(url, min_size=1, max_size=4) as pool:
        yield pool
