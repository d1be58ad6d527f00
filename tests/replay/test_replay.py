"""What is on its way must be able to go on under the code of today: every kept history replays.

After a change that a history refuses: keep the old path (`workflow.patched`), never the history away. Recording the
current release's anew, `python -m tests.replay.record`, is right only as long as no run of it lives anywhere.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from contracts.payloads import DATA_CONVERTER
from tests.replay.record import HISTORIES, INCOMPATIBLE, RELEASE, USUAL
from tests.replay.scenarios import LIVED, SCENARIOS
from tests.replay.upkeep import LIVES
from workers.sandbox import SANDBOX
from workers.wiring import WORKFLOWS
from workflows import payment, upkeep
from workflows.policies import NOTED

KEPT = sorted(HISTORIES.glob("*/*.json"))
BYTES_MAX = 8_000_000  # what a checkout may pay for them; git packs them to a fifteenth


@pytest.fixture
def replayer() -> Replayer:
    """The product's own guard and converter."""
    return Replayer(workflows=[*WORKFLOWS, *upkeep.WORKFLOWS], workflow_runner=SANDBOX, data_converter=DATA_CONVERTER)


def _history(path: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json(path.stem, path.read_text())


def _usual() -> Path:
    return HISTORIES / "Payment" / f"{RELEASE}-{USUAL}.json"


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name} {path.stem}")
async def test_a_history_replays_under_the_code_of_today(replayer: Replayer, path: Path) -> None:
    await replayer.replay_workflow(_history(path))


async def test_a_history_that_was_never_ours_is_refused(replayer: Replayer) -> None:
    (spoiled,) = INCOMPATIBLE.glob("*.json")
    with pytest.raises(NondeterminismError):
        await replayer.replay_workflow(_history(spoiled))


async def test_a_step_that_is_no_local_activity_any_more_is_refused(
    replayer: Replayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        payment, "PREPARE", replace(payment.PREPARE, policy=replace(payment.PREPARE.policy, local=False))
    )
    with pytest.raises(NondeterminismError):
        await replayer.replay_workflow(_history(_usual()))


async def test_another_undo_is_refused(replayer: Replayer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payment, "AUTHORIZE", replace(payment.AUTHORIZE, undo=payment.PREPARE.undo, policy=NOTED))
    with pytest.raises(NondeterminismError):
        await replayer.replay_workflow(_history(_usual()))


def test_every_scenario_of_this_release_is_kept() -> None:
    kept = [path.stem.removeprefix(f"{RELEASE}-") for path in KEPT if path.name.startswith(f"{RELEASE}-")]
    names = [name.removeprefix("test_").replace("_", "-") for tests in LIVED.values() for name in tests]
    assert [name for name in names if not any(each.startswith(name) for each in kept)] == []
    assert len([each for each in kept if not each.startswith(tuple(names))]) == len(SCENARIOS) + len(LIVES)


def test_histories_are_small_and_say_nothing_of_where_they_were_recorded() -> None:
    texts = [path.read_text() for path in KEPT]
    assert sum(map(len, texts)) < BYTES_MAX
    assert not [text for text in texts if "stackTrace" in text or "Traceback" in text]
