"""The page beside a parked run says what is true of this kind of run: what was sent, and what a cancellation does."""

from dataclasses import replace
from typing import Any

import pytest

from domain.commands import Dispute, LateFact, Payment, Payout, Promises, Refund, Start
from domain.ids import MerchantId, Prefix, Reference, derive
from domain.money import Money
from domain.outcomes import DONE, Attention, Fact, View
from workflows import page

MONEY = Money(1_000, "EUR")
PROMISES = Promises(
    provider="simulator",
    start_to_close_seconds=6,
    horizon_seconds=10,
    inquiry_is_complete=True,
    inquiry_seconds=0.5,
    attention_after_seconds=900,
)
PAYMENT = derive(Prefix.PAYMENT, client="tests", mode="test", operation="page", key="1")
ATTENTION = Attention(
    reference=Reference(f"{PAYMENT}.c1"),
    reason="undecided",
    owner="payments-operations",
    since="2026-11-26T00:00:00+00:00",
    deadline="2026-11-26T04:00:00+00:00",
    update="resolve",
    payload="{}",
)
FACT = Fact(reference=Reference(f"{PAYMENT}.c1"), answer=DONE, source="ev_1")
KINDS: list[tuple[type[Start], Prefix, dict[str, Any], str]] = [
    (
        Payment,
        Prefix.PAYMENT,
        {"instrument": "tok_visa", "automatic": False, "window_seconds": 60, "fee_basis_points": 100},
        "voids what is not captured",
    ),
    (Refund, Prefix.REFUND, {"payment": PAYMENT, "on": Reference(""), "on_provider_id": ""}, "stops a refund"),
    (Payout, Prefix.PAYOUT, {"destination": "acct_ok"}, "stops a payout"),
    (Dispute, Prefix.DISPUTE, {"payment": PAYMENT, "their_id": "di_1"}, "changes nothing"),
    (LateFact, Prefix.PAYMENT, {"fact": FACT, "source": "ev_1"}, "changes nothing"),
]


def told(kind: type[Start], prefix: Prefix, more: dict[str, Any], attention: Attention) -> str:
    start = kind(
        id=derive(prefix, client="tests", mode="test", operation="page", key="1"),
        fingerprint="f",
        client="tests",
        merchant=MerchantId("m_bakery"),
        money=MONEY,
        promises=PROMISES,
        admit_until=0,
        **more,
    )
    view = View(state="requested", amount=MONEY, total=MONEY, reason="", doubt=None, attention=attention)
    return page.of(start, view, run="the-run", waiting=0)


@pytest.mark.parametrize(("kind", "prefix", "more", "does"), KINDS, ids=[kind[0].__name__ for kind in KINDS])
def test_a_parked_run_says_what_a_cancellation_would_do_to_it(
    kind: type[Start], prefix: Prefix, more: dict[str, Any], does: str
) -> None:
    text = told(kind, prefix, more, ATTENTION)
    assert f"Request Cancellation {does}" in text
    assert "Never terminate this run" in text
    assert "holdfast approve the-run done" in text


def test_what_is_only_held_in_our_books_is_not_looked_up_at_the_provider() -> None:
    kind, prefix, more, _ = KINDS[0]
    held = told(kind, prefix, more, replace(ATTENTION, reference=Reference(f"{PAYMENT}/hold")))
    assert "Nothing has been sent to a provider yet" in held
    assert "at the provider" not in held
    assert "Look the reference up at the provider" in told(kind, prefix, more, ATTENTION)
