"""The control API, under /control: for testers, not for callers of Northbank. docs/simulator.md is its reference.

Reads what a tester wants and hands it to the books, the script, the clock or the webhooks; decides nothing.
"""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from simulator.books import Total
from simulator.disputes import EVIDENCE_SECONDS, REASON, TAKES
from simulator.faults import Fault
from simulator.fields import Fields, Json, Malformed, read
from simulator.northbank import Call, Northbank, as_fault, as_json, fault, malformed_fault
from simulator.orders import MINOR_MIN
from simulator.records import Kind, Phase, Record, rfc3339
from simulator.script import WAIT_SECONDS_MAX, Rule
from simulator.webhooks import Event, is_deliverable
from simulator.wire import Answer, Reply, Request

EVENTS = "/control/webhooks/"
CHALLENGES = "/control/challenges/"
DISPUTES = "/control/disputes/"
MINOR_MAX = 10**15  # as much as an order can say
REPEATS_MAX = 1_000  # deliveries of one event at one request: they are made one after the other


class Control:
    """The control API of one Northbank."""

    def __init__(self, bank: Northbank) -> None:
        self._bank = bank

    def answer(self, request: Request) -> Reply | Awaitable[Reply]:
        """Answer one request under /control."""
        plain = PLAIN.get((request.method, request.path))
        waiting = WAITING.get((request.method, request.path))
        try:
            if plain is not None:
                return plain(self, read(request.body))
            if waiting is not None:
                return waiting(self, read(request.body))
            if request.method == "POST":
                return self._about_one(request.path, read(request.body))
        except Malformed as malformed:
            return malformed_fault(malformed)
        except Fault as no:
            return as_fault(no)
        return fault(404, "NO_SUCH_CONTROL", "the control API has no such call")

    def _about_one(self, path: str, fields: Fields) -> Reply | Awaitable[Reply]:
        if path.startswith(EVENTS):
            event_id, _, verb = path.removeprefix(EVENTS).partition("/")
            return self._event(event_id, verb, fields)
        if path.startswith(CHALLENGES):
            return self._end_challenge(path.removeprefix(CHALLENGES), fields)
        if path.startswith(DISPUTES):
            return self._move_dispute(path.removeprefix(DISPUTES), fields)
        return fault(404, "NO_SUCH_CONTROL", "the control API has no such call")

    # Script, calls, books

    def add_rule(self, fields: Fields) -> Answer:
        return as_json(201, {"id": self._bank.script.add(fields).id})

    def list_rules(self, _: Fields) -> Answer:
        return as_json(200, [_rule(rule) for rule in self._bank.script.rules()])

    def clear_rules(self, _: Fields) -> Answer:
        self._bank.script.clear()
        return as_json(200, {})

    def list_calls(self, _: Fields) -> Answer:
        return as_json(200, [_call(call) for call in self._bank.calls])

    def show_books(self, _: Fields) -> Answer:
        books = self._bank.books
        books.land_due()
        return as_json(
            200,
            {
                "effects": [
                    _effect(record) | ({"openMinor": books.open_minor(record)} if _is_authorisation(record) else {})
                    for record in books.effects()
                ],
                "disputes": [_movement(each) for each in books.disputes.movements()],
                "totals": {unit: _total(total) for unit, total in books.totals().items()},
                "doubles": list(books.doubles()),
            },
        )

    # What payers, banks and beneficiaries do

    def _end_challenge(self, reference: str, fields: Fields) -> Answer:
        passed = fields.choice("outcome", ("pass", "fail")) == "pass"
        fields.close()
        books = self._bank.books
        books.land_due()
        return as_json(200, _effect(books.end_challenge(books.known(reference), passed=passed)))

    def take_back(self, fields: Fields) -> Answer:
        """Let what has succeeded fail after all, or a transfer that has arrived come back."""
        reference, reason = fields.text("merchantRef"), fields.text("reason", default="")
        fields.close()
        self._bank.books.land_due()
        return as_json(200, _effect(self._bank.books.fail(reference, reason)))

    def open_dispute(self, fields: Fields) -> Answer:
        reference, reason = fields.text("merchantRef"), fields.text("reason", default=REASON)
        minor = fields.whole("amountMinor", least=MINOR_MIN, most=MINOR_MAX) if fields.has("amountMinor") else None
        evidence_seconds = fields.number("evidenceSeconds", default=EVIDENCE_SECONDS)
        fields.close()
        self._bank.books.land_due()
        return as_json(201, _movement(self._bank.books.open_dispute(reference, minor, reason, evidence_seconds)))

    def _move_dispute(self, dispute_id: str, fields: Fields) -> Answer:
        phase = Phase(fields.choice("phase", tuple(TAKES)))
        fields.close()
        self._bank.books.land_due()
        return as_json(200, _movement(self._bank.books.disputes.move(dispute_id, phase)))

    # Settings and clock

    def show_settings(self, _: Fields) -> Answer:
        delivery = self._bank.webhooks.delivery
        webhooks = {"url": delivery.url, "enabled": delivery.enabled, "delaySeconds": delivery.delay_seconds}
        return as_json(200, {"deduplicate": self._bank.books.deduplicate, "webhooks": webhooks})

    def change_settings(self, fields: Fields) -> Answer:
        """Change what is named; the rest stays as it is."""
        delivery = self._bank.webhooks.delivery
        deduplicate = fields.flag("deduplicate", default=self._bank.books.deduplicate)
        url, enabled, delay_seconds = delivery.url, delivery.enabled, delivery.delay_seconds
        if fields.has("webhooks"):
            wanted = fields.inner("webhooks")
            url = wanted.text("url", default=url)
            enabled = wanted.flag("enabled", default=enabled)
            delay_seconds = wanted.number("delaySeconds", default=delay_seconds, most=WAIT_SECONDS_MAX)
            if url and not is_deliverable(url):
                wanted.wrong("url", "must be an http:// address", instead=None)
        fields.close()
        self._bank.books.deduplicate = deduplicate
        delivery.url, delivery.enabled, delivery.delay_seconds = url, enabled, delay_seconds
        return self.show_settings(fields)

    def move_clock(self, fields: Fields) -> Answer:
        seconds = fields.number("advanceSeconds")
        fields.close()
        self._bank.clock.ahead_seconds += seconds
        self._bank.books.land_due()
        return as_json(200, {"now": rfc3339(self._bank.clock()), "aheadSeconds": self._bank.clock.ahead_seconds})

    async def reset(self, _: Fields) -> Reply:
        await self._bank.reset()
        return as_json(200, {})

    # Webhooks

    def list_events(self, _: Fields) -> Answer:
        self._bank.books.land_due()
        return as_json(200, [_event(event) for event in self._bank.webhooks.events()])

    async def send_in_order(self, fields: Fields) -> Reply:
        """Send events one after the other, each once; none where one of them is not known."""
        try:
            ids = fields.texts("ids")
            fields.close()
        except Malformed as malformed:
            return malformed_fault(malformed)
        events = [event for each in ids if (event := self._bank.webhooks.event(each))]
        if len(events) < len(ids):
            return fault(404, "NO_SUCH_EVENT", "one of the events is not known")
        for event in events:
            await self._bank.webhooks.send(event)
        return as_json(200, [_event(event) for event in events])

    def _event(self, event_id: str, verb: str, fields: Fields) -> Reply | Awaitable[Reply]:
        event = self._bank.webhooks.event(event_id)
        if event is None:
            return fault(404, "NO_SUCH_EVENT", "the event is not known")
        times = fields.whole("times", least=1, most=REPEATS_MAX, default=1) if verb == "repeat" else 1
        fields.close()
        match verb:
            case "send" | "repeat":
                return self._send(event, times)
            case "drop":
                self._bank.webhooks.drop(event)
                return as_json(200, _event(event))
            case _:
                return fault(404, "NO_SUCH_CONTROL", "an event can be sent, repeated or dropped")

    async def _send(self, event: Event, times: int) -> Reply:
        for _ in range(times):
            await self._bank.webhooks.send(event)
        return as_json(200, _event(event))


PLAIN: Mapping[tuple[str, str], Callable[[Control, Fields], Answer]] = MappingProxyType(
    {
        ("POST", "/control/script"): Control.add_rule,
        ("GET", "/control/script"): Control.list_rules,
        ("DELETE", "/control/script"): Control.clear_rules,
        ("GET", "/control/calls"): Control.list_calls,
        ("GET", "/control/books"): Control.show_books,
        ("GET", "/control/settings"): Control.show_settings,
        ("POST", "/control/settings"): Control.change_settings,
        ("POST", "/control/clock"): Control.move_clock,
        ("POST", "/control/failures"): Control.take_back,
        ("POST", "/control/disputes"): Control.open_dispute,
        ("GET", "/control/webhooks"): Control.list_events,
    }
)
WAITING: Mapping[tuple[str, str], Callable[[Control, Fields], Awaitable[Reply]]] = MappingProxyType(
    {
        ("POST", "/control/reset"): Control.reset,
        ("POST", "/control/webhooks/order"): Control.send_in_order,
    }
)


def _rule(rule: Rule) -> Json:
    return {
        "id": rule.id,
        "operation": rule.operation,
        "merchantRef": rule.merchant_ref,
        "token": rule.token,
        "nth": rule.nth,
        "times": rule.times,
        "behaviour": dict(rule.given),
        "matched": rule.matched,
        "used": rule.used,
    }


def _call(call: Call) -> Json:
    return {
        "at": rfc3339(call.at),
        "operation": call.operation,
        "merchantRef": call.merchant_ref or None,
        "status": call.status,
        "behaviour": call.behaviour,
    }


def _is_authorisation(record: Record) -> bool:
    return record.kind is Kind.AUTHORISATION


def _effect(record: Record) -> dict[str, object]:
    return {
        "reference": record.merchant_ref,
        "kind": record.kind,
        "amountMinor": record.minor,
        "currency": record.unit or None,
        "state": record.phase,
        "authorisation": record.authorisation_ref or None,
        "id": record.id,
        "at": rfc3339(record.at),
    }


def _movement(record: Record) -> Json:
    return {
        "dispute": record.id,
        "movement": record.movement,
        "reference": record.merchant_ref,
        "state": record.phase,
        "amountMinor": record.minor,
        "takenMinor": TAKES[record.phase] * record.minor,
        "currency": record.unit,
        "cause": record.denial,
        "evidenceBy": rfc3339(record.evidence_by),
        "at": rfc3339(record.at),
    }


def _total(total: Total) -> Json:
    return {
        "authorised_open": total.authorised_open,
        "collected": total.collected,
        "paid_back": total.paid_back,
        "transferred": total.transferred,
        "withdrawn": total.withdrawn,
        "given_back": total.given_back,
    }


def _event(event: Event) -> Json:
    return {
        "eventId": event.id,
        "type": event.type,
        "at": rfc3339(event.record.at),
        "merchantRef": event.record.merchant_ref,
        "state": event.state,
        "tries": event.tries,
        "lastStatus": event.last_status or None,
    }
