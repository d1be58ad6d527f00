"""The rows of the refund's grid: reserve 100, have the provider give it back, book it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from domain.lifecycle import RefundState as S
from domain.outcomes import Reason
from tests.saga.grid import BLIND, CANCELS, FIRST_TASK, MISBEHAVIOURS, NONE, ON_THE_WIRE, Case, Life, Played
from tests.support.engine import refund
from tests.support.world import GATE_REFUSALS, RETRY_AFTER, SHOWN_THEN_NONE, WORLDS

EFFECT = "provider.refund"
AT_THE_END = ("ledger.release", "records.note")  # reached by a refund that the provider refuses
STEPS = ("refund.prepare", EFFECT, "ledger.book_refund", *AT_THE_END)


@dataclass(frozen=True)
class RefundCase(Case):
    """One refund."""

    def life(self, key: str) -> Life:
        start = refund(key, promises=self.promises)
        world = WORLDS[start.id]
        world.script, world.blind = self.script, self.blind
        if self.step in AT_THE_END:
            world.script[EFFECT] = ["refused"]
        return Life(start, EFFECT, ("ledger.release",), repeated=self.behaviour == "repeated")

    @property
    def parks(self) -> bool:
        refused_for_good = ("ledger.book_refund", *AT_THE_END)
        return (
            self.blind
            or self.behaviour in SHOWN_THEN_NONE
            or (self.behaviour == "conflict" and self.step == EFFECT)
            or (self.behaviour == "refused" and self.step in refused_for_good)
        )

    def faults(self, played: Played) -> list[str]:
        world, state = played.world, played.state
        (receipt,) = played.receipts
        rules = {
            "the row in the records says another state": world.states.get(receipt.operation) == state,
            "given back, and not so": (world.provider_total == 100) == (state == S.SUCCEEDED),
            "the receipt says another sum": receipt.moved.minor == receipt.total.minor == world.provider_total,
            "not as ruled": self._as_ruled(played),
        }
        return [why for why, kept in rules.items() if not kept]

    def _as_ruled(self, played: Played) -> bool:
        state, reasons = played.state, played.reasons
        match self.behaviour:
            case "done" if self.cancel == FIRST_TASK:
                return state == S.NOT_STARTED and reasons == {Reason.CANCELED}
            case "stale":
                return state == S.NOT_STARTED
            case "blocked_by_risk" | "insufficient_funds":
                return state == S.REJECTED
            case "refused" if self.step == "refund.prepare":
                return state == S.REJECTED
            case "down" | "busy for an hour" if not self.cancel:
                return state == S.FAILED and reasons == {Reason.PROVIDER_UNAVAILABLE}
            case "busy" if not self.cancel:
                first, second, *_ = next(times for times in played.world.sent.values() if len(times) > 1)
                return second - first >= RETRY_AFTER
            case "lost, then down" | "down, then lost" | "absent twice" | "absent late" | "bug" | "outage":
                return state == S.SUCCEEDED or self.cancel != NONE
            case "local only" | "repeated" | "pending" | "pending, told":
                return state == (S.FAILED if self.step in AT_THE_END else S.SUCCEEDED)
            case _:
                return True


def rows() -> list[RefundCase]:
    """All rows, in the golden text's order."""

    def cases(
        steps: Sequence[str], behaviours: Sequence[str], cancels: Sequence[str] = (NONE, ON_THE_WIRE)
    ) -> list[RefundCase]:
        return [RefundCase(*row) for row in product(steps, behaviours, cancels)]

    return [
        *cases(("nothing",), ("done",), (NONE,)),
        *cases(STEPS, MISBEHAVIOURS, CANCELS),
        *cases((EFFECT,), ("pending", "pending, told", "conflict", *SHOWN_THEN_NONE, *BLIND)),
        *cases((EFFECT,), ("outage", "down", "busy", "busy for an hour", "absent late")),
        *cases((EFFECT,), ("lost, then down", "down, then lost", "absent twice", "bug"), (NONE,)),
        *cases(("refund.prepare",), (*GATE_REFUSALS, "conflict")),
        *cases(("refund.prepare", "ledger.book_refund", "ledger.release"), ("local only",), (NONE,)),
        *cases(("refund.prepare",), ("done",), (FIRST_TASK,)),
        *cases(("every call",), ("repeated",), (NONE,)),
    ]
