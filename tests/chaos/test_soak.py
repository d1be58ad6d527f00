"""The soak in small, so that it cannot rot: most faults once, few payments, and every invariant."""

import sys
import time
from collections.abc import Generator

import httpx
import pytest

from tests.chaos.soak import Target, soak, target
from tests.support.chaos_audit import audit
from tests.support.chaos_shop import Said, Shop, Wish
from tests.support.live import Live, connected
from workers.embedded.stack import read_settings

PAYMENTS = 60
SEED = 11
NOBODYS_ROW = """
INSERT INTO records.operation (id, kind, currency, amount, state) VALUES ('pay_nobody', 'pay', 'EUR', 1, 'capturing')
"""

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="processes are found and frozen by /proc"),
    pytest.mark.timeout(600),  # a minute and a half where nobody else is busy
]


@pytest.fixture(scope="module")
def attackable() -> Generator[Target]:
    """A stack of its own: afterwards nothing about it can be relied on."""
    with target() as running:
        yield running


async def test_nothing_is_lost_doubled_or_left_alone_whatever_is_killed_cut_off_or_filled_up(
    attackable: Target,
) -> None:
    report = await soak(attackable, PAYMENTS, seed=SEED, few=True)
    report.show()
    assert report.made["payment"] >= PAYMENTS
    for finding in report.audit.findings:
        assert finding.broken == (), finding.name


async def test_the_audit_sees_money_that_nobody_booked_what_was_lost_and_what_nobody_owns(attackable: Target) -> None:
    async with connected(attackable.stack, attackable.home) as live:
        shop = Shop(live)
        await shop.journey()
        await _money_moved_behind_our_back(live, "12.34")
        await live.pool.execute(NOBODYS_ROW)
        never = {"id": "pay_never"}
        shop.wishes.append(Wish("/v1/payments", {}, live.key(), 0, Said(201, b"{}", never, time.monotonic())))
        found = await audit(live, shop)
    assert found.money_difference == 1_234
    assert len(found.money.broken) == 1
    assert [line.split()[0] for line in found.acknowledged.broken] == ["pay_never", shop.wishes[-1].key]
    assert [line.split()[0] for line in found.owned.broken] == ["pay_nobody"]
    assert found.replayed.broken == ("payment/pay_nobody: its history is not listed",)
    assert not [line for finding in found.others for line in finding.broken]


async def _money_moved_behind_our_back(live: Live, amount: str) -> None:
    """Have the provider take money that Holdfast has never asked for."""
    secret = read_settings(live.home)["HOLDFAST_SIMULATOR_SECRET"]
    value = {"amount": amount, "unit": "EUR"}
    async with httpx.AsyncClient(base_url=live.stack.simulator) as provider:
        for path, reference, order in (
            ("/v2/authorisations", "else.a1", {"source": {"token": "tok_visa"}}),
            ("/v2/collections", "else.c1", {"authorisationRef": "else.a1", "last": True}),
        ):
            headers = {"Authorization": f"Bearer {secret}", "X-Request-Key": reference}
            answer = await provider.post(
                path, json={"merchantRef": reference, "value": value, **order}, headers=headers
            )
            answer.raise_for_status()
