"""`python -m tests.chaos.soak [PAYMENTS]`: the whole stack as processes, every fault in turn, and what is left of it.

Exits 0 where every invariant holds and the recovery is under its goal. SEED=n repeats the choices of another run; what
the machine does in between is its own.
"""

import asyncio
import logging
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Generator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.chaos_audit import audit
from tests.support.chaos_faults import Faults, attacked
from tests.support.chaos_phases import PHASES, Phase
from tests.support.chaos_recovery import recoveries
from tests.support.chaos_report import RECOVERY_GOAL_SECONDS, Report, Spell
from tests.support.chaos_shop import Shop
from tests.support.ledger_server import give_to_postgres, small_disk
from tests.support.live import connected, running_stack
from workers.embedded import postgres
from workers.embedded.home import home_of
from workers.embedded.stack import Stack

PAYMENTS = 1000
DISK_MEGABYTES = 192  # three times what the journal may take between checkpoints, so that only we can fill it
JOURNAL_MEGABYTES = 64
RECOVERIES, RECOVERIES_FEW = 8, 1
LOGS = home_of() / "reports" / "chaos-logs"  # of the last run that was not sound
KINDS = {"payments": "payment", "captures": "capture", "void": "void", "refunds": "refund", "payouts": "payout"}


@dataclass(frozen=True)
class Target:
    """A running stack. `disk` is the small one that its Postgres has its own journal on, or why there is none."""

    stack: Stack
    home: Path
    disk: Path | str


@contextmanager
def target() -> Generator[Target]:
    """Run a stack to attack; not from within an event loop."""
    with ExitStack() as until_over:
        try:
            disk: Path | str = until_over.enter_context(small_disk(DISK_MEGABYTES))
        except pytest.skip.Exception as why:
            disk = str(why)
        stack, home = until_over.enter_context(running_stack(before=lambda home: _journal_on(disk, home)))
        yield Target(stack, home, disk)


def _journal_on(disk: Path | str, home: Path) -> None:
    """Lay the cluster out and move its journal to the disk; the stack finds it so."""
    if isinstance(disk, str):
        return
    data = postgres.prepare(home, port=0).data  # the port is told when it starts
    shutil.move(data / "pg_wal", disk / "pg_wal")
    give_to_postgres(disk / "pg_wal")
    (data / "pg_wal").symlink_to(disk / "pg_wal")
    with (data / "postgresql.conf").open("a") as settings:
        settings.write(f"max_wal_size = {JOURNAL_MEGABYTES}MB\nmin_wal_size = 32MB\n")


async def soak(target: Target, payments: int, *, seed: int, few: bool = False) -> Report:
    """Run all phases over at least so many payments, and audit what is left; `few`: as few strikes as show them all."""
    disk = target.disk if isinstance(target.disk, Path) else None
    chosen = [phase for phase in PHASES if (phase.few or not few) and (disk or not phase.needs_disk)]
    async with connected(target.stack, target.home) as live:
        shop, spells = Shop(live), list[Spell]()
        with attacked(shop, seed, disk) as faults:
            async with shop.open(payments) if few else nullcontext():  # few: nobody waits for the end of a phase
                for turn, phase in enumerate(chosen):
                    share = max(0, payments - shop.payments) // (len(chosen) - turn)
                    traffic = nullcontext() if few else shop.open(share)
                    spells.append(await _spell(faults, phase, traffic, phase.few if few else phase.strikes))
                    _tell(spells[-1])
            began, struck = time.monotonic(), Counter(faults.struck)
            measured = await recoveries(faults, shop, RECOVERIES_FEW if few else RECOVERIES)
            spells.append(Spell("the only worker killed", 0, time.monotonic() - began, faults.struck - struck))
            report = Report(
                seed=seed,
                spells=spells,
                made=Counter(_kind(wish.path) for wish in shop.wishes if wish.said),
                answers=shop.answers,
                recoveries=measured,
                load=os.getloadavg()[0],
                audit=await audit(live, shop),
                left_out=[] if disk else [f"disk full: {target.disk}"],
            )
    if not report.audit.is_sound:
        shutil.copytree(target.home / "logs", LOGS, dirs_exist_ok=True)
        sys.stderr.write(f"the logs of all processes are kept in {LOGS}\n")
    return report


async def _spell(faults: Faults, phase: Phase, traffic: AbstractAsyncContextManager[None], times: int) -> Spell:
    struck, made, began = Counter(faults.struck), faults.shop.payments, time.monotonic()
    async with traffic:
        try:
            await phase.strike(faults, times)
        except (AssertionError, TimeoutError) as wrong:  # the rest is worth knowing all the same
            faults.shop.complaints.append(f"{phase.name}: could not strike: {wrong!r}")
        finally:
            await faults.behave()
    payments = faults.shop.payments - made
    return Spell(phase.name, payments, time.monotonic() - began, faults.struck - struck)


def _kind(path: str) -> str:
    return KINDS[path.rsplit("/", 1)[-1]]


def _tell(spell: Spell) -> None:
    sys.stderr.write(f"{spell.name}: {spell.payments} payments in {spell.seconds:.0f} s\n")


def main(arguments: list[str]) -> int:
    """Run the soak, print its table and keep its report; return the exit code."""
    logging.getLogger("asyncpg").setLevel(logging.CRITICAL)  # of our own connections' deaths it tells at length
    payments = int(arguments[0]) if arguments else PAYMENTS
    seed = int(os.environ.get("SEED") or time.time_ns() % 1_000_000)
    with target() as attackable:
        report = asyncio.run(soak(attackable, payments, seed=seed))
    report.show()
    sys.stdout.write(f"kept in {report.keep()}\n")
    return 0 if report.audit.is_sound and report.recovery_median_seconds < RECOVERY_GOAL_SECONDS else 1


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # the Temporal client can abort at interpreter exit
