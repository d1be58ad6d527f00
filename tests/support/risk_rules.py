"""Rules and subjects of risk as tests write them: short, and each field with a value that a person might choose."""

import json
from typing import Any

import asyncpg

from domain.ids import MerchantId, OperationId, Prefix
from domain.money import Money
from risk.rule_sets import RuleSets
from risk.rules import Rule, Subject, read_rules
from tests.support.ledger_flows import operation

BAKERY = MerchantId("m_bakery")
KINDS: dict[str, dict[str, Any]] = {
    "velocity": {"by": "instrument", "window_seconds": 3600, "count_max": 3},
    "amount_limit": {"amount_max": {"EUR": 10_000}},
    "deny_list": {"by": "instrument", "list": "stolen"},
    "score": {"by": "operation", "score_max": 700},
    "kyc": {"applies_to": ["payouts"]},
    "sanctions": {"applies_to": ["payouts"]},
}


def rule(kind: str, /, **given: Any) -> dict[str, Any]:
    """A rule of a kind as JSON has it; what is given goes before what is usual, and None leaves a field out."""
    usual = {
        "name": kind.replace("_", "-"),
        "kind": kind,
        "applies_to": ["payments"],
        "verdict": "review",
        "timeout_ms": 200,
        "if_absent": "review",
    }
    if given.get("amount_max") and kind == "velocity":
        given = {"count_max": None} | given
    return {name: value for name, value in (usual | KINDS[kind] | given).items() if value is not None}


def rules(*written: dict[str, Any]) -> tuple[Rule, ...]:
    """Rules as they are read."""
    return read_rules(json.dumps(written))


def subject(
    key: str, minor: int = 1_000, currency: str = "EUR", kind: Prefix = Prefix.PAYMENT, **given: Any
) -> Subject:
    """A subject whose operation is named by a key: the bakery's payment of ten euro by one instrument, usually."""
    usual: dict[str, Any] = {"client": "shop", "merchant": BAKERY, "instrument": "tok_visa", "country": "NL"}
    return Subject(operation=operation(kind, key), kind=kind, money=Money(minor, currency), **(usual | given))


def payout(key: str, minor: int = 1_000, **given: Any) -> Subject:
    """A payout of the bakery."""
    return subject(key, minor, kind=Prefix.PAYOUT, country="", instrument="acct_ok", **given)


async def install(pool: asyncpg.Pool, *written: dict[str, Any]) -> int:
    """Put rules in force."""
    sets = RuleSets(pool)
    return await sets.install(rules(*written), author="ann", why="a test", after=(await sets.in_force()).number)


def ids(*keys: str, kind: Prefix = Prefix.PAYMENT) -> list[OperationId]:
    """The ids of operations by their keys."""
    return [operation(kind, key) for key in keys]
