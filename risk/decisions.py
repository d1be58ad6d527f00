"""Decisions as they are kept: one per operation and clearance, never changed; velocity rules count them.

What passed, or may still pass after a review, is counted; what was refused moved nothing and is not. Counting and
keeping are one transaction under a lock per key, so that of two operations at once the second counts the first.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

import asyncpg
from pydantic import TypeAdapter

from domain.ids import MerchantId, OperationId, Prefix
from domain.money import Money
from risk.judgement import Counted
from risk.rules import By, Decision, Fired, Subject, Velocity, Verdict, key_of

_FIRED: TypeAdapter[tuple[Fired, ...]] = TypeAdapter(tuple[Fired, ...])

CountsJudged = Callable[[Mapping[str, Counted]], Decision]  # counted under the names of the rules


@dataclass(frozen=True, slots=True)
class Look:
    """What is known before anything is asked: the decision if there is one, and the set in force.

    `rules` is None where the asker knows that version already.
    """

    decision: Decision | None
    version: int
    rules: str | None


@dataclass(frozen=True, slots=True)
class Kept:
    """A decision as it stands, with what was judged and when."""

    subject: Subject
    decision: Decision
    at: datetime


class Decisions:
    """The decisions behind a pool of connections; `stretch` is a factor on the times of rules."""

    def __init__(self, pool: asyncpg.Pool, *, stretch: float = 1) -> None:
        self._pool = pool
        self._stretch = stretch

    async def look(self, subject: Subject, known_version: int) -> Look:
        """Read the operation's decision, and which rules are in force."""
        row = await self._pool.fetchrow(LOOK, subject.operation, subject.cleared, known_version)
        assert row is not None, "the first migration brings a rule set, and none is ever removed"
        return Look(_decision(row) if row["verdict"] else None, row["in_force"], row["rules"])

    async def keep(self, subject: Subject, decision: Decision) -> Decision:
        """Keep a decision and return it, or the one that the operation had already."""
        return await _keep(self._pool, subject, decision)

    async def count_and_keep(self, subject: Subject, rules: Sequence[Velocity], judged: CountsJudged) -> Decision:
        """Count for velocity rules, judge, keep: in one transaction, alone among all that share a key with it.

        What takes longer than a rule waits is not counted for it. Raises `TimeoutError` where the most patient of the
        rules has waited in vain, and then nothing is kept.
        """
        seconds = {rule.name: rule.timeout_ms * self._stretch / 1000 for rule in rules}
        async with self._pool.acquire() as taken, taken.transaction():
            connection = cast("asyncpg.Connection", taken)
            begun = time.monotonic()
            async with asyncio.timeout(max(seconds.values())):
                await connection.execute(LOCK, _lock_names(subject, rules))
                counted = {rule.name: await _count(connection, rule, subject) for rule in rules}
            took = time.monotonic() - begun
            in_time = {name: each for name, each in counted.items() if took <= seconds[name]}
            return await _keep(connection, subject, judged(in_time))

    async def count(self, rule: Velocity, subject: Subject, until: datetime | None = None) -> Counted:
        """Count for a velocity rule as at `until`, keeping nothing."""
        return await _count(self._pool, rule, subject, until)

    async def of(self, operation: OperationId) -> list[Kept]:
        """The decisions about an operation, its increments and refunds, oldest first."""
        return [_kept(row) for row in await self._pool.fetch(OF, operation)]

    async def latest(self, most: int) -> list[Kept]:
        """The latest decisions, oldest of them first."""
        return [_kept(row) for row in reversed(await self._pool.fetch(LATEST, most))]


async def _keep(on: "asyncpg.Pool | asyncpg.Connection", subject: Subject, decision: Decision) -> Decision:
    new = await on.fetchval(
        KEEP,
        subject.operation,
        subject.cleared,
        subject.kind,
        subject.client,
        subject.merchant,
        subject.money.currency,
        subject.money.minor,
        subject.instrument,
        subject.country,
        subject.payment,
        decision.verdict,
        _FIRED.dump_json(decision.fired).decode(),
        decision.version,
        decision.milliseconds,
    )
    if new:
        return decision
    row = await on.fetchrow(STANDING, subject.operation, subject.cleared)
    assert row is not None, "what stands in the way of a row is never removed"
    return _decision(row)


async def _count(
    on: "asyncpg.Pool | asyncpg.Connection", rule: Velocity, subject: Subject, until: datetime | None = None
) -> Counted:
    key = key_of(subject, By(rule.by))
    kinds = [kind for kind in Prefix if rule.judges(kind)]
    row = await on.fetchrow(
        COUNT[By(rule.by)],
        key,
        float(rule.window_seconds),
        kinds,
        until,
        subject.operation,
        subject.payment if subject.kind is Prefix.INCREMENT else subject.operation,
        subject.money.minor,
        subject.money.currency,
    )
    assert row is not None
    return Counted(int(row["operations"]), int(row["minor"]))


def _lock_names(subject: Subject, rules: Sequence[Velocity]) -> list[str]:
    keys = {(rule.by, key_of(subject, By(rule.by))) for rule in rules}
    return [f"risk.velocity:{by}:{key}" for by, key in keys if key]


def _decision(row: asyncpg.Record) -> Decision:
    return Decision(
        verdict=Verdict(row["verdict"]),
        version=row["version"],
        fired=_FIRED.validate_json(row["fired"]),
        milliseconds=row["milliseconds"],
    )


def _kept(row: asyncpg.Record) -> Kept:
    subject = Subject(
        operation=OperationId(row["operation"]),
        kind=Prefix(row["kind"]),
        client=row["client"],
        merchant=MerchantId(row["merchant"]),
        money=Money(row["amount"], row["currency"]),
        instrument=row["instrument"],
        country=row["country"],
        payment=row["payment"],
        cleared=row["cleared"],
    )
    return Kept(subject, _decision(row), row["at"])


LOOK = """
SELECT s.version AS in_force, CASE WHEN s.version <> $3 THEN s.rules::text END AS rules,
       d.verdict, d.version, d.fired, d.milliseconds
FROM (SELECT version, rules FROM risk.rule_set ORDER BY version DESC LIMIT 1) AS s
LEFT JOIN risk.decision d ON d.operation = $1 AND d.cleared = $2
"""

# Where the operation may go on, the commit does not wait for the disk: the reservation that follows does, and takes
# this row there with it. A decision that a crash forgets so was followed by nothing, and is made again.
KEEP = """
INSERT INTO risk.decision (operation, cleared, kind, client, merchant, currency, amount, instrument, country, payment,
                           verdict, fired, version, milliseconds)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::text::jsonb, $13, $14
FROM (SELECT set_config('synchronous_commit', CASE WHEN $11 = 'allow' THEN 'off'
                                                   ELSE current_setting('synchronous_commit') END, true)) AS waiting
ON CONFLICT (operation, cleared) DO NOTHING RETURNING true
"""
STANDING = "SELECT verdict, version, fired, milliseconds FROM risk.decision WHERE operation = $1 AND cleared = $2"

# Sorted, so that two operations that share two keys never wait for each other.
LOCK = """
SELECT pg_advisory_xact_lock(number) FROM (
    SELECT DISTINCT hashtextextended(name, 0) AS number FROM unnest($1::text[]) AS name ORDER BY number
) AS sorted
"""

# An increment is judged by what its authorization comes to: of a payment and its increments the highest amount counts.
COUNTED = """
WITH passed AS (
    SELECT CASE kind WHEN 'inc' THEN payment ELSE operation END AS whose, currency, amount FROM risk.decision
    WHERE (by) = $1 AND (by) <> '' AND NOT cleared AND verdict <> 'refuse' AND kind = ANY ($3::text[])
      AND at > coalesce($4::timestamptz, clock_timestamp()) - make_interval(secs => $2)
      AND at < coalesce($4::timestamptz, 'infinity') AND operation <> $5
    UNION ALL SELECT $6::text, $8::text, $7::bigint
), authorized AS (
    SELECT count(*) AS operations, max(amount) AS amount, currency FROM passed GROUP BY whose, currency
)
SELECT sum(operations) AS operations, coalesce(sum(amount) FILTER (WHERE currency = $8), 0) AS minor FROM authorized
"""
COUNT = {by: COUNTED.replace("(by)", by) for by in (By.INSTRUMENT, By.MERCHANT, By.COUNTRY, By.CLIENT)}

OF = "SELECT * FROM risk.decision WHERE operation = $1 OR payment = $1 ORDER BY at, operation, cleared"
LATEST = "SELECT * FROM risk.decision ORDER BY at DESC, operation DESC LIMIT $1"
