"""Ids are derived and references named, so that the same request always meets the same run and effect."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.queues import starts_a_run, workflow_id
from domain.ids import (
    REFERENCE_LENGTH_MAX,
    Prefix,
    Reference,
    Verb,
    derive,
    effect_reference,
    is_merchant_id,
    is_operation_id,
    operation_of,
)

TEXT = st.text(min_size=1, max_size=40)


def test_an_id_is_for_ever_the_same() -> None:
    made = derive(Prefix.PAYMENT, client="shop", mode="test", operation="createPayment", key="order-1007")
    assert made == "pay_4fctdkrhmxhg6rxcfp8e40wsqm"


@given(TEXT, TEXT, TEXT, TEXT)
def test_an_id_has_the_form_that_every_reader_expects(client: str, mode: str, operation: str, key: str) -> None:
    for prefix in Prefix:
        made = derive(prefix, client=client, mode=mode, operation=operation, key=key)
        assert is_operation_id(made, prefix)
        assert not any(is_operation_id(made, other) for other in Prefix if other is not prefix)
        assert len(effect_reference(made, Verb.AUTHORIZE, 99)) <= REFERENCE_LENGTH_MAX


@given(TEXT, TEXT)
def test_another_key_or_client_is_another_operation(key: str, other: str) -> None:
    same = {derive(Prefix.PAYMENT, client="a", mode="test", operation="o", key=each) for each in (key, other)}
    assert len(same) == (1 if key == other else 2)


def test_no_two_effects_of_one_operation_share_a_letter() -> None:
    of_a_payout = [Verb.PAY_OUT, Verb.RECALL]
    of_all_others = [verb for verb in Verb if verb not in (Verb.ARRIVE, *of_a_payout)]
    for effects in (of_a_payout, of_all_others):
        assert len({verb[0] for verb in effects}) == len(effects)


@pytest.mark.parametrize("suffix", [".a1", ".a1/post", "/hold", ".p1/arrival"])
def test_a_reference_names_its_operation(suffix: str) -> None:
    operation = derive(Prefix.PAYOUT, client="a", mode="test", operation="o", key="k")
    assert operation_of(Reference(f"{operation}{suffix}")) == operation


def test_captures_and_voids_live_in_their_payments_run() -> None:
    made = {prefix: derive(prefix, client="a", mode="test", operation="o", key="k") for prefix in Prefix}
    assert starts_a_run(Reference(f"{made[Prefix.REFUND]}.r1"))
    assert not starts_a_run(Reference(f"{made[Prefix.CAPTURE]}.c1"))
    assert workflow_id(made[Prefix.PAYMENT]) == f"payment/{made[Prefix.PAYMENT]}"


@pytest.mark.parametrize("name", ["", "ab", "1shop", "Shop", "a" * 33, "shop-1"])
def test_what_cannot_name_a_merchant_is_refused(name: str) -> None:
    assert not is_merchant_id(name)
