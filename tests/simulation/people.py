"""The person on duty: looks at what is parked, at the provider's own books, and decides by what they show.

Decides nothing that the provider has not decided, and has what our own books did not answer tried again. Each decision
has two approvals (money rule 15).
"""

from datetime import datetime

from contracts.disputes import Evidence
from domain.ids import Reference
from domain.outcomes import Attention, Decision, Outcome, View
from simulator.records import UNDER_WAY, WITHOUT_EFFECT, Phase, Record
from tests.simulation.choices import NONE
from tests.simulation.clock import Promise
from tests.simulation.driver import Execution, Refused
from tests.simulation.faults import DECIDES, REVIEWS
from tests.simulation.world import World

LOOKS_AFTER = 3600.0  # seconds: what takes care of itself within the hour is left alone
SLEEPS = 5 * 3600.0  # longer than a deadline of attention
LOOKS_MAX = 200  # a week and a day: whoever has not been helped by then is lost, not parked
A_SECOND, A_DAY = 1.0, 86_400.0  # a deadline that has passed moves on at once, and lies within a working day
EVIDENCE = "seen in the provider's books"
TAKEN_BACK = frozenset({Phase.FAILED, Phase.BOUNCED, Phase.RETURNED, Phase.RECALLED})


class Person:
    """One person, who looks after every run of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._attending: dict[str, int] = {}
        self._asleep_until = 0.0
        world.asks = self.called

    def called(self, run: Execution) -> None:
        """Come to a run that asks, later."""
        if run.id not in self._attending:
            self._attending[run.id] = 0
            self._world.clock.later(LOOKS_AFTER, self._look, run.id)

    def _look(self, workflow_id: str) -> None:
        world = self._world
        run = world.server.runs[workflow_id]
        if not run.open or run.attributes.get("NeedsAttention") != b"true":
            del self._attending[workflow_id]
            return
        self._attending[workflow_id] += 1
        if self._attending[workflow_id] > LOOKS_MAX:
            world.breaks(f"liveness: {workflow_id} is parked, whatever a person does")
        view: View = world.server.query(workflow_id, "view")
        if view.attention is not None and world.clock.now >= self._asleep_until:
            if missing := unfit(view.attention, world.clock.now):
                world.breaks(f"I5: {workflow_id} asks for a person, but has {missing}")
            if view.attention.escalations:
                world.reached("escalated")
            self._act(workflow_id, view.attention)
        world.clock.later(LOOKS_AFTER, self._look, workflow_id)

    def _act(self, workflow_id: str, attention: Attention) -> None:
        """Do the one thing that helps, as far as can be seen."""
        world, reference = self._world, attention.reference
        looks = self._attending[workflow_id]
        update = f"{reference}-{looks}"
        if attention.update == "evidence":
            world.note("a person hands evidence in", reference)
            answer = world.server.update(workflow_id, "evidence", Evidence(who="ann", what="the receipt"), update)
            self._must_be_taken(answer, reference)
            return
        seen = self._seen(workflow_id, attention)
        word = NONE if seen is None or looks > 1 else world.choices.choose(DECIDES, f"person at {reference}")
        if word == "asleep":
            self._asleep_until = world.clock.now + SLEEPS
            return
        if seen is not None and word == "impostor":
            self._pretend(workflow_id, reference, seen)
        if seen is None or word == "retry_first":
            world.note("a person has it tried again", reference, attention.reason)
            world.reached("retried by a person")
            answer = world.server.update(workflow_id, "retry", reference, update)
        else:
            world.note(f"a person decides: {seen}", reference, attention.reason)
            world.reached("resolved by a person")
            answer = world.server.update(workflow_id, "resolve", self._decision(workflow_id, reference, seen), update)
        self._must_be_taken(answer, reference)

    def _pretend(self, workflow_id: str, reference: Reference, seen: Outcome) -> None:
        """Somebody without approvals decides the opposite: refused (money rule 15)."""
        world = self._world
        opposite = Outcome.REFUSED if seen is Outcome.DONE else Outcome.DONE
        word = Decision(reference=reference, outcome=opposite, evidence="hearsay", approvals=("apr_x", "apr_y"))
        answer = world.server.update(workflow_id, "resolve", word, f"{reference}-impostor")

        def answered() -> None:
            if answer.error is None:
                world.breaks(f"{reference} was decided by approvals that nobody gave")
            world.reached("impostor refused")

        answer.then(answered)

    def _decision(self, workflow_id: str, reference: Reference, outcome: Outcome) -> Decision:
        give = self._world.approvals.give
        one, other = (give(workflow_id, reference, outcome, EVIDENCE, actor) for actor in ("ann", "bob"))
        return Decision(reference=reference, outcome=outcome, evidence=EVIDENCE, approvals=(one, other))

    def _must_be_taken(self, answer: Promise[object], reference: Reference) -> None:
        def answered() -> None:
            overtaken = isinstance(answer.error, Refused) and answer.error.kind == "NotParked"
            if answer.error is not None and not overtaken:
                self._world.breaks(f"a person's word about {reference} was not taken: {answer.error}")

        answer.then(answered)

    def _seen(self, workflow_id: str, attention: Attention) -> Outcome | None:
        """What can be seen about a reference; None where nothing is decided, or it is our own entry."""
        world = self._world
        effect, _, rest = attention.reference.partition("/")
        if attention.owner.startswith("risk-"):
            refuses = world.choices.choose(REVIEWS, f"risk decides about {attention.reference}") != NONE
            return Outcome.REFUSED if refuses else Outcome.DONE
        if workflow_id.startswith("dispute/") and rest in ("decision", "withdrawal"):
            return self._disputed(rest)
        if (
            rest not in ("", "arrival")
            or ".v" in effect
            or any(effect in each.underway for each in world.banks.values())
        ):
            return None
        found = [record for bank in world.banks.values() if (record := bank.books.lookup(effect)) is not None]
        if not found:
            return Outcome.REFUSED
        return _decided(found[0], arrival=rest != "")

    def _disputed(self, what: str) -> Outcome | None:
        newest = self._world.bank.books.disputes.movements()[-1]
        if what == "withdrawal":
            return Outcome.DONE
        return {Phase.WON: Outcome.DONE, Phase.LOST: Outcome.REFUSED}.get(newest.phase)


def _decided(record: Record, *, arrival: bool) -> Outcome | None:
    if record.phase in UNDER_WAY or (arrival and record.phase is Phase.ACCEPTED):
        return None
    if arrival or record.phase is Phase.FAILED:
        return Outcome.REFUSED if record.phase in TAKEN_BACK else Outcome.DONE
    return Outcome.REFUSED if record.phase in WITHOUT_EFFECT else Outcome.DONE


def unfit(attention: Attention, now: float) -> str:
    """What is missing for a person to act upon; empty where nothing is. `now` is in unix seconds."""
    if missing := [name for name in ("owner", "reason", "update", "deadline") if not getattr(attention, name)]:
        return f"no {', no '.join(missing)}"
    ahead = datetime.fromisoformat(attention.deadline).timestamp() - now
    if attention.update != "evidence" and not -A_SECOND <= ahead <= A_DAY:
        return f"a deadline that is {ahead:.0f} s ahead"
    return ""
