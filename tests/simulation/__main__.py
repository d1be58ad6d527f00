"""`python -m tests.simulation`: search for MINUTES, replay one schedule, or show what was asked in it.

python -m tests.simulation search --minutes 10 --seed 7      what `make sim` does; leaves .holdfast/reports/sim.json
python -m tests.simulation replay 'manual:3=lost_after'      print a schedule's timeline
python -m tests.simulation questions 'manual:3=lost_after'   print every question, numbered as names number them
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path as File

from tests.simulation import corpus, timeline
from tests.simulation.choices import Path
from tests.simulation.scenarios import BY_NAME, SCENARIOS
from tests.simulation.search import Report, play, quiet, search, wander
from tests.simulation.world import Settings

REPORT = File(".holdfast/reports/sim.json")
SHARE_OF_TRIPLES = 0.5  # of the time: half for all schedules of three faults, half for chance
EXAMPLES_A_MINUTE = 100  # of hypothesis, for each minute asked: they take about a third as long again
SHOWN_MAX = 20  # violations that are printed: whoever has more looks at the first


def say(text: str) -> None:
    """Tell whoever has asked."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Do what is asked; 1 where something broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    commands = parser.add_subparsers(dest="command", required=True)
    searching = commands.add_parser("search")
    searching.add_argument("--minutes", type=float, default=5)
    searching.add_argument("--seed", type=int, default=0)
    for name in ("replay", "questions"):
        commands.add_parser(name).add_argument("schedule")
    asked = parser.parse_args(arguments)
    if asked.command == "search":
        return _search(asked.minutes, asked.seed)
    return _replay(asked.schedule, questions=asked.command == "questions")


def _replay(schedule: str, *, questions: bool) -> int:
    name, _, path = schedule.partition("@")[0].partition(":")
    with quiet():
        played = play(BY_NAME[name], Path.parse(path), settings=Settings(timeline=True))
    say(timeline.questions(played) if questions else timeline.written(played))
    return 1 if played.violations else 0


def _search(minutes: float, seed: int) -> int:
    """All schedules of two faults, then of three as long as there is time, then by chance; and every mutant."""
    began, ends = time.monotonic(), time.monotonic() + 60 * minutes
    report = Report()
    report.merge(corpus.played())
    report.merge(search(faults=2, until=ends))
    say(f"two faults: {_sum(report)}")
    complete = time.monotonic() < ends
    triples_end = time.monotonic() + SHARE_OF_TRIPLES * max(0.0, ends - time.monotonic())
    for number, scenario in enumerate(SCENARIOS):  # each its share, the elder first
        share = (triples_end - time.monotonic()) / (len(SCENARIOS) - number)
        report.merge(search([scenario], faults=3, full=True, until=time.monotonic() + share))
    say(f"three faults, as far as time went: {_sum(report)}")
    report.merge(wander(seed=seed, until=ends))
    say(f"by chance, seed {seed}: {_sum(report)}")
    for violation in sorted(report.violations.values(), key=lambda each: len(each.path))[:SHOWN_MAX]:
        say(f"BROKEN {violation.times} times, {violation.scenario}: {violation.what}\n    {violation.command}")
    say(f"never reached: {', '.join(report.never_reached) or 'nothing'}")
    wandered = _wandered(minutes, seed)
    mutants, killed = _mutants()
    _write(report, mutants, killed)
    say(f"{time.monotonic() - began:.0f} s; {REPORT}")
    if not complete:
        say("There was no time for all pairs: what was never reached says nothing.")
    unreached = complete and bool(report.never_reached)
    return 1 if wandered or report.violations or unreached or killed < mutants else 0


def _wandered(minutes: float, seed: int) -> int:
    """Clients who do as they like, drawn and shrunk by hypothesis; pytest's exit code."""
    examples = max(1, round(minutes * EXAMPLES_A_MINUTE))
    command = [sys.executable, "-m", "pytest", "-q", f"--hypothesis-seed={seed}", "tests/simulation/test_wandering.py"]
    environment = {**os.environ, "HYPOTHESIS_MAX_EXAMPLES": str(examples)}
    return subprocess.run(command, env=environment, check=False).returncode


def _mutants() -> tuple[int, int]:
    from tests.simulation import mutants

    hunted = mutants.hunt()
    for each in hunted:
        say(f"{'killed' if each.killed else 'ALIVE '} {each.name:40} {each.schedule}")
    return len(hunted), sum(each.killed for each in hunted)


def _sum(report: Report) -> str:
    return (
        f"{report.schedules} schedules, {report.per_minute} a minute and core ({report.exact_per_minute} where payloads"
        f" are written and read, as {report.exact} were); {report.replays} histories replayed;"
        f" {len(report.violations)} violations"
    )


def _write(report: Report, mutants: int, killed: int) -> None:
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    found = {
        "schedules": report.schedules,
        "per_minute_per_core": report.per_minute,
        "exact_per_minute_per_core": report.exact_per_minute,
        "violations": len(report.violations),
        "broken": [
            {"what": each.what, "schedule": f"{each.scenario}:{each.path}@{commit.stdout.strip()}", "times": each.times}
            for each in report.violations.values()
        ],
        "mutants": mutants,
        "killed": killed,
        "sometimes_never_reached": report.never_reached,
        "reached": dict(report.reach),
    }
    REPORT.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)
