"""What the simulation drives is what Temporal drives: the same activities in the same order, and the same end.

Where one of these fails after a new SDK or server, `driver` has to learn what Temporal does now.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio
from temporalio.client import Client

from contracts.payloads import DATA_CONVERTER
from tests.simulation.choices import NONE
from tests.simulation.reality import Befalling, activities_of, lived
from tests.simulation.scenarios import BY_NAME
from tests.simulation.search import Played, played_by, quiet
from tests.simulation.world import Settings, World, virtual_present
from tests.support.stack import TemporalServer


@dataclass(frozen=True)
class Case:
    """A scenario, and the one fault that befalls the first attempt of one activity."""

    scenario: str
    activity: str = ""
    fault: str = NONE

    def __str__(self) -> str:
        return f"{self.scenario} {self.activity} {self.fault}" if self.activity else self.scenario


CASES: Sequence[Case] = (
    *map(Case, ("automatic", "partly", "partly_void", "voided", "raised", "declined", "routed", "blocked")),
    *map(Case, ("refunded", "paid_out", "recalled", "overdrawn")),
    Case("automatic", "provider.capture", "refused"),
    Case("manual", "provider.authorize", "unavailable"),
    Case("manual", "provider.capture", "lost_after"),
    Case("voided", "provider.void", "lost_after"),
    Case("refunded", "provider.refund", "lost_before"),
    Case("refunded", "refund.prepare", "lost_after"),
    Case("paid_out", "ledger.book_payout_accepted", "lost_before"),
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(temporal: TemporalServer) -> AsyncGenerator[Client]:
    """A client of a real server."""
    yield await Client.connect(temporal.target, data_converter=DATA_CONVERTER)


@pytest.fixture
def simulated(case: Case) -> Played:
    """The case as the simulation plays it: before the test, since the driver has no event loop running beside it."""
    scenario = replace(BY_NAME[case.scenario], webhooks=False)
    with quiet(), virtual_present():
        return played_by(scenario, Befalling(case.activity, case.fault), Settings())


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_the_simulation_and_temporal_ask_for_the_same_activities_and_end_the_same(
    simulated: Played, client: Client, case: Case
) -> None:
    world, ends = await lived(client, BY_NAME[case.scenario], Befalling(case.activity, case.fault))

    assert simulated.violations == []
    assert activities_of(world) == activities_of(simulated.world)
    assert ends == simulated.states
    assert _told(world) == _told(simulated.world)
    assert world.journal.book.posted == simulated.world.journal.book.posted
    assert world.bank.books.totals() == simulated.world.bank.books.totals()


def _told(world: World) -> dict[str, tuple[object, ...]]:
    """What every initiator was told, but for the provider's ids."""
    return {
        operation: (receipt.outcome, receipt.reason, receipt.state, receipt.moved, receipt.total)
        for operation, (receipt, *_) in world.receipts.items()
    }
