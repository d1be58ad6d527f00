"""The script: which call is to go wrong, and how. Pure: it decides, others misbehave.

A rule matches calls by operation, reference and token, and is used up after a number of them. Knows nothing of HTTP,
nor of what the books will say.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from simulator.fields import Fields, Json
from simulator.instruments import BOUNCE_REASON, FAILURE_SECONDS
from simulator.orders import Operation
from simulator.twists import Challenge, Deny, FailLater, Land, Queue, Twist

ANY = "*"
COUNT_MAX = 1_000_000  # more calls than a test makes
WAIT_SECONDS_MAX = 3_600.0  # on the wire: nobody holds a connection longer
RETRY_AFTER_SECONDS = 1.0
PENDING_SECONDS = 1.0
ANSWERS = range(200, 600)  # below 200 is no answer yet
NEVER_WITH_EFFECT = frozenset({429, 503})  # Northbank's promise to its callers: these are answered before anything else


@dataclass(frozen=True, slots=True)
class Decide:
    """Answer in full, but decide otherwise than the books would."""

    twist: Twist


@dataclass(frozen=True, slots=True)
class Fail:
    """Answer with a fault, whether or not the order is carried out."""

    status: int
    code: str
    retry_after: float | None
    effect: bool


@dataclass(frozen=True, slots=True)
class Slow:
    """Wait, then do as usual."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Silence:
    """Wait, then close the connection without an answer."""

    seconds: float
    effect: bool


@dataclass(frozen=True, slots=True)
class Late:
    """Close the connection without an answer at once; carry the order out later, by the simulator's clock."""

    seconds: float


class Damage(StrEnum):
    """What can be wrong with an answer."""

    GARBAGE = "garbage"
    TRUNCATED = "truncated"
    WRONG_AMOUNT = "wrong_amount"
    UNLISTED_PHASE = "unlisted_phase"


@dataclass(frozen=True, slots=True)
class Mangle:
    """Answer, but damaged."""

    damage: Damage
    effect: bool


Behaviour = Decide | Fail | Slow | Silence | Late | Mangle

_ALL = frozenset(Operation)
_ORDERS = _ALL - {Operation.LOOKUP}
_DENIABLE = _ORDERS - {Operation.RELEASE}
_QUEUEABLE = _DENIABLE - {Operation.TRANSFER}
_TRANSFERS = frozenset({Operation.TRANSFER})
_AUTHORISATIONS = frozenset({Operation.AUTHORISE})
_FAILING = frozenset({Operation.COLLECT, Operation.PAYBACK, Operation.TRANSFER})


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a `do` means: which operations can do it, and how its fields are read."""

    operations: frozenset[Operation]
    read: Callable[[Fields], Behaviour]


def _deny(fields: Fields) -> Behaviour:
    return Decide(Deny(fields.text("reason", default="denied_by_script")))


def _pending(fields: Fields) -> Behaviour:
    seconds = fields.number("seconds", default=PENDING_SECONDS)
    denied = fields.choice("then", ("done", "denied"), default="done") == "denied"
    reason = fields.text("reason", default="denied_after_review")
    return Decide(Queue(seconds, reason if denied else ""))


def _challenge(_: Fields) -> Behaviour:
    return Decide(Challenge())


def _fail_later(fields: Fields) -> Behaviour:
    return Decide(FailLater(fields.number("seconds", default=FAILURE_SECONDS), fields.text("reason", default="")))


def _arrive(fields: Fields) -> Behaviour:
    return Decide(Land(fields.number("seconds", default=0.0)))


def _bounce(fields: Fields) -> Behaviour:
    return Decide(Land(fields.number("seconds", default=0.0), fields.text("reason", default=BOUNCE_REASON)))


def _throttle(fields: Fields) -> Behaviour:
    return Fail(429, "TOO_MANY_CALLS", fields.number("retryAfter", default=RETRY_AFTER_SECONDS), effect=False)


def _unavailable(_: Fields) -> Behaviour:
    return Fail(503, "UNAVAILABLE", None, effect=False)


def _error(fields: Fields) -> Behaviour:
    return Fail(500, "INTERNAL", None, effect=fields.flag("effect", default=False))


def _status(fields: Fields) -> Behaviour:
    status = fields.whole("status", least=ANSWERS.start, most=ANSWERS.stop - 1)
    effect = fields.flag("effect", default=False)
    if effect and status in NEVER_WITH_EFFECT:
        fields.wrong("effect", f"is never had by a call that is answered {status}", instead=None)
    return Fail(status, fields.text("code", default="SCRIPTED"), None, effect=effect)


def _slow(fields: Fields) -> Behaviour:
    return Slow(fields.number("seconds", most=WAIT_SECONDS_MAX))


def _lost_before(fields: Fields) -> Behaviour:
    return Silence(fields.number("seconds", default=0.0, most=WAIT_SECONDS_MAX), effect=False)


def _lost_after(fields: Fields) -> Behaviour:
    return Silence(fields.number("seconds", default=0.0, most=WAIT_SECONDS_MAX), effect=True)


def _late(fields: Fields) -> Behaviour:
    return Late(fields.number("seconds"))


def _mangle(damage: Damage) -> Callable[[Fields], Behaviour]:
    return lambda fields: Mangle(damage, effect=fields.flag("effect", default=True))


BEHAVIOURS: Mapping[str, _Kind] = MappingProxyType(
    {
        "deny": _Kind(_DENIABLE, _deny),
        "pending": _Kind(_QUEUEABLE, _pending),
        "challenge": _Kind(_AUTHORISATIONS, _challenge),
        "fail_later": _Kind(_FAILING, _fail_later),
        "arrive": _Kind(_TRANSFERS, _arrive),
        "bounce": _Kind(_TRANSFERS, _bounce),
        "throttle": _Kind(_ALL, _throttle),
        "unavailable": _Kind(_ALL, _unavailable),
        "error": _Kind(_ALL, _error),
        "status": _Kind(_ALL, _status),
        "slow": _Kind(_ALL, _slow),
        "lost_before": _Kind(_ALL, _lost_before),
        "lost_after": _Kind(_ALL, _lost_after),
        "late": _Kind(_ORDERS, _late),
        "garbage": _Kind(_ALL, _mangle(Damage.GARBAGE)),
        "truncated": _Kind(_ALL, _mangle(Damage.TRUNCATED)),
        "wrong_amount": _Kind(_ALL, lambda _: Mangle(Damage.WRONG_AMOUNT, effect=True)),
        "unlisted_phase": _Kind(_ALL, lambda _: Mangle(Damage.UNLISTED_PHASE, effect=True)),
    }
)


@dataclass(slots=True, kw_only=True)
class Rule:
    """One line of the script, and how far it has been played."""

    id: int
    operation: str
    merchant_ref: str | None
    token: str | None
    nth: int
    times: int | None
    do: str
    given: Json  # the behaviour as it was written
    behaviour: Behaviour
    matched: int = 0
    used: int = 0

    def fires(self, operation: Operation, merchant_ref: str, token: str) -> bool:
        """Count the call if it matches, and tell whether the rule is due at it."""
        if not self._matches(operation, merchant_ref, token):
            return False
        self.matched += 1
        return self.matched >= self.nth and (self.times is None or self.used < self.times)

    def _matches(self, operation: Operation, merchant_ref: str, token: str) -> bool:
        if self.operation not in {ANY, operation} or operation not in BEHAVIOURS[self.do].operations:
            return False
        if self.token not in {None, token}:
            return False
        if self.merchant_ref is None:
            return True
        if self.merchant_ref.endswith(ANY):
            return merchant_ref.startswith(self.merchant_ref[: -len(ANY)])
        return merchant_ref == self.merchant_ref


class Script:
    """The rules, in the order in which they were written; the first that fires wins."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._numbers = itertools.count(1)

    def add(self, fields: Fields) -> Rule:
        """Read a rule and append it. Raises `Malformed`, also for a behaviour that its operation cannot have."""
        operation = fields.choice("operation", (*Operation, ANY), default=ANY)
        merchant_ref = fields.text("merchantRef") if fields.has("merchantRef") else None
        token = fields.text("token") if fields.has("token") else None
        nth = fields.whole("nth", least=1, most=COUNT_MAX, default=1)
        times = _times(fields)
        wanted = fields.inner("behaviour")
        given = wanted.given()
        do = wanted.choice("do", BEHAVIOURS)
        if operation != ANY and operation not in BEHAVIOURS[do].operations:
            wanted.wrong("do", f"is nothing that {operation} can do", instead=None)
        behaviour = BEHAVIOURS[do].read(wanted)
        fields.close()
        rule = Rule(
            id=next(self._numbers),
            operation=operation,
            merchant_ref=merchant_ref,
            token=token,
            nth=nth,
            times=times,
            do=do,
            given=given,
            behaviour=behaviour,
        )
        self._rules.append(rule)
        return rule

    def match(self, operation: Operation, merchant_ref: str, token: Callable[[], str]) -> Rule | None:
        """Find the rule for a call and use it once; every rule that matches counts the call, whichever wins."""
        if not self._rules:
            return None
        call_token = token()
        due = [rule for rule in self._rules if rule.fires(operation, merchant_ref, call_token)]
        if not due:
            return None
        due[0].used += 1
        return due[0]

    def rules(self) -> Sequence[Rule]:
        """All rules, those that are used up included."""
        return tuple(self._rules)

    def clear(self) -> None:
        """Forget all rules."""
        self._rules.clear()


def _times(fields: Fields) -> int | None:
    """How often the rule is used: once if nothing is said, for ever if null is said."""
    if fields.null("times"):
        return None
    return fields.whole("times", least=1, most=COUNT_MAX, default=1)
