"""How log lines look: JSON on standard error for programs, colours where a person reads.

Knows nothing of payments; what must never be in a log is taken out here, whoever wrote the line.
"""

import logging
import re
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, cast

import structlog

# 13 to 19 digits (ISO/IEC 7812), also in groups; not inside a digest or an id.
CARD_LIKE = re.compile(r"(?<![0-9A-Za-z])\d(?:[ -]?\d){12,18}(?![0-9A-Za-z])")
TOKEN_LIKE = re.compile(r"(?i:\b(bearer|basic) +)[^\s\"',]+|\b(?:tok|acct|sk|pk|whsec)_\w+")
SECRET_FIELDS = frozenset({"token", "secret", "authorization", "password", "instrument", "destination", "credentials"})
REDACTED = "redacted"


def configure(service: str, level: str) -> None:
    """Set logging up for this process; raises KeyError for a level that logging does not know."""
    for_people = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,  # before redaction: a traceback may quote anything
            redact,
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
            if for_people
            else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Take out of a line what must not be in any log: secrets by name, and what looks like a card number or a token."""
    for name, value in event.items():
        event[name] = _clean(name, value)
    return event


def _clean(name: str, value: object) -> object:
    if name.lower() in SECRET_FIELDS:
        return REDACTED
    match value:
        case str():
            return TOKEN_LIKE.sub(REDACTED, CARD_LIKE.sub(REDACTED, value))
        case Mapping():
            inner = cast("Mapping[object, object]", value)
            return {str(each): _clean(str(each), what) for each, what in inner.items()}
        case list() | tuple() | set() | frozenset():
            return [_clean("", each) for each in cast("Iterable[object]", value)]
        case _:
            return value
