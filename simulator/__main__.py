"""The process: `python -m simulator --port 8090 --secret S [--webhook-url U] [--webhook-url-b U] [--parent-pipe FD]`.

Puts the parts together, says on standard output where it listens, and ends at once on SIGTERM or SIGINT.
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Sequence
from dataclasses import replace

from simulator.challenges import PATH as CHALLENGES
from simulator.challenges import Challenges
from simulator.control import Control
from simulator.northbank import Northbank, as_json
from simulator.webhooks import is_deliverable
from simulator.wire import HangUp, Reply, Request, Server

BEAT_SECONDS = 0.02  # late effects and arrivals happen on time even if nobody asks; no test needs it finer
SECOND = "/b"  # where the second account is
PORT_TAKEN = 3  # the exit code


class Account:
    """One Northbank and all that is served of it."""

    def __init__(self, bank: Northbank) -> None:
        self.bank = bank
        self._control = Control(bank)
        self._challenges = Challenges(bank)

    def answer(self, request: Request) -> Reply | Awaitable[Reply]:
        """Hand a request to whom it concerns."""
        if request.path.startswith("/control/"):
            return self._control.answer(request)
        if request.path.startswith(CHALLENGES):
            return self._challenges.answer(request)
        return self.bank.answer(request)


class Simulator:
    """The two accounts that one process serves; they share nothing but the port and the secret."""

    def __init__(self, first: Northbank, second: Northbank) -> None:
        self._first, self._second = Account(first), Account(second)

    def answer(self, request: Request) -> Reply | Awaitable[Reply]:
        """Hand a request to its account."""
        if request.path == "/healthz":
            return as_json(200, {"up": True})
        if request.path.startswith(f"{SECOND}/"):
            return self._second.answer(replace(request, path=request.path.removeprefix(SECOND)))
        return self._first.answer(request)


async def serve(options: argparse.Namespace) -> int:
    """Serve until a signal comes, or until the parent's pipe closes; return the exit code."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if options.parent_pipe is not None:
        _watch(options.parent_pipe, stopped)
    server = Server(_nobody)
    try:
        port = await server.listen(options.port)
    except OSError as why:
        sys.stderr.write(f"the simulator cannot listen on port {options.port}: {why.strerror}\n")
        return PORT_TAKEN
    address = f"http://127.0.0.1:{port}"
    banks = (
        Northbank(options.secret, options.webhook_url or "", address=address),
        Northbank(options.secret, options.webhook_url_b or "", address=address + SECOND),
    )
    server.handler = Simulator(*banks).answer
    sys.stdout.write(f"listening on {address}\n")
    sys.stdout.flush()
    beat = asyncio.create_task(_keep_time(banks))
    await stopped.wait()
    beat.cancel()
    await asyncio.gather(server.close(), *(bank.webhooks.close() for bank in banks), beat, return_exceptions=True)
    return 0


def _nobody(_: Request) -> Reply:
    """Until the port is known, on which payers are to be sent to their pages."""
    return HangUp()


async def _keep_time(banks: Sequence[Northbank]) -> None:
    while True:
        for bank in banks:
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
    parser.add_argument("--webhook-url-b", type=_webhook_url, help=f"the same for the second account, under {SECOND}")
    parser.add_argument("--parent-pipe", type=int, metavar="FD", help="end when this descriptor reaches its end")
    return asyncio.run(serve(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
