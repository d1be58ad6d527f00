"""What is asked of the runs that start payouts: a sweep of a merchant's balance, and a batch. And what they tell."""

from dataclasses import dataclass

from domain.commands import Payout, Promises
from domain.ids import MerchantId
from domain.money import Money

BATCH_MAX = 500  # payouts of one batch: about 2,500 events of its history, far from where Temporal begins to warn


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Pay out what a merchant has available in a currency, once a day, if it is at least `minimum`.

    `day` is YYYY-MM-DD (UTC); empty: the day for which the run was scheduled.
    """

    client: str
    mode: str
    merchant: MerchantId
    minimum: Money
    destination: str
    promises: Promises
    day: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Payouts that are started together; `id` is the batch's idempotency, and each payout has its own."""

    id: str
    payouts: tuple[Payout, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.payouts) <= BATCH_MAX:
            raise ValueError(f"a batch has 1 to {BATCH_MAX} payouts, not {len(self.payouts)}")
        if len({payout.id for payout in self.payouts}) < len(self.payouts):
            raise ValueError("a payout stands in the batch twice")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpaid:
    """A payout of a batch that has not reached its account, and the state in which it ended."""

    payout: str
    merchant_reference: str
    money: Money
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """How far a batch has come. `known` were started before, by whomever: they tell of themselves."""

    payouts: int
    started: int
    known: int
    paid: int
    unpaid: tuple[Unpaid, ...]

    @property
    def under_way(self) -> int:
        return self.started - self.paid - len(self.unpaid)


def sweep_id(sweep: Sweep) -> str:
    """Name the schedule of a sweep; its runs have the scheduled time behind it."""
    return f"payout-sweep/{sweep.merchant}/{sweep.minimum.currency}"


def batch_id(batch: str) -> str:
    """Name the run of a batch."""
    return f"payout-batch/{batch}"
