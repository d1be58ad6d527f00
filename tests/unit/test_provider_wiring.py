"""Which providers are wired, in which order, and whose webhooks are taken."""

import hashlib
import hmac
import time

from adapters.providers.simulator.webhooks import SIGNATURE
from workers.providers import SIMULATOR_B, TELLS, ports, routes, webhook_checks, wires
from workers.settings import Settings

ALONE = Settings(simulator_b_url="")
BOTH = Settings(simulator_url="http://127.0.0.1:9", simulator_b_url="http://127.0.0.1:9/b")


def test_without_an_address_there_is_no_second_provider() -> None:
    assert [promises.provider for promises in routes(ALONE)] == ["simulator"]
    assert list(webhook_checks(ALONE)) == ["simulator"]


def test_the_second_provider_is_asked_after_the_first_and_promises_under_its_own_name() -> None:
    assert [promises.provider for promises in routes(BOTH)] == ["simulator", SIMULATOR_B]
    first, second = routes(BOTH)
    assert first.increments
    assert second.recalls


async def test_each_provider_has_a_wire_a_breaker_and_a_port_of_its_own() -> None:
    opened = wires(BOTH)
    assert {name: wire.profile.name for name, wire in opened.items()} == {name: name for name in ports(BOTH, opened)}
    assert opened["simulator"].breaker is not opened[SIMULATOR_B].breaker
    for wire in opened.values():
        await wire.aclose()


def test_events_of_each_provider_are_checked_and_read() -> None:
    raw, at = b'{"eventId": "ev_1", "type": "x"}', f"{time.time():.0f}"
    secret = BOTH.webhook_secret.get_secret_value().encode()
    digest = hmac.new(secret, at.encode() + b"." + raw, hashlib.sha256).hexdigest()
    for check in webhook_checks(BOTH).values():
        assert check(raw, {SIGNATURE: f"t={at},v1={digest}"}) == "ev_1"
        assert check(raw, {SIGNATURE: f"t={at},v1={'0' * 64}"}) is None
    assert set(TELLS) >= set(webhook_checks(BOTH))
