"""The process: `python -m simulator --port 8090 --secret S [--webhook-url U] [--parent-pipe FD]`.

Puts the parts together, says on standard output where it listens, and ends at once on SIGTERM or SIGINT.
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Awaitable

from simulator.control import Control
from simulator.northbank import Northbank, as_json
from simulator.webhooks import is_deliverable
from simulator.wire import Reply, Request, Server

BEAT_SECONDS = 0.02  # late effects and arrivals happen on time even if nobody asks; no test needs it finer
PORT_TAKEN = 3  # the exit code


class Simulator:
    """All that one process serves."""

    def __init__(self, bank: Northbank) -> None:
        self._bank = bank
        self._control = Control(bank)

    def answer(self, request: Request) -> Reply | Awaitable[Reply]:
        """Hand a request to whom it concerns."""
        if request.path.startswith("/control/"):
            return self._control.answer(request)
        if request.path == "/healthz":
            return as_json(200, {"up": True})
        return self._bank.answer(request)


async def serve(options: argparse.Namespace) -> int:
    """Serve until a signal comes, or until the parent's pipe closes; return the exit code."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if options.parent_pipe is not None:
        _watch(options.parent_pipe, stopped)
    bank = Northbank(options.secret, options.webhook_url or "")
    server = Server(Simulator(bank).answer)
    try:
        port = await server.listen(options.port)
    except OSError as why:
        sys.stderr.write(f"the simulator cannot listen on port {options.port}: {why.strerror}\n")
        return PORT_TAKEN
    sys.stdout.write(f"listening on http://127.0.0.1:{port}\n")
    sys.stdout.flush()
    beat = asyncio.create_task(_keep_time(bank))
    await stopped.wait()
    beat.cancel()
    await asyncio.gather(server.close(), bank.webhooks.close(), beat, return_exceptions=True)
    return 0


async def _keep_time(bank: Northbank) -> None:
    while True:
        bank.books.land_due()
        await asyncio.sleep(BEAT_SECONDS)


def _watch(pipe: int, stopped: asyncio.Event) -> None:
    """End when nobody holds the other end of the pipe any more, however its holder ended."""

    def look() -> None:
        if not os.read(pipe, 512):
            asyncio.get_running_loop().remove_reader(pipe)
            stopped.set()

    asyncio.get_running_loop().add_reader(pipe, look)


def _webhook_url(text: str) -> str:
    if not is_deliverable(text):
        raise argparse.ArgumentTypeError("must be an http:// address")
    return text


def main(arguments: list[str]) -> int:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(
        prog="python -m simulator", description="A provider that can be told to misbehave."
    )
    parser.add_argument("--port", type=int, required=True, help="on 127.0.0.1; 0 takes any free one")
    parser.add_argument("--secret", required=True, help="bearer token of callers, and key of webhook signatures")
    parser.add_argument("--webhook-url", type=_webhook_url, help="where events are sent; none: they are held")
    parser.add_argument("--parent-pipe", type=int, metavar="FD", help="end when this descriptor reaches its end")
    return asyncio.run(serve(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
