"""A dispute: a payer's bank takes a payment up, the provider takes the money, somebody decides who has it.

    requested ─▶ opened ─▶ funds withdrawn ─▶ lost
        │           │          │     ▲
        └───────────┴──────────┴─────┼─▶ won ─▶ closed     after the time in which it can be taken up again
                                     └────┘

Only the provider moves it, by facts that come in any order, and twice; each has the provider's own key, and one entry.
A decision that comes before its withdrawal is kept until that is told. Nothing is ever undone here.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import ClassVar, TypeVar

from temporalio import workflow

from contracts.books import Books
from contracts.disputes import Evidence
from domain.commands import Booking, Command, Dispute, Note, Row
from domain.ids import Reference
from domain.lifecycle import DISPUTE, DisputeState, Lifecycle, is_terminal
from domain.money import Money
from domain.outcomes import Attention, DisputeNews, DisputeStage, Outcome
from workflows import preparation
from workflows.policies import A_FACT, A_ROW, NOTED
from workflows.run import Run, refusal
from workflows.saga import Book, Nothing, Saga, Step

In = TypeVar("In", bound=Command)
S = DisputeState

ADMITTED = Book("admitted", timedelta(seconds=5), why="nobody waits, but refunds are refused from here on")
WITHDRAWN = Book("withdrawn", timedelta(seconds=5), why="nobody waits")
DECIDED = Book("decided", timedelta(seconds=5), why="nobody waits")
MOVES_NOTHING = Nothing("a row that moves nothing")

# fmt: off
#               do                          undo                  policy
PREPARE    = Step(Books.prepare_dispute,   undo=MOVES_NOTHING,   policy=ADMITTED)
WITHDRAW   = Step(Books.book_withdrawn,    undo=A_FACT,          policy=WITHDRAWN)
WIN        = Step(Books.book_dispute_won,  undo=A_FACT,          policy=DECIDED)
LOSE       = Step(Books.book_dispute_lost, undo=A_FACT,          policy=DECIDED)
NOTE       = Step(Books.note,              undo=A_ROW,           policy=NOTED)
# fmt: on

WARNED_BEFORE = timedelta(days=1)  # a person has a working day left to put the evidence together
KEPT = timedelta(days=7)  # providers send a webhook again for some days; after a week its loss is likelier
# Card schemes give a payer's bank up to 120 days for each turn of a dispute: who has heard nothing for so long can
# close a dispute that was won, and must ask about one that was not decided.
QUIET = timedelta(days=120)
A_MOMENT = 0.001  # seconds: a timer that is shorter would be none, and a loop that waits for it would never yield
NEWS_MAX = 200  # a dispute has a handful; the inbox keeps them all


@dataclass
class Withdrawal:
    """Funds that the provider has taken, and how much of them is not decided yet."""

    key: str
    left: Money


@dataclass(frozen=True)
class Alarm:
    """What is to be done at an instant (unix seconds) unless something is told before."""

    at: float
    why: str
    ring: Callable[[], Awaitable[None]]


@workflow.defn(name="Dispute")
class DisputeWorkflow(Run):
    """See the module."""

    lifecycle: ClassVar[Lifecycle[DisputeState]] = DISPUTE
    owner = "disputes-operations"
    heeds_cancellation = False

    @workflow.init
    def __init__(self, dispute: Dispute) -> None:
        super().__init__(dispute, S.REQUESTED)
        self._dispute = dispute
        self._news: list[DisputeNews] = []
        self._taken: set[tuple[DisputeStage, str]] = set()
        self._kept: list[DisputeNews] = []  # decisions whose withdrawal was not told yet
        self._withdrawals: list[Withdrawal] = []
        self._on = Reference("")
        self._evidence: Evidence | None = None
        self._evidence_due = 0.0  # unix seconds; 0: none is asked for
        self._evidence_missed = False
        self._heard = workflow.time()

    @workflow.run
    async def run(self, dispute: Dispute) -> str:
        """Live until it is lost, or won for good; return the terminal state."""
        return await self.to_the_end(self._live(dispute))

    async def _live(self, dispute: Dispute) -> str:
        await self.next()
        await self._step(PREPARE, replace(preparation.of(dispute), payment=dispute.payment))
        while not is_terminal(DISPUTE, self.state):
            if self._news:
                await self._take(self._news.pop(0))
            else:
                await self._wait_for_news()
        self.relieve()
        self.show()
        await self.last()
        return self.state

    # What is told

    async def _take(self, news: DisputeNews) -> None:
        """Take one thing that was told, once."""
        if (news.stage, news.key) in self._taken:
            return
        self._taken.add((news.stage, news.key))
        self._heard, self._on = workflow.time(), news.on
        self.reason = news.reason or self.reason
        self._note_the_deadline(news)
        match news.stage:
            case DisputeStage.OPENED:
                await self._opened()
            case DisputeStage.WITHDRAWN:
                await self._withdrawn(news)
            case DisputeStage.WON | DisputeStage.LOST:
                self._kept.append(news)
        await self._decide()

    def _note_the_deadline(self, news: DisputeNews) -> None:
        """Each turn of a dispute has a deadline of its own, and wants evidence of its own."""
        due = datetime.fromisoformat(news.evidence_due).timestamp() if news.evidence_due else self._evidence_due
        if due != self._evidence_due:
            self._evidence_due, self._evidence, self._evidence_missed = due, None, False

    async def _opened(self) -> None:
        if self.state == S.REQUESTED:
            self.move(S.OPENED)
        await self._note()

    async def _withdrawn(self, news: DisputeNews) -> None:
        """Book what the provider has taken: it is held of the merchant until it is decided."""
        total = self.total + news.money
        booking = replace(self._booking(news, total, S.FUNDS_WITHDRAWN), key=news.key)
        await self._step(WITHDRAW, booking)
        self.total = total
        self._withdrawals.append(Withdrawal(news.key, news.money))
        if self.state != S.FUNDS_WITHDRAWN:
            self.move(S.FUNDS_WITHDRAWN)
        self.show()

    async def _decide(self) -> None:
        """Book the decisions whose withdrawal is known: those over the whole of one first, then over parts."""
        for over_a_part in (False, True):
            for news in tuple(self._kept):
                if withdrawal := self._withdrawal_of(news, over_a_part=over_a_part):
                    self._kept.remove(news)
                    await self._decided(news, withdrawal)

    def _withdrawal_of(self, news: DisputeNews, *, over_a_part: bool) -> Withdrawal | None:
        """The latest withdrawal that a decision can be about; providers do not name it, so its amount has to tell."""
        for each in reversed(self._withdrawals):
            if each.left == news.money or (over_a_part and each.left.minor > news.money.minor > 0):
                return each
        return None

    async def _decided(self, news: DisputeNews, withdrawal: Withdrawal) -> None:
        """Book how the provider decided over a withdrawal, or over a part of it."""
        won = news.stage is DisputeStage.WON
        total = self.total - news.money if won else self.total
        final = withdrawal.left == news.money
        left = [each for each in self._withdrawals if each.left.minor and not (final and each is withdrawal)]
        ends = S.FUNDS_WITHDRAWN if left else S.WON if won else S.LOST
        booking = replace(self._booking(news, total, ends), key=news.key, withdrawal=withdrawal.key, final=final)
        await self._step(WIN if won else LOSE, booking)
        self.total = total
        withdrawal.left = withdrawal.left - news.money
        if ends is not S.FUNDS_WITHDRAWN:
            self.move(ends)
        self.show()

    # What time brings

    async def _wait_for_news(self) -> None:
        """Wait until something is told, or for the next thing that time brings."""
        alarm = min(self._alarms(), key=lambda each: each.at)
        handed_in = self._evidence
        left = alarm.at - workflow.time()
        if left >= A_MOMENT:
            await self._wait(lambda: bool(self._news) or self._evidence is not handed_in, left, alarm.why)
        if alarm.at - workflow.time() < A_MOMENT and not self._news:
            await alarm.ring()

    def _alarms(self) -> list[Alarm]:
        quiet = self._heard + QUIET.total_seconds()
        alarms = [
            Alarm(quiet, "it can be taken up again until then", self._close)
            if self.state == S.WON and not self._kept
            else Alarm(quiet, "it should be decided by then", self._ask_for_the_decision)
        ]
        if self._kept:
            at = self._heard + KEPT.total_seconds()
            alarms.append(Alarm(at, "the withdrawal should be told by then", self._without_withdrawal))
        if self._wants_evidence():
            if self.attention is None:
                at = self._evidence_due - WARNED_BEFORE.total_seconds()
                alarms.append(Alarm(at, "until evidence is asked for", self._ask_for_evidence))
            else:
                alarms.append(Alarm(self._evidence_due, "until it is too late for evidence", self._miss_evidence))
        return alarms

    def _wants_evidence(self) -> bool:
        open_ = self.state in (S.REQUESTED, S.OPENED, S.FUNDS_WITHDRAWN)
        return bool(self._evidence_due) and self._evidence is None and not self._evidence_missed and open_

    async def _close(self) -> None:
        self.move(S.CLOSED)
        await self._note()

    async def _without_withdrawal(self) -> None:
        """A decision came and no withdrawal did. Won, there was none to come; else somebody has to find the money."""
        news, nothing_open = self._kept[0], not any(each.left.minor for each in self._withdrawals)
        if news.stage is DisputeStage.WON and nothing_open:
            self._kept.pop(0)
            if self.state != S.WON:
                self.move(S.WON)
                await self._note()
            return
        reference = Reference(f"{self._dispute.id}/withdrawal")
        why = f"{news.stage} {news.money} by {news.key}, and no withdrawal of that much was told"
        decided = await self.park(reference, why, unless=lambda: bool(self._news))
        self.relieve()
        if decided is None:
            return
        self._kept.pop(0)  # two people have seen what became of the money
        lost = news.stage is DisputeStage.LOST and decided.outcome is Outcome.DONE
        if lost and nothing_open and self.state != S.WON:
            self.move(S.LOST)
            await self._note()

    async def _ask_for_the_decision(self) -> None:
        """Have two people find out how it was decided: done is won, refused is lost."""
        reference = Reference(f"{self._dispute.id}/decision")
        why = f"nothing was told for {QUIET.days} days: resolve as done where it was won, as refused where it was lost"
        decided = await self.park(reference, why, unless=lambda: bool(self._news))
        self.relieve()
        self._heard = workflow.time()
        if decided is None:
            return
        stage = DisputeStage.WON if decided.outcome is Outcome.DONE else DisputeStage.LOST
        open_ = [each for each in self._withdrawals if each.left.minor]
        for each in open_:
            key = f"{self._dispute.id}-{each.key}"  # ours: the provider has named none
            self._news.append(self._resolved(stage, key, each.left))
        if not open_:
            self.move(S.WON if stage is DisputeStage.WON else S.LOST)
            await self._note()

    def _resolved(self, stage: DisputeStage, key: str, money: Money) -> DisputeNews:
        their_id = self._dispute.their_id
        return DisputeNews(dispute=their_id, key=key, stage=stage, on=self._on, money=money, source="resolved")

    async def _ask_for_evidence(self) -> None:
        """Call a person: a deadline of the provider's comes near. What moves meanwhile goes on."""
        due = datetime.fromtimestamp(self._evidence_due, tz=workflow.now().tzinfo).isoformat()
        self.attention = Attention(
            reference=Reference(f"{self._dispute.id}/evidence"),
            reason=f"evidence in dispute {self._dispute.their_id} is due by {due}; without any it will be lost",
            owner=self.owner,
            since=workflow.now().isoformat(),
            deadline=due,
            update="evidence",
            payload=json.dumps({"who": "…", "what": "…"}, ensure_ascii=False),
        )
        self.log("needs attention", self.attention.reference, self.attention.reason)
        self.show()

    async def _miss_evidence(self) -> None:
        self._evidence_missed = True
        self.log("no evidence was handed in", self._dispute.id)
        self.relieve()
        await self._note(event="dispute.evidence_missed")

    # What all of them use

    async def _step(self, step: Step[In], command: In) -> None:
        await Saga(self, self._dispute.id, forward=True)(step, command)

    async def _note(self, event: str = "") -> None:
        await self._step(NOTE, Note(rows=(self._row(self.state, self.total, event),)))

    def _booking(self, news: DisputeNews, total: Money, state: DisputeState) -> Booking:
        dispute = self._dispute
        return Booking(
            operation=dispute.id,
            payment=dispute.payment,
            merchant=dispute.merchant,
            provider=dispute.promises.provider,
            money=news.money,
            rows=(self._row(state, total),),
        )

    def _row(self, state: str, total: Money, event: str = "") -> Row:
        dispute = self._dispute
        return Row(
            operation=dispute.id,
            payment=dispute.payment,
            state=state,
            amount=dispute.money,
            total=total,
            reason=self.reason,
            provider_id=dispute.their_id,
            reference=self._on,
            event=event,
        )

    @workflow.signal
    def told(self, news: DisputeNews) -> None:
        """Take what the provider tells; the loop books it."""
        self.log(f"webhook says {news.stage} {news.money}", news.key, news.source)
        if len(self._news) < NEWS_MAX:
            self._news.append(news)

    @workflow.update
    async def evidence(self, evidence: Evidence) -> str:
        """Say that evidence was handed in at the provider; nobody is asked for it any more. It moves no money."""
        self._evidence = evidence
        self.log(f"evidence handed in by {evidence.who}", self._dispute.id, evidence.what)
        if self.attention is not None and self.attention.update == "evidence":
            self.relieve()
        return f"handed in by {evidence.who}"

    @evidence.validator
    def _evidence_is_apt(self, evidence: Evidence) -> None:
        if self.state not in (S.REQUESTED, S.OPENED, S.FUNDS_WITHDRAWN):
            raise refusal("InvalidState", f"it is {self.state}: no evidence is wanted")
        if not evidence.who.strip(" …") or not evidence.what.strip(" …"):
            raise refusal("BadEvidence", "say who has handed in what")
