"""The lifecycles as tables, and the one function that moves along them (money rule 8). Docs are generated from here."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, TypeVar


class PaymentState(StrEnum):
    REQUESTED = "requested"
    NOT_STARTED = "not_started"  # stale, or canceled before anything was sent
    BLOCKED = "blocked"  # refused by risk
    AUTHORIZING = "authorizing"
    CHALLENGE_REQUIRED = "challenge_required"
    AUTHORIZED = "authorized"
    CAPTURING = "capturing"
    PARTIALLY_CAPTURED = "partially_captured"
    CAPTURED = "captured"
    VOIDING = "voiding"
    VOIDED = "voided"
    EXPIRED = "expired"
    DECLINED = "declined"


class RefundState(StrEnum):
    REQUESTED = "requested"
    NOT_STARTED = "not_started"
    REJECTED = "rejected"  # by our own books or rules: nothing was sent
    SUBMITTING = "submitting"
    SUBMITTED = "submitted"  # the provider has it and has not decided
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # by the provider: what was reserved is released
    REVERSED = "reversed"  # a success that the provider took back


class PayoutState(StrEnum):
    REQUESTED = "requested"
    NOT_STARTED = "not_started"
    APPROVAL = "approval"
    DENIED = "denied"
    CANCELED = "canceled"
    SUBMITTING = "submitting"
    IN_TRANSIT = "in_transit"
    PAID = "paid"
    FAILED = "failed"
    RETURNED = "returned"


class DisputeState(StrEnum):
    REQUESTED = "requested"
    OPENED = "opened"
    FUNDS_WITHDRAWN = "funds_withdrawn"  # the provider has taken the money until it is decided
    WON = "won"  # for now: a bank may take it up again
    LOST = "lost"
    CLOSED = "closed"  # won, and past the time in which it could be taken up again


class LateState(StrEnum):
    REQUESTED = "requested"
    SETTLED = "settled"


State = TypeVar("State", bound=StrEnum)
Lifecycle = Mapping[State, tuple[State, ...]]

_P, _R, _O, _D = PaymentState, RefundState, PayoutState, DisputeState

#   from                      to
PAYMENT: Lifecycle[PaymentState] = MappingProxyType({
    _P.REQUESTED:          (_P.AUTHORIZING, _P.NOT_STARTED, _P.BLOCKED),
    _P.AUTHORIZING:        (_P.CHALLENGE_REQUIRED, _P.AUTHORIZED, _P.CAPTURING, _P.DECLINED, _P.VOIDING),
    _P.CHALLENGE_REQUIRED: (_P.AUTHORIZING, _P.VOIDING),
    _P.AUTHORIZED:         (_P.CAPTURING, _P.VOIDING),
    _P.CAPTURING:          (_P.AUTHORIZED, _P.PARTIALLY_CAPTURED, _P.CAPTURED, _P.VOIDING),
    _P.PARTIALLY_CAPTURED: (_P.CAPTURING, _P.VOIDING),
    _P.VOIDING:            (_P.VOIDED, _P.EXPIRED, _P.CAPTURED, _P.AUTHORIZED, _P.PARTIALLY_CAPTURED),
    _P.NOT_STARTED:        (),
    _P.BLOCKED:            (),
    _P.CAPTURED:           (),
    _P.VOIDED:             (),
    _P.EXPIRED:            (),
    _P.DECLINED:           (),
})  # fmt: skip

REFUND: Lifecycle[RefundState] = MappingProxyType({
    _R.REQUESTED:          (_R.SUBMITTING, _R.REJECTED, _R.NOT_STARTED),
    _R.SUBMITTING:         (_R.SUBMITTED, _R.SUCCEEDED, _R.FAILED),
    _R.SUBMITTED:          (_R.SUCCEEDED, _R.FAILED),
    _R.SUCCEEDED:          (_R.REVERSED,),
    _R.NOT_STARTED:        (),
    _R.REJECTED:           (),
    _R.FAILED:             (),
    _R.REVERSED:           (),
})  # fmt: skip

PAYOUT: Lifecycle[PayoutState] = MappingProxyType({
    _O.REQUESTED:          (_O.APPROVAL, _O.SUBMITTING, _O.DENIED, _O.CANCELED, _O.NOT_STARTED),
    _O.APPROVAL:           (_O.SUBMITTING, _O.DENIED, _O.CANCELED),
    _O.SUBMITTING:         (_O.IN_TRANSIT, _O.FAILED, _O.CANCELED),
    _O.IN_TRANSIT:         (_O.PAID, _O.FAILED),
    _O.PAID:               (_O.RETURNED,),
    _O.NOT_STARTED:        (),
    _O.DENIED:             (),
    _O.CANCELED:           (),
    _O.FAILED:             (),
    _O.RETURNED:           (),
})  # fmt: skip

DISPUTE: Lifecycle[DisputeState] = MappingProxyType({
    _D.REQUESTED:          (_D.OPENED, _D.FUNDS_WITHDRAWN, _D.WON, _D.LOST),
    _D.OPENED:             (_D.FUNDS_WITHDRAWN, _D.WON, _D.LOST),
    _D.FUNDS_WITHDRAWN:    (_D.WON, _D.LOST),
    _D.WON:                (_D.FUNDS_WITHDRAWN, _D.CLOSED),
    _D.LOST:               (),
    _D.CLOSED:             (),
})  # fmt: skip

LATE: Lifecycle[LateState] = MappingProxyType({
    LateState.REQUESTED:   (LateState.SETTLED,),
    LateState.SETTLED:     (),
})  # fmt: skip


def move(lifecycle: Lifecycle[State], now: State, onward: State) -> State:
    """Move along the table. An edge that is not in it is a bug: the workflow task fails, and nothing is undone."""
    assert onward in lifecycle[now], f"no edge from {now} to {onward}"
    return onward


def is_terminal(lifecycle: Lifecycle[Any], state: StrEnum) -> bool:
    """Tell whether nothing leads on from this state."""
    return not lifecycle[state]
