"""`holdfast risk …` against a real database: what people read, what they may change, and the exit codes."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from typer.testing import CliRunner

from contracts.queues import workflow_id
from domain.errors import HoldfastError
from domain.ids import Prefix, Reference
from domain.outcomes import Outcome
from identity.standing import Standings
from records.approvals import Approvals
from risk.gate import Gate
from risk.rehearsal import Candidate, Rehearsal
from risk.rule_sets import RuleSets, RulesMovedOn
from risk.rules import BadRules, Subject
from tests.support.cluster import Database
from tests.support.risk_rules import install, payout, rule, rules, subject
from workers import prompt
from workers.command_line import application
from workers.risk_commands import NotAsExpected, NothingDecided
from workers.settings import environment_of

Run = Callable[..., Awaitable[tuple[int, str]]]
Write = Callable[..., str]


@pytest_asyncio.fixture
async def run(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command over a fresh database; an error of ours is raised, as the command line would tell it."""
    monkeypatch.setattr(prompt, "home_of", lambda: tmp_path)
    monkeypatch.setenv("COLUMNS", "250")
    for name, value in environment_of({"database_url": database.url}).items():
        monkeypatch.setenv(name, value)

    def in_its_own_loop(arguments: tuple[str, ...]) -> tuple[int, str]:
        ran = CliRunner().invoke(application, ["risk", *arguments])
        if isinstance(ran.exception, HoldfastError):
            raise ran.exception
        return ran.exit_code, " ".join(ran.output.split())

    async def made(*arguments: str) -> tuple[int, str]:
        return await asyncio.to_thread(in_its_own_loop, arguments)

    return made


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a candidate down and tell its file."""

    def made(*written: dict[str, Any], examples: tuple[dict[str, Any], ...] = ()) -> str:
        file = tmp_path / "candidate.json"
        file.write_text(json.dumps({"rules": written, "examples": examples}))
        return str(file)

    return made


@pytest.fixture
def gate(pool: asyncpg.Pool) -> Gate:
    return Gate(pool, Standings(pool), stretch=50)


EXAMPLE = {"name": "large", "operation": "payments", "amount": 10_001, "currency": "EUR", "expect": "review"}


async def test_the_rules_of_a_fresh_installation_are_shown_with_who_wrote_them(run: Run) -> None:
    code, text = await run("rules")
    assert code == 0
    assert "Rules, version 1" in text
    assert "merchant-known │ payouts │ the merchant's identity is rejected │ refuse │ 100 ms │ review" in text
    assert "the gates of payouts, as every installation begins" in text


async def test_rules_are_changed_by_a_new_version_that_says_who_and_why(run: Run, write: Write) -> None:
    file = write(rule("amount_limit"), rule("velocity", if_absent={"allow_below": {"EUR": 500}}))
    code, text = await run("rules", "--set", file, "--why", "a run of stolen cards", "--as", "ann")
    assert code == 0
    assert "version 2 is in force, in place of 1 + amount-limit: more than 100.00 EUR" in text
    assert "- merchant-known" in text
    _, text = await run("rules")
    assert "Rules, version 2" in text
    assert "more than 3 operations by instrument within 1:00:00 │ review │ 200 ms │ allow below 5.00 EUR" in text
    assert "ann │ a run of stolen cards" in text


async def test_an_empty_set_says_so(run: Run, write: Write) -> None:
    await run("rules", "--set", write(), "--why", "a test")
    _, text = await run("rules")
    assert "Version 2 is empty: everything is allowed, payouts included." in text


async def test_rules_are_not_changed_without_a_reason(run: Run, write: Write, pool: asyncpg.Pool) -> None:
    code, text = await run("rules", "--set", write(rule("kyc")))
    assert code == 2
    assert "say --why" in text
    assert (await RuleSets(pool).in_force()).number == 1


async def test_rules_that_cannot_be_read_are_not_installed(run: Run, write: Write, pool: asyncpg.Pool) -> None:
    with pytest.raises(BadRules, match="rule 1, kyc, timeout_ms: Field required"):
        await run("rules", "--set", write(rule("kyc", timeout_ms=None)), "--why", "a test")
    assert (await RuleSets(pool).in_force()).number == 1


async def test_rules_that_do_not_do_what_their_author_expects_are_not_installed(
    run: Run, write: Write, pool: asyncpg.Pool
) -> None:
    file = write(rule("amount_limit"), examples=(EXAMPLE | {"amount": 10_000},))
    with pytest.raises(NotAsExpected, match="'large' comes to allow, not to review"):
        await run("rules", "--set", file, "--why", "a test")
    assert (await RuleSets(pool).in_force()).number == 1


async def test_of_two_who_change_the_rules_at_once_the_second_is_told(pool: asyncpg.Pool) -> None:
    sets = RuleSets(pool)
    installing = [sets.install(rules(rule("kyc")), author=who, why="a test", after=1) for who in ("ann", "bob")]
    done = await asyncio.gather(*installing, return_exceptions=True)
    assert [type(each) for each in done if not isinstance(each, int)] == [RulesMovedOn]
    assert [each.number for each in await sets.history()] == [2, 1]


async def test_a_candidate_is_tried_on_what_was_decided(run: Run, write: Write, gate: Gate) -> None:
    for minor in (9_000, 11_000, 12_000):
        await gate.decide(subject(f"{minor}", minor))
    file = write(rule("amount_limit"), examples=(EXAMPLE,))
    code, text = await run("test", file)
    assert code == 0
    assert "Of the latest 3 decisions, 2 would have been others. allow → review: 2" in text
    assert "amount-limit: 110.00 EUR, where 100.00 EUR may pass" in text
    _, text = await run("test", file, "--against", "1")
    assert "Of the latest 1 decisions, 1 would have been others." in text


async def test_a_candidate_whose_example_fails_is_told_so(run: Run, write: Write) -> None:
    code, text = await run("test", write(rule("kyc"), examples=(EXAMPLE,)))
    assert code == 1
    assert "large │ review │ allow ← not as expected" in text


async def test_a_past_decision_is_judged_by_what_was_known_then(
    run: Run, write: Write, gate: Gate, pool: asyncpg.Pool
) -> None:
    file = write(rule("deny_list"), rule("velocity", count_max=2), rule("kyc"))
    await gate.decide(payout("unknown"))
    for key in ("one", "two", "three"):
        await gate.decide(subject(key))
    await run("deny", "stolen", "tok_visa", "--why", "reported", "--as", "ann")
    await run("standing", "m_bakery", "--kyc", "verified", "--why", "case 7")
    await gate.decide(subject("four"))
    code, text = await run("test", file)
    assert code == 0
    assert "Of the latest 5 decisions, 2 would have been others. allow → review: 2" in text
    assert text.count("velocity: 3 operations") == 1
    assert text.count("velocity: 4 operations") == 1
    assert text.count("deny-list: the instrument is on stolen") == 1


async def test_a_rehearsal_keeps_nothing(pool: asyncpg.Pool, gate: Gate) -> None:
    await gate.decide(subject("one"))
    candidate = Candidate(rules=rules(rule("velocity")))
    await Rehearsal(pool, Standings(pool), candidate).examples()
    assert await pool.fetchval("SELECT count(*) FROM risk.decision") == 1


async def test_a_decision_is_explained_with_its_rules_figures_and_what_people_said(
    run: Run, gate: Gate, pool: asyncpg.Pool
) -> None:
    await install(pool, rule("amount_limit"))
    asked = subject("one", 12_000)
    await gate.decide(asked)
    run_id, hold = workflow_id(asked.operation), Reference(f"{asked.operation}/hold")
    await Approvals(pool).give(run_id, hold, Outcome.DONE, "called [the] merchant", "ann")
    await gate.decide(subject("one", 12_000, cleared=True))
    code, text = await run("explain", asked.operation)
    assert code == 0
    assert f"{asked.operation} (120.00 EUR of m_bakery): review by version 2, " in text
    assert "amount-limit review 120.00 EUR, where 100.00 EUR may pass" in text
    assert "ann said done at " in text
    assert "(not yet used: two people decide): called [the] merchant" in text
    assert "which people had cleared): allow by version 2" in text
    assert "amount-limit review (cleared)" in text


async def test_a_payment_is_explained_with_its_increments_and_refunds(run: Run, gate: Gate, pool: asyncpg.Pool) -> None:
    paid = subject("one")
    more: list[Subject] = [
        subject("two", kind=kind, payment=paid.operation) for kind in (Prefix.INCREMENT, Prefix.REFUND)
    ]
    for each in (paid, *more):
        await gate.decide(each)
    run_id, hold = workflow_id(paid.operation), Reference(f"{more[0].operation}/hold")
    await Approvals(pool).give(run_id, hold, Outcome.REFUSED, "too much", "bob")
    _, text = await run("explain", paid.operation)
    assert [f"{each.operation} (10.00 EUR of m_bakery): allow" in text for each in (paid, *more)] == [True] * 3
    assert "no rule had anything to say" in text
    assert "bob said refused" in text


async def test_what_risk_was_never_asked_about_is_not_explained(run: Run) -> None:
    with pytest.raises(NothingDecided, match="captures and voids do not ask"):
        await run("explain", subject("never").operation)
    code, text = await run("explain", "pay_one")
    assert (code, "pay_one is not the id of an operation" in text) == (2, True)


async def test_a_value_is_put_on_a_list_and_taken_off_again(run: Run) -> None:
    for key in ("tok_1", "tok_2"):
        assert await run("deny", "stolen", key, "--why", "reported", "--as", "ann") == (0, f"• {key} is on stolen")
    await run("deny", "stolen", "tok_1", "--off", "--why", "found", "--as", "bob")
    _, text = await run("denied", "stolen")
    assert "tok_2" in text
    assert "tok_1" not in text


async def test_a_merchants_checks_are_answered_and_shown(run: Run) -> None:
    code, text = await run("standing", "m_bakery", "--kyc", "verified", "--sanctions", "clear", "--why", "7 [x/]")
    assert code == 0
    assert "kyc │ verified" in text
    assert "sanctions │ clear" in text
    assert "7 [x/]" in text
    code, text = await run("standing", "m_bakery", "--kyc", "clear", "--why", "7")
    assert (code, "kyc is answered by verified, rejected, pending" in text) == (2, True)
    code, text = await run("standing", "m_bakery", "--kyc", "rejected")
    assert (code, "say --why" in text) == (2, True)


async def test_a_score_is_received_by_hand(run: Run, gate: Gate, pool: asyncpg.Pool) -> None:
    await install(pool, rule("score", by="instrument", verdict="refuse"))
    code, _ = await run("score", "instrument", "tok_visa", "900", "--source", "scorer", "--event", "1")
    assert code == 0
    assert (await gate.decide(subject("one"))).verdict == "refuse"
