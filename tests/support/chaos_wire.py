"""A TCP link between two processes that can be cut, or made to swallow everything without a word.

Knows nothing of what is said over it.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

CHUNK_BYTES = 65_536


@dataclass
class Link:
    """Connections from `port` to a server, both on loopback. `carried` counts the bytes that have passed, both ways."""

    server_port: int
    port: int = 0
    carried: int = 0
    _is_cut: bool = False
    _open: asyncio.Event = field(default_factory=asyncio.Event)  # not set: what is sent waits in the kernel's buffers
    _tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    _server: asyncio.Server | None = None

    def cut(self) -> None:
        """End every connection at once, and let each new one be accepted and ended."""
        self._is_cut = True
        for task in list(self._tasks):
            task.cancel()

    def swallow(self) -> None:
        """Keep every connection, and pass nothing on: as a network that loses all packets does to those who wait."""
        self._open.clear()

    def mend(self) -> None:
        """Be as before. What was swallowed is passed on late; what was cut stays cut."""
        self._is_cut = False
        self._open.set()

    async def start(self) -> None:
        self._open.set()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        sides = [writer]
        # A side that has gone is this link's daily business; a cut cancels us.
        with contextlib.suppress(OSError, asyncio.CancelledError):
            if not self._is_cut:
                there, back = await asyncio.open_connection("127.0.0.1", self.server_port)
                sides.append(back)
                await self._carry(reader, back, there, writer)
        for side in sides:
            side.transport.abort()

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        back: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Pass bytes on both ways until either side ends."""
        pumps = [asyncio.create_task(self._pump(reader, back)), asyncio.create_task(self._pump(there, writer))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(CHUNK_BYTES):
            await self._open.wait()
            self.carried += len(data)
            sink.write(data)
            await sink.drain()


@asynccontextmanager
async def linked(port: int) -> AsyncGenerator[Link]:
    """Run a link to a server."""
    link = Link(port)
    await link.start()
    try:
        yield link
    finally:
        await link.close()
