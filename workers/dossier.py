"""Everything that our own books say about one operation, for a person at a prompt."""

from datetime import datetime

import asyncpg
from rich.console import Console
from rich.table import Table

from contracts.queues import starts_a_run, workflow_id
from domain.ids import OperationId, Reference
from ledger.journal import Journal
from records.operations import Operations, StoredOperation


async def show(console: Console, database_url: str, operation: OperationId) -> bool:
    """Print row, children, timeline and entries of an operation; False where there is no such row."""
    async with asyncpg.create_pool(database_url, min_size=1, max_size=2) as pool:
        operations, journal = Operations(pool), Journal(pool)
        row = await operations.any(operation)
        if row is None:
            console.print(f"there is no operation {operation}", style="bold red", markup=False)
            return False
        _print_row(console, row)
        children = await operations.children(operation)
        if children:
            _print(
                console,
                "What was done with it",
                ("operation", "amount", "state", "reason"),
                [(each.id, str(each.money), each.state, each.reason) for each in children],
            )
        _print(
            console,
            "Timeline",
            ("at (UTC)", "what", "detail"),
            [(_time(each.at), each.what, each.detail) for each in await operations.timeline(operation)],
        )
        _print(
            console,
            "Entries in the ledger",
            ("at (UTC)", "reference", "kind", "posted"),
            [
                (_time(entry.posted_at), entry.reference, entry.kind, str(entry.money) if entry.money.minor else "–")
                for each in (operation, *(child.id for child in children))
                for entry in await journal.entries_of(each)
            ],
        )
        return True


def _print_row(console: Console, row: StoredOperation) -> None:
    table = Table(show_header=False, box=None, title=row.id, title_style="bold", title_justify="left")
    for name, value in (
        ("state", f"{row.state} {row.reason}".strip()),
        ("amount", str(row.money)),
        ("captured, refunded, paid out or in dispute", str(row.total)),
        ("merchant", row.merchant),
        ("provider", f"{row.provider} {row.provider_id}".strip()),
        ("last reference", row.reference),
        ("payment", row.payment or ""),
        ("tries again", row.replaces or ""),
        ("run", workflow_id(row.id) if starts_a_run(Reference(row.id)) else ""),
        ("asked at", f"{row.created_at:%F %T} UTC"),
    ):
        if value:
            table.add_row(name, value)
    console.print(table)


def _time(at: datetime) -> str:
    return f"{at:%T.%f}"[:-3]


def _print(console: Console, title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    table = Table(title=title, title_style="bold", title_justify="left")
    for column in columns:
        table.add_column(column, justify="right" if column in ("amount", "posted") else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)
