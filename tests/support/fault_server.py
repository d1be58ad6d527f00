"""An HTTP peer on a raw socket that misbehaves at a chosen moment, and remembers what it had read by then.

Knows bytes and connections alone; business faults are the simulator's. `FAULTS` maps a name to what is done to one
connection, so that a test can go through all of them.
"""

import asyncio
import contextlib
import socket
import struct
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from types import MappingProxyType

PATIENCE_SECONDS = 30.0  # far beyond any deadline of a test: silence ends with the server
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class FaultServer:
    """`connections` were accepted; `whole` requests were read to their end; `seen` has each connection's bytes."""

    def __init__(self, fault: "Fault") -> None:
        self.url = ""
        self.connections = 0
        self.whole = 0
        self.seen: list[bytes] = []
        self._fault = fault
        self._serving = set[asyncio.Task[None]]()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Misbehave towards one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self.connections += 1
        peer = Peer(self, reader, writer)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                await self._fault(peer)
        finally:
            self.seen.append(peer.got)
            self._serving.discard(task)
            writer.close()

    async def stop(self) -> None:
        """End all connections."""
        serving = tuple(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


class Peer:
    """One connection, seen from the server."""

    def __init__(self, server: FaultServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server, self.reader, self.writer, self.got = server, reader, writer, b""

    async def head(self) -> bytes:
        """Read a request's head."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.got += head
        return head

    async def request(self) -> None:
        """Read a whole request."""
        fields = [line.partition(b":") for line in (await self.head()).lower().split(b"\r\n")]
        length = sum(int(value) for name, _, value in fields if name == b"content-length")
        self.got += await self.reader.readexactly(length)
        self.server.whole += 1

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, status: bytes, *lines: bytes, body: bytes = b"") -> None:
        """Send an answer whose length is right."""
        head = [b"HTTP/1.1 " + status, *lines, b"Content-Length: %d" % len(body)]
        await self.send(b"\r\n".join(head) + b"\r\n\r\n" + body)

    def reset(self) -> None:
        """Break the connection with a RST."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Fault = Callable[[Peer], Awaitable[None]]


@contextlib.asynccontextmanager
async def fault_server(fault: str | Fault) -> AsyncGenerator[FaultServer]:
    """Run a server that has one fault, by name or as a function, as long as the block lasts."""
    made = FaultServer(FAULTS[fault] if isinstance(fault, str) else fault)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        await made.stop()


def answering(status: bytes, *lines: bytes, body: bytes = b"") -> Fault:
    """Answer every request of a connection so."""

    async def answer(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.answer(status, *lines, body=body)

    return answer


async def _close_on_accept(_: Peer) -> None:
    return


async def _reset_on_accept(peer: Peer) -> None:
    peer.reset()


async def _reset_after_head(peer: Peer) -> None:
    await peer.head()
    peer.reset()


async def _close_after_request(peer: Peer) -> None:
    await peer.request()


async def _reset_after_request(peer: Peer) -> None:
    await peer.request()
    peer.reset()


async def _silent(peer: Peer) -> None:
    await peer.request()
    await asyncio.sleep(PATIENCE_SECONDS)


async def _close_after_status_line(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\n")


async def _silent_after_head(peer: Peer) -> None:
    await peer.request()
    await peer.send(OK[:-2])
    await asyncio.sleep(PATIENCE_SECONDS)


async def _short_body(peer: Peer) -> None:
    await peer.request()
    await peer.send(OK[:-1])


async def _cut_chunks(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{")


async def _reset_inside_answer(peer: Peer) -> None:
    await peer.request()
    await peer.send(OK[:-1])
    await asyncio.sleep(0.05)
    peer.reset()


async def _no_length_closes_early(peer: Peer) -> None:
    await peer.request()
    await peer.send(b'HTTP/1.1 200 OK\r\n\r\n{"data":{"kind":"authori')


async def _garbage(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"\x16\x03\x01 not http at all\r\n\r\n")


async def _wrong_gzip(peer: Peer) -> None:
    await peer.request()
    await peer.answer(b"200 OK", b"Content-Encoding: gzip", body=b"nope")


async def _cut_gzip(peer: Peer) -> None:
    await peer.request()
    packer = zlib.compressobj(wbits=31)  # 31: with gzip's frame
    data = packer.compress(b'{"data":{"phase":"COLLECTED"}}') + packer.flush()
    await peer.answer(b"200 OK", b"Content-Encoding: gzip", body=data[:-12])


async def _dripping(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(1000):
        await peer.send(b" ")
        await asyncio.sleep(0.05)


async def _dripping_head(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    for _ in range(1000):
        await peer.send(b"x")
        await asyncio.sleep(0.05)


async def _endless(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        await peer.send(b" " * 65536)


async def _early_500(peer: Peer) -> None:
    await peer.head()
    await peer.send(b"HTTP/1.1 500 Sorry\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


async def _closes_at_the_second(peer: Peer) -> None:
    await peer.request()
    await peer.send(OK)
    await peer.reader.readexactly(1)  # a kept connection that ends just as we send


async def _resets_at_the_second(peer: Peer) -> None:
    await _closes_at_the_second(peer)
    peer.reset()


async def _closes_when_idle(peer: Peer) -> None:
    await peer.request()
    await peer.send(OK)
    await asyncio.sleep(0.05)


# Whatever of these is met once a request's headers began to leave, the request may have been acted upon.
AFTER_SENDING: Mapping[str, Fault] = MappingProxyType({
    "closes on accept": _close_on_accept,  # looks as if it came after sending
    "resets on accept": _reset_on_accept,
    "resets after the head": _reset_after_head,
    "closes after the request": _close_after_request,
    "resets after the request": _reset_after_request,
    "is silent": _silent,
    "closes after the status line": _close_after_status_line,
    "is silent after the answer's head": _silent_after_head,
    "sends less than it announced": _short_body,
    "cuts the chunks": _cut_chunks,
    "resets inside the answer": _reset_inside_answer,
    "announces no length and closes early": _no_length_closes_early,
    "speaks no HTTP": _garbage,
    "answers what is not gzip as gzip": _wrong_gzip,
    "cuts gzip": _cut_gzip,
    "answers bad UTF-8": answering(b"200 OK", body=b'"\xff\xfe"'),
    "answers HTML with 200": answering(b"200 OK", b"Content-Type: text/html", body=b"<html>"),
    "answers an empty object": answering(b"200 OK", body=b"{}"),
    "redirects": answering(b"307 Moved", b"Location: /again"),
    "drips": _dripping,
    "drips its head": _dripping_head,
    "never ends": _endless,
    "answers 500": answering(b"500 Sorry"),
    "answers 500 before it has read": _early_500,
    "answers 504": answering(b"504 Gateway Timeout"),
    "answers 409": answering(b"409 Conflict", body=b'{"fault":{"code":"IN_PROGRESS"}}'),
    "answers 408": answering(b"408 Request Timeout"),
    "answers 423": answering(b"423 Locked"),
    "answers 425": answering(b"425 Too Early"),
    "answers 404 in nobody's words": answering(b"404 Not Found", body=b"<html>"),
    "answers 400 in nobody's words": answering(b"400 Bad Request"),
    "answers 204": answering(b"204 No Content"),
})  # fmt: skip

FAULTS: Mapping[str, Fault] = MappingProxyType({
    **AFTER_SENDING,
    "answers": answering(b"200 OK", body=b"{}"),
    "throttles": answering(b"429 Slow", b"Retry-After: 0.4"),
    "is unavailable": answering(b"503 Busy"),
    "refuses our credentials": answering(b"401 Unauthorized"),
    "forbids": answering(b"403 Forbidden"),
    "closes at the second request": _closes_at_the_second,
    "resets at the second request": _resets_at_the_second,
    "closes when idle": _closes_when_idle,
})  # fmt: skip
