"""Northbank's public face: the routes under /v2, and how each behaviour of the script looks on the wire.

Judges nothing itself: the books decide, the script says where to misbehave, this module answers.
"""

import asyncio
import contextlib
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

from simulator.books import Books, Clock
from simulator.faults import Fault
from simulator.fields import Json, Malformed
from simulator.orders import Authorise, Lookup, Operation, Order, Recall, Transfer, read_order
from simulator.records import STATUS, Record, shown
from simulator.script import Behaviour, Damage, Decide, Fail, Late, Mangle, Script, Silence, Slow
from simulator.twists import Twist
from simulator.webhooks import Webhooks
from simulator.wire import Answer, HangUp, Reply, Request

ROUTES: Mapping[tuple[str, str], Operation] = MappingProxyType(
    {
        ("POST", "/v2/authorisations"): Operation.AUTHORISE,
        ("POST", "/v2/collections"): Operation.COLLECT,
        ("POST", "/v2/releases"): Operation.RELEASE,
        ("POST", "/v2/paybacks"): Operation.PAYBACK,
        ("POST", "/v2/transfers"): Operation.TRANSFER,
        ("POST", "/v2/increments"): Operation.INCREMENT,
        ("POST", "/v2/recalls"): Operation.RECALL,
        ("GET", "/v2/lookup"): Operation.LOOKUP,
    }
)
PATHS = frozenset(path for _, path in ROUTES)
GARBAGE = b"\x00<html>this is no JSON\xff"
UNLISTED_PHASE = "HOVERING"
CALLS_KEPT_MAX = 100_000  # the newest; a benchmark makes no more memory than that

Asked = Order | Lookup


@dataclass(slots=True)
class Call:
    """One call that was received. No status: it got no answer, or none yet."""

    at: float
    operation: Operation
    merchant_ref: str = ""
    status: int | None = None
    behaviour: str | None = None


class Northbank:
    """One account: its clock, books, script, webhooks, and the calls that it has received.

    `address` is where payers reach it, e.g. `http://127.0.0.1:8090`.
    """

    def __init__(self, secret: str, webhook_url: str = "", *, address: str = "") -> None:
        self._address = address
        self._bearer = f"Bearer {secret}".encode()
        self.clock = Clock()
        self.webhooks = Webhooks(secret, webhook_url)
        self.script = Script()
        self.calls: list[Call] = []
        self.books = self._open_books()

    def _open_books(self) -> Books:
        books = Books(self.clock, self.webhooks.announce)
        books.challenges_at = f"{self._address}/challenges"
        return books

    async def reset(self) -> None:
        """Become as new: no records, rules, calls or events, the real time, the settings of the command line."""
        await self.webhooks.reset()
        self.clock.ahead_seconds = 0.0
        self.script.clear()
        self.calls.clear()
        self.books = self._open_books()

    def answer(self, request: Request) -> Reply | Awaitable[Reply]:
        """Answer one request under /v2; at once unless the script says otherwise."""
        operation = ROUTES.get((request.method, request.path))
        if operation is None:
            status = 405 if request.path in PATHS else 404
            return fault(status, "NO_SUCH_CALL", "Northbank has no such call")
        self.books.land_due()
        call = self._received(operation)
        if not hmac.compare_digest(request.headers.get("authorization", "").encode(), self._bearer):
            return _answered(call, fault(401, "BAD_CREDENTIALS", "the bearer token is not known"))
        try:
            asked = _asked(operation, request)
        except Malformed as malformed:
            return _answered(call, malformed_fault(malformed))
        call.merchant_ref = asked.merchant_ref
        rule = self.script.match(operation, asked.merchant_ref, lambda: self._token(asked))
        if rule is None:
            return _answered(call, self._plain(asked))
        call.behaviour = rule.do
        return self._scripted(asked, rule.behaviour, call)

    def _received(self, operation: Operation) -> Call:
        call = Call(self.clock(), operation)
        self.calls.append(call)
        if len(self.calls) > 2 * CALLS_KEPT_MAX:
            del self.calls[:CALLS_KEPT_MAX]
        return call

    def _token(self, asked: Asked) -> str:
        match asked:
            case Authorise():
                return asked.token
            case Transfer() | Recall() | Lookup():
                return ""
            case _:
                return self.books.token_of(asked.authorisation)

    # As usual

    def _plain(self, asked: Asked, twist: Twist = None) -> Answer:
        try:
            return _shown_as(self._carry_out(asked, twist), asked)
        except Fault as no:
            return as_fault(no)

    def _carry_out(self, asked: Asked, twist: Twist = None) -> Record:
        return self.books.known(asked.merchant_ref) if isinstance(asked, Lookup) else self.books.place(asked, twist)

    # As scripted

    async def _scripted(self, asked: Asked, behaviour: Behaviour, call: Call) -> Reply:
        match behaviour:
            case Decide(twist=twist):
                return _answered(call, self._plain(asked, twist))
            case Fail(status=status, code=code, retry_after=retry_after, effect=effect):
                self._effect(asked, wanted=effect)
                headers = () if retry_after is None else (("Retry-After", f"{retry_after:g}"),)
                return _answered(call, replace(fault(status, code, "as the script says"), headers=headers))
            case Slow(seconds=seconds):
                await asyncio.sleep(seconds)
                return _answered(call, self._plain(asked))
            case Silence(seconds=seconds, effect=effect):
                self._effect(asked, wanted=effect)
                await asyncio.sleep(seconds)
                return HangUp()
            case Late(seconds=seconds):
                self.books.later(seconds, partial(self._effect, asked, wanted=True))
                return HangUp()
            case Mangle(damage=damage, effect=effect):
                return _answered(call, self._mangled(asked, damage, effect=effect))

    def _effect(self, asked: Asked, *, wanted: bool) -> None:
        """Carry out what was asked without telling anybody; where it cannot be, nobody is told that either."""
        if wanted:
            with contextlib.suppress(Fault):
                self._carry_out(asked)

    def _mangled(self, asked: Asked, damage: Damage, *, effect: bool) -> Answer:
        match damage:
            case Damage.GARBAGE:
                self._effect(asked, wanted=effect)
                return Answer(200, GARBAGE)
            case Damage.TRUNCATED:
                whole = self._plain(asked) if effect else fault(500, "INTERNAL", "as the script says")
                return replace(whole, cut=True)
            case Damage.WRONG_AMOUNT:
                return self._retold(asked, lambda record: shown(replace(record, minor=record.minor + 1)))
            case Damage.UNLISTED_PHASE:
                return self._retold(asked, lambda record: {**shown(record), "phase": UNLISTED_PHASE})

    def _retold(self, asked: Asked, tell: Callable[[Record], Json]) -> Answer:
        try:
            record = self._carry_out(asked)
        except Fault as no:
            return as_fault(no)
        return as_json(200 if isinstance(asked, Lookup) else STATUS[record.phase], {"data": tell(record)})


def _asked(operation: Operation, request: Request) -> Asked:
    """Read what is asked; raises `Malformed`."""
    if operation is not Operation.LOOKUP:
        return read_order(operation, request.headers.get("x-request-key", ""), request.body)
    reference = request.query.get("merchantRef", "")
    if not reference:
        raise Malformed({"merchantRef": "must be given"})
    return Lookup(reference)


def _answered(call: Call, answer: Answer) -> Answer:
    call.status = answer.status
    return answer


def _shown_as(record: Record, asked: Asked) -> Answer:
    return as_json(200 if isinstance(asked, Lookup) else STATUS[record.phase], {"data": shown(record)})


def as_json(status: int, body: object) -> Answer:
    """Answer with a JSON body."""
    return Answer(status, json.dumps(body).encode())


def fault(status: int, code: str, text: str, fields: Mapping[str, str] | None = None) -> Answer:
    """Answer that the call was not taken, and why."""
    said: dict[str, object] = {"code": code, "text": text}
    if fields:
        said["fields"] = dict(fields)
    return as_json(status, {"fault": said})


def as_fault(no: Fault) -> Answer:
    """Answer that the call was not taken, as the books say it."""
    return fault(no.status, no.code, str(no))


def malformed_fault(malformed: Malformed) -> Answer:
    """Answer that the input cannot be read, field by field."""
    return fault(400, "MALFORMED", "the input cannot be read", malformed.faults)
