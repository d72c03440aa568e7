"""Log lines: with the id of the request, and without the text of any API key."""

from __future__ import annotations

import logging
from typing import Any

from django.views.debug import SafeExceptionReporterFilter

from closient.http import request_id
from closient.text import key_format


class RequestFormatter(logging.Formatter):
    """Formats a record with ``%(request_id)s``; API keys in it are made unreadable.

    The whole line is searched, including tracebacks.
    """

    def format(self, record: logging.LogRecord) -> str:
        record.request_id = request_id.current()
        return key_format.redact(super().format(record))


class NoSettingsFilter(SafeExceptionReporterFilter):
    """Leaves the settings out of the pages that ``DEBUG`` shows for a crash."""

    def get_safe_settings(self) -> dict[str, Any]:
        """Return no settings."""
        return {}
