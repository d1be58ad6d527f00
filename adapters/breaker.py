"""A circuit breaker on pybreaker's public parts: its states and listeners, a storage of ours, verdicts that we choose.

pybreaker's own ways of calling are not used: they count a coroutine's making as success, let every caller probe at
once, and answer the very call that trips it with "open", which would dress an unknown outcome as "nothing was sent".
Here a verdict is told after the call, one probe is let through at a time, and an old call's verdict says nothing
about a newer state.
"""

import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pybreaker

T = TypeVar("T")

WINDOW = 20  # verdicts that are remembered: some seconds of traffic at a breaker's scale
RATIO = 0.5  # half of them failed: more waits for nothing than is worth it
LEAST = 5  # below so many verdicts a ratio means nothing
REST_SECONDS = 30.0  # a provider that is down needs about so long to come back
PROBES = 2  # one success may be luck
PROBE_SECONDS = 1.0  # until a probe that is under way has probably answered


class Window(pybreaker.CircuitBreakerStorage):
    """Counts failures among the latest verdicts. pybreaker opens at `counter` >= fail_max, which is 1."""

    def __init__(self, size: int = WINDOW, ratio: float = RATIO, least: int = LEAST) -> None:
        super().__init__("window")
        self._verdicts = deque[bool](maxlen=size)
        self._ratio, self._least = ratio, least
        self._state: str = pybreaker.STATE_CLOSED
        self.turns = 0  # how often the state has changed: an old call's verdict is known by it
        self._successes = 0
        self._opened: datetime | None = None

    @property
    def state(self) -> str:
        return self._state

    @state.setter
    def state(self, state: str) -> None:
        if state != self._state:
            self._verdicts.clear()
            self.turns += 1
        self._state = state

    def increment_counter(self) -> None:
        self._verdicts.append(False)

    def reset_counter(self) -> None:  # pybreaker says this at every success
        if self._state == pybreaker.STATE_CLOSED:
            self._verdicts.append(True)

    @property
    def counter(self) -> int:
        failures = self._verdicts.count(False)
        return int(len(self._verdicts) >= self._least and failures >= self._ratio * len(self._verdicts))

    def increment_success_counter(self) -> None:
        self._successes += 1

    def reset_success_counter(self) -> None:
        self._successes = 0

    @property
    def success_counter(self) -> int:
        return self._successes

    @property
    def opened_at(self) -> datetime | None:
        return self._opened

    @opened_at.setter
    def opened_at(self, datetime: datetime) -> None:
        self._opened = datetime


class Open(Exception):
    """Nothing was sent: the breaker is open for `left` more seconds."""

    def __init__(self, left: float) -> None:
        super().__init__(f"the breaker is open for {left:.1f} s")
        self.left = left


class _Failed(Exception):
    """The verdict by which pybreaker is told of a failure."""


class Breaker:
    """`judge` says of each outcome: True (the provider works), False (it does not), None (it says nothing)."""

    def __init__(
        self,
        name: str,
        judge: Callable[[BaseException | None], bool | None],
        *,
        window: Window | None = None,
        rest_seconds: float = REST_SECONDS,
        probes: int = PROBES,
        listeners: tuple[pybreaker.CircuitBreakerListener, ...] = (),
    ) -> None:
        self._window = window or Window()
        self._core = pybreaker.CircuitBreaker(
            fail_max=1,
            reset_timeout=rest_seconds,
            success_threshold=probes,
            state_storage=self._window,
            listeners=listeners,
            name=name,
            throw_new_error_on_trip=False,
        )
        self._judge = judge
        self._probing = False

    @property
    def state(self) -> str:
        """`closed`, `open` or `half-open`."""
        return str(self._core.current_state)

    def left(self) -> float:
        """The seconds for which it is open still; 0 when a call may be tried."""
        opened = self._window.opened_at
        if self.state != pybreaker.STATE_OPEN or opened is None:
            return 0.0
        return max(0.0, (opened + timedelta(seconds=self._core.reset_timeout) - datetime.now(UTC)).total_seconds())

    async def run(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make the call and learn from it; raises `Open`, before anything is sent, or what the call raises."""
        if left := self.left():
            raise Open(left)
        if self.state == pybreaker.STATE_OPEN:
            self._core.half_open()
        began = self._window.turns
        probe = self.state == pybreaker.STATE_HALF_OPEN
        if probe and self._probing:
            raise Open(PROBE_SECONDS)
        self._probing = self._probing or probe
        error: BaseException | None = None
        try:
            return await call()
        except BaseException as caught:
            error = caught
            raise
        finally:
            if probe:
                self._probing = False
            if self._window.turns == began:  # a verdict on the past says nothing about now
                self._tell(self._judge(error))

    def _tell(self, works: bool | None) -> None:
        if works is None:
            return

        def verdict() -> None:
            if not works:
                raise _Failed

        with contextlib.suppress(_Failed, pybreaker.CircuitBreakerError):
            self._core.call(verdict)
