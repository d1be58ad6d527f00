"""How workflow code changes while runs are open: the new path stands behind `since`, the old one beside it.

A run that began before the change and has passed the place goes on as it began; every other run takes the new path.
docs/versioning.md tells the four stages of a change, from its first line here to its last. Knows no workflow.
"""

from collections.abc import Mapping

from temporalio import workflow

# Every change that an open run may have begun before, and the release that brought it. A line comes with the first
# `since` of its name and goes with the last; a name is never used again, for a closed run keeps its marker.
CHANGES: Mapping[str, str] = {
    "escalation": "0.3.0",  # a parked run asks the next one up when its deadline passes
    "what-the-ledger-has": "0.3.0",  # what a void finds is compared with the ledger: a late run may have booked it
    "released-unprepared": "0.3.0",  # a lost local activity may have reserved for a run that is canceled at once
    "what-was-sent": "0.3.0",  # a run that was reset asks our call journal what it has sent, and undoes that too
    "told-at-the-end": "0.3.0",  # what was told and never concluded is settled by a run of its own
    "approvals": "0.3.0",  # a decision's approvals are checked against our own records
}


def since(change: str) -> bool:
    """Tell whether this run takes the new path of `change`, a name in `CHANGES`.

    The first call in a run decides, and a marker in its history keeps it: True where the run comes here only now, False
    where it was here before the change. So one change needs one name, asked for at each place that it touches.

    Ask in what `run` performs or in a handler, never in a validator or a query: those write no history. Ask first in
    the condition, `if since(…) and …`: a marker that hangs on another condition would be missing where it is looked
    for. A name that is not in the table is a bug, and fails the task.
    """
    assert change in CHANGES, f"{change} is not in CHANGES"
    return workflow.patched(change)
