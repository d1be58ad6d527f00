"""A deploy against the real server: a ramp by percentage, a rollback, and the gate before both.

Which runs go to a build is decided by a hash of the run's id, so the counts of these tests are the same every time.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.client import Client
from typer.testing import CliRunner

from contracts.queues import PAYMENTS
from domain.outcomes import Outcome
from tests.support import engine
from tests.support.builds import (
    ERRANDS,
    PATIENCE_SECONDS,
    Errand,
    FirstErrand,
    SecondErrand,
    build_of,
    client_of,
    errand_worker,
    product_workers,
    who_worked_on,
)
from tests.support.engine import Handle
from tests.support.stack import TemporalServer, running_temporal
from workers import prompt
from workers.command_line import application
from workers.deployment import Deployment, NotRouted, State
from workers.replay_gate import replay
from workers.wiring import WORKFLOWS
from workflows import payment

MANY = 20  # at 50 %, one side getting none of them is a chance of 2 in a million
PAYMENT_DEPLOYMENT = "holdfast"


@pytest_asyncio.fixture
async def server() -> AsyncGenerator[TemporalServer]:
    """A server of its own: a queue that has a current build gives nothing to workers without one."""
    async with running_temporal() as running:
        yield running


async def _asked_for_work(change: Callable[[], Awaitable[None]]) -> None:
    """Make a change that Temporal takes once the build's workers have asked for work."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return await change()
        except NotRouted:
            if time.monotonic() > until:
                raise
        await asyncio.sleep(0.1)


async def _errands(client: Client, name: str, many: int = MANY) -> list[Errand]:
    """Start errands, and wait until each is on a build."""
    ids = [f"{name}-{number}" for number in range(many)]
    starting = [client.start_workflow("Errand", id=each, task_queue=ERRANDS, result_type=str) for each in ids]
    runs = await asyncio.gather(*starting)
    await asyncio.gather(*(_begun(run) for run in runs))
    return runs


async def _begun(run: Errand) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await build_of(run):
            await asyncio.sleep(0.05)


async def _paused(run: Errand) -> None:
    """Wait until an errand's first step stands in its history."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not any(event.HasField("timer_fired_event_attributes") for event in (await run.fetch_history()).events):
            await asyncio.sleep(0.05)


async def _ends(runs: list[Errand]) -> list[str]:
    await asyncio.gather(*(run.signal("go") for run in runs))
    return await asyncio.gather(*(run.result() for run in runs))


async def test_a_ramp_takes_a_share_of_new_runs_and_a_rollback_gives_all_to_the_old_build(
    server: TemporalServer,
) -> None:
    async with (
        errand_worker(server.target, "v1", FirstErrand) as client,
        errand_worker(server.target, "v2", SecondErrand),
    ):
        deployment = Deployment(client, ERRANDS, "ada")
        await _asked_for_work(lambda: deployment.make_current("v1"))
        before = await _errands(client, "before", 5)

        await _asked_for_work(lambda: deployment.ramp("v2", 50))
        routing = await deployment.routing()
        assert (routing.current, routing.ramping, routing.percentage, routing.changed_by) == ("v1", "v2", 50, "ada")
        during = await _errands(client, "during")
        on = [await build_of(run) for run in during]
        assert set(on) == {"v1", "v2"}

        assert (await deployment.roll_back()).ramping == ""
        after = await _errands(client, "after")
        assert {await build_of(run) for run in after} == {"v1"}

        assert set(await _ends(before)) == {"first"}
        assert await _ends(during) == ["first" if build == "v1" else "second" for build in on]
        assert set(await _ends(after)) == {"first"}


async def test_a_build_that_was_current_already_is_rolled_back_by_naming_the_one_before(server: TemporalServer) -> None:
    async with (
        errand_worker(server.target, "v1", FirstErrand) as client,
        errand_worker(server.target, "v2", SecondErrand),
    ):
        deployment = Deployment(client, ERRANDS)
        await _asked_for_work(lambda: deployment.make_current("v1"))
        await _asked_for_work(lambda: deployment.make_current("v2"))
        [faulty] = await _errands(client, "faulty", 1)
        with pytest.raises(NotRouted, match=r"all new runs go to v2.*\(v1\)"):
            await deployment.roll_back()
        for _ in range(2):  # a second person does the same: it stays rolled back
            assert (await deployment.roll_back("v1")).current == "v1"
        builds = {build.id: build for build in (await deployment.routing()).builds}
        assert builds["v2"].state is State.DRAINING, "its open run needs its workers"
        assert await _ends(await _errands(client, "again", 3)) == ["first"] * 3
        assert await _ends([faulty]) == ["second"]


async def test_a_build_whose_workers_have_never_asked_for_work_gets_no_run(server: TemporalServer) -> None:
    async with errand_worker(server.target, "v1", FirstErrand) as client:
        deployment = Deployment(client, ERRANDS)
        await _asked_for_work(lambda: deployment.make_current("v1"))
        with pytest.raises(NotRouted, match="v3"):
            await deployment.ramp("v3", 10)
        with pytest.raises(NotRouted, match="percent"):
            await deployment.ramp("v1", 0)
        with pytest.raises(NotRouted, match="v3"):
            await deployment.make_current("v3")
        with pytest.raises(NotRouted, match="nowhere"):
            await Deployment(client, "nowhere").routing()


async def _authorized(client: Client, name: str, many: int) -> list[tuple[engine.Payment, Handle]]:
    """Begin payments, each with a world of its own, and wait until they are authorized."""
    made: list[tuple[engine.Payment, Handle]] = []
    for number in range(many):
        start = engine.payment(f"{name}{number}")
        receipt = await (await engine.begin(client, start)).result()
        assert receipt.outcome is Outcome.DONE
        made.append((start, engine.handle_of(client, start)))
    return made


async def _captured_and_voided(start: engine.Payment, run: Handle, name: str) -> None:
    captured = await engine.ask(run, "capture", engine.capture(f"{name}c", start, 40))
    assert captured.outcome is Outcome.DONE
    await engine.ask(run, "void", engine.void(f"{name}v", start))
    await run.result()


async def test_an_authorized_payment_is_captured_by_the_build_that_authorized_it(server: TemporalServer) -> None:
    async with (
        product_workers(server.target, "v1", PAYMENT_DEPLOYMENT) as client,
        product_workers(server.target, "v2", PAYMENT_DEPLOYMENT),
    ):
        deployment = Deployment(client, PAYMENT_DEPLOYMENT)
        await _asked_for_work(lambda: deployment.make_current("v1"))
        [(start, run)] = await _authorized(client, "pinned-before", 1)
        await _asked_for_work(lambda: deployment.ramp("v2", 50))
        ramped = await _authorized(client, "pinned-ramp", 12)
        on = {each.id: await build_of(each) for _, each in ramped}
        assert set(on.values()) == {"v1", "v2"}
        await deployment.roll_back()
        after = await _authorized(client, "pinned-after", 6)

        await _captured_and_voided(start, run, "pinned-before")
        assert await who_worked_on(run) == {"v1"}, "runs, our books and the provider's calls are one build's"
        for number, (begun, each) in enumerate(ramped):
            await _captured_and_voided(begun, each, f"pinned-ramp{number}")
            assert await who_worked_on(each) == {on[each.id]}
        assert {await build_of(each) for _, each in after} == {"v1"}


async def test_runs_without_a_build_go_on_under_the_first_one(server: TemporalServer) -> None:
    async with product_workers(server.target, "", PAYMENT_DEPLOYMENT) as client:
        [(start, run)] = await _authorized(client, "unpinned", 1)
        assert await build_of(run) == ""
        async with product_workers(server.target, "v1", PAYMENT_DEPLOYMENT):
            deployment = Deployment(client, PAYMENT_DEPLOYMENT)
            await _asked_for_work(lambda: deployment.make_current("v1"))
            await _captured_and_voided(start, run, "unpinned")
            assert await build_of(run) == "v1"


async def test_runs_that_the_candidate_cannot_go_on_with_are_found_before_the_ramp(server: TemporalServer) -> None:
    async with errand_worker(server.target, "v1", FirstErrand) as client:
        await _asked_for_work(lambda: Deployment(client, ERRANDS).make_current("v1"))
        open_run, closed_run = await _errands(client, "old", 2)
        await _paused(open_run)
        await _ends([closed_run])
        await _seen(client, f"TaskQueue = '{ERRANDS}' AND ExecutionStatus = 'Completed'")
        same = await replay(client, [FirstErrand], [ERRANDS])
        other = await replay(client, [SecondErrand], [ERRANDS])
        gone = await replay(client, [payment.PaymentWorkflow], [ERRANDS])
        left = await replay(client, [SecondErrand], [ERRANDS], leave=["v1"])
    assert (same.open_in_all, same.open, same.closed, same.misfits) == (1, 1, 1, [])
    assert [each.workflow_id for each in other.misfits] == [open_run.id, closed_run.id]
    assert {(each.workflow, each.build) for each in other.misfits} == {("Errand", "v1")}
    assert all("TMPRL1100" in each.why for each in other.misfits)
    assert all("not registered" in each.why for each in gone.misfits)
    assert len(gone.misfits) == 2
    assert (left.open, left.left, left.misfits) == (0, 1, [])


async def test_a_run_that_no_worker_has_touched_fits_any_code(server: TemporalServer) -> None:
    client = await client_of(server.target, "nobody")
    await client.start_workflow("Errand", id="untouched", task_queue=ERRANDS)
    await _seen(client, f"TaskQueue = '{ERRANDS}'")
    replayed = await replay(client, [SecondErrand], [ERRANDS])
    assert (replayed.open_in_all, replayed.open, replayed.misfits) == (1, 0, [])


async def test_a_payment_whose_first_step_was_another_kind_of_activity_is_found(server: TemporalServer) -> None:
    async with product_workers(server.target, "v1", PAYMENT_DEPLOYMENT) as client:
        await _asked_for_work(lambda: Deployment(client, PAYMENT_DEPLOYMENT).make_current("v1"))
        [(_, ours)] = await _authorized(client, "fits", 1)
        with _prepared_by_a_regular_activity():
            [(_, theirs)] = await _authorized(client, "misfit", 1)
            await _seen(client, f"TaskQueue = '{PAYMENTS}'", 2)
    replayed = await replay(client, WORKFLOWS, [PAYMENTS])
    assert replayed.open == 2
    assert [each.workflow_id for each in replayed.misfits] == [theirs.id] != [ours.id]


@contextmanager
def _prepared_by_a_regular_activity() -> Generator[None]:
    """Change the code of payments as a careless release would."""
    kept = payment.PREPARE
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(payment, "PREPARE", replace(kept, policy=replace(kept.policy, local=False)))
        yield


async def _seen(client: Client, query: str, many: int = 1) -> None:
    """Wait until the server's list shows as many runs; it lags behind what has happened."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await client.count_workflows(query)).count < many:
            await asyncio.sleep(0.05)


Command = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
def holdfast(server: TemporalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command with the code of the build `v2`."""
    monkeypatch.setattr(prompt, "home_of", lambda: tmp_path)
    monkeypatch.setenv("HOLDFAST_TEMPORAL_TARGET", server.target)
    monkeypatch.setenv("HOLDFAST_DEPLOYMENT_NAME", PAYMENT_DEPLOYMENT)
    monkeypatch.setenv("HOLDFAST_BUILD_ID", "v2")

    async def run(*words: str) -> tuple[int, str]:
        result = await asyncio.to_thread(CliRunner().invoke, application, ["deploy", *words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.output

    return run


async def test_a_deploy_by_its_commands_from_the_first_check_to_the_rollback(
    server: TemporalServer, holdfast: Command
) -> None:
    async with (
        product_workers(server.target, "v1", PAYMENT_DEPLOYMENT) as client,
        product_workers(server.target, "v2", PAYMENT_DEPLOYMENT),
    ):
        deployment = Deployment(client, PAYMENT_DEPLOYMENT)
        await _asked_for_work(lambda: deployment.make_current("v1"))
        [(_, run)] = await _authorized(client, "commands", 1)
        await _seen(client, f"TaskQueue = '{PAYMENTS}'")
        assert await holdfast("check") == (0, "• 1 of 1 open runs and 0 closed ones were replayed\n")
        code, text = await holdfast("ramp", "25", "--as", "ada")
        assert code == 0
        assert text.splitlines()[-1].startswith("• 25 % of new runs go to v2, the others to v1")
        code, text = await holdfast("status", "--json")
        status = json.loads(text)
        assert (code, status["current"], status["ramping"], status["percentage"]) == (0, "v1", "v2", 25)
        assert status["changed_by"] == "ada"
        assert {each["build"]: (each["state"], each["open"]) for each in status["builds"]} == {
            "v1": ("current", 1), "v2": ("ramping", 0), "(without)": ("", 0)
        }  # fmt: skip
        assert (await holdfast("current"))[1].splitlines()[-1].startswith("• all new runs go to v2")
        code, text = await holdfast("status")
        rows = {row[0]: row[1] for line in text.splitlines()[2:] if (row := line.split())}
        assert (code, rows["v1"], rows["v2"]) == (0, "draining", "current")
        assert (await holdfast("rollback", "--to", "v1"))[1].startswith("• all new runs go to v1")
        assert await build_of(run) == "v1"


async def test_no_run_goes_to_a_build_that_cannot_go_on_with_an_open_one(
    server: TemporalServer, holdfast: Command
) -> None:
    async with (
        product_workers(server.target, "v1", PAYMENT_DEPLOYMENT) as client,
        product_workers(server.target, "v2", PAYMENT_DEPLOYMENT),
    ):
        deployment = Deployment(client, PAYMENT_DEPLOYMENT)
        await _asked_for_work(lambda: deployment.make_current("v1"))
        with _prepared_by_a_regular_activity():
            [(_, run)] = await _authorized(client, "refused", 1)
            await _seen(client, f"TaskQueue = '{PAYMENTS}'")
        for words in (("check",), ("ramp", "10"), ("current",)):
            code, text = await holdfast(*words)
            assert code == 1
            assert run.id in text
        routing = await deployment.routing()
        assert (routing.current, routing.ramping) == ("v1", "")
        code, text = await holdfast("ramp", "10", "--leave", "v1")
        assert code == 0
        assert "1 were left to v1" in text


async def test_code_without_a_name_is_not_deployed(holdfast: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOLDFAST_BUILD_ID")
    with pytest.raises(Exception, match="HOLDFAST_BUILD_ID is not set"):
        await holdfast("ramp", "10")
