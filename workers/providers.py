"""Which providers there are, each with its wire and its webhooks: the one place that names an adapter."""

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from types import MappingProxyType

import structlog

from adapters.port import PaymentProvider
from adapters.profile import Profile
from adapters.providers.simulator import client as simulator
from adapters.providers.simulator import webhooks as simulator_webhooks
from adapters.providers.simulator.webhooks import Told
from adapters.resilience import ALARMS, wrap
from adapters.wire import Wire
from domain.commands import Promises
from domain.ids import Verb
from domain.outcomes import DisputeNews
from workers.settings import Settings

SIMULATOR_B = "simulator_b"  # a second account there, with books of its own: what is routed from one to the other

Tells = Callable[[bytes], Told | DisputeNews | None]
Check = Callable[[bytes, Mapping[str, str]], str | None]

# What a verified event says, by provider. Those that are not wired now are there too: their events may still wait.
TELLS: Mapping[str, Tells] = MappingProxyType({
    simulator.NAME: simulator_webhooks.told,
    SIMULATOR_B: simulator_webhooks.told,
})  # fmt: skip

log = structlog.get_logger()


def profile_of_simulator(settings: Settings, name: str = simulator.NAME) -> Profile:
    """The profile of one account with the simulator, with the figures that the settings may change."""
    return simulator.profile(
        name=name,
        horizon=timedelta(seconds=settings.simulator_horizon_seconds),
        attention_after=timedelta(seconds=settings.attention_after_seconds),
    )


def routes(settings: Settings) -> tuple[Promises, ...]:
    """What each provider promises, in the order in which they are asked to authorize: the first, and who is next."""
    return tuple(profile_of_simulator(settings, name).promises(settings.patience) for name in _addresses(settings))


def wires(settings: Settings) -> Mapping[str, Wire]:
    """Open the connections to each provider; whoever opens them closes them."""
    return {name: Wire(profile_of_simulator(settings, name), url) for name, url in _addresses(settings).items()}


def ports(settings: Settings, opened: Mapping[str, Wire]) -> Mapping[str, PaymentProvider]:
    """Put each provider's adapter on its wire, behind its profile."""
    secret = settings.simulator_secret.get_secret_value()
    return {name: wrap(simulator.Simulator(wire, secret), wire.profile, _tell) for name, wire in opened.items()}


def webhook_checks(settings: Settings) -> Mapping[str, Check]:
    """Tell an event's id, or None where it does not verify, by provider; the headers' names are in lower case."""
    check = partial(_simulator_event_id, settings.webhook_secret.get_secret_value())
    return dict.fromkeys(_addresses(settings), check)


def _addresses(settings: Settings) -> Mapping[str, str]:
    """Where each provider is that is wired, in the order in which they are asked."""
    second = {SIMULATOR_B: settings.simulator_b_url} if settings.simulator_b_url else {}
    return {simulator.NAME: settings.simulator_url, **second}


def _simulator_event_id(secret: str, raw: bytes, headers: Mapping[str, str]) -> str | None:
    return simulator_webhooks.event_id(raw, headers, secret, time.time())


def _tell(verb: Verb, reference: str, came: str, seconds: float, /) -> None:
    tell = log.error if came in ALARMS else log.info  # an error pages the owner
    tell("provider.call", verb=verb, reference=reference, came=came, ms=round(seconds * 1000, 1))
