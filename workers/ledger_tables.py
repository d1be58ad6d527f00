"""How the ledger is shown: tables for people, JSON for programs. Knows nothing of where the figures come from.

For people amounts are in major units, debit positive; in JSON in minor units beside their currency.
"""

import json
import re
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from domain.money import Money, decimal
from ledger.archive import Month, Progress, Step
from ledger.checks import Broken, Check
from ledger.journal import Balance, StatementLine
from ledger.seals import Seal

MERCHANT = re.compile(r"merchant:(.+):(?:unsettled|payable)")


@dataclass(frozen=True, slots=True)
class Owed:
    """What a merchant owes us: facts have taken its accounts together below zero (money rule 3)."""

    merchant: str
    money: Money


def owed(balances: Iterable[Balance]) -> list[Owed]:
    """The merchants whose payable and unsettled money together is less than nothing."""
    sums: dict[tuple[str, str], int] = {}
    for each in balances:
        if found := MERCHANT.fullmatch(each.code):
            key = (found[1], each.currency)
            sums[key] = sums.get(key, 0) + each.posted
    return [Owed(merchant, Money(minor, currency)) for (merchant, currency), minor in sorted(sums.items()) if minor > 0]


def sums(balances: Iterable[Balance]) -> dict[str, tuple[int, int, int]]:
    """What is posted and pending of each currency, in minor units."""
    found: dict[str, tuple[int, int, int]] = {}
    for each in balances:
        posted, debit, credit = found.get(each.currency, (0, 0, 0))
        found[each.currency] = (posted + each.posted, debit + each.pending_debit, credit + each.pending_credit)
    return found


def show_balance(console: Console, balance: Balance, said: str) -> None:
    """One account; `said` is when or by what the balance is meant."""
    table = Table(show_header=False, box=None, title=f"{balance.code}, {said}", title_style="bold")
    table.title_justify = "left"
    table.add_column()
    table.add_column(justify="right")
    for name, minor in (
        ("posted (debit +, credit −)", balance.posted),
        ("pending debit", balance.pending_debit),
        ("pending credit", balance.pending_credit),
        ("available to draw", balance.available),
    ):
        table.add_row(name, str(Money(minor, balance.currency)))
    console.print(table)


def show_trial_balance(console: Console, balances: Sequence[Balance], *, whole: bool) -> None:
    """The accounts, the sum of each currency, which is zero where it is of the `whole` book, and who owes us."""
    table = _table("Trial balance (debit +, credit −)", ("account", "currency"), ("posted", "pending +", "pending −"))
    for each in balances:
        table.add_row(each.code, each.currency, *_amounts(each.currency, *_layers(each)))
    table.add_section()
    for currency, (posted, debit, credit) in sorted(sums(balances).items()):
        wrong = whole and (posted != 0 or debit != credit)
        style = "bold red" if wrong else "bold"
        table.add_row("sum", currency, *_amounts(currency, posted, debit, credit), style=style)
    console.print(table)
    for each in owed(balances):
        console.print(f"{each.merchant} owes us {each.money}: facts took it below zero", style="yellow", markup=False)


def show_statement(console: Console, code: str, currency: str, lines: Sequence[StatementLine], more: str) -> None:
    """A page of an account, and how the next one is asked for; empty `more`: this was the last."""
    table = _table(
        f"{code} in {currency} (debit +, credit −)",
        ("", "posted at (UTC)", "reference", "kind"),
        ("change", "pending +", "pending −", "balance"),
    )
    for line in lines:
        changes = (line.posted, line.pending_debit, line.pending_credit)
        table.add_row(
            str(line.version),
            instant(line.posted_at),
            line.reference,
            line.kind,
            *(_signed(currency, minor) for minor in changes),
            decimal(Money(line.posted_after, currency)),
        )
    console.print(table)
    if more:
        console.print(f"more: --after {more}", markup=False)


def show_check(console: Console, check: Check) -> None:
    """One check that was made: a line, so that long work shows how far it is."""
    mark = "[bold red]✗[/]" if check.broken else "[green]✓[/]"
    rows = f"{check.rows:,} rows, " if check.rows is not None else ""
    console.print(f"{mark} {check.name}", f"[dim]{rows}{check.seconds:.2f} s[/]")


def show_broken(console: Console, broken: Broken) -> None:
    """The first row that is wrong, and what to do now."""
    console.print(f"BROKEN: {broken.what}: {broken.subject} ({broken.detail})", style="bold red", markup=False)
    console.print("Change nothing. Copy the database and the file of seals first; then docs/ledger-operations.md.")


def show_seals(console: Console, seals: Sequence[Seal]) -> None:
    """The windows that were sealed, each with its rows and the beginning of its root."""
    table = _table("Seals", ("seal", "from transaction", "up to, without"), ("rows", "root"))
    for seal in seals:
        table.add_row(str(seal.seal_id), str(seal.from_xid), str(seal.upto_xid), f"{seal.rows:,}", seal.root.hex()[:16])
    console.print(table)


def show_months(console: Console, months: Sequence[Month]) -> None:
    """Where each month is."""
    table = _table("Months", ("month", "where", "archived at (UTC)", "by"), ("entries", "postings"))
    for month in months:
        at = instant(month.archived_at) if month.archived_at else ""
        counts = (f"{count:,}" if count is not None else "" for count in (month.entries, month.postings))
        table.add_row(f"{month.month:%Y-%m}", month.state, at, month.archived_by or "", *counts)
    console.print(table)


@contextmanager
def steps(console: Console) -> Generator[Progress]:
    """Show how far long work has come: a bar per step, on a screen; a line per step that is done, elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=console, disable=not console.is_terminal) as bars:
        shown: dict[Step, TaskID] = {}

        def tell(step: Step, done: int, of: int) -> None:
            if step not in shown:
                shown[step] = bars.add_task(step)
            bars.update(shown[step], completed=done, total=of)
            if not console.is_terminal and done == of == 1:
                console.print(f"• {step}: done", markup=False)

        yield tell


def show_json(console: Console, document: object) -> None:
    """One JSON document on one line, whatever the width of the screen."""
    console.print(json.dumps(document, default=_plain), markup=False, soft_wrap=True)


def as_json(balance: Balance) -> dict[str, object]:
    """A balance for programs: with what follows from it."""
    return {**asdict(balance), "available": balance.available}


def plain(row: StatementLine | Owed | Month | Broken) -> dict[str, object]:
    """A row for programs, as it is."""
    return asdict(row)


def instant(at: datetime) -> str:
    """An instant for people, exact enough to be told apart."""
    return f"{at.astimezone(UTC):%F %T.%f}"[:-3]


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def _table(title: str, left: Iterable[str], right: Iterable[str]) -> Table:
    table = Table(title=title, title_style="bold", title_justify="left")
    for name in left:
        table.add_column(name, overflow="fold")
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _layers(balance: Balance) -> tuple[int, int, int]:
    return balance.posted, balance.pending_debit, balance.pending_credit


def _amounts(currency: str, *minors: int) -> list[str]:
    return [decimal(Money(minor, currency)) for minor in minors]


def _signed(currency: str, minor: int) -> str:
    return f"{'+' if minor > 0 else ''}{decimal(Money(minor, currency))}" if minor else ""
