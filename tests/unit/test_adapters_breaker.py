"""The breaker: when it opens, what it lets through, whose verdict counts; and two facts of pybreaker it leans on."""

import asyncio
import contextlib

import pybreaker
import pytest

from adapters.breaker import LEAST, Breaker, Open, Window
from adapters.wire import Untrusted, judge
from domain.errors import Conflict, Unavailable, Unknown

REST = 0.05


class Down(Exception):
    """The provider does not work."""


async def fail(after_seconds: float = 0.0) -> None:
    await asyncio.sleep(after_seconds)
    raise Down


async def work(after_seconds: float = 0.0) -> str:
    await asyncio.sleep(after_seconds)
    return "worked"


def verdict(error: BaseException | None) -> bool | None:
    if error is None:
        return True
    return False if isinstance(error, Down) else None


def breaker(*, probes: int = 1, window: Window | None = None) -> Breaker:
    small = window or Window(size=4, ratio=0.5, least=2)
    return Breaker("acme", verdict, window=small, rest_seconds=REST, probes=probes)


async def trip(made: Breaker) -> None:
    while made.state == "closed":
        with pytest.raises(Down):
            await made.run(fail)


async def test_it_opens_at_half_of_the_verdicts_though_failures_do_not_follow_each_other() -> None:
    made = breaker(window=Window(size=20, ratio=0.5, least=6))
    for call in (work, fail, work, fail, work):
        with contextlib.suppress(Down):
            await made.run(call)
        assert made.state == "closed"
    with pytest.raises(Down):
        await made.run(fail)
    assert made.state == "open"


async def test_it_stays_closed_below_the_least_number_of_verdicts() -> None:
    made = breaker(window=Window())
    for _ in range(LEAST - 1):
        with pytest.raises(Down):
            await made.run(fail)
    assert made.state == "closed"


async def test_old_verdicts_leave_the_window() -> None:
    made = breaker(window=Window(size=4, ratio=0.75, least=4))
    for call in (fail, fail, work, work, fail, work, fail, work, work):
        with contextlib.suppress(Down):
            await made.run(call)
    assert made.state == "closed"


async def test_the_call_that_trips_it_raises_its_own_error() -> None:
    made = breaker()
    with pytest.raises(Down):
        await made.run(fail)
    with pytest.raises(Down):
        await made.run(fail)
    assert made.state == "open"


async def test_while_open_it_calls_nothing_and_says_for_how_long() -> None:
    made = breaker()
    await trip(made)
    with pytest.raises(Open) as refusal:
        await made.run(work)
    assert 0 < refusal.value.left <= REST


async def test_one_probe_at_a_time_goes_through_when_it_has_rested() -> None:
    made = breaker(probes=2)
    await trip(made)
    await asyncio.sleep(REST + 0.01)
    outcomes = await asyncio.gather(*(made.run(lambda: work(0.05)) for _ in range(20)), return_exceptions=True)
    assert outcomes.count("worked") == 1
    assert sum(isinstance(each, Open) for each in outcomes) == 19
    assert made.state == "half-open"
    await made.run(work)
    assert made.state == "closed"


async def test_a_failed_probe_opens_it_again_and_gives_its_place_back() -> None:
    made = breaker()
    await trip(made)
    for _ in range(3):
        await asyncio.sleep(REST + 0.01)
        with pytest.raises(Down):
            await made.run(fail)
        assert made.state == "open"
    await asyncio.sleep(REST + 0.01)
    assert await made.run(work) == "worked"
    assert made.state == "closed"


async def test_a_canceled_probe_says_nothing_and_gives_its_place_back() -> None:
    made = breaker()
    await trip(made)
    await asyncio.sleep(REST + 0.01)
    task = asyncio.create_task(made.run(lambda: work(10)))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert made.state == "half-open"
    assert await made.run(work) == "worked"


async def test_an_old_failure_does_not_reopen_what_has_closed_meanwhile() -> None:
    made = breaker(window=Window(size=4, ratio=0.5, least=1))
    old = [asyncio.create_task(made.run(lambda: fail(0.15))) for _ in range(3)]
    await asyncio.sleep(0)
    await trip(made)
    await asyncio.sleep(REST + 0.01)
    await made.run(work)
    assert made.state == "closed"
    await asyncio.gather(*old, return_exceptions=True)
    assert made.state == "closed"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, True),
        (Conflict("the amount differs"), True),
        (Unknown("silence"), False),
        (Unavailable("refused"), False),
        (Unavailable("throttled", after_seconds=1.0), None),
        (Untrusted("401", after_seconds=30.0), None),
        (asyncio.CancelledError(), None),
        (KeyError("a bug of ours"), None),
    ],
    ids=repr,
)
def test_the_verdict_on_each_way_a_call_can_end(error: BaseException | None, expected: bool | None) -> None:
    assert judge(error) is expected


def test_pybreaker_resets_the_counter_at_every_success() -> None:
    window = Window(size=4, ratio=0.5, least=3)
    core = pybreaker.CircuitBreaker(fail_max=1, state_storage=window)
    for _ in range(3):
        core.call(lambda: None)
    with pytest.raises(Down):
        core.call(_raise)
    assert window.counter == 0  # one failure among four: the successes were heard


def test_pybreaker_opens_when_the_counter_reaches_its_limit() -> None:
    core = pybreaker.CircuitBreaker(
        fail_max=1, state_storage=Window(size=4, ratio=0.5, least=1), throw_new_error_on_trip=False
    )
    with pytest.raises(Down):
        core.call(_raise)
    assert core.current_state == pybreaker.STATE_OPEN


def _raise() -> None:
    raise Down
