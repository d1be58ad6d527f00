"""What a database must promise before money is booked in it: acknowledged is on disk, and reads after a lock are fresh.

Asked once, when a process starts: what loses acknowledged entries shows in no other way until it is too late.
"""

import asyncpg
import structlog

from domain.errors import HoldfastError
from workers.settings import Mode

# What Postgres must say of each setting. remote_apply waits for a standby as well as for the disk: it promises more.
PROMISED = {
    "fsync": ("on",),
    "full_page_writes": ("on",),
    "synchronous_commit": ("on", "remote_apply"),
    "default_transaction_isolation": ("read committed",),
}

log = structlog.get_logger()


class NotDurable(HoldfastError):
    """The database may lose what it has acknowledged, or judge by stale reads. Nothing was written to it."""


async def require(pool: asyncpg.Pool, mode: Mode) -> None:
    """Raise `NotDurable` in live mode where the database promises too little for money; elsewhere say so in the log."""
    rows = await pool.fetch("SELECT name, setting FROM pg_settings WHERE name = ANY ($1)", list(PROMISED))
    found = {row["name"]: row["setting"] for row in rows}
    broken = {name: found.get(name) for name, promised in PROMISED.items() if found.get(name) not in promised}
    if not broken:
        return
    told = ", ".join(f"{name} is {value}, must be {PROMISED[name][0]}" for name, value in broken.items())
    if mode is Mode.LIVE:
        raise NotDurable(f"this database is not for money: {told}")
    log.warning("database.not_durable", settings=told)
