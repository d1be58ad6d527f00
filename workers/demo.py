"""The demonstration: a payment initiator's morning, driven over the public API and watched from both sets of books.

Uses nothing but the API (as a shop would), the simulator's control API (to make the provider misbehave) and, to show
that the books agree, a look into the ledger. True only if every story ended as told and both books are equal.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import asyncpg
import httpx
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from domain.ids import OperationId, Reference, operation_of
from domain.money import Money
from ledger.journal import Journal
from workers.embedded.stack import Stack

POLL_SECONDS = 0.2
DEADLINE_SECONDS = 60.0  # any story of the demonstration ends within seconds; a minute is a failure
ARRIVED = ("paid", "failed")
WIDTH_MIN = 118  # a reference, two amounts and a link fit

Json = dict[str, Any]


class Untrue(Exception):
    """A story did not end as told."""


@dataclass
class Shop:
    """A payment initiator: one HTTP client, and an idempotency key of its own for each thing it wants."""

    http: httpx.AsyncClient
    session: str
    operations: list[str] = field(default_factory=list[str])
    _count: int = 0

    async def post(self, path: str, body: Mapping[str, object], *, wait: int | None = None) -> Json:
        """Ask for something once; the key is what makes a repetition harmless."""
        self._count += 1
        headers = {"Idempotency-Key": f"{self.session}-{self._count}"}
        if wait is not None:
            headers["Prefer"] = f"wait={wait}"
        answer = await self.http.post(path, json=dict(body), headers=headers)
        if answer.status_code not in (201, 202):
            raise Untrue(f"POST {path} was answered with {answer.status_code}: {answer.text}")
        made: Json = answer.json()
        self.operations.append(made["id"])
        return made

    async def get(self, path: str) -> Json:
        """Read something."""
        answer = await self.http.get(path)
        answer.raise_for_status()
        read: Json = answer.json()
        return read

    async def until(self, path: str, true: Callable[[Json], bool]) -> Json:
        """Read until it is as awaited."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                if true(read := await self.get(path)):
                    return read
                await asyncio.sleep(POLL_SECONDS)


@dataclass
class Story:
    """One thing that happens, the steps of it that a person would tell, and the run to look at."""

    title: str
    steps: list[tuple[str, str, float]] = field(default_factory=list[tuple[str, str, float]])
    run: str = ""
    _since: float = field(default_factory=time.perf_counter)

    def tell(self, what: str, became: str) -> None:
        """Add a step, with the seconds that it took."""
        now = time.perf_counter()
        self.steps.append((what, became, now - self._since))
        self._since = now


async def run(stack: Stack) -> bool:
    """Tell all stories against a running stack; print them, both books and the links; True if all of it is true."""
    console = Console(highlight=False)
    if console.width < WIDTH_MIN:
        console = Console(highlight=False, width=WIDTH_MIN)
    session = f"demo-{time.time_ns()}"
    headers = {"Authorization": f"Bearer {stack.token}"}
    async with (
        httpx.AsyncClient(base_url=stack.api, headers=headers, timeout=15) as http,
        httpx.AsyncClient(base_url=stack.simulator, timeout=5) as simulator,
    ):
        shop = Shop(http, session)
        console.print(Panel("A shop's morning: five stories, told over the public API", style="bold cyan"))
        told = True
        stories: list[Story] = []
        for tell in (_captured_in_parts, _paid_out, _declined, _answer_lost, _compensated):
            try:
                story = await tell(shop, simulator)
            except (Untrue, httpx.HTTPError, TimeoutError) as failure:
                console.print(f"[bold red]✗ {_title(tell)}[/]: {failure or 'it did not end in time'}")
                told = False
                continue
            stories.append(story)
            _show(console, story)
        equal = await _books(console, stack, simulator, shop)
        _links(console, stack, stories)
    verdict = "every story ended as told, and both books are equal to the minor unit"
    console.print(
        Text(f"✓ {verdict}", style="bold green")
        if told and equal
        else Text("✗ not all of it is true", style="bold red")
    )
    return told and equal


def _title(tell: Callable[[Shop, httpx.AsyncClient], Awaitable[Story]]) -> str:
    return (tell.__doc__ or "").split(":")[0]


async def _captured_in_parts(shop: Shop, _: httpx.AsyncClient) -> Story:
    """A payment in two equal parts: authorized, captured twice 40.00, voided for the rest, partly refunded."""
    story = Story("(a) captured in two equal parts, partly refunded")
    payment = await shop.post("/v1/payments", _payment(10_000, "EUR", "tok_visa"))
    story.run = f"payment/{payment['id']}"
    story.tell("authorize 100.00 EUR", payment["status"])
    for part in ("first", "second"):
        captured = await shop.post(f"/v1/payments/{payment['id']}/captures", {"amount": 4_000, "currency": "EUR"})
        story.tell(f"capture 40.00 EUR, the {part} of two equal parts", captured["status"])
        _must(captured["status"] == "succeeded", captured)
    voided = await shop.post(f"/v1/payments/{payment['id']}/void", {})
    story.tell("void the rest, 20.00 EUR", voided["status"])
    refund = await shop.post(f"/v1/payments/{payment['id']}/refunds", {"amount": 1_500, "currency": "EUR"})
    story.tell("refund 15.00 EUR", refund["status"])
    _must(refund["status"] == "succeeded", refund)
    read = await shop.until(f"/v1/payments/{payment['id']}", lambda read: read["status"] == "captured")
    _must(read["amount_captured"] == 8_000, read)
    return story


async def _paid_out(shop: Shop, _: httpx.AsyncClient) -> Story:
    """A payout: reserved of the merchant's balance, handed to the rail, paid."""
    story = Story("(b) a payout, paid")
    body = {"amount": 250_000, "currency": "EUR", "merchant": "m_bakery", "destination": "acct_ok"}
    payout = await shop.post("/v1/payouts", body)
    story.run = f"payout/{payout['id']}"
    story.tell("pay out 2,500.00 EUR", payout["status"])
    read = await shop.until(f"/v1/payouts/{payout['id']}", lambda read: read["status"] in ARRIVED)
    story.tell("wait for the rail", read["status"])
    _must(read["status"] == "paid", read)
    return story


async def _declined(shop: Shop, _: httpx.AsyncClient) -> Story:
    """A decline: an outcome, not an error; the ledger's hold is released."""
    story = Story("(c) declined by the payer's bank")
    payment = await shop.post("/v1/payments", _payment(5_000, "JPY", "tok_denied"))
    story.run = f"payment/{payment['id']}"
    story.tell("authorize 5000 JPY", f"{payment['status']}: {payment['decline_code']}")
    _must(payment["status"] == "declined", payment)
    return story


async def _answer_lost(shop: Shop, simulator: httpx.AsyncClient) -> Story:
    """A lost answer: the provider captures, its answer never comes; resolved by inquiry, not by sending again."""
    story = Story("(d) the answer to a capture is lost at the provider")
    payment = await shop.post("/v1/payments", _payment(12_345, "KWD", "tok_visa"))
    story.run = f"payment/{payment['id']}"
    story.tell("authorize 12.345 KWD", payment["status"])
    await _webhooks(simulator, sent=False)  # they are lost too: only a question can tell
    await _script(simulator, "collect", {"do": "lost_after", "seconds": 0}, times=1)
    await _script(simulator, "lookup", {"do": "unavailable"}, times=3)  # so that the doubt can be seen
    body = {"amount": 12_345, "currency": "KWD", "final": True}
    capture = await shop.post(f"/v1/payments/{payment['id']}/captures", body, wait=1)
    story.tell("capture 12.345 KWD: the provider takes it and never answers", capture["status"])
    doubt = (await shop.get(f"/v1/payments/{payment['id']}"))["in_doubt"]
    if capture["status"] == "pending":
        story.tell("meanwhile the API says", f"in doubt: {doubt['reference']}" if doubt else "resolved already")
    read = await shop.until(f"/v1/payments/{payment['id']}", lambda read: read["status"] == "captured")
    await _webhooks(simulator, sent=True)
    story.tell("Holdfast asks the provider by its own reference", read["status"])
    _must(read["amount_captured"] == 12_345 and read["in_doubt"] is None, read)
    return story


async def _compensated(shop: Shop, _: httpx.AsyncClient) -> Story:
    """A refused capture: after the ledger's hold and the authorization; both are undone, newest first."""
    story = Story("(e) a capture refused after the ledger's hold: compensation")
    payment = await shop.post("/v1/payments", _payment(7_700, "EUR", "tok_uncollectable", capture="automatic"))
    story.run = f"payment/{payment['id']}"
    story.tell("authorize and capture 77.00 EUR at once", f"{payment['status']}: {payment['decline_code']}")
    _must(payment["status"] == "voided" and payment["amount_captured"] == 0, payment)
    timeline = (await shop.get(f"/v1/payments/{payment['id']}/timeline"))["data"]
    undone = [each["what"] for each in timeline if "void" in each["what"] or "release" in each["what"]]
    story.tell("the authorization is voided, then the hold released", ", ".join(dict.fromkeys(undone)) or "unwound")
    return story


def _payment(amount: int, currency: str, instrument: str, *, capture: str = "manual") -> Json:
    return {
        "amount": amount,
        "currency": currency,
        "merchant": "m_bakery",
        "instrument": instrument,
        "capture": capture,
    }


async def _script(simulator: httpx.AsyncClient, operation: str, behaviour: Json, *, times: int) -> None:
    rule = {"operation": operation, "times": times, "behaviour": behaviour}
    (await simulator.post("/control/script", json=rule)).raise_for_status()


async def _webhooks(simulator: httpx.AsyncClient, *, sent: bool) -> None:
    settings = {"webhooks": {"enabled": sent}}
    (await simulator.post("/control/settings", json=settings)).raise_for_status()


def _must(true: object, read: Json) -> None:
    if not true:
        raise Untrue(f"the API says {read}")


def _show(console: Console, story: Story) -> None:
    table = Table(
        title=story.title, title_justify="left", title_style="bold", show_header=False, box=None, pad_edge=False
    )
    table.add_column(style="dim", width=2)
    table.add_column(min_width=58)
    table.add_column(style="bold")
    table.add_column(justify="right", style="dim")
    for what, became, seconds in story.steps:
        table.add_row("✓", what, became, f"{seconds * 1000:,.0f} ms")
    console.print(table)
    console.print()


# Both books


async def _books(console: Console, stack: Stack, simulator: httpx.AsyncClient, shop: Shop) -> bool:
    """Show the trial balance, and this morning's effects beside the provider's own books."""
    pool = await asyncpg.create_pool(stack.postgres, min_size=1, max_size=2)
    async with pool:
        journal = Journal(pool)
        balanced = await _trial_balance(console, journal)
        ours = await _ours(journal, shop.operations)
    books: Json = (await simulator.get("/control/books")).raise_for_status().json()
    theirs = {
        Reference(effect["reference"]): (effect["kind"], Money(effect["amountMinor"], effect["currency"]))
        for effect in books["effects"]
        if operation_of(effect["reference"]) in shop.operations and effect["kind"] in KINDS
    }
    table = Table(title="What moved this morning: the provider's books beside the ledger", title_style="bold")
    for column in ("reference", "effect", "provider says", "ledger says"):
        table.add_column(column, justify="right" if "says" in column else "left")
    for reference in sorted({*theirs, *ours}):
        kind, money = theirs.get(reference, ("missing", None))
        booked = ours.get(reference)
        style = "" if money == booked else "bold red"
        table.add_row(reference, kind, str(money or "–"), str(booked or "–"), style=style)
    table.add_section()
    for currency in sorted({money.currency for money in ours.values()}):
        said = (
            sum(each.minor for each in part if each.currency == currency) for part in (_amounts(theirs), ours.values())
        )
        table.add_row("sum", currency, *(str(Money(minor, currency)) for minor in said), style="bold")
    console.print(table)
    equal = {reference: money for reference, (_, money) in theirs.items()} == ours
    doubles = books["doubles"]
    verdict = "equal" if equal else "[red]NOT equal[/]"
    console.print(f"effects that happened twice: {len(doubles)}; the books are {verdict}\n")
    return balanced and equal and bool(ours) and not doubles


def _amounts(theirs: Mapping[Reference, tuple[str, Money]]) -> list[Money]:
    return [money for _, money in theirs.values()]


KINDS = ("collection", "payback", "transfer")  # what moves money; an authorisation only promises it
BOOKED = ("capture", "refund_done", "payout_accepted")


async def _trial_balance(console: Console, journal: Journal) -> bool:
    table = Table(title="Trial balance of the ledger (debit +, credit −)", title_style="bold")
    for column in ("account", "currency", "posted", "pending"):
        table.add_column(column, justify="right" if column in ("posted", "pending") else "left")
    sums: dict[str, list[int]] = {}
    for row in await journal.trial_balance():
        pending = row.pending_debit - row.pending_credit
        table.add_row(row.code, row.currency, str(Money(row.posted, row.currency)), str(Money(pending, row.currency)))
        total = sums.setdefault(row.currency, [0, 0])
        total[0] += row.posted
        total[1] += pending
    table.add_section()
    for currency, (posted, pending) in sorted(sums.items()):
        table.add_row("sum", currency, str(Money(posted, currency)), str(Money(pending, currency)), style="bold")
    console.print(table)
    return all(posted == pending == 0 for posted, pending in sums.values())


async def _ours(journal: Journal, operations: list[str]) -> dict[Reference, Money]:
    """What the ledger has booked of these operations, by the reference of the effect."""
    booked: dict[Reference, Money] = {}
    for operation in operations:
        for entry in await journal.entries_of(OperationId(operation)):
            if entry.kind in BOOKED:
                booked[Reference(entry.reference.rsplit("/", 1)[0])] = entry.money
    return booked


def _links(console: Console, stack: Stack, stories: list[Story]) -> None:
    console.print(Text("Look at the runs in the Temporal UI", style="bold"))
    for story in stories:
        link = f"{stack.temporal_ui}/namespaces/default/workflows/{quote(story.run, safe='')}"
        console.print(f"  {story.title}")
        console.print(Text(f"    {link}", style="cyan underline"), soft_wrap=True)
    console.print()
