"""The call journal: may this call be made, and what became of it (money rule 5)."""

from dataclasses import dataclass
from datetime import datetime

import asyncpg
from pydantic import TypeAdapter

from domain.ids import Reference, Verb
from domain.outcomes import Answer

ALWAYS = (Verb.VOID, "inquire")  # undos and questions are journalled and never withheld
_ANSWER = TypeAdapter(Answer)


@dataclass(frozen=True, slots=True)
class Go:
    """Make the call; its row is the `number`th of this reference."""

    number: int


@dataclass(frozen=True, slots=True)
class Known:
    """It was made, and this was the final answer."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class Withheld:
    """It was made and nobody knows what became of it: inquire."""

    since: datetime


@dataclass(frozen=True, slots=True)
class Differs:
    """The reference was sent before with other content."""


class CallJournal:
    """The journal behind a pool of connections."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def begin(
        self, provider: str, reference: Reference, verb: str, content: bytes, run: str
    ) -> Go | Known | Withheld | Differs:
        """Note the intent of a call by a run (a workflow id), unless the journal says that it must not be made."""
        row = await self._pool.fetchrow(
            "SELECT * FROM records.begin_call($1, $2, $3, $4, $5, $6)",
            provider,
            reference,
            verb,
            content,
            run,
            verb in ALWAYS,
        )
        assert row is not None
        match row["verdict"]:
            case "go":
                return Go(row["number"])
            case "known":
                return Known(_ANSWER.validate_json(row["answer"], strict=True))
            case "withheld":
                return Withheld(row["sent_at"])
            case _:
                return Differs()

    async def run_of(self, provider: str, reference: Reference) -> str | None:
        """The workflow that a reference was sent for; None where it was never sent."""
        run: str | None = await self._pool.fetchval(RUN_OF, provider, reference)
        return run

    async def complete(
        self, provider: str, reference: Reference, verb: str, number: int, answer: Answer, seconds: float
    ) -> None:
        """Note what was answered to a call that was begun.

        Raises `asyncpg.RestrictViolationError` where it was noted before: a row is completed once.
        """
        said = _ANSWER.dump_json(answer).decode()
        did = await self._pool.execute(COMPLETE, provider, reference, verb, number, answer.outcome, said, seconds)
        assert did == "UPDATE 1", f"{reference}: call {number} was never begun"


# Its commit does not wait for the disk: an outcome that a crash forgets leaves the row open, and is inquired.
COMPLETE = """
UPDATE records.call SET outcome = $5, answer = $6::jsonb, seconds = $7, answered_at = clock_timestamp()
FROM (SELECT set_config('synchronous_commit', 'off', true)) AS not_waited_for
WHERE provider = $1 AND reference = $2 AND verb = $3 AND number = $4
"""

RUN_OF = "SELECT run FROM records.call WHERE provider = $1 AND reference = $2 ORDER BY sent_at LIMIT 1"
