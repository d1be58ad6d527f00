"""How log lines look: JSON on standard error for programs, colours where a person reads."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

CARD_LIKE = re.compile(r"(?<!\d)\d{13,19}(?!\d)")
SECRET_FIELDS = frozenset({"token", "secret", "authorization", "password", "instrument", "destination"})


def configure(service: str, level: str) -> None:
    """Set logging up for this process."""
    for_people = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            redact,
            structlog.dev.ConsoleRenderer() if for_people else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Take out of a line what must not be in any log: secrets by name, and whatever looks like a card number."""
    for name, value in event.items():
        if name.lower() in SECRET_FIELDS:
            event[name] = "redacted"
        elif isinstance(value, str):
            event[name] = CARD_LIKE.sub("redacted", value)
    return event
