"""The search: play one schedule, or all that have at most so many faults, or random ones for as long as asked.

    played = play(BY_NAME["manual"], Path.parse("3=lost_after"))     # one schedule
    report = search(SCENARIOS, faults=2)                             # all of them
    report.violations                                                # what broke, the shortest schedule for each

A violation is printed with the command that replays it.
"""

import gc
import logging
import math
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import structlog
from temporalio.workflow import UnfinishedSignalHandlersWarning, UnfinishedUpdateHandlersWarning

from tests.simulation import invariants
from tests.simulation.choices import AtRandom, Choices, Following, Path, Question, onward
from tests.simulation.faults import paired
from tests.simulation.payloads import Exact
from tests.simulation.people import Person
from tests.simulation.scenarios import SCENARIOS, Scenario
from tests.simulation.world import Settings, World, present, virtual_present

# What a search must have seen to count: each compensation, recovery and refusal, each kind of entry and of fact.
SOMETIMES = (
    "void sent", "authorization_hold_released posted", "refund_reserve_released posted",
    "payout_reserve_released posted", "capture_failed posted", "refund_failed posted", "payout_failed posted",
    "payout_returned posted", "dispute_withdrawn posted", "dispute_won posted", "dispute_lost posted",
    "authorization_hold replayed", "capture replayed", "refund_done replayed", "payout_accepted replayed",
    "payout_reserve insufficient_funds", "refund_reserve refundable_exceeded",
    "breaker open", "breaker closed again", "sent as a new attempt", "second provider asked",
    "late effect landed", "zombie at the provider", "activity timed out",
    "worker lost between tasks", "worker lost in an activity", "reset", "continued as new", "canceled", "sent again",
    "parked", "escalated", "retried by a person", "resolved by a person", "impostor refused", "update refused",
    "refused InDoubt", "refused CaptureExceedsAuthorization", "refused NotFound",
    "webhook in a doubt", "relay: signaled", "relay: is closed, and our books agree", "relay: is closed: started",
    "settled late",
)  # fmt: skip
STEPS_MAX = 6_000  # of the heap, per schedule: a run that lives for ever is a violation
ENDLESS_SECONDS = 5.0  # of processor time, per schedule: a hundred times what the longest takes
EXACT_EVERY = 100  # one schedule in so many travels through the strict converter
LATE_QUESTION = 16  # after the first fault: what comes later is varied in a full search
COLLECT_EVERY = 500  # schedules: their garbage is cyclic, and fits into memory until then
REPLAY_EVERY = 20  # and of one in so many every history is replayed to its end


@dataclass
class Played:
    """One schedule, as it went."""

    scenario: Scenario
    path: Path
    asked: Sequence[Question]
    violations: list[str]
    world: World

    @property
    def name(self) -> str:
        return f"{self.scenario.name}:{self.path}"

    @property
    def states(self) -> list[str]:
        """In which states the runs have ended."""
        return [run.result for run in self.world.server.runs.values()]


def play(
    scenario: Scenario, path: Path | None = None, *, settings: Settings | None = None, replay_all: bool = True
) -> Played:
    """Play one schedule. Raises `Astray` for a path of another commit."""
    with virtual_present():
        return played_by(scenario, Following(path or Path()), settings or Settings(), replay_all=replay_all)


def played_by(scenario: Scenario, choices: Choices, settings: Settings, *, replay_all: bool = False) -> Played:
    """Play the schedule that `choices` makes; the present must be virtual (`virtual_present`)."""
    world = World(choices, settings, webhooks_on=scenario.webhooks, providers=scenario.providers)
    present(world.clock)
    Person(world)
    violations: list[str] = []
    signal.setitimer(signal.ITIMER_VIRTUAL, ENDLESS_SECONDS)
    try:
        world.does(scenario.does(world))
        steps = 0
        while not world.broken and world.clock.step():
            steps += 1
            if steps > STEPS_MAX:
                world.breaks("liveness: it does not end")
        if world.broken:
            return Played(scenario, choices.path, choices.asked, world.broken, world)
        for client in world.clients:
            if not client.kept:
                violations.append("I5: a client was never answered")
            elif client.error is not None:
                raise client.error
        violations += invariants.broken(world)
        if not choices.path and (ends := sorted(str(run.result) for run in world.server.runs.values())) != sorted(
            scenario.ends
        ):
            violations.append(f"without any fault it ends {', '.join(ends)}, not {', '.join(scenario.ends)}")
        if replay_all:
            for run in world.server.executions:
                if not run.replaced:
                    world.server.replay(run)
    except (Exception, Endless) as failure:  # noqa: BLE001  whatever breaks a schedule is its violation
        violations.append(f"{type(failure).__name__}: {failure}")
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return Played(scenario, choices.path, choices.asked, violations, world)


class Endless(BaseException):
    """Code goes round without ever waiting. Raised by a timer, out of whatever is running."""


def _too_long(*_: object) -> None:
    raise Endless("it goes round without waiting")


@dataclass
class Violation:
    """What broke, and the shortest schedule that breaks it."""

    what: str
    scenario: str
    path: Path
    times: int = 1

    @property
    def command(self) -> str:
        return f"python -m tests.simulation replay '{self.scenario}:{self.path}'"


@dataclass
class Report:
    """What a search has found."""

    schedules: int = 0
    seconds: float = 0.0
    replays: int = 0
    exact: int = 0  # schedules that went through the strict converter
    exact_seconds: float = 0.0
    violations: dict[str, Violation] = field(default_factory=dict[str, Violation])
    reach: Counter[str] = field(default_factory=Counter[str])
    by_scenario: Counter[str] = field(default_factory=Counter[str])

    @property
    def per_minute(self) -> int:
        return round(self.schedules / self.seconds * 60) if self.seconds else 0

    @property
    def exact_per_minute(self) -> int:
        """As `per_minute`, of the schedules whose payloads were written and read as the product does."""
        return round(self.exact / self.exact_seconds * 60) if self.exact_seconds else 0

    @property
    def never_reached(self) -> list[str]:
        """What should have been seen sometimes, and was not."""
        return [point for point in SOMETIMES if not self.reach[point]]

    def take(self, played: Played) -> None:
        """Count a schedule."""
        self.schedules += 1
        self.by_scenario[played.scenario.name] += 1
        self.replays += played.world.server.replays
        self.reach.update(played.world.reach)
        for what in played.violations:
            self._violated(what, played)

    def _violated(self, what: str, played: Played) -> None:
        kind = f"{played.scenario.name}: {what}"
        known = self.violations.get(kind)
        if known is None:
            self.violations[kind] = Violation(what, played.scenario.name, played.path)
            return
        known.times += 1
        if len(played.path) < len(known.path):
            known.path = played.path

    def merge(self, other: "Report") -> None:
        """Add another search's findings."""
        self.schedules += other.schedules
        self.seconds += other.seconds
        self.replays += other.replays
        self.exact += other.exact
        self.exact_seconds += other.exact_seconds
        self.reach.update(other.reach)
        self.by_scenario.update(other.by_scenario)
        for kind, violation in other.violations.items():
            known = self.violations.setdefault(kind, violation)
            if known is not violation:
                known.times += violation.times
                if len(violation.path) < len(known.path):
                    known.path = violation.path


def search(
    scenarios: Iterable[Scenario] = SCENARIOS,
    *,
    faults: int = 2,
    full: bool = False,
    until: float = math.inf,
    stop_at_first: bool = False,
    allow: Callable[[Path, Sequence[Question]], bool] | None = None,
) -> Report:
    """Play every schedule with at most `faults` faults, the fewest first, until `time.monotonic()` is `until`.

    Unless `full` it is restricted as `_tells_more` says. `allow` may leave more out.
    """
    report = Report()
    with quiet(), virtual_present():
        began = time.process_time()
        for scenario in scenarios:
            exhaust = _Exhaustion(scenario, faults, report, full=full, until=until, allow=allow)
            exhaust.run(stop_at_first=stop_at_first)
            if stop_at_first and report.violations:
                break
        report.seconds = time.process_time() - began
    return report


@dataclass
class _Exhaustion:
    """All schedules of one scenario, layer by layer."""

    scenario: Scenario
    faults: int
    report: Report
    full: bool
    until: float
    allow: Callable[[Path, Sequence[Question]], bool] | None

    def run(self, *, stop_at_first: bool) -> None:
        layer = [Path()]
        for depth in range(self.faults + 1):
            following: list[Path] = []
            for path in layer:
                played = _one(self.scenario, Following(path), self.report)
                if (stop_at_first and played.violations) or time.monotonic() > self.until:
                    return
                if depth < self.faults and not played.violations:
                    following += self._onward(played, last=depth + 1 == self.faults)
            layer = following

    def _onward(self, played: Played, *, last: bool) -> Iterator[Path]:
        differs = _differs_at(played)
        for path in onward(played.path, played.asked):
            if self.allow is not None and not self.allow(path, played.asked):
                continue
            number = max(path.answers)
            if self.full or ((not last or number >= differs) and _tells_more(played, path, number)):
                yield path


def _differs_at(played: Played) -> float:
    """The first question after which a scenario does other things than its elder: what breaks before, breaks there."""
    scenario, requests = played.scenario, played.world.requests
    if not scenario.like:
        return 0
    return requests[scenario.differs - 1] if len(requests) >= scenario.differs else math.inf


def _tells_more(played: Played, path: Path, number: int) -> bool:
    """Tell whether a schedule may show what others do not.

    Left out is what is done after a run's twelfth task (sixth, where it is not the only fault), and to the third
    (second) asking of the same question: an inquiry that is repeated. Of two faults both are `faults.paired`, and the
    second comes before the sixteenth question after the first.
    """
    asked, alone = played.asked, len(path) < 2
    label = asked[number].label
    tasks, repeats = (12, 2) if alone else (6, 1)
    if label.startswith("after task ") and int(label.split()[2]) > tasks:
        return False
    if sum(each.label == label for each in asked[:number]) >= repeats:
        return False
    if alone:
        return True
    near = number - min(path.answers) <= LATE_QUESTION
    return near and all(paired(asked[each].label, answer) for each, answer in path.answers.items())


def _one(scenario: Scenario, choices: Choices, report: Report) -> Played:
    exact, began = report.schedules % EXACT_EVERY == 0, time.process_time()
    settings = Settings(Exact, exact=True) if exact else Settings()
    played = played_by(scenario, choices, settings, replay_all=report.schedules % REPLAY_EVERY == 0)
    if exact:
        report.exact += 1
        report.exact_seconds += time.process_time() - began
    report.take(played)
    if report.schedules % COLLECT_EVERY == 0:
        gc.collect()
    return played


def wander(scenarios: Sequence[Scenario] = SCENARIOS, *, seed: int, faults: int = 4, until: float) -> Report:
    """Play random schedules until `time.monotonic()` is `until`."""
    report = Report()
    with quiet(), virtual_present():
        began, lengths = time.process_time(), dict[str, int]()
        while time.monotonic() < until:
            number = report.schedules
            scenario = scenarios[number % len(scenarios)]
            choices = AtRandom(seed * 1_000_003 + number, faults, lengths.get(scenario.name, 20))
            played = _one(scenario, choices, report)
            lengths[scenario.name] = len(played.asked)
        report.seconds = time.process_time() - began
    return report


class quiet:  # noqa: N801  reads as a word where it is used
    """No logs, and the garbage collector only when it is told: what is played is judged, not read."""

    def __enter__(self) -> None:
        self._kept = structlog.get_config()
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        for kind in (UnfinishedUpdateHandlersWarning, UnfinishedSignalHandlersWarning):
            warnings.simplefilter("error", kind)  # whoever waits for an answer gets one
        self._level = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        gc.disable()
        self._handler = signal.signal(signal.SIGVTALRM, _too_long)

    def __exit__(self, *_: object) -> None:
        gc.enable()
        self._warnings.__exit__(None, None, None)
        signal.signal(signal.SIGVTALRM, self._handler)
        logging.disable(self._level)
        structlog.configure(**self._kept)
