"""A small HTTP/1.1 server that can misbehave: close without an answer, or promise more of a body than it sends.

It reads requests with Content-Length bodies, keeps connections alive, and knows no routes. A client that hangs up does
not stop what its request has begun: as with any provider, the effect comes all the same.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote, urlsplit

HEAD_BYTES_MAX = 16 * 1024  # generous for a bearer token and a few headers
BODY_BYTES_MAX = 1024 * 1024  # orders are small; a script of thousands of rules is sent rule by rule
BACKLOG = 1024  # a burst of callers waits in the kernel and is not refused
CUT_SHARE = 2  # a cut answer sends the first half of its body
WITHOUT_BODY = frozenset({204, 304})  # RFC 9110, 6.4.1

_LOG = logging.getLogger("simulator.wire")


@dataclass(frozen=True, slots=True)
class Request:
    """What a client has asked, whole. Names of headers are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What it is answered. `cut`: the length is that of the whole body, but the connection closes halfway."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"
    cut: bool = False


@dataclass(frozen=True, slots=True)
class HangUp:
    """No answer: the connection is closed."""


Reply = Answer | HangUp
Handler = Callable[[Request], Reply | Awaitable[Reply]]


class _Unreadable(Exception):
    """No HTTP that we read: answered with `status` and closed, as nobody knows where the next request starts."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


class Server:
    """Listens on loopback and hands each request to the handler: at once, or as a task where the handler waits."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.connections: set[_Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    async def listen(self, port: int) -> int:
        """Listen on 127.0.0.1 and return the port; 0 asks for any free one. Raises `OSError` where it is taken."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: _Connection(self), "127.0.0.1", port, backlog=BACKLOG)
        return int(self._listener.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop at once: whoever waits for an answer gets none."""
        if self._listener is not None:
            self._listener.close()
        for task in list(self.tasks):
            task.cancel()
        for connection in list(self.connections):
            connection.abort()
        await asyncio.gather(*self.tasks, return_exceptions=True)


class _Connection(asyncio.Protocol):
    """One client. Requests are answered in turn; what it sends meanwhile waits in the buffer."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._buffer = bytearray()
        self._is_busy = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._serve()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _serve(self) -> None:
        while not self._is_busy and self._transport is not None and not self._transport.is_closing():
            try:
                request = _take(self._buffer)
            except _Unreadable as unreadable:
                self._reply(Answer(unreadable.status), keep=False)
                return
            if request is None:
                return
            keep = request.headers.get("connection", "").lower() != "close"
            try:
                reply = self._server.handler(request)
            except Exception:  # noqa: BLE001  one request must not end the server
                _LOG.exception("request.failed")
                reply = Answer(500)
            if isinstance(reply, Answer | HangUp):
                self._reply(reply, keep=keep)
            else:
                self._is_busy = True
                task = asyncio.ensure_future(self._reply_later(reply, keep=keep))
                self._server.tasks.add(task)
                task.add_done_callback(self._server.tasks.discard)

    async def _reply_later(self, awaited: Awaitable[Reply], *, keep: bool) -> None:
        try:
            reply = await awaited
        except Exception:  # noqa: BLE001  one request must not end the server
            _LOG.exception("request.failed")
            reply = Answer(500)
        self._is_busy = False
        self._reply(reply, keep=keep)
        self._serve()

    def _reply(self, reply: Reply, *, keep: bool) -> None:
        if self._transport is None:
            return  # the client has gone; what it asked for is done
        match reply:
            case HangUp():
                self._transport.close()
            case Answer():
                keep = keep and not reply.cut
                body = reply.body[: len(reply.body) // CUT_SHARE] if reply.cut else reply.body
                self._transport.write(_head(reply, keep=keep) + body)
                if not keep:
                    self._transport.close()


def _take(buffer: bytearray) -> Request | None:
    """Take one whole request off the buffer; None: more of it is to come. Raises `_Unreadable`."""
    end = buffer.find(b"\r\n\r\n")
    if end > HEAD_BYTES_MAX or (end < 0 and len(buffer) > HEAD_BYTES_MAX):
        raise _Unreadable(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    if end < 0:
        return None
    first, *lines = buffer[:end].decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = _length(headers)
    start = end + 4
    if len(buffer) < start + length:
        return None
    method, target, version = (*first.split(" "), "", "")[:3]
    if not target.startswith("/") or version != "HTTP/1.1":
        raise _Unreadable(HTTPStatus.BAD_REQUEST)
    address = urlsplit(target)
    body = bytes(buffer[start : start + length])
    del buffer[: start + length]
    return Request(method, unquote(address.path), dict(parse_qsl(address.query)), headers, body)


def _length(headers: Mapping[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise _Unreadable(HTTPStatus.LENGTH_REQUIRED)
    text = headers.get("content-length", "0")
    if not (text.isascii() and text.isdigit()):
        raise _Unreadable(HTTPStatus.BAD_REQUEST)
    length = int(text)
    if length > BODY_BYTES_MAX:
        raise _Unreadable(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return length


def _head(answer: Answer, *, keep: bool) -> bytes:
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = "Unlisted"
    lines = [f"HTTP/1.1 {answer.status} {phrase}"]
    if answer.status not in WITHOUT_BODY:
        lines += [f"Content-Type: {answer.content_type}", f"Content-Length: {len(answer.body)}"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    if not keep:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
