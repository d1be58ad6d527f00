"""The list of what waits, as a person reads it: whose, until when, what was said, and what to type next."""

import shlex
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from api.resources import ApprovalResource, ParkedList, ParkedResource
from tests.support.api import CAPTURE_ID, PAYMENT_ID, PAYOUT_ID
from workers import attention_commands
from workers.attention_commands import next_commands

RUN = f"payment/{PAYMENT_ID}"
ANN_SAYS = ApprovalResource(
    id="apr_1",
    actor="ann",
    outcome="refused",
    evidence="portal, nothing",
    at="2026-11-25T12:00:00Z",
    made_a_decision=False,
)


def waiting(**parts: Any) -> ParkedResource:
    """A capture that is in doubt."""
    made: dict[str, Any] = {
        "run": RUN,
        "kind": "Payment",
        "status": "capturing",
        "reference": f"{CAPTURE_ID}.c1",
        "reason": "undecided: nothing found",
        "owner": "payments-operations",
        "since": "2026-11-25T12:00:00+00:00",
        "deadline": "2026-11-25T16:00:00+00:00",
        "escalations": 0,
        "update": "resolve",
        "payload": "{}",
        "amount": 1_050,
        "currency": "EUR",
        "merchant": "m_bakery",
        "provider": "simulator",
        "approvals": [],
    }
    return ParkedResource(**{**made, **parts})


BROKEN = waiting(
    run="upkeep/ledger-verify-1", kind="LedgerVerify", status="", reference=None, reason="a balance: 5 for 4",
    owner="ledger-operations", deadline=None, update=None, payload=None, amount=None, currency=None,
)  # fmt: skip


@pytest.mark.parametrize(
    ("of", "commands"),
    [
        (
            waiting(),
            [
                f"holdfast retry {PAYMENT_ID}",
                f"holdfast approve {PAYMENT_ID} done --reference {CAPTURE_ID}.c1 --evidence '…'",
            ],
        ),
        (
            waiting(approvals=[ANN_SAYS]),
            [
                f"holdfast retry {PAYMENT_ID}",
                f"holdfast approve {PAYMENT_ID} refused --reference {CAPTURE_ID}.c1 --evidence 'portal, nothing'",
            ],
        ),
        (
            waiting(run=f"payout/{PAYOUT_ID}", reference=f"{PAYOUT_ID}/hold"),
            [
                f"holdfast risk explain {PAYOUT_ID}",
                f"holdfast approve {PAYOUT_ID} done --reference {PAYOUT_ID}/hold --evidence '…'",
            ],
        ),
        (
            waiting(run="late/simulator/evt_1", reference="x"),
            [
                "holdfast retry late/simulator/evt_1",
                "holdfast approve late/simulator/evt_1 done --reference x --evidence '…'",
            ],
        ),
        (
            waiting(run="dispute/dsp_1", update="evidence", payload='{"text": "…"}'),
            [
                "temporal workflow update execute --workflow-id dispute/dsp_1 --name evidence"
                """ --input '{"text": "…"}'"""
            ],
        ),
        (
            BROKEN,
            [
                "holdfast ledger verify",
                "temporal workflow update execute --workflow-id upkeep/ledger-verify-1 --name acknowledge"
                """ --input '{"who": "…", "why": "…"}'""",
            ],
        ),
        (waiting(reference=None, update=None), [f"temporal workflow show --workflow-id {RUN}"]),  # it does not answer
    ],
    ids=["in doubt", "ann has spoken", "held by risk", "late", "its own update", "a broken book", "silent"],
)
def test_what_comes_next_is_a_command_that_can_be_typed(of: ParkedResource, commands: list[str]) -> None:
    assert next_commands(of) == commands


def test_what_others_wrote_cannot_become_a_command_of_its_own() -> None:
    sly = ANN_SAYS.model_copy(update={"evidence": "seen'; rm -rf ~ #$(id)"})
    _, approve = next_commands(waiting(approvals=[sly]))
    assert shlex.split(approve)[-1] == sly.evidence


def shown(*data: ParkedResource, hour: int) -> str:
    """The list as a terminal shows it, with its colours."""
    to = Console(file=StringIO(), width=150, force_terminal=True, color_system="standard", highlight=False)
    attention_commands.show_list(
        to, ParkedList(data=list(data), has_more=False), datetime(2026, 11, 25, hour, 30, tzinfo=UTC)
    )
    assert isinstance(to.file, StringIO)
    return to.file.getvalue()


def test_a_deadline_that_has_passed_is_red_and_one_to_come_is_not() -> None:
    red = "\x1b[1;31m2026-11-25 16:00:00"
    assert red in shown(waiting(), hour=16)
    assert red not in shown(waiting(), hour=15)


def test_each_line_says_who_decides_about_what_and_what_was_said_so_far() -> None:
    text = shown(waiting(approvals=[ANN_SAYS], escalations=2), BROKEN, hour=13)
    for part in (
        RUN, f"{CAPTURE_ID}.c1", "payments-operations", "escalated 2 times", "10.50 EUR", "undecided: nothing found",
        "ann says refused: portal, nothing", "upkeep/ledger-verify-1", "a balance: 5 for 4",
    ):  # fmt: skip
        assert part in text, part


def test_what_people_wrote_is_not_taken_for_markup() -> None:
    said = ANN_SAYS.model_copy(update={"evidence": "[red]see ticket[/red] [4711]"})
    assert "[red]see ticket[/red] [4711]" in shown(waiting(approvals=[said]), hour=13)
