"""Upkeep as activities: each finds what is done already, and calls a person where it cannot do its task for long."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from temporalio import activity

from contracts.upkeep import OWNER, Archived, Finding, Months, Purged, Sealed, Upkeep, Verified
from ledger.archive import Archive
from ledger.checks import Check, Verifier
from ledger.months import Months as LedgerMonths
from ledger.seals import Sealer
from records.claims import Claims

MONTHS_AHEAD = 12  # a year: whatever stops this task, somebody has long seen it
MONTHS_AHEAD_MIN = 1  # below, the next turn of a month may stop all posting
LAG_SECONDS_MAX = 600.0  # of the oldest unsealed row: ten times the interval, or a transaction left open that long
CHUNK = 1000  # claims per statement, so that no purge holds anybody up
TRIES_BEFORE_ALARM = 8  # two minutes of doubling pauses: an outage that ends by itself calls nobody
BEAT_SECONDS = 10.0  # well within the silence after which this worker is taken for lost

log = structlog.get_logger()


@dataclass(frozen=True)
class LedgerUpkeep(Upkeep):
    """The contract of upkeep over the ledger and the claims of records. `archive_after` is in months; 0: never."""

    months: LedgerMonths
    sealer: Sealer
    verifier: Verifier
    archivist: Archive
    archive_after: int
    claims: Claims

    @activity.defn(name="ledger.ensure_months")
    async def ensure_months(self) -> Months:
        _call_a_person_where_it_keeps_failing()
        ahead = await self.months.ahead()
        if ahead < MONTHS_AHEAD_MIN:  # asked first: what follows may fail again
            log.error("ledger.months_missing", ahead=ahead, owner=OWNER)
        await self.months.ensure(MONTHS_AHEAD)
        return Months(ahead=await self.months.ahead())

    @activity.defn(name="ledger.seal")
    async def seal(self) -> Sealed:
        _call_a_person_where_it_keeps_failing()
        seals = await self.sealer.seal()
        lag = (await self.sealer.lag()).total_seconds()
        if lag > LAG_SECONDS_MAX:
            log.error("ledger.seal_lag", seconds=round(lag), owner=OWNER)
        return Sealed(seals=len(seals), rows=sum(seal.rows for seal in seals), lag_seconds=lag)

    @activity.defn(name="ledger.verify")
    async def verify(self) -> Verified:
        _call_a_person_where_it_keeps_failing()
        made: list[Check] = []
        begun = time.monotonic()
        async with _living():
            broken = await self.verifier.first_broken(made.append)
        seconds = time.monotonic() - begun
        if broken is None:
            return Verified(checks=len(made), seconds=seconds)
        log.error(
            "ledger.broken", what=broken.what, subject=broken.subject, detail=broken.detail, check=made[-1].name,
            owner=OWNER,
        )  # fmt: skip
        finding = Finding(what=broken.what, subject=broken.subject, detail=broken.detail)
        return Verified(checks=len(made), seconds=seconds, broken=finding)

    @activity.defn(name="ledger.archive")
    async def archive(self) -> Archived:
        _call_a_person_where_it_keeps_failing()
        if not self.archive_after:
            return Archived(months=())
        async with _living():
            due = await self.months.due(self.archive_after)
            for month in due:
                await self.archivist.archive(month)
        return Archived(months=tuple(f"{month:%Y-%m}" for month in due))

    @activity.defn(name="claims.purge")
    async def purge_claims(self) -> Purged:
        _call_a_person_where_it_keeps_failing()
        purged = 0
        while (some := await self.claims.purge(CHUNK)) == CHUNK:
            purged += some
        return Purged(claims=purged + some)


def _call_a_person_where_it_keeps_failing() -> None:
    """Say so at every try from a number on; why the one before failed stands in the run's pending activity."""
    info = activity.info()
    if info.attempt >= TRIES_BEFORE_ALARM:
        log.error("upkeep.keeps_failing", task=info.activity_type, tries=info.attempt, owner=OWNER)


@asynccontextmanager
async def _living() -> AsyncGenerator[None]:
    """Tell Temporal that this worker lives, for as long as the work takes."""

    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(BEAT_SECONDS)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beating
