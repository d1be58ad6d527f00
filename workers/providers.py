"""Which providers there are, each with its wire: the one place that names an adapter."""

from collections.abc import Mapping
from datetime import timedelta

import structlog

from adapters.port import PaymentProvider
from adapters.profile import Profile
from adapters.providers.simulator import client as simulator
from adapters.resilience import ALARMS, wrap
from adapters.wire import Wire
from domain.ids import Verb
from workers.settings import Settings

log = structlog.get_logger()


def profile_of_simulator(settings: Settings) -> Profile:
    """The simulator's profile, with the figures that the settings may change."""
    return simulator.profile(
        horizon=timedelta(seconds=settings.simulator_horizon_seconds),
        attention_after=timedelta(seconds=settings.attention_after_seconds),
    )


def wires(settings: Settings) -> Mapping[str, Wire]:
    """Open the connections to each provider; whoever opens them closes them."""
    return {simulator.NAME: Wire(profile_of_simulator(settings), settings.simulator_url)}


def ports(settings: Settings, opened: Mapping[str, Wire]) -> Mapping[str, PaymentProvider]:
    """Put each provider's adapter on its wire, behind its profile."""
    wire = opened[simulator.NAME]
    secret = settings.simulator_secret.get_secret_value()
    return {simulator.NAME: wrap(simulator.Simulator(wire, secret), wire.profile, _tell)}


def _tell(verb: Verb, reference: str, came: str, seconds: float, /) -> None:
    tell = log.error if came in ALARMS else log.info  # an error pages the owner
    tell("provider.call", verb=verb, reference=reference, came=came, ms=round(seconds * 1000, 1))
