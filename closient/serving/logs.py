"""gunicorn's log, without API keys, as text or as JSON."""

from __future__ import annotations

import logging
from typing import Any

from gunicorn.glogging import Logger

from closient.http.logs import JsonFormatter
from closient.text import key_format


class _RedactingFormatter(logging.Formatter):
    """gunicorn's format, with API keys redacted."""

    def format(self, record: logging.LogRecord) -> str:
        return key_format.redact(super().format(record))


class RedactingLogger(Logger):  # type: ignore[misc]
    """gunicorn's logger; redacts API keys in addresses and tracebacks."""

    def setup(self, cfg: Any) -> None:
        """Set the formatters of gunicorn's handlers."""
        super().setup(cfg)
        for logger in (self.error_log, self.access_log):
            for handler in logger.handlers:
                if handler.formatter is not None:
                    handler.setFormatter(self._formatter(handler.formatter))

    def _formatter(self, before: logging.Formatter) -> logging.Formatter:
        return _RedactingFormatter(before._fmt, before.datefmt)


class JsonLogger(RedactingLogger):
    """The same as one JSON object on each line, for ``LOG_FORMAT=json``."""

    def _formatter(self, before: logging.Formatter) -> logging.Formatter:
        return JsonFormatter()
