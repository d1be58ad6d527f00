"""What a script may bend of a decision of the books: each bends a yes, never a no."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deny:
    """Deny what the books themselves would have allowed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Queue:
    """Decide later: done, or denied where a denial is given."""

    seconds: float
    denial: str = ""


@dataclass(frozen=True, slots=True)
class Challenge:
    """Let the payer prove who they are first."""


@dataclass(frozen=True, slots=True)
class FailLater:
    """Do it, and take it back that much later: a collection or a payback fails, a transfer that arrived returns."""

    seconds: float
    reason: str = ""  # empty: the usual one


@dataclass(frozen=True, slots=True)
class Land:
    """Let an accepted transfer arrive later, or bounce where a reason is given."""

    seconds: float
    bounce: str = ""
    then: FailLater | None = None  # what becomes of it after it has arrived


Twist = Deny | Queue | Challenge | FailLater | Land | None
