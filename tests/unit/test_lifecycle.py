"""The lifecycle tables: complete, reachable, and moved along by one function only."""

from enum import StrEnum
from typing import Any

import pytest

from domain.lifecycle import (
    DISPUTE,
    LATE,
    PAYMENT,
    PAYOUT,
    REFUND,
    DisputeState,
    LateState,
    Lifecycle,
    PaymentState,
    PayoutState,
    RefundState,
    is_terminal,
    move,
)

TABLES: list[tuple[type[StrEnum], Lifecycle[Any]]] = [
    (PaymentState, PAYMENT),
    (RefundState, REFUND),
    (PayoutState, PAYOUT),
    (DisputeState, DISPUTE),
    (LateState, LATE),
]


@pytest.mark.parametrize(("states", "table"), TABLES)
def test_every_state_has_its_row_and_can_be_reached(states: type[StrEnum], table: Lifecycle[Any]) -> None:
    assert set(table) == set(states)
    first = next(iter(table))
    reached, onward = {first}, [first]
    while onward:
        fresh = [each for each in table[onward.pop()] if each not in reached]
        reached |= set(fresh)
        onward += fresh
    assert reached == set(states)


@pytest.mark.parametrize(("states", "table"), TABLES)
def test_from_every_state_an_end_can_be_reached(states: type[StrEnum], table: Lifecycle[Any]) -> None:
    ends = {state for state in states if is_terminal(table, state)}
    grown = True
    while grown:
        before = len(ends)
        ends |= {state for state in states if ends & set(table[state])}
        grown = len(ends) > before
    assert ends == set(states)


def test_a_move_that_the_table_lacks_is_a_bug() -> None:
    assert move(PAYMENT, PaymentState.AUTHORIZED, PaymentState.CAPTURING) is PaymentState.CAPTURING
    with pytest.raises(AssertionError):
        move(PAYMENT, PaymentState.VOIDED, PaymentState.CAPTURING)
