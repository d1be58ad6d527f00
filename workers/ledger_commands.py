"""`holdfast ledger …`: what a person reads of the ledger, and the upkeep that a person does by hand.

Thin: each command asks the ledger one thing and shows the answer. Reads go by the login `holdfast`, seals and months by
`holdfast_upkeep`.
"""

import asyncio
import getpass
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from typing import Annotated, TypeVar

import asyncpg
import typer
from pydantic import SecretStr
from rich.console import Console

from domain.currencies import EXPONENTS
from domain.errors import HoldfastError
from domain.money import Money
from ledger.account_changes import AccountChanges
from ledger.archive import Archive
from ledger.checks import Check
from ledger.journal import Journal, Position, StatementLine
from ledger.months import Months
from ledger.seal_keys import SealKey
from ledger.seals import Seal
from workers import ledger_tables as tables
from workers import ledger_upkeep
from workers.prompt import console, error_console, say, settings_here
from workers.settings import Settings

T = TypeVar("T")

application = typer.Typer(no_args_is_help=True, help="Read the ledger; seal, verify, archive and restore it.")

Code = Annotated[str, typer.Argument(metavar="ACCOUNT", help="e.g. merchant:m_bakery:payable")]
Currency = Annotated[str, typer.Argument(metavar="CURRENCY", help="ISO 4217, e.g. EUR")]
AsJson = Annotated[bool, typer.Option("--json", help="for programs: one JSON document, amounts in minor units")]
Instant = Annotated[str, typer.Option(metavar="TIME", help="ISO 8601; UTC where it names no zone")]
Month = Annotated[str, typer.Argument(metavar="YYYY-MM")]
Actor = Annotated[str, typer.Option("--as", help="who you are, as the audit keeps it; your login here by default")]
Why = Annotated[str, typer.Option(help="the reason, as the audit keeps it")]


class NotInTheLedger(HoldfastError):
    """There is no such account."""


@application.command()
def balance(
    code: Code,
    currency: Currency,
    *,
    as_of: Instant = "",
    effective_until: Instant = "",
    as_json: AsJson = False,
) -> int:
    """An account's balance: now, as it stood at a time, or of what had happened until then, whenever written."""
    currency = _currency(currency)
    if as_of and effective_until:
        raise typer.BadParameter("ask by --as-of or by --effective-until, not by both")
    if effective_until:
        until = _instant(effective_until)
        minor = asyncio.run(_read(lambda journal: journal.effective_balance(code, currency, until)))
        if as_json:
            document = {"code": code, "currency": currency, "posted": minor, "effective_until": until}
            tables.show_json(console, document)
        else:
            say(f"{code}: {Money(minor, currency)} posted by what had happened until {tables.instant(until)} UTC")
        return 0
    at = _instant(as_of) if as_of else None
    found = asyncio.run(_read(lambda journal: journal.balance(code, currency, at)))
    if found is None:
        raise NotInTheLedger(f"there is no account {code} in {currency}")
    if as_json:
        tables.show_json(console, tables.as_json(found) | ({"as_of": at} if at else {}))
    else:
        tables.show_balance(console, found, f"as of {tables.instant(at)} UTC" if at else "now")
    return 0


@application.command()
def statement(
    code: Code,
    currency: Currency,
    *,
    after: Annotated[str, typer.Option(metavar="POSITION", help="as the page before told it")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="lines of a page")] = 50,
    as_json: AsJson = False,
) -> int:
    """What was posted to an account, oldest first, a page at a time, with its balance after each entry."""
    currency = _currency(currency)
    last = _position_at(after) if after else None
    # One line more than asked tells whether there is another page.
    found, archived = asyncio.run(_page_of(code, currency, last, limit + 1))
    lines, more = found[:limit], _told(found[limit - 1].position) if len(found) > limit else ""
    if as_json:
        document = {
            "code": code,
            "currency": currency,
            "archived_until": archived,
            "lines": [tables.plain(line) for line in lines],
            "more": more,
        }
        tables.show_json(console, document)
    else:
        if archived and not after:
            say(f"what was posted before {archived:%Y-%m} is archived, and not shown")
        tables.show_statement(console, code, currency, lines, more)
    return 0


@application.command()
def trial_balance(
    prefix: Annotated[str, typer.Argument(help="only accounts whose code begins so, e.g. merchant:")] = "",
    *,
    currency: Annotated[str, typer.Option(help="only this one")] = "",
    as_json: AsJson = False,
) -> int:
    """All accounts, and the sum of each currency: of the whole book it is zero, and 1 is returned where it is not."""
    only = _currency(currency) if currency else None
    found = asyncio.run(_read(lambda journal: journal.trial_balance(prefix, only)))
    sums = tables.sums(found)
    if as_json:
        document = {
            "accounts": [tables.as_json(each) for each in found],
            "sums": {each: posted for each, (posted, _, _) in sums.items()},
            "owed_to_us": [tables.plain(each) for each in tables.owed(found)],
        }
        tables.show_json(console, document)
    else:
        tables.show_trial_balance(console, found, whole=not prefix)
    balanced = all(posted == 0 and debit == credit for posted, debit, credit in sums.values())
    return 0 if prefix or balanced else 1


@application.command()
def verify(*, as_json: AsJson = False) -> int:
    """Recompute the whole book, seals included: 0 where all of it agrees, 1 where a row is broken, which is named."""
    checks = asyncio.run(_verify(None if as_json else tables.show_check))
    broken = checks[-1].broken
    if as_json:
        document = {
            "broken": broken and tables.plain(broken),
            "checks": [{"name": each.name, "seconds": each.seconds, "rows": each.rows} for each in checks],
        }
        tables.show_json(console, document)
    elif broken:
        tables.show_broken(console, broken)
    else:
        say(f"the book agrees with itself: {len(checks)} checks")
    return 1 if broken else 0


async def _verify(tell: Callable[[Console, Check], None] | None) -> list[Check]:
    settings, made = settings_here(), list[Check]()

    def progress(check: Check) -> None:
        made.append(check)
        if tell:
            tell(console, check)

    if not settings.seal_public_keys:
        error_console.print("HOLDFAST_SEAL_PUBLIC_KEYS is not set: signatures of seals are not checked", style="yellow")
    async with _pool(settings.database_url) as pool:
        await ledger_upkeep.verifier(pool, settings).first_broken(progress)
    return made


@application.command()
def seal(*, as_json: AsJson = False) -> int:
    """Seal what has been committed since the last seal."""
    made = asyncio.run(_seal(settings_here()))
    if as_json:
        tables.show_json(console, [json.loads(each.line) for each in made])
    elif made:
        tables.show_seals(console, made)
    else:
        say("everything is under a seal already")
    return 0


async def _seal(settings: Settings) -> list[Seal]:
    async with _pool(settings.upkeep_database_url) as pool:
        return await ledger_upkeep.sealer(pool, settings).seal()


@application.command()
def new_seal_key() -> int:
    """Make a key that signs seals: the private one is for upkeep alone, the public one for everybody who verifies."""
    key = SealKey.generate()
    console.print(
        f"HOLDFAST_SEAL_KEY={key.text}", f"HOLDFAST_SEAL_PUBLIC_KEYS={key.public.text}", sep="\n", markup=False
    )
    return 0


@application.command()
def months(*, as_json: AsJson = False) -> int:
    """The ledger's months: which are in the database, which are archived."""
    found = asyncio.run(_with_archive(getpass.getuser(), lambda archive: archive.months()))
    if as_json:
        tables.show_json(console, [tables.plain(each) for each in found])
    else:
        tables.show_months(console, found)
    return 0


@application.command()
def archive(month: Month, *, actor: Actor = "") -> int:
    """Take a month that is over and sealed out of the database into files. After a failure: run it again."""
    day, actor = _month(month), actor or getpass.getuser()
    done = asyncio.run(_with_archive(actor, lambda archive: archive.archive(day)))
    say(f"{month}: {done.entries} entries with {done.postings} postings are in the archive, and out of the journal")
    return 0


@application.command()
def read_back(month: Month) -> int:
    """Prove an archived month by its files alone: every digest recomputed, and compared with its manifest and seals."""
    day = _month(month)
    proven = asyncio.run(_with_archive(getpass.getuser(), lambda archive: archive.read_back(day)))
    say(
        f"{month}: its files hold {proven.contents.entries} entries with {proven.contents.postings} postings, as sealed"
    )
    return 0


@application.command()
def restore(month: Month, *, actor: Actor = "") -> int:
    """Put an archived month back. After a failure: run it again."""
    day, actor = _month(month), actor or getpass.getuser()
    done = asyncio.run(_with_archive(actor, lambda archive: archive.restore(day)))
    say(f"{month} is in the journal: {done.entries} entries with {done.postings} postings")
    return 0


@application.command()
def drop(
    month: Month,
    *,
    actor: Actor = "",
    agreed_by: Annotated[str, typer.Option(help="the second person, who agrees")],
) -> int:
    """Drop the tables of a month that has been out for thirty days; its files are proven first, and stay."""
    day, actor = _month(month), actor or getpass.getuser()
    asyncio.run(_with_archive(actor, lambda archive: archive.drop(day, agreed_by)))
    say(f"{month}: its tables are gone; `holdfast ledger restore {month}` brings them back from the files")
    return 0


@application.command()
def close(code: Code, currency: Currency, *, why: Why, actor: Actor = "") -> int:
    """Close an account to holds, reserves and payouts. What has happened is booked to it all the same."""
    return _set_closed(code, currency, closed=True, why=why, actor=actor)


@application.command()
def reopen(code: Code, currency: Currency, *, why: Why, actor: Actor = "") -> int:
    """Open a closed account again."""
    return _set_closed(code, currency, closed=False, why=why, actor=actor)


def _set_closed(code: str, currency: str, *, closed: bool, why: str, actor: str) -> int:
    currency, state = _currency(currency), "closed" if closed else "open"

    async def change() -> bool:
        async with _pool(settings_here().database_url) as pool:
            return await AccountChanges(pool, actor or getpass.getuser()).set_closed(
                code, currency, closed=closed, why=why
            )

    changed = asyncio.run(change())
    say(f"{code} in {currency} is {state}" if changed else f"{code} in {currency} was {state} already")
    return 0


async def _with_archive(actor: str, do: Callable[[Archive], Awaitable[T]]) -> T:
    """Do something with the archive, as `holdfast_upkeep`, and show how it goes."""
    settings = settings_here()
    with tables.steps(console) as step:
        async with _pool(settings.upkeep_database_url) as pool:
            return await do(ledger_upkeep.archive(pool, settings, actor, step))


async def _read(ask: Callable[[Journal], Awaitable[T]]) -> T:
    """Ask the ledger one thing, as `holdfast`."""
    async with _pool(settings_here().database_url) as pool:
        return await ask(Journal(pool))


async def _page_of(
    code: str, currency: str, after: Position | None, limit: int
) -> tuple[list[StatementLine], datetime | None]:
    """A page of a statement, and the instant before which everything is archived."""
    async with _pool(settings_here().database_url) as pool:
        lines = await Journal(pool).statement(code, currency, after=after, limit=limit)
        return lines, await Months(pool).archived_until()


@asynccontextmanager
async def _pool(url: SecretStr) -> AsyncGenerator[asyncpg.Pool]:
    async with asyncpg.create_pool(url.get_secret_value(), min_size=1, max_size=4) as pool:
        yield pool


def _currency(text: str) -> str:
    if text.upper() not in EXPONENTS:
        raise typer.BadParameter(f"{text} is not a currency of ISO 4217 with a minor unit")
    return text.upper()


def _month(text: str) -> date:
    try:
        return datetime.strptime(f"{text}-01", "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        raise typer.BadParameter(f"{text} is not a month: write e.g. 2026-01") from None


def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text} is not a time: write e.g. 2026-01-31T12:00:00Z") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _told(position: Position) -> str:
    """Where a page ends, for the next to begin after it."""
    return f"{position.posted_at.astimezone(UTC).isoformat().replace('+00:00', 'Z')}/{position.version}"


def _position_at(told: str) -> Position:
    at, _, version = told.rpartition("/")
    if not version.isdigit():
        raise typer.BadParameter(f"{told} is not what a page tells after `more:`")
    return Position(_instant(at), int(version))
