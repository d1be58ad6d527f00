"""Every test of this folder runs against every provider that has a stand here."""

from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from domain.ids import Verb
from tests.conformance import simulator_stand
from tests.conformance.stand import Stand
from tests.support.simulator import RunningSimulator, running_simulator


@pytest_asyncio.fixture(scope="session")
async def simulator_process() -> AsyncGenerator[RunningSimulator]:
    """One simulator for all tests; each makes it as new."""
    async with running_simulator() as running:
        yield running


@pytest_asyncio.fixture(params=["simulator"])
async def stand(request: pytest.FixtureRequest, simulator_process: RunningSimulator) -> AsyncGenerator[Stand]:
    """A provider's stand-in, empty."""
    assert request.param == "simulator"  # a second provider gets its own branch here
    async with simulator_stand.stand(simulator_process) as made:
        yield made


@pytest.fixture(autouse=True)
def _is_promised(request: pytest.FixtureRequest, stand: Stand) -> None:
    """Ask the profile, and it alone, whether an operation is to be tried."""
    verb = request.getfixturevalue("verb") if "verb" in request.fixturenames else None
    if isinstance(verb, Verb) and verb not in stand.profile.operations:
        pytest.skip(f"{stand.profile.name} does not promise to {verb}")
