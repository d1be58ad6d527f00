"""Northbank's disputes: a payer's bank takes money back, and may have to return it. Pure, as the books are.

Knows the steps that a dispute can take and what each moves; who opens one, and for how much at most, is judged by the
books. Each step is a movement with a key of its own, since the same dispute may take the same money twice.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from simulator.faults import Fault
from simulator.records import Kind, Phase, Record

EVIDENCE_SECONDS = 7 * 24 * 3600.0  # card schemes give a merchant one to three weeks; the shortest is the hardest
REASON = "not_recognised"

#   from                to
STEPS: Mapping[Phase, tuple[Phase, ...]] = MappingProxyType({
    Phase.OPENED:       (Phase.WITHDRAWN,),
    Phase.WITHDRAWN:    (Phase.WON, Phase.LOST),
    Phase.WON:          (Phase.WITHDRAWN,),  # the payer's bank takes it up again
    Phase.LOST:         (),
})  # fmt: skip
TAKES = {Phase.OPENED: 0, Phase.WITHDRAWN: 1, Phase.WON: -1, Phase.LOST: 0}  # times the amount, from the merchant


class Disputes:
    """All disputes of one account, as the movements that they are made of."""

    def __init__(
        self, now: Callable[[], float], name: Callable[[str], str], announce: Callable[[Record], None]
    ) -> None:
        """`name` makes an id that begins with the given letters."""
        self._now, self._name, self._announce = now, name, announce
        self._movements: list[Record] = []
        self._newest: dict[str, Record] = {}
        self._of: defaultdict[str, set[str]] = defaultdict(set)  # ids of the disputes of an authorisation

    def open(
        self, disputed: Record, authorisation: Record, *, minor: int, reason: str, evidence_seconds: float
    ) -> Record:
        """Open one over `minor` of an authorisation or a collection; no money moves yet."""
        opened = Record(
            kind=Kind.DISPUTE,
            id=self._name("di"),
            merchant_ref=disputed.merchant_ref,
            phase=Phase.OPENED,
            at=0.0,
            minor=minor,
            unit=disputed.unit,
            denial=reason,
            authorisation=authorisation.id,
            authorisation_ref=authorisation.merchant_ref,
            evidence_by=self._now() + evidence_seconds,
        )
        self._of[authorisation.id].add(opened.id)
        return self._write(opened)

    def move(self, dispute_id: str, phase: Phase) -> Record:
        """Take the next step. Raises `Fault` where the dispute is not known or cannot take it."""
        newest = self._newest.get(dispute_id)
        if newest is None:
            raise Fault(404, "NO_SUCH_DISPUTE", "the dispute is not known")
        if phase not in STEPS[newest.phase]:
            raise Fault(409, "NO_SUCH_STEP", f"a dispute that is {newest.phase} cannot be {phase} next")
        return self._write(replace(newest, phase=phase))

    def minor_against(self, authorisation: Record) -> int:
        """What the payer's bank has, or may take, of an authorisation; what was won is not among it."""
        newest = (self._newest[each] for each in self._of.get(authorisation.id, ()))
        return sum(each.minor for each in newest if each.phase is not Phase.WON)

    def movements(self) -> Sequence[Record]:
        """All steps of all disputes, in the order in which they were taken."""
        return tuple(self._movements)

    def _write(self, movement: Record) -> Record:
        written = replace(movement, at=self._now(), movement=self._name("mv"))
        self._movements.append(written)
        self._newest[written.id] = written
        self._announce(written)
        return written
