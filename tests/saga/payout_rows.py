"""The rows of the payout's grid: reserve 100, hand it to the rail, book it as in transit, then as paid or come back."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from domain.lifecycle import PayoutState as S
from domain.outcomes import Reason
from tests.saga.grid import BLIND, CANCELS, FIRST_TASK, MISBEHAVIOURS, NONE, ON_THE_WIRE, Case, Life, Played
from tests.support.engine import payout
from tests.support.world import ARRIVAL, GATE_REFUSALS, RETRY_AFTER, SHOWN_THEN_NONE, WORLDS

EFFECT = "provider.pay_out"
FAILED = "ledger.book_payout_failed"  # reached by a payout that bounces
AT_THE_END = ("ledger.release", "records.note")  # reached by a payout that the rail refuses
FACTS = ("ledger.book_payout_accepted", "ledger.book_payout_paid", FAILED)
STEPS = ("payout.prepare", EFFECT, *FACTS, *AT_THE_END)
BOUNCES = ("bounced", "told, bounced", "pending, then bounced")


@dataclass(frozen=True)
class PayoutCase(Case):
    """One payout."""

    def life(self, key: str) -> Life:
        start = payout(key, promises=self.promises)
        world = WORLDS[start.id]
        world.script, world.blind = self.script, self.blind
        if self.step == FAILED:
            world.script[ARRIVAL] = ["bounced"]
        if self.step in AT_THE_END:
            world.script[EFFECT] = ["refused"]
        return Life(start, EFFECT, ("ledger.release",), repeated=self.behaviour == "repeated")

    @property
    def script(self) -> dict[str, list[str]]:
        if self.behaviour == "pending, then bounced":
            return {self.step: ["pending"] * 3 + ["bounced"]}
        if self.behaviour == "pending" and self.step == ARRIVAL:
            return {self.step: ["pending"] * 3}
        return super().script

    @property
    def parks(self) -> bool:
        return (
            self.blind
            or self.behaviour in SHOWN_THEN_NONE
            or (self.behaviour == "conflict" and self.step == EFFECT)
            or (self.behaviour == "refused" and self.step in (*FACTS, *AT_THE_END))
        )

    def faults(self, played: Played) -> list[str]:
        world, state = played.world, played.state
        (receipt,) = played.receipts
        rules = {
            "the row in the records says another state": world.states.get(receipt.operation) == state,
            "paid, and not so": (world.provider_total == 100) == (state == S.PAID),
            "not as ruled": self._as_ruled(played),
        }
        return [why for why, kept in rules.items() if not kept]

    def _as_ruled(self, played: Played) -> bool:
        state, reasons = played.state, played.reasons
        match self.behaviour:
            case "done" if self.cancel == FIRST_TASK:
                return state == S.CANCELED and reasons == {Reason.CANCELED}
            case "stale":
                return state == S.NOT_STARTED
            case "blocked_by_risk" | "insufficient_funds":
                return state == S.DENIED
            case "bounced" | "told, bounced" | "pending, then bounced":
                return state == S.FAILED and not reasons  # the initiator was told that the rail had it
            case "down" | "busy for an hour" if not self.cancel and self.step == EFFECT:
                return state == S.FAILED and reasons == {Reason.PROVIDER_UNAVAILABLE}
            case "busy" if not self.cancel:
                first, second, *_ = next(times for times in played.world.sent.values() if len(times) > 1)
                return second - first >= RETRY_AFTER
            case "lost, then down" | "down, then lost" | "absent twice" | "absent late" | "bug" | "outage":
                return state == S.PAID or self.cancel != NONE
            case "local only" | "repeated" | "pending" | "pending, told" | "told":
                return state == (S.FAILED if self.step in (FAILED, *AT_THE_END) else S.PAID)
            case _:
                return True


def rows() -> list[PayoutCase]:
    """All rows, in the golden text's order."""

    def cases(
        steps: Sequence[str], behaviours: Sequence[str], cancels: Sequence[str] = (NONE, ON_THE_WIRE)
    ) -> list[PayoutCase]:
        return [PayoutCase(*row) for row in product(steps, behaviours, cancels)]

    return [
        *cases(("nothing",), ("done",), (NONE,)),
        *cases(STEPS, MISBEHAVIOURS, CANCELS),
        *cases((EFFECT,), ("pending", "pending, told", "conflict", *SHOWN_THEN_NONE, *BLIND)),
        *cases((EFFECT,), ("outage", "down", "busy", "busy for an hour", "absent late")),
        *cases((EFFECT,), ("lost, then down", "down, then lost", "absent twice", "bug"), (NONE,)),
        *cases((ARRIVAL,), ("pending", "told", "unavailable", *BOUNCES)),
        *cases(("payout.prepare",), (*GATE_REFUSALS, "conflict")),
        *cases(("payout.prepare", *FACTS, "ledger.release"), ("local only",), (NONE,)),
        *cases(("payout.prepare",), ("done",), (FIRST_TASK,)),
        *cases(("every call",), ("repeated",), (NONE,)),
    ]
