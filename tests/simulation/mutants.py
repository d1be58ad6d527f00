"""Does the simulation find faults? Each mutant breaks one rule of the product, and some short schedule must then break.

    hunted = hunt()                      # all of them, each with the shortest schedule that kills it
    hunt(["a doubt is hidden"])          # one

A mutant says where it is looked for: one scenario, and the faults that may befall it, so that the search is short. It
survives where all those schedules are clean: then an invariant or a fault is missing, or the rule protects nothing.
"""

import gc
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from temporalio.common import RetryPolicy

from activities.books import OurBooks
from activities.provider import ProviderCalls
from adapters import breaker
from adapters.providers.simulator import vocabulary
from contracts import queues
from domain.commands import Start
from domain.ids import Prefix
from domain.money import Money
from domain.outcomes import DisputeStage, Outcome
from ledger import postings
from simulator.records import Phase
from tests.simulation.choices import Following, Path, onward
from tests.simulation.driver import NotFound
from tests.simulation.mutation import Change, Edit, Swap, edit, mutated
from tests.simulation.scenarios import (
    BY_NAME,
    EUR,
    Scenario,
    capture,
    captured,
    funded,
    operation,
    payment,
    payout,
    refund,
)
from tests.simulation.search import Played, played_by, quiet
from tests.simulation.world import FIRST, PATIENCE, SECOND, Settings, World, virtual_present
from workflows import payment as payments
from workflows import payout as payouts
from workflows import refund as refunds
from workflows import saga
from workflows.late import LateWorkflow
from workflows.payment import PaymentWorkflow
from workflows.payout import PayoutWorkflow
from workflows.refund import RefundWorkflow
from workflows.run import Run
from workflows.saga import Nothing, Saga

EFFECT = "return await self._call(step.do, command, ONCE, queues.effects(self._run.promises.provider)), 0"
WITHHELD = """            case Withheld(since=since):
                raise self._unknown(f"{effect.reference} was sent at {since} and its answer is not known: inquire")
"""
SENT_ANYWAY = "            case Withheld():\n                number = 1\n"
RAISED = "                raised = await saga.attempt(RAISE, self._effect(increment.money))\n"
UNLESS_RAISED = (
    "                if raised.answer.outcome is not Outcome.DONE:\n                    saga.needs(RAISE, raised)\n"
)
EXCHANGED = "                await self._authorization.exchange(self._hold, row)\n"
TWICE = RetryPolicy(maximum_attempts=2)
GONE = Nothing("a mutant")


@dataclass(frozen=True)
class Mutant:
    """A rule that is broken, and where that is looked for: with at most `faults` of the kinds `by`."""

    name: str
    scenario: Scenario
    changes: Sequence[Change]
    by: Sequence[str] = ()
    faults: int = 1


@dataclass(frozen=True)
class Hunted:
    """What became of a mutant: the shortest schedule that killed it, what broke there, and how many were played."""

    name: str
    killed: bool
    schedule: str
    broke: str
    schedules: int


async def equal_parts(world: World) -> None:
    """Two captures, equal but for their ids."""
    made, part = payment(), capture(4_000)
    other = replace(part, id=operation(Prefix.CAPTURE, "the other part"), fingerprint="f-other")
    if await world.begin(made, "authorize") and await world.ask(made, "capture", part):
        await world.ask(made, "capture", other)


async def two_routes(world: World) -> None:
    """Another provider may be asked, and need not be."""
    made = payment(routed=True)
    receipt = await world.begin(made, "authorize")
    if receipt is not None and receipt.outcome is Outcome.DONE:
        await world.ask(made, "capture", replace(capture(1), money=Money(made.money.minor, EUR), final=True))


async def _canceled_while_away(world: World, start: Start, update: str) -> None:
    """It is canceled a second after it was asked for: only a lost worker has not answered it by then."""
    world.does(world.begin(start, update))
    await world.clock.sleep(1)
    with suppress(NotFound):
        world.server.cancel(queues.workflow_id(start.id))


async def payment_canceled(world: World) -> None:
    await _canceled_while_away(world, payment(automatic=True), "authorize")


async def refund_canceled(world: World) -> None:
    captured(world)
    await _canceled_while_away(world, refund(3_000), "submit")


async def payout_canceled(world: World) -> None:
    funded(world)
    await _canceled_while_away(world, payout(7_000), "submit")


async def challenge_late(world: World) -> None:
    """The payer proves who they are when nobody waits for them any more."""
    made = payment(instrument="tok_challenge")
    await world.begin(made, "authorize")
    await world.clock.sleep(2 * PATIENCE.challenge)
    waiting = world.bank.books.lookup(f"{made.id}.a1")
    if waiting is not None and waiting.phase is Phase.CHALLENGED:
        world.bank.books.end_challenge(waiting, passed=True)


EQUAL_PARTS = Scenario("equal_parts", equal_parts, ("captured",))
UNHEARD = replace(BY_NAME["paid_out"], name="paid_out_unheard", webhooks=False)
PAYMENT_CANCELED = Scenario("payment_canceled", payment_canceled, ("captured",))
REFUND_CANCELED = Scenario("refund_canceled", refund_canceled, ("succeeded",))
PAYOUT_CANCELED = Scenario("payout_canceled", payout_canceled, ("paid",))
CHALLENGE_LATE = Scenario("challenge_late", challenge_late, ("voided",))
TWO_ROUTES = Scenario("two_routes", two_routes, ("captured",), providers=(FIRST, SECOND))


ITS_OWN = {
    each.name: each
    for each in (
        EQUAL_PARTS, UNHEARD, PAYMENT_CANCELED, REFUND_CANCELED, PAYOUT_CANCELED, CHALLENGE_LATE, TWO_ROUTES,
    )
}  # fmt: skip


def _on(name: str) -> Scenario:
    return (BY_NAME | ITS_OWN)[name]


def hunt(names: Sequence[str] | None = None) -> list[Hunted]:
    """Hunt every mutant, or those that are named."""
    hunted: list[Hunted] = []
    with quiet(), virtual_present():
        for mutant in MUTANTS:
            if names is None or mutant.name in names:
                with mutated(mutant.changes):
                    hunted.append(_hunt(mutant))
                gc.collect()
    return hunted


def _hunt(mutant: Mutant) -> Hunted:
    number = 0
    for number, played in enumerate(_schedules(mutant), start=1):
        if broke := played.violations:
            return Hunted(mutant.name, killed=True, schedule=played.name, broke=broke[0], schedules=number)
    return Hunted(mutant.name, killed=False, schedule="", broke="", schedules=number)


def _schedules(mutant: Mutant) -> Generator[Played]:
    """The schedules in which a mutant is looked for, the fewest faults first; every history of them is replayed."""
    layer = [Path()]
    for depth in range(mutant.faults + 1):
        following: list[Path] = []
        for path in layer:
            played = played_by(mutant.scenario, Following(path), Settings(), replay_all=True)
            yield played
            if depth < mutant.faults:
                following += (each for each in onward(path, played.asked) if _is_tried(mutant, each))
        layer = following


def _is_tried(mutant: Mutant, path: Path) -> bool:
    """Tell whether a path's newest fault is of the mutant's kinds; in pairs, a reset goes back to the start alone."""
    newest = path.answers[max(path.answers)]
    kind, _, to = newest.partition(":")
    return kind in mutant.by and (mutant.faults == 1 or to in ("", "0"))


def replayed(schedule: str) -> list[str]:
    """What a schedule breaks in the product as it is; answers to questions that are not asked there are left out."""
    name, _, path = schedule.partition(":")
    with quiet(), virtual_present():
        return played_by(_on(name), _Leaning(Path.parse(path)), Settings(), replay_all=True).violations


class _Leaning(Following):
    """Follows a path that was found in other code, as far as it goes."""

    def _answer(self, options: Sequence[str]) -> str:
        answer = self._answers.get(len(self.asked), options[0])
        return answer if answer in options else options[0]


MUTANTS: Sequence[Mutant] = (
    # Doubt
    Mutant(
        "an unknown outcome counts as nothing happened",
        _on("manual"),
        [edit(Saga, "_once", "outcome=Outcome.UNKNOWN", "outcome=Outcome.UNAVAILABLE")],
        by=["lost_after"],
    ),
    Mutant(
        "a doubt is unwound and not cleared up",
        _on("manual"),
        [edit(Saga, "_send", "await self._clear_up(step, sent, answer, policy, patience)", "_GaveUp('mutant')")],
        by=["late"],
    ),
    Mutant(
        "nothing found is proof at once",
        _on("manual"),
        [edit(Saga, "_clear_up", "past_horizon, late = asked >= horizon,", "past_horizon, late = True,")],
        by=["late", "zombie"],
    ),
    Mutant(
        "what was accepted and is not found is sent again",
        _on("manual"),
        [edit(Saga, "_clear_up", "found is None and reference not in run.seen:", "found is None:")],
        by=["pending", "not_found"],
        faults=2,
    ),
    Mutant(
        "a conflict counts as nothing happened",
        _on("manual"),
        [
            edit(
                Saga,
                "_clear_up",
                'await run.park(reference, "conflict: the reference was used for something else")',
                "Answer(outcome=Outcome.UNAVAILABLE)",
            )
        ],
        by=["conflict"],
    ),
    Mutant(
        "the refusal of a second send ends the doubt",
        _on("manual"),
        [
            edit(Saga, "_clear_up", "found: Answer | None = answer", "found, _ = await self._once(step, sent)"),
            edit(ProviderCalls, "_effect", WITHHELD, SENT_ANYWAY),
        ],
        by=["lost_after"],
    ),
    Mutant(
        "another provider is asked while the first may have it",
        TWO_ROUTES,
        [
            edit(
                Saga,
                "_send",
                "doubted = True\n",
                "doubted = True\n"
                "                if share < 1:\n"
                "                    return Done(sent.reference, refused(Reason.PROVIDER_UNAVAILABLE))\n",
            )
        ],
        by=["lost_after", "late"],
    ),
    Mutant(
        "pending counts as done",
        _on("manual"),
        [
            edit(
                vocabulary,
                "meaning",
                "outcome = table.get((record.kind, record.phase), Outcome.UNKNOWN)",
                'outcome = Outcome.DONE if record.phase == "QUEUED" else table[record.kind, record.phase]',
            )
        ],
        by=["pending_refused"],
    ),
    Mutant(
        "a status that is not in the table counts as a refusal",
        _on("manual"),
        [
            edit(
                vocabulary,
                "answered",
                'raise Unknown(f"an answer that is not in the table: {fault}")',
                'return Answer(outcome=Outcome.REFUSED, reason="odd")',
            )
        ],
        by=["muddled"],
    ),
    Mutant(
        "the breaker calls the sent call that trips it unavailable",
        _on("manual"),
        [
            edit(
                breaker.Breaker,
                "run",
                "self._tell(self._judge(error))",
                "self._tell(self._judge(error))\n"
                "                if error is not None and self.left():\n"
                '                    raise __import__("domain.errors").errors.Unavailable("open", after_seconds=30)',
            )
        ],
        by=["outage", "lost_after"],
        faults=2,
    ),
    # Who repeats, and under which key
    Mutant(
        "Temporal repeats effects, and no journal withholds them",
        _on("manual"),
        [Swap(saga, "ONCE", TWICE), edit(ProviderCalls, "_effect", WITHHELD, SENT_ANYWAY)],
        by=["crash_after"],
    ),
    Mutant(
        "the key of an effect changes with Temporal's attempt",
        _on("manual"),
        [
            Swap(saga, "ONCE", TWICE),
            edit(
                ProviderCalls,
                "_effect",
                "        try:\n            gate =",
                "        if activity.info().attempt > 1:\n"
                '            effect = __import__("dataclasses").replace(effect, reference=f"{effect.reference}9")\n'
                "        try:\n            gate =",
            ),
        ],
        by=["crash_after"],
    ),
    Mutant(
        "two equal captures share a key",
        EQUAL_PARTS,
        [
            edit(
                Saga,
                "_reference",
                "return effect_reference(",
                "if _name_of(method) == 'capture':\n"
                "                return Reference(f\"{command.on.partition('.')[0]}.c{command.money.minor}\")\n"
                "            return effect_reference(",
            )
        ],
    ),
    Mutant(
        "what is known of a sent effect is asked again, by sending it",
        _on("partly"),
        [
            edit(
                ProviderCalls,
                "_effect",
                "case Known(answer=answer):\n                return answer\n",
                "case Known():\n                number = 1\n",
            )
        ],
        by=["reset"],
    ),
    Mutant(
        "an effect whose answer is not known may be sent again",
        _on("partly"),
        [edit(ProviderCalls, "_effect", WITHHELD, SENT_ANYWAY)],
        by=["reset", "crash_after"],
        faults=2,
    ),
    Mutant(
        "an effect is sent before its intent is written",
        _on("manual"),
        [
            edit(
                ProviderCalls,
                "_effect",
                "gate = await self._calls.begin(effect.provider, effect.reference, verb, digest(verb, effect), _run())",
                "gate = Go(1)",
            )
        ],
    ),
    Mutant(
        "an entry has a reference of its own with each try",
        _on("manual"),
        [
            edit(
                OurBooks,
                "_post",
                "return _said(await self._journal.post(entry))",
                "number = activity.info().attempt if activity.info().attempt > 1 else ''\n"
                "            again = replace(entry, reference=Reference(f'{entry.reference}{number}'))\n"
                "            return _said(await self._journal.post(again))",
            )
        ],
        by=["lost_after"],
    ),
    # Undoing
    Mutant(
        "an undo is noted after its do",
        CHALLENGE_LATE,
        [
            edit(Saga, "_record", "if not isinstance(step.undo, Nothing | ForwardOnly):", "if step.policy is None:"),
            edit(
                Saga,
                "_send",
                "self._name(sent, answer.provider_id)",
                "self._may_have_happened.append(Row(step, sent, attempt, self._operation))",
            ),
            edit(
                Saga,
                "_book",
                "return Done(entry.reference, answer)",
                "if answer.outcome is Outcome.DONE and not isinstance(step.undo, Nothing | ForwardOnly):\n"
                "            self._may_have_happened.append(Row(step, entry, 1, self._operation))\n"
                "        return Done(entry.reference, answer)",
            ),
        ],
    ),
    Mutant(
        "an abandoned challenge is not voided",
        CHALLENGE_LATE,
        [
            edit(
                Saga,
                "_send",
                "if isinstance(cleared, _GaveUp):  # not struck",
                "if isinstance(cleared, _GaveUp):\n                    self._strike(sent)",
            )
        ],
    ),
    Mutant(
        "the oldest is undone first",
        _on("voided"),
        [
            Edit(
                Saga,
                "unwind",
                [("self._may_have_happened[-1]", "self._may_have_happened[0]"), (".pop()", ".pop(0)")],
            )
        ],
    ),
    Mutant(
        "an authorization has no undo",
        _on("voided"),
        [Swap(payments, "AUTHORIZE", replace(payments.AUTHORIZE, undo=GONE))],
    ),
    Mutant(
        "a payment's hold has no undo", _on("voided"), [Swap(payments, "PREPARE", replace(payments.PREPARE, undo=GONE))]
    ),
    Mutant(
        "the reserve of a refused refund is kept",
        _on("refunded"),
        [Swap(refunds, "PREPARE", replace(refunds.PREPARE, undo=GONE))],
        by=["refused"],
    ),
    Mutant(
        "the reserve of a refused payout is kept",
        _on("paid_out"),
        [Swap(payouts, "PREPARE", replace(payouts.PREPARE, undo=GONE))],
        by=["refused"],
    ),
    Mutant(
        "an expiry gives up in our books alone",
        _on("left_alone"),
        [
            edit(
                PaymentWorkflow,
                "_void",
                "answer = await self._authorization.unwind(give_way=isinstance(void, Void))",
                "answer = DONE if isinstance(void, Lapse) else await self._authorization.unwind(give_way=True)",
            )
        ],
    ),
    # One loop, and cancellation
    Mutant(
        "a handler captures by itself",
        _on("at_once"),
        [
            edit(
                Run,
                "ask",
                "self._queue.append(operation)",
                "if type(operation).__name__ == 'Capture':\n"
                "                await self._perform(operation)\n"
                "            else:\n"
                "                self._queue.append(operation)",
            )
        ],
    ),
    Mutant(
        "a cancellation ends the run at once, as Temporal's default is",
        _on("manual"),
        [
            edit(
                Run,
                "to_the_end",
                "self.cancel_requested = True",
                "self.cancel_requested = True\n                raise",
            )
        ],
        by=["cancel"],
    ),
    Mutant(
        "a cancellation does not wait for the answer on the wire",
        _on("manual"),
        [
            edit(
                Saga,
                "_once",
                EFFECT,
                "where = queues.effects(self._run.promises.provider)\n"
                "            asking = self._start(step.do, command, ONCE, where, command.reference)\n"
                "            await workflow.wait_condition(lambda: asking.done() or self._run.cancel_requested)\n"
                "            if not asking.done():\n"
                "                asking.add_done_callback(_forget)\n"
                "                return Answer(outcome=Outcome.UNAVAILABLE), 0\n"
                "            return await asking, 0",
            )
        ],
        by=["cancel"],
    ),
    Mutant(
        "a cancellation is honoured after the rail has a payout",
        UNHEARD,
        [Swap(payouts, "PAY_OUT", replace(payouts.PAY_OUT, undo=GONE))],
        by=["cancel"],
    ),
    *(
        Mutant(
            f"a {workflow.__name__.removesuffix('Workflow').lower()} that is canceled while its worker is away keeps"
            " what it has reserved",
            scenario,
            [edit(workflow, function, 'if since("released-unprepared"):', "if Saga is None:")],
            by=["crash_after"],
        )
        for workflow, function, scenario in (
            (PaymentWorkflow, "_give_up_unbegun", PAYMENT_CANCELED),
            (RefundWorkflow, "_live", REFUND_CANCELED),
            (PayoutWorkflow, "_live", PAYOUT_CANCELED),
        )
    ),
    Mutant(
        "a refusal does not stop its operation",
        _on("overdrawn"),
        [
            edit(
                Saga,
                "__call__",
                "return self.needs(step, await self.attempt(step, command))",
                "return await self.attempt(step, command)",
            )
        ],
    ),
    Mutant(
        "an operation that is asked for twice is performed twice",
        _on("partly"),
        [
            edit(
                Run,
                "ask",
                "if operation.id not in self._known:",
                "if operation.id not in self._known or operation.id in self._receipts:",
            )
        ],
        by=["again"],
    ),
    Mutant(
        "a known id takes another command",
        _on("manual"),
        [edit(Run, "admit", "if known != operation.fingerprint:", "if known == '':")],
        by=["again"],
    ),
    Mutant(
        "a run reads the clock of its worker",
        _on("left_alone"),
        [
            edit(
                PaymentWorkflow,
                "_authorize",
                "self.open_window(workflow.time() + stands",
                "self.open_window(workflow.time() + stands + __import__('time').perf_counter() % 1",
            )
        ],
    ),
    Mutant(
        "a run rolls the dice of its worker",
        _on("manual"),
        [edit(Saga, "_send", "workflow.random()", "__import__('random').SystemRandom()")],
        by=["unavailable"],
    ),
    # Increments, challenges, risk
    Mutant(
        "the hold before an increment stays beside the new one",
        _on("raised"),
        [edit(Saga, "exchange", "await self._undo(self._may_have_happened[place])", "pass")],
    ),
    Mutant(
        "the hold before an increment goes before the provider has raised",
        _on("raised"),
        [
            Edit(
                PaymentWorkflow,
                "_increment",
                [
                    (f"{RAISED}{UNLESS_RAISED}", ""),
                    (f"{EXCHANGED}", f"{EXCHANGED}{RAISED}{UNLESS_RAISED}"),
                ],
            )
        ],
        by=["refused"],
    ),
    Mutant(
        "a cancellation drops the hold that covers an increment",
        _on("raised"),
        [edit(PaymentWorkflow, "_increment", UNLESS_RAISED, "                saga.needs(RAISE, raised)\n")],
        by=["cancel"],
    ),
    Mutant(
        "a payment in dispute is refunded",
        _on("refunded_in_dispute"),
        [edit(OurBooks, "prepare_refund", "await self._operations.disputed(prepare.payment)", "False")],
    ),
    Mutant(
        "what a dispute withdraws is not booked",
        _on("lost"),
        [edit(OurBooks, "book_withdrawn", "await self._book(booking,", "DONE or await self._book(booking,")],
    ),
    Mutant(
        "a dispute that is won counts as lost",
        _on("won"),
        [Swap(vocabulary, "STAGES", {**vocabulary.STAGES, "WON": DisputeStage.LOST})],
    ),
    Mutant(
        "that people let a payment pass is not passed on",
        _on("held_by_risk"),
        [edit(Saga, "_reviewed", "replace(gate, cleared=True)", "gate")],
    ),
    Mutant(
        "a decision needs no approvals",
        _on("manual"),
        [edit(Run, "resolve", "if checked.outcome is not Outcome.DONE:", "if checked is None:")],
        by=["conflict", "impostor"],
        faults=2,
    ),
    # What people see
    Mutant(
        "a doubt is hidden",
        _on("manual"),
        [
            Edit(
                Saga,
                "_clear_up",
                [
                    ("self._doubt(reference, pause if found is answer else 0)", "pass"),
                    ("self._doubt(reference, wait)", "pass"),
                ],
            )
        ],
        by=["lost_after", "pending"],
    ),
    Mutant(
        "what is parked has no owner",
        _on("manual"),
        [edit(Run, "park", "owner or self.owner", "''")],
        by=["conflict"],
    ),
    Mutant(
        "what is parked has no deadline to speak of",
        _on("manual"),
        [edit(Run, "_ask_for_attention", "timedelta(hours=ATTENTION_HOURS)", "timedelta(days=365_000)")],
        by=["conflict"],
    ),
    Mutant(
        "what is parked cannot be found",
        _on("manual"),
        [edit(Run, "show", "updates.append(attributes.NEEDS_ATTENTION.value_set(attention is not None))", "pass")],
        by=["conflict"],
    ),
    # The books
    Mutant(
        "our fee stands on the wrong side",
        _on("manual"),
        [
            Edit(
                postings,
                "capture",
                [("money - fee", "money + fee"), ("credit(FEE_INCOME, fee)", "debit(FEE_INCOME, fee)")],
            )
        ],
    ),
    Mutant(
        "a line of an entry is dropped",
        _on("manual"),
        [edit(postings, "capture", "        credit(FEE_INCOME, fee),\n", "")],
    ),
    Mutant(
        "a final capture leaves the rest of its hold",
        _on("partly"),
        [edit(PaymentWorkflow, "_booking", "final=final,", "final=False,")],
    ),
    Mutant(
        "an accepted payout is not booked",
        _on("paid_out"),
        [edit(PayoutWorkflow, "_hand_over", "await saga(ACCEPT, self._booking(accepted, S.IN_TRANSIT))", "pass")],
    ),
    Mutant(
        "a payout that has come back is not booked",
        _on("bounced"),
        [edit(PayoutWorkflow, "_follow", "await saga(REVERSE, self._booking(accepted, S.FAILED))", "pass")],
    ),
    Mutant(
        "a bounced payout counts as arrived",
        _on("bounced"),
        [Swap(vocabulary, "ARRIVALS", {**vocabulary.ARRIVALS, ("transfer", "BOUNCED"): Outcome.DONE})],
    ),
    Mutant(
        "a recalled payout counts as arrived",
        _on("recalled"),
        [edit(PayoutWorkflow, "_follow", "arrival = refused(Reason.RECALLED)", "arrival = DONE")],
    ),
    # Facts that come later
    Mutant(
        "a capture that is taken back is not booked",
        _on("taken_back"),
        [
            edit(
                PaymentWorkflow,
                "_set_back",
                "        del self._captures[fact.reference]\n",
                "        return\n        del self._captures[fact.reference]\n",
            )
        ],
    ),
    Mutant(
        "a capture that is taken back is booked with each word of it",
        _on("taken_back"),
        [
            Edit(
                PaymentWorkflow,
                "_set_back",
                [
                    ("        del self._captures[fact.reference]\n", ""),
                    ("        self.conclude(fact.reference, fact.answer)\n", ""),
                ],
            ),
            edit(Saga, "_reference", '/{name}")', "/{name}{len(self._run._moments) if name == 'reversed' else ''}\")"),
        ],
        by=["twice"],
    ),
    Mutant(
        "a failure that is told before its success is concluded is forgotten",
        _on("taken_back"),
        [
            edit(
                Run,
                "conclude",
                "self._queue += [Setback(fact) for outcome, fact in told.items() if outcome is not answer.outcome]",
                "del told",
            )
        ],
        by=["crash_before", "crash_after"],
    ),
    Mutant(
        "a run that was reset does not ask what it has sent",
        _on("routed"),
        [
            edit(
                PaymentWorkflow,
                "_recalls",
                "if stopped is not CANCELED or",
                "if True or",
            )
        ],
        by=["reset", "cancel"],
        faults=2,
    ),
    Mutant(
        "an increment that a reset has left over keeps its hold",
        _on("raised"),
        [edit(PaymentWorkflow, "_answer_late", "await Saga(self, late.id).ensure_absent(RESERVE, gate)", "del gate")],
        by=["reset", "cancel"],
        faults=2,
    ),
    Mutant(
        "what a void finds is booked without asking what is booked",
        _on("partly"),
        [
            edit(
                PaymentWorkflow,
                "_book_found",
                "known = (await self.stands(self._payment.id, void)).total or known",
                "pass",
            )
        ],
        by=["reset", "cancel"],
        faults=2,
    ),
    Mutant(
        "a late fact is ignored",
        _on("taken_back"),
        [edit(LateWorkflow, "_live", "fact = await self._settle(fact, means, about)", "fact = None")],
    ),
    # Long lives
    Mutant(
        "a run forgets its receipts when it goes on under a new history",
        _on("partly"),
        [edit(Run, "hand_on", "receipts=tuple(self._receipts.values())", "receipts=()")],
        by=["long", "again"],
        faults=2,
    ),
    Mutant(
        "a run forgets its undos when it goes on under a new history",
        _on("partly_void"),
        [edit(PaymentWorkflow, "_move_on", "standing=tuple(standing)", "standing=()")],
        by=["long"],
    ),
    Mutant(
        "a run forgets its window when it goes on under a new history",
        _on("left_alone"),
        [edit(PaymentWorkflow, "run", "if isinstance(start, CarriedPayment):", "if start is None:")],
        by=["long"],
    ),
)
