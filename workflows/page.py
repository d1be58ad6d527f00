"""The page that an operator reads beside a run in the Temporal UI: state, sums, what is not known, what to do next."""

from domain.commands import Payment, Payout, Refund, Start
from domain.outcomes import View

TOTAL: dict[type[Start], str] = {Payment: "captured", Refund: "refunded", Payout: "paid out"}


def of(start: Start, view: View, *, waiting: int) -> str:
    """Lay the page out as markdown."""
    lines = [
        f"### {type(start).__name__} of {start.money}: {view.state.replace('_', ' ')}",
        "",
        "| | |",
        "|---|---|",
        f"| {TOTAL[type(start)]} | **{view.total}** of {view.amount} |",
        f"| merchant | {start.merchant} |",
        f"| provider | {start.promises.provider} |",
    ]
    if start.merchant_reference:
        lines.append(f"| merchant's reference | {start.merchant_reference} |")
    if view.reason:
        lines.append(f"| reason | {view.reason} |")
    if waiting:
        lines.append(f"| operations in the queue | {waiting} |")
    return "\n".join([*lines, *_doubt(start, view), *_attention(view)])


def _doubt(start: Start, view: View) -> list[str]:
    if view.doubt is None:
        return []
    return [
        "",
        f"**In doubt since {_moment(view.doubt.since)}: money may have moved.**",
        f"`{view.doubt.reference}` was sent to {start.promises.provider} and it is not known what became of it.",
        f"Holdfast asks {start.promises.provider} by this reference: the present inquiry began, or the next begins,"
        f" at {_moment(view.doubt.next_check)} (see Pending Activities).",
        "Do nothing meanwhile: do not send it again by hand, and do not terminate this run.",
    ]


def _attention(view: View) -> list[str]:
    if view.attention is None:
        return []
    wanted = view.attention
    return [
        "",
        f"**Waiting for {wanted.owner} since {_moment(wanted.since)}, at the latest to {_moment(wanted.deadline)}.**",
        f"`{wanted.reference}`: {wanted.reason}",
        "",
        "1. Look the reference up at the provider.",
        f'2. To have Holdfast look again: send the update `retry` with `"{wanted.reference}"`',
        f"3. To decide by evidence: send the update `{wanted.update}` with (outcome `done` or `refused`)",
        "",
        "```json",
        wanted.payload,
        "```",
        "Never terminate this run: Terminate undoes nothing. Request Cancellation voids what is not captured.",
    ]


def _moment(text: str) -> str:
    """Write an instant for people: seconds are enough."""
    return f"{text[:10]} {text[11:19]} UTC"
