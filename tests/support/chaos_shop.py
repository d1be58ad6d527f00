"""Shops that buy, refund and pay out while the world falls apart, and that remember every answer they were given.

They use nothing but the public API, as an initiator does that keeps to docs/api.md: one key for each thing wanted, and
the same key again until there is an answer. What must hold of the answers is judged elsewhere.
"""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from tests.support.live import TERMINAL, Json, Live

ANSWERED_SECONDS = 180.0  # for an answer under one key: several faults in a row, and a claim's lease of 15 s in between
ENDED_SECONDS = 240.0  # for an operation to end: longer than any doubt lasts once the faults have stopped
AGAIN_SECONDS = 0.3
LOOK_SECONDS = 0.4
LANES = 8  # journeys at once: what two processors carry beside a stack that is being killed

REFUND_ENDED = frozenset({"succeeded", "failed", "rejected", "not_started"})
PAYOUT_ENDED = frozenset({"paid", "failed", "denied", "canceled", "not_started", "returned"})


class Unanswered(AssertionError):
    """A wish was not answered, or an operation did not end, in the time that any fault here may take."""


class Unforeseen(AssertionError):
    """The API answered what its contract does not foresee for a well-formed wish."""


@dataclass(frozen=True)
class Said:
    """The first success that a wish was answered with, and when (`time.monotonic`)."""

    status: int
    body: bytes
    made: Json
    at: float


@dataclass
class Wish:
    """One thing wanted, under one key."""

    path: str
    body: Json
    key: str
    asked_at: float
    said: Said | None = None


@dataclass
class Shop:
    """Everything that was ever wished for, and how it ended."""

    live: Live
    wishes: list[Wish] = field(default_factory=list[Wish])
    answers: Counter[str] = field(default_factory=Counter[str])  # by status, or by how the connection ended
    ends: Counter[str] = field(default_factory=Counter[str])  # such as "payment captured"
    complaints: list[str] = field(default_factory=list[str])
    _aside: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    # Wishes

    async def want(self, path: str, body: Json, *, wait: int | None = None) -> Json:
        """Ask under one key until there is an answer. Raises `Unanswered` and `Unforeseen`.

        `wait` is how many seconds the API may take for it, if not its usual five.
        """
        wish = Wish(path, body, self.live.key(), time.monotonic())
        self.wishes.append(wish)
        while wish.said is None:
            if time.monotonic() - wish.asked_at > ANSWERED_SECONDS:
                raise Unanswered(f"POST {path} under {wish.key}: not answered in {ANSWERED_SECONDS:.0f} s")
            await self._ask(wish, wait)
        return wish.said.made

    async def _ask(self, wish: Wish, wait: int | None) -> None:
        try:
            answer = await self.live.ask(wish.path, wish.body, key=wish.key, wait=wait)
        except httpx.TransportError as lost:
            self.answers[type(lost).__name__] += 1
            await asyncio.sleep(AGAIN_SECONDS)
            return
        if answer.is_success:
            self.answers[str(answer.status_code)] += 1
            wish.said = Said(answer.status_code, answer.content, answer.json(), time.monotonic())
            return
        problem: Json = answer.json()
        self.answers[f"{answer.status_code} {problem['code']}"] += 1
        if not problem["retryable"]:
            raise Unforeseen(f"POST {wish.path} under {wish.key}: {answer.text}")
        if problem["code"] == "internal_error":  # repeating is right, but that it was said is a mistake of ours
            self.complaints.append(f"POST {wish.path} under {wish.key}: {answer.text}")
        await asyncio.sleep(AGAIN_SECONDS)

    async def pay(self, amount: int, *, token: str = "tok_visa", capture: str = "manual") -> Json:
        """Make a payment."""
        body = {"amount": amount, "currency": "EUR", "merchant": "m_bakery", "instrument": token, "capture": capture}
        return await self.want("/v1/payments", body)

    async def ended(self, path: str, states: frozenset[str] | set[str]) -> str:
        """Wait until it is in one of the states, or a person is asked for; gives the state, or "attention"."""
        until = time.monotonic() + ENDED_SECONDS
        while (read := await self.live.get(path))["status"] not in states:
            if read.get("attention"):
                return "attention"
            if time.monotonic() > until:
                raise Unanswered(f"GET {path}: after {ENDED_SECONDS:.0f} s still {read}")
            await asyncio.sleep(LOOK_SECONDS)
        return str(read["status"])

    # Journeys. Each makes one payment, and takes it to its end.

    async def journey(self) -> None:
        """Take the next journey of the mix to its end; what goes wrong on it becomes a complaint."""
        number = next(self._numbers)
        try:
            await MIX[number % len(MIX)](self, 1_000 + number % 7_000)
        except (AssertionError, httpx.HTTPError) as wrong:
            self.complaints.append(f"journey {number}: {type(wrong).__name__}: {wrong}")

    async def in_parts(self, amount: int) -> None:
        """Authorized, captured in two equal parts, the rest voided, a part refunded."""
        path = await self._authorized(amount)
        if path is None:
            return
        for _ in range(2):
            await self.want(f"{path}/captures", {"amount": amount * 2 // 5, "currency": "EUR"})
        await self.want(f"{path}/void", {})
        if await self._payment_ended(path) == "captured":
            await self._refunded(path, amount // 5)

    async def at_the_till(self, amount: int) -> None:
        """Captured at once, given back whole."""
        path = await self._at_once(amount)
        if await self._payment_ended(path) == "captured":
            await self._refunded(path, amount)

    async def given_up(self, amount: int) -> None:
        """Authorized, and voided."""
        path = await self._authorized(amount)
        if path is not None:
            await self.want(f"{path}/void", {})
            await self._payment_ended(path)

    async def refunded_twice_at_once(self, amount: int) -> None:
        """Captured whole, then refunded by two clerks at the same time."""
        path = await self._authorized(amount)
        if path is None:
            return
        await self.want(f"{path}/captures", {"amount": amount, "currency": "EUR"})
        if await self._payment_ended(path) == "captured":
            await asyncio.gather(self._refunded(path, amount * 2 // 5), self._refunded(path, amount * 2 // 5))

    async def declined(self, amount: int) -> None:
        """Refused by the payer's bank."""
        await self._payment_ended(await self._at_once(amount, "tok_denied"))

    async def decided_later(self, amount: int) -> None:
        """Authorized by a bank that takes its time."""
        await self._payment_ended(await self._at_once(amount, "tok_review"))

    async def uncollectable(self, amount: int) -> None:
        """Authorized, but not to be captured: what was done is undone."""
        await self._payment_ended(await self._at_once(amount, "tok_uncollectable"))

    async def paid_out(self, amount: int) -> None:
        """Captured at once, and a payout that arrives."""
        await self._bought_and_paid_out(amount, "acct_ok")

    async def paid_out_in_vain(self, amount: int) -> None:
        """Captured at once, and a payout that comes back."""
        await self._bought_and_paid_out(amount, "acct_bounces")

    async def _bought_and_paid_out(self, amount: int, destination: str) -> None:
        path = await self._at_once(amount)
        body = {"amount": amount, "currency": "EUR", "merchant": "m_bakery", "destination": destination}
        payout = await self.want("/v1/payouts", body)
        state = await self.ended(f"/v1/payouts/{payout['id']}", PAYOUT_ENDED)
        self.ends[f"payout {state}"] += 1
        await self._payment_ended(path)

    async def _at_once(self, amount: int, token: str = "tok_visa") -> str:
        return f"/v1/payments/{(await self.pay(amount, token=token, capture='automatic'))['id']}"

    async def _authorized(self, amount: int) -> str | None:
        """The path of a payment that stands authorized; None where it has ended otherwise."""
        path = f"/v1/payments/{(await self.pay(amount))['id']}"
        state = await self.ended(path, {"authorized", *TERMINAL})
        if state == "authorized":
            return path
        self.ends[f"payment {state}"] += 1
        return None

    async def _payment_ended(self, path: str) -> str:
        state = await self.ended(path, TERMINAL)
        self.ends[f"payment {state}"] += 1
        return state

    async def _refunded(self, path: str, amount: int) -> None:
        refund = await self.want(f"{path}/refunds", {"amount": amount, "currency": "EUR"})
        state = await self.ended(f"/v1/refunds/{refund['id']}", REFUND_ENDED)
        self.ends[f"refund {state}"] += 1

    # Traffic

    @asynccontextmanager
    async def open(self, payments: int) -> AsyncGenerator[None]:
        """Let journeys go on while the block lasts, and until so many have been made; wait for the end of each."""
        left, closing = itertools.count(payments, -1), asyncio.Event()

        async def lane() -> None:
            while next(left) > 0 or not closing.is_set():
                await self.journey()

        lanes = [asyncio.create_task(lane()) for _ in range(LANES)]
        try:
            yield
        finally:
            closing.set()
            await asyncio.gather(*lanes)
            await asyncio.gather(*self._aside)
            self._aside.clear()

    def one_more(self) -> None:
        """Begin one journey beside the others, now; whoever has opened the traffic waits for its end."""
        self._aside.append(asyncio.create_task(self.journey()))

    @property
    def payments(self) -> int:
        """How many payments were acknowledged."""
        return sum(wish.path == "/v1/payments" and wish.said is not None for wish in self.wishes)


MIX: tuple[Callable[[Shop, int], Awaitable[None]], ...] = (
    Shop.in_parts,
    Shop.at_the_till,
    Shop.given_up,
    Shop.paid_out,
    Shop.refunded_twice_at_once,
    Shop.at_the_till,
    Shop.decided_later,
    Shop.paid_out_in_vain,
    Shop.in_parts,
    Shop.declined,
    Shop.uncollectable,
)
