"""The simulator's calls: method, path, headers, body. What answers mean is in `vocabulary`."""

from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import quote

from adapters.profile import Amounts, Deadlines, Key, Profile
from adapters.providers.simulator import vocabulary as words
from adapters.wire import Wire
from domain.commands import Effect, Inquiry
from domain.ids import Verb
from domain.outcomes import Answer

NAME = "simulator"


def profile(*, horizon: timedelta, attention_after: timedelta, name: str = NAME) -> Profile:
    """The simulator's profile: short deadlines, since it stands on the same machine. `name` is of one account with it.

    `horizon` must be longer than a call can last (raises `ValueError`); after `attention_after` a doubt calls a person.
    """
    return Profile(
        name=name,
        operations=frozenset(Verb) - {Verb.ARRIVE},
        key=Key(header="X-Request-Key", length=40, memory=timedelta(hours=24)),
        amounts=Amounts.MAJOR,
        horizon=horizon,
        inquiry_is_complete=True,
        inquiry_pause=timedelta(seconds=0.5),  # it answers in milliseconds; a payer may be waiting
        attention_after=attention_after,
        statuses_without_effect=frozenset({429, 503}),  # docs/simulator.md: "no effect"
        deadline=Deadlines(connect=0.5, write=1.0, total=2.0),
    )


class Simulator:
    """One account with the simulator: `adapters.port.PaymentProvider` in its words. Raises as the port says."""

    def __init__(self, wire: Wire, secret: str) -> None:
        """Speak over `wire`; `secret` is the account's bearer token."""
        self._wire = wire
        self._profile = wire.profile
        self._headers = {"Authorization": f"Bearer {secret}", "Accept": "application/json"}

    async def authorize(self, effect: Effect, /) -> Answer:
        fields = {"value": self._value(effect), "source": {"token": effect.instrument}}
        return await self._post(Verb.AUTHORIZE, "/v2/authorisations", effect, fields)

    async def capture(self, effect: Effect, /) -> Answer:
        fields = {"value": self._value(effect), **_target(effect), "last": effect.final}
        return await self._post(Verb.CAPTURE, "/v2/collections", effect, fields)

    async def void(self, effect: Effect, /) -> Answer:
        # By our reference, never by their id: it must work where the authorization's answer was lost, and it bars an
        # authorization that is still on its way.
        return await self._post(Verb.VOID, "/v2/releases", effect, {"authorisationRef": effect.on}, repair=True)

    async def refund(self, effect: Effect, /) -> Answer:
        fields = {"value": self._value(effect), **_target(effect)}
        return await self._post(Verb.REFUND, "/v2/paybacks", effect, fields)

    async def pay_out(self, effect: Effect, /) -> Answer:
        fields = {"value": self._value(effect), "beneficiary": effect.instrument}
        return await self._post(Verb.PAY_OUT, "/v2/transfers", effect, fields)

    async def increment(self, effect: Effect, /) -> Answer:
        fields = {"value": self._value(effect), **_target(effect)}
        return await self._post(Verb.INCREMENT, "/v2/increments", effect, fields)

    async def recall(self, effect: Effect, /) -> Answer:
        # By our reference, as a void; and in the places of undos, since a transfer that is on its way does not wait.
        fields = {"value": self._value(effect), "transferRef": effect.on}
        return await self._post(Verb.RECALL, "/v2/recalls", effect, fields, repair=True)

    async def inquire(self, inquiry: Inquiry, /) -> Answer | None:
        path = f"/v2/lookup?merchantRef={quote(inquiry.on, safe='')}"
        reply = await self._wire.call(inquiry.verb, "GET", path, headers=self._headers, repair=True)
        return words.inquired(inquiry, reply)

    async def _post(
        self, verb: Verb, path: str, effect: Effect, fields: Mapping[str, object], *, repair: bool = False
    ) -> Answer:
        headers = {**self._headers, "Content-Type": "application/json", self._profile.key.header: effect.reference}
        content = words.body({"merchantRef": effect.reference, **fields})
        reply = await self._wire.call(verb, "POST", path, headers=headers, content=content, repair=repair)
        return words.answered(verb, effect, reply)

    def _value(self, effect: Effect) -> dict[str, object]:
        return words.value(self._profile, effect.money)


def _target(effect: Effect) -> dict[str, object]:
    """Name the authorization by their id where we know it, by our reference otherwise."""
    return {"authorisation": effect.provider_id} if effect.provider_id else {"authorisationRef": effect.on}
