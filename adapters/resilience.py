"""What every provider gets without asking: its profile checked before each call, and each call told of.

Repeats nothing and times nothing out; comparing an answer with what was asked needs the provider's words, and is done
where they are known.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from adapters.port import PaymentProvider
from adapters.profile import Profile, encode
from domain.commands import Effect, Inquiry
from domain.errors import HoldfastError
from domain.ids import Verb
from domain.outcomes import Answer

ALARMS = frozenset({"untrusted", "conflict"})  # what came of a call that pages the owner (money rule 4)


class Tell(Protocol):
    """Is told of every call: what was asked under which reference, what came of it, and how long it took.

    `came` is an outcome, `nothing found`, `canceled`, or the name of the error in lower case.
    """

    def __call__(self, verb: Verb, reference: str, came: str, seconds: float, /) -> None: ...


class Unsupported(HoldfastError):
    """A bug of ours: the provider was asked for what its profile says that it cannot do. Nothing was sent."""


class Wrapped:
    """A provider behind its profile."""

    def __init__(self, port: PaymentProvider, profile: Profile, tell: Tell) -> None:
        self.profile = profile
        self._port = port
        self._tell = tell

    async def authorize(self, effect: Effect, /) -> Answer:
        return await self._effect(Verb.AUTHORIZE, effect, self._port.authorize)

    async def capture(self, effect: Effect, /) -> Answer:
        if not effect.final and not self.profile.multiple_capture:
            raise Unsupported(f"{self.profile.name} captures once")
        return await self._effect(Verb.CAPTURE, effect, self._port.capture)

    async def void(self, effect: Effect, /) -> Answer:
        return await self._effect(Verb.VOID, effect, self._port.void)

    async def refund(self, effect: Effect, /) -> Answer:
        return await self._effect(Verb.REFUND, effect, self._port.refund)

    async def pay_out(self, effect: Effect, /) -> Answer:
        return await self._effect(Verb.PAY_OUT, effect, self._port.pay_out)

    async def increment(self, effect: Effect, /) -> Answer:
        return await self._effect(Verb.INCREMENT, effect, self._port.increment)

    async def recall(self, effect: Effect, /) -> Answer:
        return await self._effect(Verb.RECALL, effect, self._port.recall)

    async def inquire(self, inquiry: Inquiry, /) -> Answer | None:
        return await self._told(inquiry.verb, inquiry.on, lambda: self._port.inquire(inquiry))

    async def _effect(self, verb: Verb, effect: Effect, call: Callable[[Effect], Awaitable[Answer]]) -> Answer:
        profile = self.profile
        if verb not in profile.operations:
            raise Unsupported(f"{profile.name} does not {verb}")
        if not profile.key.carries(effect.reference):
            raise Unsupported(f"{profile.name} cannot carry the key {effect.reference}")
        encode(profile, effect.money)
        answer = await self._told(verb, effect.reference, lambda: call(effect))
        assert answer is not None
        return answer

    async def _told(self, verb: Verb, reference: str, call: Callable[[], Awaitable[Answer | None]]) -> Answer | None:
        began, came = time.perf_counter(), "canceled"
        try:
            answer = await call()
            came = answer.outcome.value if answer else "nothing found"
        except Exception as failure:
            came = type(failure).__name__.lower()
            raise
        else:
            return answer
        finally:
            self._tell(verb, reference, came, time.perf_counter() - began)


def wrap(port: PaymentProvider, profile: Profile, tell: Tell) -> PaymentProvider:
    """Put a provider behind its profile."""
    return Wrapped(port, profile, tell)
