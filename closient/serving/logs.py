"""gunicorn's own log, written like the rest of the service's."""

from __future__ import annotations

import logging
from typing import Any

from gunicorn.glogging import Logger

from closient.text import key_format


class _RedactingFormatter(logging.Formatter):
    """gunicorn's lines, with API keys made unreadable."""

    def format(self, record: logging.LogRecord) -> str:
        return key_format.redact(super().format(record))


class RedactingLogger(Logger):  # type: ignore[misc]
    """gunicorn's logger; no API key gets into the log, in an address or in a traceback."""

    def setup(self, cfg: Any) -> None:
        """Set the formatters of gunicorn's handlers."""
        super().setup(cfg)
        for logger in (self.error_log, self.access_log):
            for handler in logger.handlers:
                before = handler.formatter
                if before is not None:
                    handler.setFormatter(_RedactingFormatter(before._fmt, before.datefmt))
