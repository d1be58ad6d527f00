"""The page that an operator reads beside a run in the Temporal UI: state, sums, what is not known, what to do next."""

from domain.commands import Dispute, LateFact, Payment, Payout, Refund, Start
from domain.outcomes import Attention, View

TOTAL: dict[type[Start], str] = {
    Payment: "captured",
    Refund: "refunded",
    Payout: "paid out",
    Dispute: "withdrawn",
    LateFact: "settled",
}
NOT_HEEDED = "Request Cancellation changes nothing: what has happened is settled all the same."
CANCELED: dict[type[Start], str] = {
    Payment: "Request Cancellation voids what is not captured.",
    Refund: "Request Cancellation stops a refund that has not been done.",
    Payout: "Request Cancellation stops a payout that the rail has not accepted.",
    Dispute: NOT_HEEDED,
    LateFact: NOT_HEEDED,
}
LOOK_THERE = "Look the reference up at the provider."
LOOK_AT_OURS = "Nothing has been sent to a provider yet: this is a reservation in our own books."


def of(start: Start, view: View, *, run: str, waiting: int) -> str:
    """Lay the page out as markdown; `run` is the workflow's id, `waiting` how many operations its queue has."""
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
    if view.challenge:
        lines.append(f"| the payer proves who they are at | {view.challenge} |")
    if waiting:
        lines.append(f"| operations in the queue | {waiting} |")
    return "\n".join([*lines, *_doubt(start, view), *_attention(start, run, view)])


def _doubt(start: Start, view: View) -> list[str]:
    if view.doubt is None:
        return []
    if view.doubt.accepted:
        return [
            "",
            f"**Accepted since {_moment(view.doubt.since)}, and not decided yet.**",
            f"{start.promises.provider} has `{view.doubt.reference}`. Holdfast asks again at"
            f" {_moment(view.doubt.next_check)}, or is told before. Nothing is to be done.",
        ]
    return [
        "",
        f"**In doubt since {_moment(view.doubt.since)}: money may have moved.**",
        f"`{view.doubt.reference}` was sent to {start.promises.provider} and it is not known what became of it.",
        f"Holdfast asks {start.promises.provider} by this reference: the present inquiry began, or the next begins,"
        f" at {_moment(view.doubt.next_check)} (see Pending Activities).",
        "Do nothing meanwhile: do not send it again by hand, and do not terminate this run.",
    ]


def _attention(start: Start, run: str, view: View) -> list[str]:
    if view.attention is None:
        return []
    wanted = view.attention
    return [
        "",
        f"**Waiting for {wanted.owner} since {_moment(wanted.since)}, at the latest to {_moment(wanted.deadline)}"
        + (f" (asked {wanted.escalations} times before).**" if wanted.escalations else ".**"),
        f"`{wanted.reference}`: {wanted.reason}",
        "",
        f"1. {LOOK_AT_OURS if wanted.reference.endswith('/hold') else LOOK_THERE}",
        f'2. To have Holdfast look again: send the update `retry` with `"{wanted.reference}"`',
        *_next(run, wanted),
        "",
        f"`{wanted.update}`",
        "```json",
        wanted.payload,
        "```",
        f"Never terminate this run: Terminate undoes nothing. {CANCELED[type(start)]}",
    ]


def _next(run: str, wanted: Attention) -> list[str]:
    if wanted.update != "resolve":
        return ["3. To go on: send the update below."]
    return [
        "3. To decide by evidence, `done` or `refused`: two people give their approval,",
        f'   `holdfast approve {run} done --reference {wanted.reference} --evidence "…"`. With the second one the'
        " decision is sent. In this UI it is the update below, with the ids of the two approvals.",
    ]


def _moment(text: str) -> str:
    """Write an instant for people: seconds are enough."""
    return f"{text[:10]} {text[11:19]} UTC"
