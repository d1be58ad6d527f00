"""Whatever clients do, and whatever befalls them, in any order: hypothesis draws it, and shrinks what breaks.

Two ways: the scenarios with faults drawn, which shrink to the shortest schedule; and clients who do as they like with
one payment. `HYPOTHESIS_MAX_EXAMPLES` lets both go on for longer, by chance; without it they draw the same each time.
"""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from domain.commands import Payment
from domain.ids import Prefix
from risk.rules import Verdict
from tests.simulation import invariants
from tests.simulation.choices import NONE, Choices, Path
from tests.simulation.clock import EPOCH
from tests.simulation.driver import NotFound
from tests.simulation.mutation import edit, mutated
from tests.simulation.people import Person
from tests.simulation.scenarios import (
    BY_NAME,
    DAY,
    SCENARIOS,
    Scenario,
    capture,
    funded,
    increment,
    operation,
    payment,
    payout,
    refund,
    void,
)
from tests.simulation.search import played_by, quiet
from tests.simulation.world import Settings, World, present, virtual_present
from workflows.saga import Saga

EXAMPLES = int(os.environ.get("HYPOTHESIS_MAX_EXAMPLES", "0"))
SCHEDULES, LIVES, STEPS = 400, 80, 15  # about eight seconds each
FAULTS = 4  # of one schedule: two more than are searched one and all
QUESTIONS = 25  # between two faults at most: a schedule asks some dozens
OPTIONS = 24  # as many as the longest menu has
STEPS_MAX = 20_000  # of the clock: whoever needs more lives for ever
INSTRUMENTS = ("tok_visa", "tok_denied", "tok_review", "tok_challenge", "tok_fails_later", "tok_soft")
PAUSES = (0.01, 0.1, 1.0, 5.0, 60.0, 3_600.0, DAY)  # seconds: within a call, a doubt, a patience, an attention
WANDERING = settings(
    max_examples=EXAMPLES or SCHEDULES,
    stateful_step_count=STEPS,
    derandomize=not EXAMPLES,
    deadline=None,
    suppress_health_check=[
        HealthCheck.data_too_large,
        HealthCheck.too_slow,
        HealthCheck.large_base_example,
    ],  # it draws as often as it asks
)


class Wished(Choices):
    """Answers by a list of faults: after how many questions each comes, and which of those that can befall it is."""

    def __init__(self, faults: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self._faults = list(faults)
        self._passed = 0

    def wish(self, faults: Sequence[tuple[int, int]]) -> None:
        """Have these befall it, from now on."""
        self._faults = list(faults)

    def _answer(self, options: Sequence[str]) -> str:
        if not self._faults or len(options) < 2:
            return NONE
        pause, which = self._faults[0]
        self._passed += 1
        if self._passed <= pause:
            return NONE
        del self._faults[0]
        self._passed = 0
        return options[1 + which % (len(options) - 1)]


WISHES = st.lists(st.tuples(st.integers(0, QUESTIONS), st.integers(0, OPTIONS)), max_size=FAULTS)


@WANDERING
@given(st.sampled_from(SCENARIOS), WISHES)
def test_no_faults_of_any_scenario_break_an_invariant(scenario: Scenario, faults: Sequence[tuple[int, int]]) -> None:
    with quiet(), virtual_present():
        played = played_by(scenario, Wished(faults), Settings(), replay_all=True)
    note(f"python -m tests.simulation replay '{played.name}'")
    assert played.violations == []


def test_what_chance_has_found_shrinks_to_one_fault() -> None:
    broke: list[Path] = []

    @settings(WANDERING, max_examples=SCHEDULES, derandomize=True)
    @given(WISHES)
    def wanders(faults: Sequence[tuple[int, int]]) -> None:
        played = played_by(BY_NAME["manual"], Wished(faults), Settings())
        if played.violations:
            broke.append(played.path)
        assert not played.violations

    believes = edit(Saga, "_once", "outcome=Outcome.UNKNOWN", "outcome=Outcome.UNAVAILABLE")
    with quiet(), virtual_present(), mutated([believes]), pytest.raises(AssertionError):
        wanders()
    assert len(broke[-1]) == 1, f"the last that hypothesis has tried is {broke[-1]}"


class Clients(RuleBasedStateMachine):
    """Clients of one merchant, who do what they like; a person on duty; a provider, its webhooks, and bad luck."""

    def __init__(self) -> None:
        super().__init__()
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(quiet())
        self._stack.enter_context(virtual_present())
        self._choices = Wished(())
        self._world = World(self._choices, webhooks_on=True)
        self._payment: Payment | None = None
        self._number = 0
        present(self._world.clock)
        Person(self._world)
        funded(self._world)

    @initialize(
        automatic=st.booleans(),
        instrument=st.sampled_from(INSTRUMENTS),
        verdict=st.sampled_from(Verdict),
        faults=WISHES,
    )
    def pays(self, automatic: bool, instrument: str, verdict: Verdict, faults: Sequence[tuple[int, int]]) -> None:
        self._choices.wish(faults)
        self._world.risk.verdict = verdict
        self._payment = payment(automatic=automatic, instrument=instrument)
        self._world.does(self._world.begin(self._payment, "authorize"))

    @rule(seconds=st.sampled_from(PAUSES))
    def lets_time_pass(self, seconds: float) -> None:
        over: list[bool] = []
        self._world.clock.later(seconds, over.append, True)
        while not over and not self._world.broken and self._world.clock.step():
            pass

    @rule(minor=st.sampled_from((1, 4_000, 6_000, 10_000)), final=st.booleans())
    def captures(self, minor: int, final: bool) -> None:
        self._asks("capture", replace(capture(minor, final=final), id=self._next(Prefix.CAPTURE)))

    @rule(minor=st.sampled_from((1, 2_500)))
    def raises(self, minor: int) -> None:
        self._asks("increment", replace(increment(minor), id=self._next(Prefix.INCREMENT)))

    @rule()
    def voids(self) -> None:
        self._asks("void", replace(void(), id=self._next(Prefix.VOID)))

    @rule(minor=st.sampled_from((1, 3_000, 10_000)))
    def refunds(self, minor: int) -> None:
        made = replace(refund(minor), id=self._next(Prefix.REFUND), admit_until=EPOCH + 30 * DAY)
        self._world.does(self._world.begin(made, "submit"))

    @rule(minor=st.sampled_from((1, 7_000)), destination=st.sampled_from(("acct_ok", "acct_bounces", "acct_returns")))
    def pays_out(self, minor: int, destination: str) -> None:
        made = replace(payout(minor, destination), id=self._next(Prefix.PAYOUT))
        self._world.does(self._world.begin(made, "submit"))

    @rule()
    def sends_everything_again(self) -> None:
        self._world._again()  # pyright: ignore[reportPrivateUsage]

    @rule()
    def comes_back_from_the_bank(self) -> None:
        assert self._payment is not None
        self._world.look_again(self._payment)

    @rule()
    def cancels(self) -> None:
        with contextlib.suppress(NotFound):
            self._world.server.cancel(f"payment/{self._of.id}")

    @rule(which=st.integers(0, 5))
    def meddles(self, which: int) -> None:
        running = [run for run in self._world.server.runs.values() if run.open]
        if which < len(running) and running[which].attributes.get("NeedsAttention") != b"true":
            self._world._meddle(running[which])  # pyright: ignore[reportPrivateUsage]

    def teardown(self) -> None:
        """Everything ends, and both books agree."""
        try:
            steps = 0
            while not self._world.broken and steps < STEPS_MAX and self._world.clock.step():
                steps += 1
            assert self._world.broken == []
            assert steps < STEPS_MAX, "it does not end"
            for client in self._world.clients:
                assert client.kept, "a client was never answered"
                client.result()
            assert list(invariants.broken(self._world)) == []
            for run in self._world.server.executions:
                if not run.replaced:
                    self._world.server.replay(run)
        finally:
            self._stack.close()

    @property
    def _of(self) -> Payment:
        assert self._payment is not None
        return self._payment

    def _next(self, prefix: Prefix) -> Any:
        self._number += 1
        return operation(prefix, f"wandering {self._number}")

    def _asks(self, update: str, asked: Any) -> None:
        self._world.does(self._world.ask(self._of, update, replace(asked, fingerprint=f"f-{asked.id}")))


def test_no_doings_of_clients_break_an_invariant() -> None:
    run_state_machine_as_test(Clients, settings=settings(WANDERING, max_examples=EXAMPLES or LIVES))  # pyright: ignore[reportUnknownMemberType]
