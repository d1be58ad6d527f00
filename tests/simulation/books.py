"""Our own books in memory, with the methods and the promises of the real ones: ledger, rows, call journal, approvals.

The ledger's entries are the product's own (`ledger.postings`), taken by `MemoryBook`; rows, calls and approvals follow
the SQL of `records/schema`. The attempt that is executing tells each how to misbehave. Knows no provider, no workflow.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from domain.commands import Prepare, Row
from domain.errors import LedgerBusy, LedgerUnavailable
from domain.ids import ClientId, MerchantId, OperationId, Prefix, Reference, Verb
from domain.lifecycle import DISPUTE, PAYMENT, PAYOUT, REFUND, is_terminal
from domain.money import Money
from domain.outcomes import Answer, Outcome, Sent
from ledger.accounts import FEE_INCOME, Account
from ledger.entry import Entry, HoldAction, Nature
from ledger.journal import Moved, Posted, Status
from records.calls import ALWAYS, Differs, Go, Known, Withheld
from records.operations import Admission, StoredOperation
from risk.rules import Decision, Subject, Verdict
from tests.simulation.choices import NONE
from tests.simulation.clock import Clock
from tests.simulation.driver import Attempt, Killed
from tests.support.memory_book import MemoryBook, Taken

ZOMBIE_SECONDS = 1.0  # after the server has given an attempt up, it has its effect
BUSY_SECONDS = 0.2  # what a busy ledger asks for
NEVER_REPLACES = ("not_started", "denied", "canceled", "failed", "returned")
IN_DISPUTE = ("requested", "opened", "funds_withdrawn")

# Kind and state of what has ended, and the one edge along which it is left: records.terminal.
ENDED: dict[tuple[str, str], str] = {
    **{
        (kind, str(state)): ""
        for kind, lifecycle in (("pay", PAYMENT), ("rfd", REFUND), ("po", PAYOUT), ("dsp", DISPUTE))
        for state in lifecycle
        if is_terminal(lifecycle, state)
    },
    **{(kind, state): "" for kind in ("cap", "vd", "inc") for state in ("succeeded", "failed")},
    ("rfd", "succeeded"): "reversed",
    ("po", "paid"): "returned",
    ("cap", "succeeded"): "failed",
}


class Executing(Protocol):
    """Tells which attempt is executing at this moment."""

    @property
    def executing(self) -> Attempt:
        """The attempt."""
        ...


async def befall_before(attempt: Attempt, clock: Clock) -> None:
    """Let the fault of an attempt happen that comes before its commit."""
    if attempt.dead:
        raise Killed
    match attempt.fault:
        case "busy":
            attempt.fault = NONE
            raise LedgerBusy("more entries wait than can be written soon", after_seconds=BUSY_SECONDS)
        case "lost_before":
            raise LedgerUnavailable("connection lost")
        case "crash_before":
            raise dead(attempt)
        case "zombie":
            attempt.fault = NONE  # once, however many commits it makes
            await clock.sleep(attempt.start_to_close + ZOMBIE_SECONDS)
        case _:
            pass


def befall_after(attempt: Attempt) -> None:
    """Let the fault of an attempt happen that comes after its commit."""
    match attempt.fault:
        case "lost_after":
            raise LedgerUnavailable("no acknowledgement")
        case "crash_after":
            raise dead(attempt)
        case _:
            pass


def dead(attempt: Attempt) -> Killed:
    """The process of an attempt is gone: whatever it still tries raises this again."""
    attempt.dead = True
    return Killed()


class MemoryJournal:
    """`ledger.journal.Journal`, as far as activities and the relay use it."""

    def __init__(self, clock: Clock, world: Executing, watch: Callable[[Entry, Posted], None]) -> None:
        """`watch` is told of each entry that was taken now."""
        self.book = MemoryBook()
        self.entries: dict[Reference, Entry] = {}
        self._clock = clock
        self._world = world
        self._watch = watch
        self._rejected: dict[Reference, Status] = {}

    async def post(self, entry: Entry) -> Posted:
        """Post an entry, or misbehave; raises what `ledger.writer.Writer.post` does."""
        attempt = self._world.executing
        await befall_before(attempt, self._clock)
        posted = self.take(entry)
        befall_after(attempt)
        return posted

    def take(self, entry: Entry) -> Posted:
        """Post an entry without any fault."""
        known = entry.reference in self.book.known
        reason = self._refusal(entry)
        match self.book.post(entry):
            case Taken.POSTED:
                self.entries[entry.reference] = entry
                posted = Posted(Status.POSTED, len(self.entries))
            case Taken.REPLAYED:
                posted = Posted(Status.REPLAYED, 0)
            case Taken.CONFLICTING:
                posted = Posted(Status.CONFLICTING_CONTENT, 0)
            case Taken.REFUSED if known:
                posted = Posted(Status.REJECTED_BEFORE, 0, self._rejected[entry.reference])
            case Taken.REFUSED:
                self._rejected[entry.reference] = reason
                posted = Posted(reason, 0)
        self._watch(entry, posted)
        return posted

    def _refusal(self, entry: Entry) -> Status:
        """Why a gate would be refused, in the order in which the ledger judges."""
        if entry.nature is Nature.GATE and entry.hold and entry.hold.action is HoldAction.OPEN:
            if entry.hold.reference in self.book.holds:
                return Status.HOLD_NOT_OPEN
            if entry.bounded is not None:
                return Status.INSUFFICIENT_FUNDS
        return Status.REFUNDABLE_EXCEEDED

    async def standing(self, prefix: str) -> frozenset[Reference]:
        """The references that begin with `prefix` and stand."""
        return frozenset(reference for reference in self.entries if reference.startswith(prefix))

    async def moved(self, reference: Reference) -> Moved | None:
        """What an entry moved, and our fee in it."""
        entry = self.entries.get(reference)
        if entry is None:
            return None
        currency = entry.lines[0].amount.currency
        debits = sum(line.amount.minor for line in entry.lines if line.amount.minor > 0)
        fee = -sum(line.amount.minor for line in entry.lines if line.account == FEE_INCOME)
        return Moved(Money(debits, currency), Money(fee, currency))

    async def captured(self, payment: OperationId, currency: str) -> Money:
        """What is captured of a payment, less what was taken back."""
        row = self.book.payments.get((payment, currency))
        return Money(row.captured if row else 0, currency)

    async def available(self, account: Account, currency: str) -> Money:
        """What an account can be drawn for."""
        posted, pending_debit, _ = self.book.of(account, currency)
        return Money(-posted - pending_debit, currency)


class MemoryOperations:
    """`records.operations.Operations`, as far as activities and the relay use it."""

    def __init__(self, clock: Clock, world: Executing) -> None:
        self.rows: dict[OperationId, StoredOperation] = {}
        self.events: list[tuple[OperationId, str]] = []
        self.calls: MemoryCallJournal | None = None  # the world lends it: its rows stand beside these
        self._clock = clock
        self._world = world

    async def admit(self, prepare: Prepare) -> Admission:
        """Write the row of an operation that starts a run, unless it is there already."""
        if self._world.executing.dead:
            raise Killed
        known = self.rows.get(prepare.operation)
        if known is not None:
            if known.fingerprint != prepare.fingerprint:
                return Admission.CONFLICT
            return Admission.STALE if known.reason == "stale" else Admission.ADMITTED
        stale = self._clock.now > prepare.admit_until
        self.put(
            prepare.operation,
            payment=prepare.payment,
            client=prepare.client,
            merchant=prepare.merchant,
            provider=prepare.provider,
            money=prepare.money,
            state="not_started" if stale else "requested",
            reason="stale" if stale else "",
            fingerprint=prepare.fingerprint,
        )
        return Admission.STALE if stale else Admission.ADMITTED

    def put(
        self,
        operation: OperationId,
        *,
        money: Money,
        state: str,
        payment: OperationId | None = None,
        client: str = "",
        merchant: str = "",
        provider: str = "",
        reason: str = "",
        fingerprint: str = "",
        total: Money | None = None,
        reference: str = "",
        provider_id: str = "",
    ) -> None:
        """Write a row that is new."""
        at = datetime.fromtimestamp(self._clock.now, UTC)
        self.rows[operation] = StoredOperation(
            id=operation,
            payment=payment,
            client=ClientId(client),
            merchant=MerchantId(merchant),
            provider=provider,
            money=money,
            total=total or Money(0, money.currency),
            state=state,
            reason=reason,
            provider_id=provider_id,
            reference=Reference(reference),
            merchant_reference="",
            automatic=False,
            fingerprint=fingerprint,
            created_at=at,
            updated_at=at,
        )
        self.events.append((operation, state))

    async def write(self, rows: tuple[Row, ...]) -> None:
        """Write what changed, or misbehave where that is all the attempt does."""
        attempt = self._world.executing
        if attempt.dead:
            raise Killed
        alone = attempt.activity == "records.note"
        if alone:
            await befall_before(attempt, self._clock)
        self._commit(rows)
        if alone:
            befall_after(attempt)

    def stands(self, prepare: Prepare, row: Row) -> None:
        """Let the row of an operation that has ended stand before a schedule begins."""
        self.put(
            prepare.operation,
            client=prepare.client,
            merchant=prepare.merchant,
            provider=prepare.provider,
            money=prepare.money,
            state="requested",
            fingerprint=prepare.fingerprint,
        )
        self._write(row)

    def _commit(self, rows: tuple[Row, ...]) -> None:
        for row in rows:
            self._write(row)

    def _write(self, row: Row) -> None:
        known = self.rows.get(row.operation)
        if known is None:
            of = self.rows.get(row.payment) if row.payment else None
            self.put(
                row.operation,
                payment=row.payment,
                client=of.client if of else "",
                merchant=of.merchant if of else "",
                provider=row.provider or (of.provider if of else ""),
                money=row.amount,
                state=row.state,
                reason=row.reason,
                fingerprint=row.fingerprint,
                total=row.total,
                reference=row.reference,
                provider_id=row.provider_id,
            )
            return
        kind, reason = row.operation.split("_", 1)[0], row.reason
        onward = ENDED.get((kind, known.state))
        if onward is not None and row.state not in (known.state, onward):
            return
        if onward is not None and row.state == known.state:
            if row.total.minor > known.total.minor and (not row.event or kind == Prefix.PAYMENT):
                return
            reason = reason or known.reason
        changed = replace(
            known,
            state=row.state,
            total=row.total,
            reason=reason,
            money=row.amount if kind == Prefix.PAYMENT else known.money,
            provider=row.provider or known.provider,
            provider_id=row.provider_id or known.provider_id,
            reference=row.reference or known.reference,
        )
        if changed != known or row.event:
            self.rows[row.operation] = changed
            self.events.append((row.operation, row.event or row.state))

    async def replace(self, payout: OperationId, replaces: OperationId) -> bool:
        """Let an admitted payout take the place of one that failed or came back."""
        old, mine = self.rows.get(replaces), self.rows[payout]
        if mine.replaces == replaces:
            return True
        if (
            old is None
            or old.state not in ("failed", "returned")
            or (old.client, old.merchant)
            != (
                mine.client,
                mine.merchant,
            )
        ):
            return False
        if any(each.replaces == replaces and each.state not in NEVER_REPLACES for each in self.rows.values()):
            return False
        self.rows[payout] = replace(mine, replaces=replaces)
        return True

    async def sent(self, payment: OperationId) -> tuple[Sent, ...]:
        """The authorizations of a payment that were sent and are not known to have had no effect, oldest first."""
        assert self.calls is not None
        latest = [
            (provider, Reference(reference), made[-1])
            for (provider, reference, verb), made in self.calls.calls.items()
            if verb == Verb.AUTHORIZE and reference.startswith(f"{payment}.")
        ]
        return tuple(
            Sent(provider=provider, reference=reference, provider_id=call.answer.provider_id if call.answer else "")
            for provider, reference, call in sorted(latest, key=lambda each: each[2].sent_at)
            if call.outcome not in (Outcome.REFUSED, Outcome.UNAVAILABLE)
        )

    async def disputed(self, payment: OperationId) -> bool:
        """Tell whether a dispute of the payment is open."""
        return any(
            row.payment == payment and row.id.startswith(Prefix.DISPUTE) and row.state in IN_DISPUTE
            for row in self.rows.values()
        )

    async def any(self, operation: OperationId) -> StoredOperation | None:
        """The row of an operation of whatever kind."""
        return self.rows.get(operation)

    async def payment(self, operation: OperationId) -> StoredOperation | None:
        """The row of a payment."""
        return self.rows.get(operation) if operation.startswith(Prefix.PAYMENT) else None


@dataclass(slots=True)
class Call:
    """One row of `records.call`."""

    number: int
    content: bytes
    run: str
    sent_at: float
    outcome: Outcome | None = None
    answer: Answer | None = None


class JournalDown(Exception):
    """The call journal's database does not answer."""


class MemoryCallJournal:
    """`records.calls.CallJournal`."""

    def __init__(self, clock: Clock, world: Executing) -> None:
        self.calls: dict[tuple[str, str, str], list[Call]] = {}  # by provider, reference and verb
        self._clock = clock
        self._world = world
        self._runs: dict[tuple[str, str], str] = {}
        self._intended: dict[tuple[str, str], Call] = {}

    async def begin(
        self, provider: str, reference: Reference, verb: str, content: bytes, run: str
    ) -> Go | Known | Withheld | Differs:
        """Note the intent of a call, unless the journal says that it must not be made."""
        if self._world.executing.dead:
            raise Killed
        if self._world.executing.fault == "unjournalled":
            raise JournalDown("connection refused")
        made = self.calls.setdefault((provider, reference, verb), [])
        if made and verb not in ALWAYS:
            latest = made[-1]
            if latest.content != content:
                return Differs()
            if latest.outcome in (Outcome.DONE, Outcome.REFUSED):
                assert latest.answer is not None
                return Known(latest.answer)
            if latest.outcome is not Outcome.UNAVAILABLE:
                return Withheld(datetime.fromtimestamp(latest.sent_at, UTC))
        call = Call(len(made) + 1, content, run, self._clock.now)
        made.append(call)
        self._runs.setdefault((provider, reference), run)
        if verb != "inquire":
            self._intended[provider, reference] = call
        return Go(call.number)

    async def run_of(self, provider: str, reference: Reference) -> str | None:
        """The workflow that a reference was sent for."""
        return self._runs.get((provider, reference))

    async def complete(
        self, provider: str, reference: Reference, verb: str, number: int, answer: Answer, seconds: float
    ) -> None:
        """Note what was answered."""
        if self._world.executing.dead:
            raise Killed
        if self._world.executing.fault == "unnoted":
            raise JournalDown("connection lost")
        call = self.calls[provider, reference, verb][number - 1]
        assert call.outcome is None, "a call is completed once"
        call.outcome, call.answer = answer.outcome, answer

    def latest(self, provider: str, reference: str) -> Call | None:
        """The last call with an effect under a reference."""
        return self._intended.get((provider, reference))

    def intends(self, provider: str, reference: str) -> bool:
        """Tell whether a call under this reference was begun and is not completed: its intent stands written."""
        call = self._intended.get((provider, reference))
        return call is not None and call.outcome is None


class MemoryApprovals:
    """`records.approvals.Approvals`."""

    def __init__(self, clock: Clock, world: Executing) -> None:
        self._clock = clock
        self._world = world
        self._given: dict[str, tuple[str, ...]] = {}  # what each id is for, its actor last
        self._used: dict[str, str] = {}

    def give(self, run: str, reference: Reference, outcome: Outcome, evidence: str, actor: str) -> str:
        """Write an operator's approval down and tell its id."""
        what = (run, reference, outcome, evidence, actor)
        known = next((each for each, given in self._given.items() if given == what), None)
        made = known or f"apr_{len(self._given) + 1}"
        self._given[made] = what
        return made

    async def use(self, run: str, reference: Reference, outcome: Outcome, evidence: str, ids: Sequence[str]) -> str:
        """Use two approvals up for a decision, or misbehave; say why not where they do not make it."""
        attempt = self._world.executing
        await befall_before(attempt, self._clock)
        said = self._use((run, reference, outcome, evidence), ids)
        befall_after(attempt)
        return said

    def _use(self, decision: tuple[str, ...], ids: Sequence[str]) -> str:
        given = [self._given.get(each) for each in ids]
        if len(set(ids)) != 2 or None in given:
            return "two approvals are needed"
        if any(each is None or each[:-1] != decision for each in given):
            return "the approval is not of this decision"
        if len({each[-1] for each in given if each}) < 2:
            return "both approvals are by the same person"
        if any(self._used.get(each, ids[0]) not in ids for each in ids):
            return "the approval was used for another decision"
        self._used |= {ids[0]: ids[1], ids[1]: ids[0]}
        return ""


class Risk:
    """`risk.gate.Gate` by a verdict that a scenario chooses; what people have let pass is allowed."""

    def __init__(self, verdict: Verdict = Verdict.ALLOW) -> None:
        self.verdict = verdict

    async def decide(self, subject: Subject) -> Decision:
        """Judge an operation."""
        review = self.verdict is Verdict.REVIEW and subject.cleared
        return Decision(verdict=Verdict.ALLOW if review else self.verdict, version=1)
