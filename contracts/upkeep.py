"""The upkeep that nobody asks for: the ledger's months made, sealed, verified and archived; stale claims removed.

Each task may be carried out again at any moment: what is done already is found done.
"""

from dataclasses import dataclass

from temporalio import activity

QUEUE = "upkeep"  # of its own, so that whoever serves it needs no right to post, and who posts no right to seal
OWNER = "ledger-operations"  # whom a broken book waits for


@dataclass(frozen=True, slots=True, kw_only=True)
class Months:
    """How many months after the present one have their partitions."""

    ahead: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What has been sealed, and the age in seconds of the oldest row that is under no seal now."""

    seals: int
    rows: int
    lag_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The first row that a check found wrong."""

    what: str
    subject: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What recomputing the book came to; `broken` is None where all of it agrees."""

    checks: int
    seconds: float
    broken: Finding | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Archived:
    """The months that were taken out, oldest first, as YYYY-MM."""

    months: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """How many claims were removed whose time was over."""

    claims: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """A person says that a broken book is in hand. It moves no money and ends no break."""

    who: str
    why: str


class Upkeep:
    """The tasks, as activities."""

    @activity.defn(name="ledger.ensure_months")
    async def ensure_months(self) -> Months:
        """Make the partitions of the coming months."""
        raise NotImplementedError

    @activity.defn(name="ledger.seal")
    async def seal(self) -> Sealed:
        """Seal every window that is due."""
        raise NotImplementedError

    @activity.defn(name="ledger.verify")
    async def verify(self) -> Verified:
        """Recompute everything that is derived, seals included; stops at the first check that finds a broken row."""
        raise NotImplementedError

    @activity.defn(name="ledger.archive")
    async def archive(self) -> Archived:
        """Archive the months that are old enough, where a setting asks for it."""
        raise NotImplementedError

    @activity.defn(name="claims.purge")
    async def purge_claims(self) -> Purged:
        """Remove answers whose time is over."""
        raise NotImplementedError
