"""The provider in process: Northbank's own books and answers, met through the product's own adapter.

Only the wire between them is ours, since it is where calls get lost. Knows our adapter's vocabulary and Northbank's
HTTP; knows no workflow.
"""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol, cast

from adapters.breaker import Breaker
from adapters.profile import Profile
from adapters.providers.simulator import client
from adapters.wire import Reply, judge
from domain.errors import Unavailable, Unknown
from domain.ids import Verb
from simulator.books import Books
from simulator.books import Clock as NorthbankClock
from simulator.fields import Fields
from simulator.northbank import Northbank
from simulator.records import Record
from simulator.wire import Answer, HangUp, Request
from tests.simulation.books import ZOMBIE_SECONDS, dead
from tests.simulation.clock import Clock
from tests.simulation.driver import Attempt
from tests.simulation.faults import (
    FAILS_LATER_SECONDS,
    LATE_SECONDS,
    NOT_FOUND,
    OUTAGE_SECONDS,
    PENDING_SECONDS,
    SLOW_SECONDS,
)

SECRET = "a-secret-of-the-simulation"  # it must never be found in a payload
ON_THE_WAY = 0.02  # seconds to the provider, and as many back
ABSENT = Reply(404, {}, b'{"fault": {"code": "NO_SUCH_REFERENCE", "text": "not yet"}}')
OPERATIONS = {
    "/v2/authorisations": "authorise",
    "/v2/collections": "collect",
    "/v2/releases": "release",
    "/v2/paybacks": "payback",
    "/v2/transfers": "transfer",
    "/v2/increments": "increment",
    "/v2/recalls": "recall",
    "/v2/lookup": "lookup",
}
SCRIPTED: Mapping[str, Mapping[str, object]] = {
    "refused": {"do": "deny", "reason": "denied_in_simulation"},
    "pending": {"do": "pending", "seconds": PENDING_SECONDS},
    "pending_refused": {"do": "pending", "seconds": PENDING_SECONDS, "then": "denied"},
    "conflict": {"do": "wrong_amount"},
    "muddled": {"do": "status", "status": 422, "code": "ODD", "effect": True},
    "bounce": {"do": "bounce", "seconds": PENDING_SECONDS},
    "fails_later": {"do": "fail_later", "seconds": FAILS_LATER_SECONDS},
}


class Watching(Protocol):
    """What the wire tells and asks."""

    @property
    def executing(self) -> Attempt: ...

    def sends(self, provider: str, verb: Verb, reference: str) -> None:
        """An effect is about to be sent."""
        ...

    def note(self, what: str, subject: str = "", detail: object = "") -> None: ...

    def reached(self, point: str) -> None: ...


class _VirtualClock(NorthbankClock):
    """Northbank's clock, by virtual time."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def __call__(self) -> float:
        return self._clock.now + self.ahead_seconds


class _Books(Books):
    """Northbank's books; what they put off is carried out when it is due, whether or not somebody looks."""

    def __init__(self, name: str, clock: Clock, announce: Callable[[Record], None]) -> None:
        super().__init__(clock, announce)
        self._virtual = clock
        self._tag = name  # ids are the same each time a schedule is played
        self.deduplicate = False  # the harsher provider: a reference sent twice has two effects

    def later(self, seconds: float, action: Callable[[], object]) -> None:
        super().later(seconds, action)
        self._virtual.later(seconds, self.land_due)


class Bank:
    """Northbank, and how much is still on its way there."""

    def __init__(self, name: str, clock: Clock, announce: Callable[[Record], None]) -> None:
        self.northbank = Northbank(SECRET)
        self.northbank.clock = _VirtualClock(clock)
        self.books = self.northbank.books = _Books(name, clock, announce)
        self.underway: set[str] = set()  # references of effects that were sent and may still happen

    def deny_next(self, operation: str, reason: str) -> None:
        """Have the next order of a kind denied, whatever the books say."""
        script = {"operation": operation, "behaviour": {"do": "deny", "reason": reason}}
        self.northbank.script.add(Fields(script))

    def ask(self, request: Request, behaviour: Mapping[str, object] | None = None) -> Reply | None:
        """Ask Northbank; None: it hung up. `behaviour` is one line of its script, for this call."""
        if behaviour is not None:
            self.northbank.script.add(Fields({"operation": OPERATIONS[request.path], "behaviour": dict(behaviour)}))
        answered = self.northbank.answer(request)
        reply = (
            answered if isinstance(answered, Answer | HangUp) else _at_once(cast("Coroutine[Any, Any, Any]", answered))
        )
        if isinstance(reply, HangUp):
            return None
        return Reply(reply.status, {name.lower(): value for name, value in reply.headers}, reply.body)


class InProcessWire:
    """`adapters.wire.Wire` without HTTP: the same breaker and the same judgement, and calls that go wrong as told."""

    def __init__(self, profile: Profile, bank: Bank, clock: Clock, world: Watching) -> None:
        self.profile = profile
        self.breaker = Breaker(profile.name, judge)
        self.bank = bank
        self._clock = clock
        self._world = world
        self._down_until = 0.0

    async def call(
        self,
        verb: Verb,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
        repair: bool = False,
    ) -> Reply:
        """Make one call, or misbehave. Raises as `adapters.wire.Wire.call`."""
        if left := self.breaker.left():
            self._world.reached("breaker open")
            raise Unavailable(f"the breaker of {self.profile.name} is open", after_seconds=left)
        was = self.breaker.state
        try:
            return await self.breaker.run(lambda: self._send(verb, _request(method, path, headers, content)))
        finally:
            if was != "closed" and self.breaker.state == "closed":
                self._world.reached("breaker closed again")

    async def _send(self, verb: Verb, request: Request) -> Reply:
        attempt, world = self._world.executing, self._world
        reference = request.headers.get("x-request-key", "")
        if attempt.fault == "outage":
            self._down_until = self._clock.now + OUTAGE_SECONDS
        if attempt.fault == "unavailable" or self._clock.now < self._down_until:
            raise Unavailable("ConnectError: connection refused")
        if reference:
            world.sends(self.profile.name, verb, reference)
            self.bank.underway.add(reference)
        await self._clock.sleep(ON_THE_WAY)
        await self._befall_before(attempt, verb, reference, request)
        if attempt.fault == NOT_FOUND:
            return ABSENT
        reply = self._land(reference, request, SCRIPTED.get(attempt.fault))
        if attempt.fault == "crash_after":
            raise dead(attempt)
        await self._clock.sleep(self._deadline(verb) if attempt.fault == "lost_after" else ON_THE_WAY)
        if attempt.fault == "lost_after":
            raise Unknown("ReadTimeout")
        if reply is None:
            raise Unknown("RemoteProtocolError")
        asked = reference or request.query.get("merchantRef", "")
        world.note(f"answered {reply.status}", asked, reply.body.decode())
        if reply.status >= 500:
            raise Unknown(f"{self.profile.name} answered {reply.status}")
        return reply

    async def _befall_before(self, attempt: Attempt, verb: Verb, reference: str, request: Request) -> None:
        """Let the fault of a call happen that comes before the provider has it."""
        match attempt.fault:
            case "crash_before":
                self.bank.underway.discard(reference)
                raise dead(attempt)
            case "lost_before":
                self.bank.underway.discard(reference)
                await self._clock.sleep(self._deadline(verb))
                raise Unknown("ReadTimeout")
            case "late":
                self._clock.later(self._deadline(verb) + LATE_SECONDS, self._land, reference, request)
                self._world.reached("late effect landed")
                await self._clock.sleep(self._deadline(verb))
                raise Unknown("ReadTimeout")
            case "slow":
                await self._clock.sleep(SLOW_SECONDS)
            case "zombie":
                await self._clock.sleep(attempt.start_to_close + ZOMBIE_SECONDS)
                self._world.reached("zombie at the provider")
            case _:
                pass

    def _deadline(self, verb: Verb) -> float:
        """How long the wire waits for an answer, in seconds."""
        return self.profile.deadlines_of(verb).total

    def _land(self, reference: str, request: Request, behaviour: Mapping[str, object] | None = None) -> Reply | None:
        """The request arrives at the provider."""
        if reference:
            self.bank.underway.discard(reference)
            self._world.note("arrives at the provider", reference)
        return self.bank.ask(request, behaviour)


def simulator(wire: InProcessWire) -> client.Simulator:
    """The product's adapter over the wire of a simulation."""
    return client.Simulator(cast("Any", wire), SECRET)


def _request(method: str, path: str, headers: Mapping[str, str], content: bytes | None) -> Request:
    route, _, query = path.partition("?")
    fields = dict([query.split("=", 1)]) if query else {}
    return Request(method, route, fields, {name.lower(): value for name, value in headers.items()}, content or b"")


def _at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("Northbank waits")
