"""What leaves the API: a status, bytes, and the few headers that are part of the answer itself."""

from dataclasses import dataclass

JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer as it is stored under its key and sent.

    `code` is that of the problem that it tells, for the audit; `replayed` tells that it was stored before.
    """

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = (("Content-Type", JSON),)
    code: str = ""
    replayed: bool = False
