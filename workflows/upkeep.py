"""The ledger's upkeep: a run per task and time of its schedule, each with one activity, repeated until it is done.

A run ends when its task is done, however long that takes; meanwhile its schedule skips. Only a broken book keeps one
open for a person: verify has then nothing to repeat, and somebody must look.
"""

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeUpdate

from contracts.attributes import NEEDS_ATTENTION, OWNER
from contracts.upkeep import OWNER as LEDGER_OPERATIONS
from contracts.upkeep import Acknowledgement, Finding, Upkeep

# Without end: what a task needs (the database, the archive's disk) comes back, and the activity calls a person by its
# number of tries. Five minutes at most between two, so that upkeep goes on soon after an outage.
UNTIL_DONE = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=2, maximum_interval=timedelta(minutes=5)
)
SHORT = timedelta(minutes=5)  # a statement or two; a backlog of seals is bounded per task
LONG = timedelta(hours=6)  # all rows of a large book are read; the activity tells that it lives
SILENCE = timedelta(minutes=1)  # after which a worker that reads all rows is taken for lost
TAKEN_WITHIN = timedelta(days=7)  # then the run ends; those of the nights since say the same and are open


@workflow.defn(name="LedgerMonths")
class LedgerMonths:
    """Makes the ledger's coming months."""

    @workflow.run
    async def run(self) -> str:
        """Return how far ahead there are months now."""
        months = await workflow.execute_activity_method(
            Upkeep.ensure_months, start_to_close_timeout=SHORT, retry_policy=UNTIL_DONE
        )
        return f"{months.ahead} months ahead"


@workflow.defn(name="LedgerSeal")
class LedgerSeal:
    """Seals what has been committed since the last seal."""

    @workflow.run
    async def run(self) -> str:
        """Return what was sealed."""
        sealed = await workflow.execute_activity_method(
            Upkeep.seal, start_to_close_timeout=SHORT, retry_policy=UNTIL_DONE
        )
        return (
            f"{sealed.rows} rows under {sealed.seals} new seals; the oldest without is {sealed.lag_seconds:.0f} s old"
        )


@workflow.defn(name="LedgerVerify")
class LedgerVerify:
    """Recomputes the book; where a row is broken, stays open until a person has it in hand."""

    def __init__(self) -> None:
        self._broken: Finding | None = None
        self._acknowledged: Acknowledgement | None = None

    @workflow.run
    async def run(self) -> str:
        """Return `fine: …`, or `broken: …` with the first broken row and who has taken it."""
        verified = await workflow.execute_activity_method(
            Upkeep.verify, start_to_close_timeout=LONG, heartbeat_timeout=SILENCE, retry_policy=UNTIL_DONE
        )
        if verified.broken is None:
            return f"fine: {verified.checks} checks in {verified.seconds:.1f} s"
        self._broken = verified.broken
        told = f"broken: {verified.broken.what}, {verified.broken.subject}: {verified.broken.detail}"
        _call_a_person(wanted=True)
        workflow.set_current_details(_page(verified.broken))
        try:
            await workflow.wait_condition(lambda: self._acknowledged is not None, timeout=TAKEN_WITHIN)
        except TimeoutError:
            return f"{told}; nobody has taken it"
        assert self._acknowledged is not None
        _call_a_person(wanted=False)
        return f"{told}; taken by {self._acknowledged.who}: {self._acknowledged.why}"

    @workflow.update
    async def acknowledge(self, acknowledgement: Acknowledgement) -> str:
        """Say who has the broken book in hand, and how; ends this run, and corrects nothing."""
        self._acknowledged = acknowledgement
        return f"taken by {acknowledgement.who}"

    @acknowledge.validator
    def _acknowledge_is_apt(self, acknowledgement: Acknowledgement) -> None:
        if self._broken is None:
            raise ValueError("nothing is broken: there is nothing to take")
        if not acknowledgement.who.strip() or not acknowledgement.why.strip():
            raise ValueError("say who has it in hand, and how")
        if self._acknowledged is not None:
            raise ValueError(f"{self._acknowledged.who} has taken it already")


@workflow.defn(name="LedgerArchive")
class LedgerArchive:
    """Takes old, sealed months out of the database into files."""

    @workflow.run
    async def run(self) -> str:
        """Return which months were archived."""
        archived = await workflow.execute_activity_method(
            Upkeep.archive, start_to_close_timeout=LONG, heartbeat_timeout=SILENCE, retry_policy=UNTIL_DONE
        )
        return f"archived {', '.join(archived.months)}" if archived.months else "no month is due"


@workflow.defn(name="ClaimsPurge")
class ClaimsPurge:
    """Removes answers that are kept no longer."""

    @workflow.run
    async def run(self) -> str:
        """Return how many went."""
        purged = await workflow.execute_activity_method(
            Upkeep.purge_claims, start_to_close_timeout=SHORT, retry_policy=UNTIL_DONE
        )
        return f"{purged.claims} claims removed"


def _call_a_person(*, wanted: bool) -> None:
    owner = OWNER.value_set(LEDGER_OPERATIONS) if wanted else OWNER.value_unset()
    updates: list[SearchAttributeUpdate[Any]] = [NEEDS_ATTENTION.value_set(wanted), owner]
    workflow.upsert_search_attributes(updates)  # pyright: ignore[reportUnknownMemberType]


def _page(broken: Finding) -> str:
    """What an operator reads beside the run."""
    return "\n".join(
        [
            "### The ledger does not agree with itself",
            "",
            f"**{broken.what}**, `{broken.subject}`: {broken.detail}",
            "",
            "1. Nothing has been changed, and posting goes on. Change nothing in the database.",
            "2. Take a copy of the database and of the file of seals, before anything else.",
            "3. `holdfast ledger verify` says the same again; docs/ledger-operations.md says what each finding means.",
            "4. Say who has it in hand: send the update `acknowledge`. It ends this run; the next night looks again.",
            "",
            "```json",
            '{"who": "…", "why": "…"}',
            "```",
        ]
    )


WORKFLOWS = (LedgerMonths, LedgerSeal, LedgerVerify, LedgerArchive, ClaimsPurge)
