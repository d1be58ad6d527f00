"""Virtual time: one heap of what is to happen, and coroutines that wait on it instead of on an event loop.

Nothing here reads a real clock, and two things due at once happen in the order in which they were put down: a schedule
is the same each time it is played. Knows no Temporal and no money.
"""

import heapq
import itertools
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")

# Unix seconds at which every schedule begins: 2096-10-02 07:06:40 UTC. Later than any day on which this is played, so
# that a real database, which admits by its own clock, finds nothing stale.
EPOCH = 4_000_000_000.0


class Promise(Generic[T]):
    """What a coroutine can wait for: kept once, by a value or an error."""

    __slots__ = ("_value", "error", "kept", "waiting")

    def __init__(self) -> None:
        self.kept = False
        self.error: BaseException | None = None
        self.waiting: list[Callable[[], None]] = []
        self._value: Any = None

    def keep(self, value: T) -> None:
        """Keep the promise; whoever waits goes on at once, in the order of waiting."""
        assert not self.kept, "a promise is kept once"
        self._value = value
        self._wake()

    def break_by(self, error: BaseException) -> None:
        """Raise the error wherever it is waited for."""
        assert not self.kept, "a promise is kept once"
        self.error = error
        self._wake()

    def then(self, do: Callable[[], None]) -> None:
        """Do this when it is kept or broken: at once, where it is already."""
        if self.kept:
            do()
        else:
            self.waiting.append(do)

    def result(self) -> T:
        """The value; raises the error that it was broken by."""
        assert self.kept
        if self.error is not None:
            raise self.error
        return self._value

    def _wake(self) -> None:
        self.kept = True
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            each()

    def __await__(self) -> Generator["Promise[Any]", None, T]:
        if not self.kept:
            yield self
        return self.result()


class Clock:
    """The time of one schedule, in unix seconds, and the heap of what is to come."""

    def __init__(self) -> None:
        self.now = EPOCH
        self._heap: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._numbers = itertools.count()

    def __call__(self) -> float:
        return self.now

    def later(self, seconds: float, do: Callable[..., object], *arguments: Any) -> None:
        """Put down what is to happen so much later."""
        heapq.heappush(self._heap, (self.now + seconds, next(self._numbers), do, arguments))

    async def sleep(self, seconds: float) -> None:
        """Let time pass for the coroutine that awaits this."""
        woken = Promise[None]()
        self.later(seconds, woken.keep, None)
        await woken

    def step(self) -> bool:
        """Let the next thing happen; False: nothing is left."""
        if not self._heap:
            return False
        self.now, _, do, arguments = heapq.heappop(self._heap)
        do(*arguments)
        return True

    def spawn(self, coroutine: Coroutine[Any, Any, T], before_each: Callable[[], None] | None = None) -> Promise[T]:
        """Run a coroutine that waits for promises only; `before_each` is called whenever it goes on."""
        ended = Promise[T]()

        def go_on() -> None:
            if before_each is not None:
                before_each()
            try:
                waits_for: Promise[Any] = coroutine.send(None)
            except StopIteration as stop:
                ended.keep(stop.value)
            except BaseException as error:  # noqa: BLE001  whoever awaits the promise gets it
                ended.break_by(error)
            else:
                waits_for.waiting.append(go_on)

        go_on()
        return ended
