"""What people tell a dispute's run."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A person has handed evidence in at the provider: who, and what it was. It moves no money."""

    who: str
    what: str
