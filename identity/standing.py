"""What is known of a merchant: were its identity and the sanctions lists checked, by whom, and what came out.

Answers are only ever added; the latest of a check counts. What follows from an answer is not decided here.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import asyncpg

from domain.ids import MerchantId


class Check(StrEnum):
    """What is checked."""

    KYC = "kyc"
    SANCTIONS = "sanctions"


class Checked(StrEnum):
    """What a check may answer: an identity is verified or rejected, sanctions lists are clear or hit, both may pend."""

    VERIFIED = "verified"
    REJECTED = "rejected"
    CLEAR = "clear"
    HIT = "hit"
    PENDING = "pending"


ANSWERS = {
    Check.KYC: (Checked.VERIFIED, Checked.REJECTED, Checked.PENDING),
    Check.SANCTIONS: (Checked.CLEAR, Checked.HIT, Checked.PENDING),
}
PASSED = {Checked.VERIFIED: True, Checked.CLEAR: True, Checked.REJECTED: False, Checked.HIT: False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The latest answer of one check of a merchant, who gave it, and when."""

    merchant: MerchantId
    check: Check
    answer: Checked
    actor: str
    why: str
    at: datetime

    @property
    def passed(self) -> bool | None:
        """Whether the merchant passed; None: it is not decided yet."""
        return PASSED.get(self.answer)


class Standings:
    """The answers behind a pool of connections."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def of(self, merchant: MerchantId, until: datetime | None = None) -> tuple[Standing, ...]:
        """The latest answer of each check of a merchant, as known at `until`; none of a check that was never made."""
        return tuple(
            Standing(
                merchant=merchant,
                check=Check(row["check"]),
                answer=Checked(row["answer"]),
                actor=row["actor"],
                why=row["why"],
                at=row["at"],
            )
            for row in await self._pool.fetch(LATEST, merchant, until)
        )

    async def record(self, merchant: MerchantId, check: Check, answer: Checked, *, actor: str, why: str) -> None:
        """Add an answer. Raises `ValueError` for one that the check cannot give."""
        if answer not in ANSWERS[check]:
            raise ValueError(f"{check} is answered by {', '.join(ANSWERS[check])}, not by {answer}")
        await self._pool.execute(RECORD, merchant, check, answer, actor, why)

    async def seed(self, merchant: MerchantId) -> None:
        """Let a merchant of development pass both checks, unless somebody has answered them already."""
        known = {standing.check for standing in await self.of(merchant)}
        for check, answer in ((Check.KYC, Checked.VERIFIED), (Check.SANCTIONS, Checked.CLEAR)):
            if check not in known:
                await self.record(merchant, check, answer, actor="holdfast", why="a merchant of development")


LATEST = """
SELECT DISTINCT ON ("check") "check", answer, actor, why, at FROM identity.standing
WHERE merchant = $1 AND at <= coalesce($2::timestamptz, 'infinity') ORDER BY "check", id DESC
"""
RECORD = 'INSERT INTO identity.standing (merchant, "check", answer, actor, why) VALUES ($1, $2, $3, $4, $5)'
