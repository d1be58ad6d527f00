"""What each worker does now and then: removes answers whose time is over, and makes the ledger's coming months."""

import asyncio

import asyncpg
import structlog

from ledger.journal import Journal
from records.claims import Claims

PAUSE_SECONDS = 3600.0  # answers are kept thirty days, months are made a year ahead: an hour is soon enough
MONTHS_AHEAD = 12
CHUNK = 1000  # rows per statement, so that no purge holds anybody up

log = structlog.get_logger()


async def run(pool: asyncpg.Pool) -> None:
    """Do it for ever; what fails is done an hour later."""
    claims, journal = Claims(pool), Journal(pool)
    while True:
        try:
            await journal.ensure_months(MONTHS_AHEAD)
            while await claims.purge(CHUNK) == CHUNK:
                pass
        except (asyncpg.PostgresError, OSError, TimeoutError) as failure:
            log.warning("upkeep.failed", failure=str(failure))
        await asyncio.sleep(PAUSE_SECONDS)
