"""The API over ports that live in memory: runs whose effects are counted, rows that can be put there, a clock.

Three operators, ann, bob and cyd; what waits for them is what a test puts there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import httpx
from fastapi import FastAPI

from api import app, ports
from api.ports import Audited, Claimed, Claims, Heard, InFlight, Mismatch, ParkedRun, Requested, StoredAnswer
from api.resources import asked_by
from contracts.queues import workflow_id
from domain.commands import Capture, Increment, Payment, Payout, Promises, Refund, Void
from domain.errors import InstantArchived, Unavailable
from domain.ids import ClientId, MerchantId, OperationId, Prefix, Reference, derive
from domain.money import Money
from domain.outcomes import Attention, Decision, Outcome, Receipt, View
from identity import operators
from identity.clients import Client, Clients, Scope, StaticClients
from identity.operators import Operators

TOKEN = "a development token"
ANN, BOB, CYD = "op_of_ann", "op_of_bob", "op_of_cyd"  # tokens
PEOPLE = operators.parse(
    ",".join(operators.entry(name, token) for name, token in (("ann", ANN), ("bob", BOB), ("cyd", CYD)))
)
CLIENT = Client(id=ClientId("dev"), scopes=frozenset(Scope))
PROVIDER = "simulator"
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
TERMS = ports.Terms(
    promises=Promises(
        provider=PROVIDER,
        start_to_close_seconds=10,
        horizon_seconds=3,
        inquiry_is_complete=True,
        inquiry_seconds=0.5,
        attention_after_seconds=900,
    ),
    window_seconds=604_800,
    fee_basis_points=100,
)
PAYMENT_ID = derive(Prefix.PAYMENT, client="dev", mode="test", operation="tests", key="a payment")
CAPTURE_ID = derive(Prefix.CAPTURE, client="dev", mode="test", operation="tests", key="a capture")
REFUND_ID = derive(Prefix.REFUND, client="dev", mode="test", operation="tests", key="a refund")
INCREMENT_ID = derive(Prefix.INCREMENT, client="dev", mode="test", operation="tests", key="an increment")
DISPUTE_ID = derive(Prefix.DISPUTE, client="dev", mode="test", operation="tests", key="a dispute")
PAYOUT_ID = derive(Prefix.PAYOUT, client="dev", mode="test", operation="tests", key="a payout")

BAKERY = MerchantId("m_bakery")
AUTHORIZATION = Reference(f"{PAYMENT_ID}.a1")
EUR_1050 = Money(1_050, "EUR")
NOTHING = Money(0, "EUR")

PAYMENT = {"amount": 1_050, "currency": "EUR", "merchant": "m_bakery", "instrument": "tok_visa"}
PAYOUT = {"amount": 500, "currency": "EUR", "merchant": "m_bakery", "destination": "acct_ok"}
PART = {"amount": 400, "currency": "EUR"}
PARKED = workflow_id(PAYMENT_ID)
PARKED_ON = Reference(f"{CAPTURE_ID}.c1")
APPROVAL = {"reference": PARKED_ON, "outcome": "done", "evidence": "portal, capture co_1, 4.00 EUR"}

# One request that succeeds for each operation that takes a key.
SAMPLES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "createPayment": ("/v1/payments", PAYMENT),
    "createCapture": (f"/v1/payments/{PAYMENT_ID}/captures", PART),
    "voidPayment": (f"/v1/payments/{PAYMENT_ID}/void", {}),
    "createRefund": (f"/v1/payments/{PAYMENT_ID}/refunds", PART),
    "createIncrement": (f"/v1/payments/{PAYMENT_ID}/increments", PART),
    "createPayout": ("/v1/payouts", PAYOUT),
    "recallPayout": (f"/v1/payouts/{PAYOUT_ID}/recall", {}),
}

# And for each that has the same effect however often it is asked for.
REPEATABLE: Mapping[str, tuple[str, dict[str, Any]]] = {
    "returnFromChallenge": (f"/v1/payments/{PAYMENT_ID}/challenge-return", {}),
    "createApproval": (f"/v1/attention/{PARKED}/approvals", APPROVAL),
    "retryParked": (f"/v1/attention/{PARKED}/retry", {}),
}


@dataclass(frozen=True, kw_only=True)
class StoredRow:
    """A row, with what most tests do not care about filled in."""

    id: OperationId
    state: str
    payment: OperationId | None = None
    client: ClientId = CLIENT.id
    merchant: MerchantId = BAKERY
    provider: str = PROVIDER
    provider_id: str = "psp_1"
    reference: Reference = AUTHORIZATION
    merchant_reference: str = ""
    automatic: bool = False
    fingerprint: str = "f"
    money: Money = EUR_1050
    total: Money = NOTHING
    reason: str = ""
    created_at: datetime = NOW


@dataclass(frozen=True)
class FakeMoment:
    """One line of a timeline."""

    operation: str
    what: str
    at: datetime = NOW
    detail: str = ""


@dataclass
class FakeClaims:
    """Claims over a dictionary, with a clock that a test moves."""

    now: float = 1_000.0
    broken_at_finish: bool = False
    entries: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict[tuple[str, str, str], Any])

    async def claim(
        self,
        client: ClientId,
        mode: str,
        key: str,
        operation: str,
        fingerprint: bytes,
        resource: OperationId,
        lease_seconds: float,
    ) -> Claimed | InFlight | StoredAnswer | Mismatch:
        at = (client, mode, key)
        entry = self.entries.get(at)
        if entry is None:
            entry = self.entries[at] = {"fingerprint": fingerprint, "fence": 0, "answer": None, "until": 0.0}
        if entry["fingerprint"] != fingerprint:
            return Mismatch()
        if entry["answer"] is not None:
            return entry["answer"]
        if entry["until"] > self.now:
            return InFlight(retry_after_seconds=entry["until"] - self.now)
        entry["fence"] += 1
        entry["until"] = self.now + lease_seconds
        taken_over = entry["fence"] > 1
        return Claimed(fence=entry["fence"], created_at=NOW, lease_until=entry["until"], taken_over=taken_over)

    async def finish(
        self, client: ClientId, mode: str, key: str, fence: int, status: int, headers: Mapping[str, str], body: bytes
    ) -> StoredAnswer | None:
        if self.broken_at_finish:
            raise Unavailable("the database is gone")
        entry = self.entries[client, mode, key]
        if entry["fence"] != fence or entry["answer"] is not None:
            return entry["answer"]
        entry["answer"] = StoredAnswer(status=status, headers=dict(headers), body=body)
        return None

    async def release(self, client: ClientId, mode: str, key: str, fence: int) -> None:
        if self.entries[client, mode, key]["fence"] == fence:
            del self.entries[client, mode, key]


@dataclass
class FakeReads:
    """Rows that a test puts there."""

    rows: dict[str, StoredRow] = field(default_factory=dict[str, StoredRow])
    moments: list[FakeMoment] = field(default_factory=list[FakeMoment])

    def put(self, *rows: StoredRow) -> None:
        """Put rows there."""
        self.rows.update({row.id: row for row in rows})

    async def _one(self, operation: OperationId) -> StoredRow | None:
        return self.rows.get(operation)

    payment = capture = void = increment = refund = payout = dispute = _one

    async def payments(self, client: ClientId, limit: int, before: ports.Before | None = None) -> Sequence[StoredRow]:
        return self._page("pay_", client, limit, before)

    async def payouts(self, client: ClientId, limit: int, before: ports.Before | None = None) -> Sequence[StoredRow]:
        return self._page("po_", client, limit, before)

    async def disputes(self, client: ClientId, limit: int, before: ports.Before | None = None) -> Sequence[StoredRow]:
        return self._page("dsp_", client, limit, before)

    async def timeline(self, operation: OperationId) -> Sequence[FakeMoment]:
        return [moment for moment in self.moments if moment.operation == operation]

    def _page(self, prefix: str, client: ClientId, limit: int, before: ports.Before | None) -> list[StoredRow]:
        mine = [row for row in self.rows.values() if row.id.startswith(prefix) and row.client == client]
        mine.sort(key=lambda row: (row.created_at, row.id), reverse=True)
        return [row for row in mine if before is None or (row.created_at, row.id) < before][:limit]


@dataclass(frozen=True)
class FakeBalance:
    """What the ledger says."""

    posted: int = -900
    pending_debit: int = 100
    pending_credit: int = 0
    available: int = 800


@dataclass(frozen=True)
class FakeRefundable:
    """What is left to refund."""

    left: int


ARCHIVED_UNTIL = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass
class FakeBalances:
    """Balances of one account, and what is refundable of every payment."""

    left: int = 1_050
    asked: list[tuple[str, str, datetime | None]] = field(default_factory=list[tuple[str, str, datetime | None]])

    async def balance(self, code: str, currency: str, as_of: datetime | None = None) -> FakeBalance | None:
        self.asked.append((code, currency, as_of))
        if as_of is not None and as_of < ARCHIVED_UNTIL:
            raise InstantArchived("archived: restore 2019-12 to read it")
        return FakeBalance() if code == "merchant:m_bakery:payable" else None

    async def refundable(self, payment: OperationId, currency: str) -> FakeRefundable | None:
        return FakeRefundable(self.left)


@dataclass
class FakeInbox:
    """Events by id."""

    events: dict[tuple[str, str], bytes] = field(default_factory=dict[tuple[str, str], bytes])

    async def receive(self, provider: str, event_id: str, raw: bytes) -> str:
        kept = self.events.setdefault((provider, event_id), raw)
        if kept is raw:
            return ports.Received.NEW
        return ports.Received.DUPLICATE if kept == raw else ports.Received.ALTERED


class FakeWebhooks:
    """A provider whose signature is the word `good`."""

    def event_id(self, provider: str, raw: bytes, headers: Mapping[str, str]) -> str | None:
        if provider != PROVIDER:
            raise LookupError(provider)
        return headers.get("x-event-id") if headers.get("x-signature") == "good" else None


Command = Payment | Refund | Payout | Capture | Increment | Void
Scripted = Heard | Exception | Callable[[Command], Heard]


@dataclass
class FakeRuns:
    """Runs that do what they are asked once per id, and count it.

    `heard` replaces the next answers: what a run says, how it makes it of the command, or an error after the effect.
    """

    heard: list[Scripted] = field(default_factory=list["Scripted"])
    views: dict[str, View] = field(default_factory=dict[str, View])
    known: dict[str, Requested] = field(default_factory=dict[str, Requested])
    effects: dict[str, Command] = field(default_factory=dict[str, Command])
    asked: list[Command] = field(default_factory=list[Command])
    waits: list[float] = field(default_factory=list[float])
    back: list[OperationId] = field(default_factory=list[OperationId])  # whose payers have come back

    async def start(self, command: Payment | Refund | Payout, *, created_at: str, wait_seconds: float) -> Heard:
        self.known.setdefault(command.id, asked_by(command, created_at))
        states = {Payment: "authorized", Refund: "succeeded", Payout: "in_transit"}
        total = command.money if isinstance(command, Refund) else Money(0, command.money.currency)
        return self._answer(command, wait_seconds, states[type(command)], command.money, total)

    async def capture(self, payment: OperationId, capture: Capture, *, wait_seconds: float) -> Heard:
        return self._answer(capture, wait_seconds, "partially_captured", capture.money, capture.money)

    async def void(self, payment: OperationId, void: Void, *, wait_seconds: float) -> Heard:
        return self._answer(void, wait_seconds, "voided", EUR_1050, NOTHING)

    async def increment(self, payment: OperationId, increment: Increment, *, wait_seconds: float) -> Heard:
        return self._answer(increment, wait_seconds, "authorized", increment.money, NOTHING)

    async def recall(self, payout: OperationId, recall: Void, *, wait_seconds: float) -> Heard:
        return self._answer(recall, wait_seconds, "failed", Money(500, "EUR"), NOTHING)

    async def returned(self, payment: OperationId, *, wait_seconds: float) -> None:
        self.back.append(payment)

    async def view(self, operation: OperationId) -> View | None:
        return self.views.get(operation)

    async def requested(self, operation: OperationId) -> Requested | None:
        return self.known.get(operation)

    def _answer(self, command: Command, wait: float, state: str, moved: Money, total: Money) -> Heard:
        self.asked.append(command)
        self.waits.append(wait)
        first = self.effects.setdefault(command.id, command)
        scripted = self.heard.pop(0) if self.heard else receipt(first, state=state, moved=moved, total=total)
        if isinstance(scripted, Exception):
            raise scripted
        return scripted(command) if callable(scripted) else scripted


def receipt(
    command: Command,
    *,
    state: str,
    outcome: Outcome = Outcome.DONE,
    reason: str = "",
    moved: Money = NOTHING,
    total: Money = NOTHING,
    fingerprint: str | None = None,
) -> Receipt:
    """What a run answers to a command."""
    return Receipt(
        operation=command.id,
        fingerprint=command.fingerprint if fingerprint is None else fingerprint,
        outcome=outcome,
        state=state,
        moved=moved,
        total=total,
        reason=reason,
    )


@dataclass(frozen=True, kw_only=True)
class FakeApproval:
    """An operator's word."""

    id: str
    run: str
    reference: str
    outcome: Outcome
    evidence: str
    actor: str
    at: datetime = NOW
    used_by: str | None = None


@dataclass
class FakeApprovals:
    """Approvals, in the order in which they were given."""

    given: list[FakeApproval] = field(default_factory=list[FakeApproval])

    async def give(self, run: str, reference: Reference, outcome: Outcome, evidence: str, actor: str) -> str:
        said = (run, reference, outcome, evidence, actor)
        for each in self.given:
            if (each.run, each.reference, each.outcome, each.evidence, each.actor) == said:
                return each.id
        made = FakeApproval(
            id=f"apr_{len(self.given)}", run=run, reference=reference, outcome=outcome, evidence=evidence, actor=actor
        )
        self.given.append(made)
        return made.id

    async def of(self, run: str, reference: Reference) -> Sequence[FakeApproval]:
        return [each for each in self.given if (each.run, each.reference) == (run, reference)]

    def use(self, ids: tuple[str, str]) -> None:
        """Use two up, as the run's check does."""
        other = dict(zip(ids, reversed(ids), strict=True))
        self.given = [replace(each, used_by=other.get(each.id, each.used_by)) for each in self.given]


def attention(reference: Reference = PARKED_ON, deadline: str = "2026-11-25T16:00:00+00:00") -> Attention:
    """What a run asks of a person."""
    return Attention(
        reference=reference,
        reason="undecided: nothing found",
        owner="payments-operations",
        since="2026-11-25T12:00:00+00:00",
        deadline=deadline,
        update="resolve",
        payload="{}",
    )


def parked(run: str = PARKED, wanted: Attention | None = None, *, state: str = "capturing") -> ParkedRun:
    """A run as the search and the run itself tell it."""
    view = View(state=state, amount=EUR_1050, total=NOTHING, reason="", doubt=None, attention=wanted)
    return ParkedRun(
        run=run,
        kind="Payment",
        owner="payments-operations",
        started_at=NOW,
        merchant=BAKERY,
        provider=PROVIDER,
        view=view,
    )


@dataclass
class FakeParked:
    """What waits; a decision that is not refused ends the wait and uses its approvals up."""

    approvals: FakeApprovals
    runs: dict[str, ParkedRun] = field(default_factory=lambda: {PARKED: parked(wanted=attention())})
    why_not: str | Exception = ""
    retried: list[tuple[str, Reference]] = field(default_factory=list[tuple[str, Reference]])
    decisions: list[tuple[str, Decision]] = field(default_factory=list[tuple[str, Decision]])

    async def waiting(self, owner: str | None = None) -> tuple[Sequence[ParkedRun], bool]:
        return [each for each in self.runs.values() if owner in (None, each.owner)], False

    async def look(self, run: str) -> ParkedRun | None:
        return self.runs.get(run)

    async def retry(self, run: str, reference: Reference) -> str:
        self.retried.append((run, reference))
        return self._taken()

    async def resolve(self, run: str, decision: Decision) -> str:
        self.decisions.append((run, decision))
        if why_not := self._taken():
            return why_not
        self.approvals.use(decision.approvals)
        self.runs[run] = parked(run, state="partially_captured")
        return ""

    async def decided(self, run: str, reference: Reference) -> ParkedRun | None:
        return self.runs.get(run)

    def _taken(self) -> str:
        if isinstance(self.why_not, Exception):
            raise self.why_not
        return self.why_not


@dataclass
class FakeAudit:
    """Audit events, kept."""

    written: list[Audited] = field(default_factory=list[Audited])

    def write(self, audited: Audited) -> None:
        self.written.append(audited)


@dataclass
class Edge:
    """The API over fakes; `claims` may be the real ones."""

    claims: Claims = field(default_factory=FakeClaims)
    clients: Clients = field(default_factory=lambda: StaticClients(TOKEN, CLIENT))
    reads: FakeReads = field(default_factory=FakeReads)
    runs: FakeRuns = field(default_factory=FakeRuns)
    balances: FakeBalances = field(default_factory=FakeBalances)
    inbox: FakeInbox = field(default_factory=FakeInbox)
    approvals: FakeApprovals = field(default_factory=FakeApprovals)
    audit: FakeAudit = field(default_factory=FakeAudit)
    people: Operators = PEOPLE
    terms: ports.Terms = TERMS
    probes: dict[str, ports.Probe] = field(default_factory=dict[str, ports.Probe])

    def __post_init__(self) -> None:
        self.parked = FakeParked(self.approvals)

    def build(self) -> FastAPI:
        """Build the application."""
        return app.build(
            ports.Dependencies(
                clients=self.clients,
                operators=self.people,
                claims=self.claims,
                reads=self.reads,
                balances=self.balances,
                inbox=self.inbox,
                webhooks=FakeWebhooks(),
                runs=self.runs,
                parked=self.parked,
                approvals=self.approvals,
                audit=self.audit,
                terms=self.terms,
                probes=self.probes,
            )
        )

    @property
    def clock(self) -> FakeClaims:
        """The claims of memory, whose clock a test moves."""
        assert isinstance(self.claims, FakeClaims)
        return self.claims

    def http(self) -> httpx.AsyncClient:
        """A client with the development token."""
        return http(self.build())

    def of(self, token: str) -> httpx.AsyncClient:
        """An operator's client."""
        return http(self.build(), token)


def http(application: FastAPI, token: str | None = TOKEN) -> httpx.AsyncClient:
    """A client of an application in this process."""
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    transport = httpx.ASGITransport(app=application)
    return httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers)


def edge(*rows: StoredRow) -> Edge:
    """The API over fakes, with an authorized payment, a payout on its way, and these rows."""
    made = Edge()
    made.reads.put(
        StoredRow(id=PAYMENT_ID, state="authorized"),
        StoredRow(id=PAYOUT_ID, state="in_transit", money=Money(500, "EUR")),
        *rows,
    )
    return made


def key(text: str) -> dict[str, str]:
    """The header of an idempotency key."""
    return {"Idempotency-Key": text}
