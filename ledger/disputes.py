"""From what a provider tells of a dispute to a balanced entry: funds withdrawn, won, lost. All of them are facts.

Withdrawn funds are held of the merchant in full, whatever there is (money rule 3), and stay the merchant's until the
dispute is lost. A dispute taken up again after it was won withdraws anew, under a key of its own.
"""

from dataclasses import dataclass
from datetime import datetime

from domain.ids import MerchantId, OperationId, Reference
from domain.money import Money
from ledger.accounts import DISPUTED_FUNDS, payable, receivable
from ledger.entry import Entry, HoldAction, HoldChange, Line, Nature, RefundableChange
from ledger.postings import Told, credit, debit, told_reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """A provider has taken `money` of a payment out of what it owes us, until the dispute is decided.

    `key` is the provider's own of this withdrawal, not of the dispute, which may withdraw more than once.
    """

    provider: str
    key: str
    merchant: MerchantId
    payment: OperationId
    money: Money
    effective_at: datetime | None = None

    @property
    def reference(self) -> Reference:
        """The entry of the withdrawal, and the name of the hold that it opens."""
        return told_reference(self.provider, self.key, Told.WITHDRAWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How the provider decided over `money` of a withdrawal; `key` is the provider's own of the decision.

    With `final` nothing more is decided: all that is still held goes back. A decision over a part comes before it.
    """

    withdrawal: Withdrawal
    key: str
    money: Money
    final: bool = True
    effective_at: datetime | None = None


def funds_withdrawn(withdrawal: Withdrawal) -> Entry:
    """Book withdrawn funds: the provider owes that much less, and the merchant cannot be paid it meanwhile."""
    money = withdrawal.money
    return Entry(
        reference=withdrawal.reference,
        kind="dispute_withdrawn",
        nature=Nature.FACT,
        lines=(debit(DISPUTED_FUNDS, money), credit(receivable(withdrawal.provider), money)),
        hold=HoldChange(
            reference=withdrawal.reference,
            action=HoldAction.OPEN,
            money=money,
            debit=payable(withdrawal.merchant),
            credit=DISPUTED_FUNDS,
        ),
        refundable=RefundableChange(payment=withdrawal.payment, disputed=money.minor),
        effective_at=withdrawal.effective_at,
    )


def dispute_won(ending: Ending) -> Entry:
    """Book a dispute won: the provider owes it again, and it can be refunded again."""
    return _ended(
        ending,
        "dispute_won",
        Told.WON,
        debit(receivable(ending.withdrawal.provider), ending.money),
        refundable=RefundableChange(payment=ending.withdrawal.payment, disputed=-ending.money.minor),
        reverses=ending.withdrawal.reference,
    )


def dispute_lost(ending: Ending) -> Entry:
    """Book a dispute lost: it was the merchant's loss.

    It stays counted as disputed: the payer has it back, so it cannot be refunded again.
    """
    return _ended(ending, "dispute_lost", Told.LOST, debit(payable(ending.withdrawal.merchant), ending.money))


def _ended(
    ending: Ending,
    kind: str,
    told: Told,
    owed: Line,
    *,
    refundable: RefundableChange | None = None,
    reverses: Reference | None = None,
) -> Entry:
    return Entry(
        reference=told_reference(ending.withdrawal.provider, ending.key, told),
        kind=kind,
        nature=Nature.FACT,
        lines=(owed, credit(DISPUTED_FUNDS, ending.money)),
        hold=_given_back(ending),
        refundable=refundable,
        reverses=reverses,
        effective_at=ending.effective_at,
    )


def _given_back(ending: Ending) -> HoldChange:
    """A release is done also where the end is told before the withdrawal: then nothing is held when that comes."""
    hold = ending.withdrawal.reference
    if ending.final:
        return HoldChange(reference=hold, action=HoldAction.RELEASE)
    return HoldChange(reference=hold, action=HoldAction.USE, money=ending.money)
