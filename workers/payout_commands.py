"""`holdfast payouts …`: payouts that nobody asks for one by one. Thin: the runs do the work, and keep the gates."""

import asyncio
import csv
import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from temporalio.client import WorkflowHandle
from temporalio.exceptions import WorkflowAlreadyStartedError

from contracts import starts
from contracts.payouts import Batch, BatchReport, Sweep, batch_id, sweep_id
from domain.commands import Payout
from domain.errors import HoldfastError
from domain.ids import MerchantId, Prefix, derive, is_merchant_id
from domain.money import parse
from workers import schedules
from workers.prompt import console, say, settings_here
from workers.providers import routes
from workers.settings import Settings
from workers.wiring import temporal
from workflows.sweep import PayoutBatch

CLIENT = "operations"  # whom rows name where no initiator asked
COLUMNS = ("reference", "merchant", "amount", "currency", "destination")
SWEEP_HOUR = 5  # UTC: after the night's settlement files, before banks open
ADMITTED_SECONDS = 86_400.0  # a batch is carried out today or not at all

application = typer.Typer(no_args_is_help=True, help="Start payouts: a daily sweep of a balance, or a batch.")


class BadBatch(HoldfastError):
    """A file that is no batch. Nothing was started."""


@application.command()
def sweep(
    merchant: str,
    currency: str,
    destination: Annotated[str, typer.Argument(help="the provider's token of the merchant's bank account")],
    minimum: Annotated[str, typer.Option(help="in major units; less stays where it is")] = "1",
    hour: Annotated[int, typer.Option(min=0, max=23, help="of each day, UTC")] = SWEEP_HOUR,
    *,
    now: Annotated[bool, typer.Option(help="also sweep at once; a day is swept once all the same")] = False,
    off: Annotated[bool, typer.Option(help="sweep no more")] = False,
) -> int:
    """Sweep what a merchant has available to its bank account, every day."""
    if not is_merchant_id(merchant):
        raise typer.BadParameter("a merchant is 3 to 32 characters of a-z, 0-9 and _, a letter first")
    settings = settings_here()
    wanted = Sweep(
        client=CLIENT,
        mode=settings.mode,
        merchant=MerchantId(merchant),
        minimum=parse(minimum, currency.upper()),
        destination=destination,
        promises=routes(settings)[0],
    )
    say(asyncio.run(_sweep(settings, wanted, hour=hour, now=now, off=off)))
    return 0


async def _sweep(settings: Settings, wanted: Sweep, *, hour: int, now: bool, off: bool) -> str:
    client = await temporal(settings)
    if off:
        removed = await schedules.remove_sweep(client, wanted)
        return f"{sweep_id(wanted)} is removed" if removed else f"there is no {sweep_id(wanted)}"
    await schedules.ensure_sweep(client, wanted, hour)
    if now:
        await schedules.sweep_now(client, wanted)
    also = ", and has begun now" if now else ""
    return f"{sweep_id(wanted)} is swept every day at {hour:02}:00 UTC{also}"


@application.command()
def batch(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help=f"CSV with {', '.join(COLUMNS)}")],
    key: Annotated[str, typer.Option(help="the same key again starts nothing twice; default: the file's digest")] = "",
    *,
    wait: Annotated[bool, typer.Option(help="wait until every payout has ended, which may take days")] = False,
) -> int:
    """Start the payouts of a file, each as a run of its own, and tell how far they have come."""
    settings = settings_here()
    wanted = read(file.read_text(), settings, key or hashlib.sha256(file.read_bytes()).hexdigest()[:32])
    report = asyncio.run(_batch(settings, wanted, wait=wait))
    _show(report)
    return 0 if not report.unpaid else 1


def read(text: str, settings: Settings, key: str) -> Batch:
    """Read a batch; raise `BadBatch` or `BadMoney`, and say in which line, before anything is started."""
    rows = csv.DictReader(text.splitlines())
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise BadBatch(f"the first line names the columns: {','.join(COLUMNS)}")
    payouts = tuple(_payout(row, number, settings, key) for number, row in enumerate(rows, 2))
    try:
        return Batch(id=key, payouts=payouts)
    except ValueError as wrong:
        raise BadBatch(str(wrong)) from wrong


def _payout(row: Mapping[str, str | None], number: int, settings: Settings, key: str) -> Payout:
    """One line; its reference names the payout within the batch."""
    told = {name: (row[name] or "").strip() for name in COLUMNS}
    if not all(told.values()) or len(row) > len(COLUMNS):
        raise BadBatch(f"line {number}: every column is filled in, and no other")
    if not is_merchant_id(told["merchant"]):
        raise BadBatch(f"line {number}: {told['merchant']} can be no merchant")
    money = parse(told["amount"], told["currency"])
    if money.minor <= 0:
        raise BadBatch(f"line {number}: nothing to pay out")
    content = "\0".join(told.values())
    return Payout(
        id=derive(
            Prefix.PAYOUT, client=CLIENT, mode=settings.mode, operation="batch", key=f"{key}/{told['reference']}"
        ),
        fingerprint=hashlib.sha256(content.encode()).hexdigest(),
        client=CLIENT,
        merchant=MerchantId(told["merchant"]),
        money=money,
        promises=routes(settings)[0],
        admit_until=time.time() + ADMITTED_SECONDS,
        merchant_reference=told["reference"],
        destination=told["destination"],
    )


async def _batch(settings: Settings, wanted: Batch, *, wait: bool) -> BatchReport:
    client = await temporal(settings)
    run = batch_id(wanted.id)
    try:
        handle: WorkflowHandle[PayoutBatch, BatchReport] = await client.start_workflow(
            PayoutBatch.run,
            wanted,
            **starts.once(run),
        )
    except WorkflowAlreadyStartedError:
        handle = client.get_workflow_handle_for(PayoutBatch.run, run)
    say(f"{run}: {len(wanted.payouts)} payouts")
    return await handle.result() if wait else await handle.query(PayoutBatch.report)


def _show(report: BatchReport) -> None:
    say(
        f"{report.started} started, {report.known} known before, {report.paid} paid, {report.under_way} under way,"
        f" {len(report.unpaid)} not paid"
    )
    if not report.unpaid:
        return
    table = Table("payout", "reference", "amount", "state", title="Not paid", title_style="bold", title_justify="left")
    for each in report.unpaid:
        table.add_row(each.payout, each.merchant_reference, str(each.money), each.state)
    console.print(table)
