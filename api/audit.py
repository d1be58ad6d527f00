"""Audit events as log lines: who asked for which change, and what was answered. Never bodies, keys or tokens."""

from dataclasses import asdict

import structlog

from api.ports import Audited

log: structlog.stdlib.BoundLogger = structlog.get_logger("audit")


class LoggedAudit:
    """Writes each event as one structured line; whoever ships the log keeps it."""

    def write(self, audited: Audited) -> None:
        """See `ports.Audit`."""
        content = asdict(audited)
        log.info(content.pop("event"), **content)
