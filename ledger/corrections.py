"""From a person's resolution to a balanced entry that points at the one which it corrects. All of them are facts.

Nothing written is ever changed: a correction is a new entry, with its reason (money rule 15). Who may decide, and that
two did, is checked before; what they decided is in the entry for good.
"""

from dataclasses import dataclass

from domain.ids import Reference
from domain.money import Money
from ledger.accounts import SUSPENSE, Account
from ledger.entry import Entry, HoldAction, HoldChange, Line, Nature, RefundableChange
from ledger.postings import credit, debit
from ledger.settlements import BankLine, SettlementLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What people have decided about one entry: why, and who approved it. `key` is the decision's own id."""

    key: str
    why: str
    approved_by: tuple[str, ...]

    def __post_init__(self) -> None:
        assert self.key, "a decision has an id"
        assert self.why.strip(), "a correction says why"
        assert len(set(self.approved_by)) >= 2, "a decision that moves money is approved by two people"

    @property
    def reference(self) -> Reference:
        return Reference(f"resolution:{self.key}/corrected")

    @property
    def told(self) -> str:
        """The reason as the entry keeps it."""
        return f"{self.why} (approved by {', '.join(self.approved_by)})"


def suspense_resolved(resolution: Resolution, line: SettlementLine | BankLine, to: Account, money: Money) -> Entry:
    """Take `money` of an unexplained line out of suspense, to where it belongs; signed as the line is, a part of it."""
    assert to != SUSPENSE, "it is in suspense already"
    assert 0 < money.minor <= line.money.minor or line.money.minor <= money.minor < 0, "more than the line has"
    return _corrected(resolution, line.reference, "suspense_resolved", (debit(SUSPENSE, money), credit(to, money)))


def correction(
    resolution: Resolution, of: Reference, lines: tuple[Line, ...], refundable: RefundableChange | None = None
) -> Entry:
    """Book what was decided about the entry `of`: any balanced lines."""
    return _corrected(resolution, of, "correction", lines, refundable=refundable)


def taken_back(resolution: Resolution, entry: Entry) -> Entry:
    """Book the exact opposite of an entry, what it made refundable included.

    What is left of a hold that it opened goes back; a hold that it drew on is not opened again: that is a new gate.
    """
    assert entry.lines, f"{entry.reference} has moved nothing: release it"
    opened = entry.hold is not None and entry.hold.action is HoldAction.OPEN
    change = entry.refundable
    return _corrected(
        resolution,
        entry.reference,
        "correction",
        tuple(credit(line.account, line.amount) for line in entry.lines),
        hold=HoldChange(reference=entry.hold.reference, action=HoldAction.RELEASE) if entry.hold and opened else None,
        refundable=RefundableChange(
            payment=change.payment,
            captured=-change.captured,
            refunded=-change.refunded,
            disputed=-change.disputed,
        )
        if change
        else None,
    )


def _corrected(
    resolution: Resolution,
    of: Reference,
    kind: str,
    lines: tuple[Line, ...],
    *,
    hold: HoldChange | None = None,
    refundable: RefundableChange | None = None,
) -> Entry:
    return Entry(
        reference=resolution.reference,
        kind=kind,
        nature=Nature.FACT,
        lines=lines,
        hold=hold,
        refundable=refundable,
        reverses=of,
        why=resolution.told,
    )
