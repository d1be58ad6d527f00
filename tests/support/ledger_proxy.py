"""A TCP proxy in front of Postgres that loses a question, or the answer to one, by cutting its connection.

It knows nothing of the protocol but that a client asks and the server answers; a question is known by words in it.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

CHUNK_BYTES = 65_536


@dataclass
class Proxy:
    """Connections from `port` to a server. `lost` counts what has been lost so far."""

    host: str
    server_port: int
    port: int = 0
    lost: int = 0
    _question: bytes | None = None
    _answered: bytes | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    _server: asyncio.Server | None = None

    def lose_question(self, about: str) -> None:
        """Lose the next question that has these words: the server never hears of it."""
        self._question = about.encode()

    def lose_answer(self, about: str) -> None:
        """Lose the answer to the next question with these words: the server has done it, and nobody hears of that."""
        self._answered = about.encode()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Cut everything, and take no new connection."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        there, back = await asyncio.open_connection(self.host, self.server_port)
        deaf = asyncio.Event()  # the next answer on this connection is lost
        pumps = [
            asyncio.create_task(self._ask(reader, back, deaf)),
            asyncio.create_task(self._answer(there, writer, deaf)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass  # `close` waits for us
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for side in (writer, back):
                side.close()
                with contextlib.suppress(OSError):
                    await side.wait_closed()

    async def _ask(self, client: asyncio.StreamReader, server: asyncio.StreamWriter, deaf: asyncio.Event) -> None:
        while data := await client.read(CHUNK_BYTES):
            if self._question is not None and self._question in data:
                self._question = None
                self.lost += 1
                return
            if self._answered is not None and self._answered in data:
                self._answered = None
                deaf.set()
            server.write(data)
            await server.drain()

    async def _answer(self, server: asyncio.StreamReader, client: asyncio.StreamWriter, deaf: asyncio.Event) -> None:
        while data := await server.read(CHUNK_BYTES):
            if deaf.is_set():
                self.lost += 1
                return
            client.write(data)
            await client.drain()


@asynccontextmanager
async def proxied(host: str, port: int) -> AsyncGenerator[Proxy]:
    """Run a proxy to a server."""
    proxy = Proxy(host, port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
