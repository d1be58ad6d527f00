"""The simulator's two accounts: one process, and nothing else in common."""

import asyncio
import time
from collections.abc import AsyncGenerator

import httpx
import pytest_asyncio
from pydantic import SecretStr

from domain.commands import Effect
from domain.ids import Reference
from domain.money import Money
from domain.outcomes import Outcome
from simulator.wire import Answer, Request, Server
from tests.support.simulator import SECRET, RunningSimulator, running_simulator, second_account
from workers.providers import SIMULATOR_B, ports, wires
from workers.settings import Settings

EFFECT = Effect(
    reference=Reference("pay_1.a1"), provider=SIMULATOR_B, money=Money(1050, "EUR"), instrument="tok_challenge"
)


class Receiver:
    """Takes events at any path, and keeps the paths."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.server = Server(self._answer)

    def _answer(self, request: Request) -> Answer:
        self.paths.append(request.path)
        return Answer(204)


@pytest_asyncio.fixture(scope="module")
async def receiver() -> AsyncGenerator[tuple[str, Receiver]]:
    """Where the events of both accounts go."""
    made = Receiver()
    port = await made.server.listen(0)
    yield f"http://127.0.0.1:{port}", made
    await made.server.close()


@pytest_asyncio.fixture(scope="module")
async def accounts(receiver: tuple[str, Receiver]) -> AsyncGenerator[tuple[RunningSimulator, RunningSimulator]]:
    """Both accounts of one process."""
    to = receiver[0]
    async with (
        running_simulator(webhook_url=f"{to}/of-a", webhook_url_b=f"{to}/of-b") as first,
        second_account(first) as second,
    ):
        yield first, second


@pytest_asyncio.fixture(autouse=True)
async def as_new(accounts: tuple[RunningSimulator, RunningSimulator], receiver: tuple[str, Receiver]) -> None:
    """Both accounts, as new, and nothing received."""
    for account in accounts:
        await account.reset()
    receiver[1].paths.clear()


async def _authorise(account: RunningSimulator, reference: str = "pay_1.a1", token: str = "tok_visa") -> httpx.Response:
    order = {"merchantRef": reference, "value": {"amount": "10.50", "unit": "EUR"}, "source": {"token": token}}
    headers = {"Authorization": f"Bearer {SECRET}", "X-Request-Key": reference}
    return await account.http.post("/v2/authorisations", json=order, headers=headers)


async def test_each_account_has_books_a_script_and_a_clock_of_its_own(
    accounts: tuple[RunningSimulator, RunningSimulator],
) -> None:
    first, second = accounts
    await second.script("authorise", "pending", seconds=1000)
    await second.advance(500)
    assert (await _authorise(first)).status_code == 201
    assert (await second.books())["effects"] == []
    assert (await _authorise(second)).status_code == 202
    assert [len((await account.books())["effects"]) for account in accounts] == [1, 1]
    assert [len(await account.calls()) for account in accounts] == [1, 1]
    await first.reset()
    assert [len((await account.books())["effects"]) for account in accounts] == [0, 1]


async def test_the_events_of_each_account_go_where_they_are_to(
    accounts: tuple[RunningSimulator, RunningSimulator], receiver: tuple[str, Receiver]
) -> None:
    for account, path in zip(accounts, ("/of-a", "/of-b"), strict=True):
        await _authorise(account)
        deadline = time.monotonic() + 10
        while path not in receiver[1].paths:
            assert time.monotonic() < deadline, "no event came"
            await asyncio.sleep(0.01)
    assert receiver[1].paths == ["/of-a", "/of-b"]


async def test_an_adapter_reaches_the_account_that_its_address_names_and_so_does_the_payer(
    accounts: tuple[RunningSimulator, RunningSimulator],
) -> None:
    first, second = accounts
    settings = Settings(simulator_url=first.url, simulator_b_url=second.url, simulator_secret=SecretStr(SECRET))
    opened = wires(settings)
    answer = await ports(settings, opened)[SIMULATOR_B].authorize(EFFECT)
    assert answer.outcome is Outcome.PENDING
    assert answer.challenge.startswith(f"{second.url}/challenges/")
    assert (await second.http.post(f"{answer.challenge}/pass")).status_code == 200
    assert [effect["state"] for effect in (await second.books())["effects"]] == ["APPROVED"]
    assert (await first.books())["effects"] == []
    for wire in opened.values():
        await wire.aclose()
