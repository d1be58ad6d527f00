"""Writes the documents that say what the code says: `python -m tests.support.docs`. A test compares them."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from domain.commands import Patience
from domain.lifecycle import DISPUTE, LATE, PAYMENT, PAYOUT, REFUND, Lifecycle, is_terminal
from workflows import dispute, late, payment, payout, refund
from workflows.saga import Await, Book, ForwardOnly, Nothing, Send, Step

DOCS = Path(__file__).parents[2] / "docs"
HEAD = "<!-- Generated from the code by `make generate`; do not edit. -->\n\n"


def lifecycle() -> str:
    """Draw each lifecycle table as a diagram."""
    parts = [HEAD, "# Lifecycles\n\nThe tables of `domain/lifecycle.py`. A move that is not drawn here is a bug.\n"]
    tables: Mapping[str, Lifecycle[Any]] = {
        "Payment": PAYMENT,
        "Refund": REFUND,
        "Payout": PAYOUT,
        "Dispute": DISPUTE,
        "Late fact": LATE,
    }
    for name, table in tables.items():
        parts.append(f"\n## {name}\n\n```mermaid\nstateDiagram-v2\n")
        parts.append(f"    [*] --> {next(iter(table))}\n")
        parts += [f"    {now} --> {onward}\n" for now, edges in table.items() for onward in edges]
        parts += [f"    {state} --> [*]\n" for state in table if is_terminal(table, state)]
        parts.append("```\n")
    return "".join(parts)


def sagas() -> str:
    """Lay the step declarations out as tables."""
    parts = [HEAD, "# Sagas: what is done, and what undoes it\n\n"]
    parts.append(
        "Each line is a `Step` of a workflow. An undo takes what the do took, is idempotent, ensures absence.\n"
    )
    for module in (payment, refund, payout, dispute, late):
        title = (module.__doc__ or "").split("\n", 1)[0]
        parts.append(f"\n## {title}\n\n| step | do | undo | repeated by | how long, and why |\n|---|---|---|---|---|\n")
        declared: Mapping[str, Any] = vars(module)
        parts += [_line(name, cast("Step[Any]", each)) for name, each in declared.items() if isinstance(each, Step)]
        parts += [_wait(name, each) for name, each in declared.items() if isinstance(each, Await)]
    return "".join(parts)


def _line(name: str, step: Step[Any]) -> str:
    return f"| {name} | `{_name(step.do)}` | {_undo(step.undo)} | {_policy(step.policy)} |\n"


def _wait(name: str, policy: Await) -> str:
    how = "`provider.inquire` | – (nothing is sent) | the run, or a webhook"
    return f"| {name} | {how} | a person looks after {_span(policy.patience)}: {policy.why} |\n"


def _undo(undo: object) -> str:
    match undo:
        case Nothing(why=why):
            return f"nothing: {why}"
        case ForwardOnly(why=why):
            return f"forward only: {why}"
        case _:
            return f"`{_name(undo)}`"


def _policy(policy: Send | Book) -> str:
    match policy:
        case Send():
            late = f"; after a proof of absence refused: `{policy.if_late}`" if policy.if_late else ""
            patience = _span(timedelta(seconds=policy.patience(Patience())))
            return f"the saga engine alone | {patience}: {policy.why}{late}"
        case Book():
            kind = "local activity, then regular" if policy.local else "regular activity"
            return f"Temporal, without end ({kind}) | deadline {_span(policy.deadline)}: {policy.why}"


def _name(method: object) -> str:
    definition: Any = getattr(method, "__temporal_activity_definition")
    return str(definition.name)


def _span(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        if seconds % size == 0 and seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return str(span)


GENERATED = {"lifecycle.md": lifecycle, "sagas.md": sagas}


if __name__ == "__main__":
    for file, text in GENERATED.items():
        (DOCS / file).write_text(text())
