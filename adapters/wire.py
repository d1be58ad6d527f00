"""One HTTP call to one provider, and the one thing that matters when it fails: can the request have reached them?

The gates, outside in: pause (Retry-After), breaker, places, pool, connect, write, read. Once the request's headers have
begun to leave, every failure is `Unknown`. A call is never cancelled inside httpx, which loses pool places for ever
when it is: each runs in a task of its own to its own deadline, behind a shield.

Knows HTTP and its failures; what an answer means is each provider's vocabulary. Nothing here repeats a call.
"""

import asyncio
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass

import httpx
import pybreaker

from adapters.breaker import REST_SECONDS, Breaker, Open
from adapters.profile import PLACE_SECONDS, Deadlines, Profile
from domain.errors import Conflict, Unavailable, Unknown
from domain.ids import Verb

NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)
UNTRUSTED = (401, 403)  # money rule 4: nothing was done, and a person must look
ANSWER_BYTES_MAX = 2 * 1024 * 1024  # no answer of a provider is larger
KEEP_ALIVE_SECONDS = 4.0  # below every server's own, so that it does not close as we send
POOL_SECONDS = 0.5  # places equal connections, so a wait here means that the pool has lost some
PAUSE_SECONDS = 1.0  # after "not now" without a Retry-After: long enough not to hammer, short enough for a payer
PAUSE_SECONDS_MAX = 600.0  # a Retry-After beyond ten minutes is an outage, and is tried earlier
REPAIR_SECONDS = 30.0  # a person who mends credentials needs minutes; asking more often only fills their log
HEADERS = {"Accept-Encoding": "identity"}  # a cut compressed answer looks whole; ours are too small to compress


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer, whole; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Untrusted(Unavailable):
    """They refuse our credentials, or we their certificate: no effect, and no repetition heals it. Pages the owner."""


class _Trace:
    """httpcore's own account: from the first header byte on, the request may have reached the provider."""

    def __init__(self) -> None:
        self.sent = False

    async def __call__(self, event: str, _: object) -> None:
        if event.endswith("send_request_headers.started"):
            self.sent = True


def judge(error: BaseException | None) -> bool | None:
    """For the breaker: an answer of any kind shows a living provider; being throttled or cancelled shows nothing."""
    if error is None or isinstance(error, Conflict):
        return True
    if isinstance(error, Unavailable):
        return None if error.after_seconds is not None else False
    return False if isinstance(error, Unknown) else None


class Wire:
    """The connections to one provider, of one process.

    Effects have places of their own, and undos and inquiries (`repair`) others, so that new payments cannot keep a
    doubt from being cleared up.
    """

    def __init__(
        self,
        profile: Profile,
        base_url: str,
        *,
        rest_seconds: float = REST_SECONDS,
        listeners: tuple[pybreaker.CircuitBreakerListener, ...] = (),
    ) -> None:
        self.profile = profile
        self.breaker = Breaker(profile.name, judge, rest_seconds=rest_seconds, listeners=listeners)
        self.pools = 1
        self._base_url = base_url
        self._client = self._new_client()
        self._places = {repair: asyncio.Semaphore(profile.at_once) for repair in (False, True)}
        self._paused_until = 0.0  # loop time
        self._running = set[asyncio.Task[Reply]]()
        self._retiring = set[asyncio.Task[None]]()

    def _new_client(self) -> httpx.AsyncClient:
        most = self.profile.connections
        limits = httpx.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=KEEP_ALIVE_SECONDS)
        transport = httpx.AsyncHTTPTransport(limits=limits, retries=0)
        return httpx.AsyncClient(
            transport=transport, base_url=self._base_url, headers=HEADERS, trust_env=False, follow_redirects=False
        )

    async def call(
        self,
        verb: Verb,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
        repair: bool = False,
    ) -> Reply:
        """Make one call; `verb` chooses its deadlines, `repair` the places of undos and inquiries.

        Raises `Unavailable` (nothing was sent, or a listed status promises no effect) or `Unknown` (it may have been
        acted upon). Any other status is returned: what it means is the provider's vocabulary.
        """
        now = asyncio.get_running_loop().time()
        if now < self._paused_until:
            raise Unavailable(f"{self.profile.name} asked to be left alone", after_seconds=self._paused_until - now)
        if left := self.breaker.left():
            raise Unavailable(f"the breaker of {self.profile.name} is open", after_seconds=left)
        places = self._places[repair]
        try:
            async with asyncio.timeout(PLACE_SECONDS):
                await places.acquire()
        except TimeoutError:
            raise Unavailable(f"all places at {self.profile.name} are taken", after_seconds=PLACE_SECONDS) from None
        task = asyncio.create_task(self._guarded(verb, method, path, headers, content))
        self._running.add(task)
        task.add_done_callback(lambda done: self._done(done, places))
        return await asyncio.shield(task)  # a cancelled caller leaves; the call goes on to its deadline

    def _done(self, task: asyncio.Task[Reply], places: asyncio.Semaphore) -> None:
        self._running.discard(task)
        places.release()
        if not task.cancelled():
            task.exception()  # seen, whether or not the caller has left

    async def _guarded(
        self, verb: Verb, method: str, path: str, headers: Mapping[str, str], content: bytes | None
    ) -> Reply:
        deadlines = self.profile.deadlines_of(verb)
        try:
            return await self.breaker.run(lambda: self._send(deadlines, method, path, headers, content))
        except Open as failure:
            raise Unavailable(f"the breaker of {self.profile.name} is open", after_seconds=failure.left) from None

    async def _send(
        self, deadlines: Deadlines, method: str, path: str, headers: Mapping[str, str], content: bytes | None
    ) -> Reply:
        trace = _Trace()
        timeout = httpx.Timeout(
            connect=deadlines.connect, write=deadlines.write, read=deadlines.total, pool=POOL_SECONDS
        )
        request = self._client.build_request(
            method, path, headers=dict(headers), content=content, timeout=timeout, extensions={"trace": trace}
        )
        try:
            async with asyncio.timeout(deadlines.call):  # the last resort: it cancels inside httpx
                reply = await self._read(request, deadlines.total)
        except httpx.PoolTimeout:
            self._replace_pool()
            raise Unavailable(f"the connection pool to {self.profile.name} had lost places; replaced") from None
        except NOT_SENT as failure:
            if trace.sent:
                raise Unknown(f"{type(failure).__name__} after sending") from failure
            if _is_untrusted(failure):
                raise Untrusted(
                    f"the certificate of {self.profile.name} is not trusted", after_seconds=REPAIR_SECONDS
                ) from failure
            raise Unavailable(f"{type(failure).__name__}: {failure}") from failure
        except (httpx.HTTPError, TimeoutError, OSError) as failure:
            raise Unknown(f"{type(failure).__name__}: {failure}") from failure
        return self._judged(reply)

    async def _read(self, request: httpx.Request, total: float) -> Reply:
        """Read the answer under one deadline for all of it: a dripping peer never trips httpx's own."""
        answer = await self._client.send(request, stream=True)
        try:
            end, body = time.monotonic() + total, bytearray()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > ANSWER_BYTES_MAX:
                    raise Unknown("the answer is too long")
                if time.monotonic() > end:
                    raise Unknown("the answer is too slow")
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return Reply(answer.status_code, headers, bytes(body))
        finally:
            await answer.aclose()

    def _judged(self, reply: Reply) -> Reply:
        """Judge what HTTP itself decides."""
        if reply.status in UNTRUSTED:
            raise Untrusted(
                f"{self.profile.name} refuses our credentials ({reply.status})", after_seconds=REPAIR_SECONDS
            )
        if reply.status in self.profile.statuses_without_effect:
            pause = retry_after(reply.headers.get("retry-after")) or PAUSE_SECONDS
            self._paused_until = max(self._paused_until, asyncio.get_running_loop().time() + pause)
            raise Unavailable(f"{self.profile.name} answered {reply.status}", after_seconds=pause)
        if reply.status >= 500 or 300 <= reply.status < 400:
            raise Unknown(f"{self.profile.name} answered {reply.status}")
        return reply

    def _replace_pool(self) -> None:
        """Open a new pool; the old one is closed when the last call that may run on it has reached its deadline."""
        old, self._client = self._client, self._new_client()
        self.pools += 1
        task = asyncio.create_task(_retire(old, max(self.profile.deadlines_of(verb).call for verb in Verb)))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def aclose(self) -> None:
        """Wait for the calls on the wire, each to its deadline, and close."""
        if ending := self._running | self._retiring:
            await asyncio.wait(ending)
        await self._client.aclose()


async def _retire(client: httpx.AsyncClient, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await client.aclose()


def _is_untrusted(failure: BaseException | None) -> bool:
    """Tell whether a certificate was refused anywhere in the chain of causes."""
    while failure is not None:
        if isinstance(failure, ssl.SSLCertVerificationError):
            return True
        failure = failure.__cause__ or failure.__context__
    return False


def retry_after(value: str | None) -> float | None:
    """Read Retry-After in seconds (RFC 9110, 10.2.3); a date or nonsense counts as absent."""
    try:
        return min(max(0.0, float(value)), PAUSE_SECONDS_MAX) if value is not None else None
    except ValueError:
        return None
