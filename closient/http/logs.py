"""Log lines with the id of the request and without API keys, as text or as JSON."""

from __future__ import annotations

import datetime
import json
import logging
from typing import Any

from django.views.debug import SafeExceptionReporterFilter

from closient.http import request_id, trace_context
from closient.text import key_format

# Characters of a message, of another field, and of a traceback, whose end says most.
MAX_MESSAGE = 4_000
MAX_FIELD = 1_000
MAX_TRACEBACK = 8_000
# The attribute of a record with further fields of its JSON object.
FIELDS = "fields"


class RequestFormatter(logging.Formatter):
    """Formats records with ``%(request_id)s`` and redacts API keys, also in tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        record.request_id = request_id.current()
        return key_format.redact(super().format(record))


class JsonFormatter(logging.Formatter):
    """Formats each record as one JSON object on one line of ASCII, with API keys redacted.

    The line is valid and at most about 160 KB long, usually much shorter, whatever the record
    contains.
    """

    def format(self, record: logging.LogRecord) -> str:
        written: dict[str, Any] = {
            "time": _time(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": _clean(_message(record), MAX_MESSAGE),
            "process": record.process,
        }
        if (current := request_id.current()) != "-":
            written["request_id"] = current
        if trace := trace_context.current():
            written |= trace._asdict()
        for name, value in getattr(record, FIELDS, {}).items():
            written[name] = _clean(value, MAX_FIELD) if isinstance(value, str) else value
        if record.exc_info and record.exc_info[0] is not None:
            written["exception"] = _clean(
                self.formatException(record.exc_info)[-MAX_TRACEBACK:], MAX_TRACEBACK
            )
        return json.dumps(written, default=str)


class NoSettingsFilter(SafeExceptionReporterFilter):
    """Hides the settings on the error pages of ``DEBUG``."""

    def get_safe_settings(self) -> dict[str, Any]:
        """Return no settings."""
        return {}


def _time(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    # A wrong call of the logger must not lose the line.
    except Exception:
        return f"{record.msg} {record.args!r}"


def _clean(text: str, length: int) -> str:
    """Redact, then shorten; lone surrogates, which many JSON parsers reject, become ``?``."""
    redacted = key_format.redact(text)
    return redacted[:length].encode("utf-8", "replace").decode()
