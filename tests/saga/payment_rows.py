"""The rows of the payment's grid: authorize 100, capture 40, void the rest, or capture all at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from domain.commands import Capture, Operation, Payment
from domain.lifecycle import PaymentState as S
from domain.outcomes import Reason
from tests.saga.grid import (
    BLIND,
    CANCELS,
    FIRST_TASK,
    MISBEHAVIOURS,
    NONE,
    ON_THE_WIRE,
    Case,
    Life,
    Played,
)
from tests.support.engine import capture, payment, void
from tests.support.world import GATE_REFUSALS, RETRY_AFTER, SHOWN_THEN_NONE, WORLDS

MANUAL, AUTOMATIC = "manual", "automatic"
EFFECTS = ("provider.authorize", "provider.capture")
AT_THE_END = ("records.note", "provider.void", "ledger.release")
STEPS = ("payment.prepare", *EFFECTS, "ledger.book_capture", *AT_THE_END)

# What is asked while the authorization is on the wire: a capture's amount, `!` if it is final; or to void.
PARTLY = ("40", "void")
EXPIRES = ()
CAPTURED_WHEN = {S.CAPTURED}
NOTHING_CAPTURED_WHEN = {S.VOIDED, S.EXPIRED, S.DECLINED, S.BLOCKED, S.NOT_STARTED}


@dataclass(frozen=True)
class PaymentCase(Case):
    """One payment."""

    mode: str = MANUAL
    plan: tuple[str, ...] = PARTLY

    @property
    def title(self) -> str:
        asked = " ".join(self.plan) if self.mode == MANUAL else ""
        return f"{self.mode:9} {asked or '-':11} {super().title}"

    def life(self, key: str) -> Life:
        start = payment(key, automatic=self.mode == AUTOMATIC, promises=self.promises)
        world = WORLDS[start.id]
        world.script, world.blind = self.script, self.blind
        if self.mode == AUTOMATIC and self.step in AT_THE_END:
            world.script.setdefault("provider.capture", ["refused"])
        then = _asked(start, key, self.plan) if self.mode == MANUAL else ()
        undos = ("provider.void", "ledger.release")
        return Life(start, "provider.authorize", undos, then, repeated=self.behaviour == "repeated")

    @property
    def parks(self) -> bool:
        match self.behaviour:
            case "pending, none" | "named, none" | "reported, none" | "refused after a webhook":
                return True
            case "conflict":
                return self.step in EFFECTS
            case "blind, lost after" | "blind, lost before" | "blind, late":
                return self.step == "provider.capture"  # a void that the provider confirms proves the other absent
            case "refused" if self.step == "provider.void":
                return self.mode == AUTOMATIC or "void" not in self.plan  # where somebody asked, it gives way
            case "refused":
                return self.step in ("ledger.book_capture", "ledger.release", "records.note")
            case _:
                return False

    @property
    def script(self) -> dict[str, list[str]]:
        if self.behaviour == "refused after a webhook":
            return {"provider.authorize": ["pending, told"], "provider.void": ["refused"]}
        return super().script

    def faults(self, played: Played) -> list[str]:
        world, state = played.world, played.state
        start = played.receipts[0]
        captured = sum(receipt.moved.minor for receipt in played.receipts if receipt.operation.startswith("cap_"))
        rules = {
            "the row in the records says another state": world.states.get(start.operation) == state,
            "captured, and not so": bool(world.provider_total) == (state in CAPTURED_WHEN),
            "a receipt says more than was captured": captured <= world.provider_total,
            "not as ruled": self._as_ruled(played),
        }
        return [why for why, kept in rules.items() if not kept]

    def _as_ruled(self, played: Played) -> bool:
        state, reasons = played.state, played.reasons
        authorizing = self.step == "provider.authorize"
        match self.behaviour:
            case "done":
                return self.cancel != FIRST_TASK or (state == S.NOT_STARTED and reasons == {Reason.CANCELED})
            case "stale":
                return state == S.NOT_STARTED
            case "blocked_by_risk":
                return state == S.BLOCKED
            case "blind, lost after" | "blind, lost before" | "blind, late":
                return not authorizing or Reason.NOT_AUTHORIZED_IN_TIME in reasons
            case "absent late" if authorizing:
                return state == S.DECLINED and Reason.NOT_AUTHORIZED_IN_TIME in reasons
            case "absent late" | "outage" if not self.cancel:
                return state == S.CAPTURED
            case "down" | "busy for an hour" if not self.cancel:
                return Reason.PROVIDER_UNAVAILABLE in reasons and state == (S.DECLINED if authorizing else S.VOIDED)
            case "busy" if not self.cancel:
                first, second, *_ = next(times for times in played.world.sent.values() if len(times) > 1)
                return second - first >= RETRY_AFTER
            case "captured":
                return state == S.CAPTURED and played.world.provider_total == 100
            case "lost, then down" | "down, then lost" | "absent twice" | "bug" | "repeated" | "local only":
                return state == (S.VOIDED if self.mode == AUTOMATIC and self.step in AT_THE_END else S.CAPTURED)
            case _:
                return True


def _asked(start: Payment, key: str, plan: Sequence[str]) -> list[tuple[str, Operation]]:
    asked: list[tuple[str, Operation]] = []
    for number, word in enumerate(plan):
        if word == "void":
            asked.append(("void", void(f"{key}{number}", start)))
        else:
            made: Capture = capture(f"{key}{number}", start, int(word.rstrip("!")), final=word.endswith("!"))
            asked.append(("capture", made))
    return asked


def rows() -> list[PaymentCase]:
    """All rows, in the golden text's order."""
    modes = (MANUAL, AUTOMATIC)

    def cases(
        steps: Sequence[str],
        behaviours: Sequence[str],
        cancels: Sequence[str] = CANCELS,
        *,
        modes: Sequence[str] = modes,
        plan: tuple[str, ...] = PARTLY,
    ) -> list[PaymentCase]:
        return [
            PaymentCase(step, behaviour, cancel, mode, plan)
            for mode, step, behaviour, cancel in product(modes, steps, behaviours, cancels)
        ]

    wire = (NONE, ON_THE_WIRE)
    return [
        *cases(("nothing",), ("done",), (NONE,)),
        *cases(STEPS, MISBEHAVIOURS),
        *cases(EFFECTS, ("pending", "pending, told", "conflict")),
        *cases(EFFECTS, (*SHOWN_THEN_NONE, *BLIND), wire),
        *cases(EFFECTS, ("outage", "down", "busy", "busy for an hour", "absent late"), wire),
        *cases(EFFECTS, ("lost, then down", "down, then lost", "bug"), (NONE,)),
        *cases(("provider.capture",), ("absent twice",), (NONE,)),
        *cases(("provider.void",), ("captured",)),
        *cases(("provider.void",), ("refused after a webhook",), modes=(AUTOMATIC,)),
        *cases(("payment.prepare",), (*GATE_REFUSALS, "conflict"), wire),
        *cases(("payment.prepare", "ledger.book_capture", "ledger.release"), ("local only",), (NONE,)),
        *cases(("payment.prepare",), ("done",), (FIRST_TASK,)),
        *cases(("every call",), ("repeated",), (NONE,)),
        *cases(("provider.void",), ("done", *MISBEHAVIOURS, "captured"), modes=(MANUAL,), plan=EXPIRES),
        *cases(("ledger.release",), MISBEHAVIOURS, modes=(MANUAL,), plan=EXPIRES),
        *_plans(),
    ]


def _plans() -> list[PaymentCase]:
    """What can be asked of one payment, with nothing going wrong, or a capture's answer lost."""
    plans = (
        ("40", "40", "void"),  # two equal captures are two operations
        ("40", "60"),
        ("100",),
        ("40!", "void"),
        ("60", "60", "void"),  # admitted while nothing was captured, refused at its turn
        ("void", "40"),
        ("void", "void"),
        ("40",),
    )
    return [
        PaymentCase("provider.capture", behaviour, NONE, MANUAL, plan)
        for plan, behaviour in product(plans, ("done", "lost after", "lost before"))
    ]
