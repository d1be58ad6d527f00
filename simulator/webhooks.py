"""Webhooks: one event for each new phase of a record, signed, and sent until somebody takes it, or as a tester says.

Knows how to deliver; what an event means is the books' business. Delivery waits by the real clock, for it meets a real
receiver, whose tolerance of old signatures is measured by that clock too.
"""

import asyncio
import hashlib
import hmac
import itertools
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import SplitResult, urlsplit

from simulator.records import Record, rfc3339, shown

PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0)  # between five tries: a receiver that restarts is back within them
ANSWER_SECONDS = 5.0  # a receiver that is slower has not taken the event
AT_ONCE_MAX = 8  # deliveries: plenty for a receiver on the same machine
KEPT_MAX = 50_000  # events; a benchmark makes no more memory than that


class State(StrEnum):
    """What has become of an event."""

    HELD = "held"  # nobody sends it unless told to
    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"  # given up after the last try
    DROPPED = "dropped"


@dataclass(slots=True)
class Event:
    """One event and how its delivery goes; `last_status` is 0 as long as no try was answered."""

    id: str
    record: Record
    state: State
    tries: int = 0
    last_status: int = 0

    @property
    def type(self) -> str:
        return f"{self.record.kind}.{self.record.phase.lower()}"

    def body(self) -> bytes:
        """The JSON that is sent, the same at each try."""
        at = rfc3339(self.record.at)
        event = {"eventId": self.id, "type": self.type, "at": at, "data": shown(self.record)}
        return json.dumps(event).encode()


@dataclass(slots=True)
class Delivery:
    """How events are sent as long as nobody says otherwise."""

    url: str = ""
    enabled: bool = True
    delay_seconds: float = 0.0


class Webhooks:
    """All events of one process, the newest `KEPT_MAX` of them."""

    def __init__(self, secret: str, url: str) -> None:
        self._secret = secret.encode()
        self._first_url = url
        self._places = asyncio.Semaphore(AT_ONCE_MAX)
        self._numbers = itertools.count(1)
        self._tag = secrets.token_hex(4)  # an inbox outlives this process and tells events apart by id
        self._events: dict[str, Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.delivery = Delivery(url)

    def announce(self, record: Record) -> None:
        """Make an event of a record's new phase, and send it if that is wanted."""
        sends = self.delivery.enabled and bool(self.delivery.url)
        event = Event(f"ev_{self._tag}{next(self._numbers):06}", record, State.WAITING if sends else State.HELD)
        self._events[event.id] = event
        if len(self._events) > KEPT_MAX:
            del self._events[next(iter(self._events))]
        if sends:
            task = asyncio.ensure_future(self._deliver(event, self.delivery.delay_seconds))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def events(self) -> Sequence[Event]:
        """The events, the oldest first."""
        return tuple(self._events.values())

    def event(self, event_id: str) -> Event | None:
        """Find one event."""
        return self._events.get(event_id)

    async def send(self, event: Event) -> None:
        """Send it once, now, whatever has become of it before."""
        if await self._try(event):
            event.state = State.DELIVERED

    def drop(self, event: Event) -> None:
        """See to it that it is not sent any more."""
        event.state = State.DROPPED

    async def reset(self) -> None:
        """Forget all events and deliver as at the start."""
        await self.close()
        self._events.clear()
        self.delivery = Delivery(self._first_url)

    async def close(self) -> None:
        """Give up whatever is being delivered."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _deliver(self, event: Event, delay_seconds: float) -> None:
        for pause in (delay_seconds, *PAUSES_SECONDS):
            await asyncio.sleep(pause)
            async with self._places:
                if event.state is not State.WAITING:
                    return  # a tester was quicker
                if await self._try(event):
                    event.state = State.DELIVERED
                    return
        if event.state is State.WAITING:
            event.state = State.FAILED

    async def _try(self, event: Event) -> bool:
        event.tries += 1
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                event.last_status = await _post(self.delivery.url, event.body(), self._secret)
        except (OSError, TimeoutError, EOFError, ValueError):
            return False
        return 200 <= event.last_status < 300


def signature(secret: bytes, body: bytes, at: int) -> str:
    """Sign a body for the header X-Northbank-Signature; `at` is in seconds since 1970."""
    digest = hmac.new(secret, f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


async def _post(url: str, body: bytes, secret: bytes) -> int:
    """Send one event over a connection of its own and return the answer's status; the rest of it is not read."""
    address: SplitResult = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port or 80)
    try:
        head = (
            f"POST {address.path or '/'} HTTP/1.1\r\n"
            f"Host: {address.netloc}\r\n"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n"
            f"X-Northbank-Signature: {signature(secret, body, int(time.time()))}\r\n"
            "Connection: close\r\n\r\n"
        )
        writer.write(head.encode("latin-1") + body)
        await writer.drain()
        line = await reader.readuntil(b"\r\n")
        return int(line.split(b" ")[1])
    finally:
        writer.close()


def is_deliverable(url: str) -> bool:
    """Tell whether events can be sent there: plain HTTP, for the receiver is on the same machine or network."""
    try:
        address = urlsplit(url)
        return address.scheme == "http" and bool(address.hostname) and address.port != 0
    except ValueError:
        return False
