"""What can go wrong, by where it goes wrong. The first answer of each menu is "none".

A fault befalls one attempt of one activity, one webhook, or the moment after one workflow task; each is one answer of
`choices`. What a fault does is written where it happens: the provider's in `provider`, our books' in `books`, the
worker's and the people's in `play`.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from tests.simulation.choices import NONE

OUTAGE_SECONDS = 90.0  # longer than an authorization's patience, shorter than a capture's
LATE_SECONDS = 5.0  # after the caller gave up: inside the late-effect horizon, after the first inquiries
SLOW_SECONDS = 1.0  # inside the call's deadline
PENDING_SECONDS = 40.0  # several inquiries long

_EFFECT = (
    "unavailable",  # connection refused: nothing was sent
    "outage",  # so are all calls for a while
    "refused",
    "lost_before",  # no answer, no effect
    "lost_after",  # no answer, though it was done
    "late",  # no answer, and done after the caller gave up
    "slow",  # answered late, but in time
    "crash_before",  # the worker is lost with the intent journalled and nothing sent
    "crash_after",  # the worker is lost with the effect done
    "zombie",  # timed out by the server, and carried out afterwards all the same
    "conflict",  # answered with another amount
    "muddled",  # done, and answered in words that are in no table
    "unnoted",  # answered, and the call journal could not be completed
    "unjournalled",  # the call journal could not be written: nothing is sent
)
_ASYNCHRONOUS = ("pending", "pending_refused")
_TAKEN_BACK = ("fails_later",)  # done, and a day later not done after all
_UNDO = ("unavailable", "outage", "lost_before", "lost_after", "crash_before", "crash_after", "zombie")
_QUESTION = ("unavailable", "lost_before", "crash_before")
NOT_FOUND = "not_found"  # an inquiry finds nothing, though they have it: offered where that is allowed to happen
_BOOK = (
    "busy",  # not taken: the ledger's queue is full
    "lost_before",  # the database is gone, nothing was committed
    "lost_after",  # committed, and the acknowledgement was lost
    "crash_before",
    "crash_after",
    "zombie",
)
_ROWS = ("lost_before", "lost_after", "crash_after")

# Beside these, `reset:7`: a person resets the run to before its seventh activation.
AFTER_TASK = (
    NONE,
    "crash",  # the worker forgets every run: each is rebuilt from its history
    "cancel",  # a person requests cancellation
    "meddle",  # a person decides and retries what is not parked
    "again",  # every client sends everything again, under the same id and under another
    "long",  # the server finds the history long, and suggests to continue as new
)
WEBHOOK = (
    NONE,
    "lost",
    "twice",
    "early",  # before the answer
    "late",  # a minute
    "very_late",  # ten days: the run has ended
)
CANCEL_LOST = (NONE, "cancel")  # while its workflow task is lost and not begun again
CANCEL_FIRST = (NONE, "cancel_first")  # before the first workflow task
FAILS_LATER_SECONDS = 86_400.0
REVIEWS = (NONE, "refuses")  # two people who are asked by risk let it pass, or do not
DECIDES = (
    NONE,
    "retry_first",  # a person who is asked tries again before deciding
    "asleep",  # the person looks again five hours later: by then another is asked
    "impostor",  # somebody decides with approvals that nobody gave, against what the books show
)

MENUS: Mapping[str, Sequence[str]] = MappingProxyType({
    "provider.authorize": (NONE, *_EFFECT, *_ASYNCHRONOUS),
    "provider.capture": (NONE, *_EFFECT, *_ASYNCHRONOUS, *_TAKEN_BACK),
    "provider.refund": (NONE, *_EFFECT, *_ASYNCHRONOUS, *_TAKEN_BACK),
    "provider.increment": (NONE, *_EFFECT),
    "provider.pay_out": (NONE, *_EFFECT, "bounce", *_TAKEN_BACK),
    "provider.recall": (NONE, *_EFFECT),
    "provider.void": (NONE, *_UNDO),
    "provider.inquire": (NONE, *_QUESTION),
    "records.note": (NONE, *_ROWS),
    "records.stands": (NONE,),
    "records.check_approvals": (NONE, "lost_before", "lost_after"),
    "records.sent": (NONE,),
    "ledger.available": (NONE,),
})  # fmt: skip
BOOKS = (NONE, *_BOOK)


# What is also tried together with a second fault, where a search is not a full one: of each place, what cannot be stood
# for by another. A crash between tasks changes nothing that a history keeps (and every history is replayed); what our
# books did not take is asked again; a lost worker stands for a lost answer; a reset to the beginning forgets the most.
PAIRED_EFFECTS = frozenset({"unavailable", "lost_before", "lost_after", "late", "pending", "bounce", "fails_later"})
PAIRED_ELSEWHERE = frozenset({"lost_after", NOT_FOUND, "refuses"})  # an undo, an inquiry, a person
PAIRED_IN_BOOKS = frozenset({"crash_after"})
PAIRED_AFTER_TASK = frozenset({"cancel", "reset:0"})
PAIRED_WEBHOOKS = frozenset({"lost", "early"})


def paired(label: str, answer: str) -> bool:
    """Tell whether an answer is tried together with others; `label` is its question's."""
    place = label.split(" ", 1)[0]
    match place:
        case "after":
            return answer in PAIRED_AFTER_TASK
        case "webhook":
            return answer in PAIRED_WEBHOOKS
        case "provider.void" | "provider.inquire" | "person" | "risk":
            return answer in PAIRED_ELSEWHERE
        case _ if place.startswith("provider."):
            return answer in PAIRED_EFFECTS
        case "task":
            return True
        case "start" | "records.note" | "records.stands" | "records.check_approvals":
            return False
        case _:
            return answer in PAIRED_IN_BOOKS


UNTOLD: Mapping[str, Sequence[str]] = {
    activity: tuple(each for each in options if each not in _TAKEN_BACK) for activity, options in MENUS.items()
}


def menu(activity: str, *, told: bool) -> Sequence[str]:
    """What can befall an attempt of an activity; entries in our books where nothing else is said.

    `told`: the provider's webhooks arrive, by which alone it says that it takes a success back.
    """
    return (MENUS if told else UNTOLD).get(activity, BOOKS)
