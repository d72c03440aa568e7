"""Log lines with the id of the request and without API keys."""

from __future__ import annotations

import logging
from typing import Any

from django.views.debug import SafeExceptionReporterFilter

from closient.http import request_id
from closient.text import key_format


class RequestFormatter(logging.Formatter):
    """Formats records with ``%(request_id)s`` and redacts API keys, also in tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        record.request_id = request_id.current()
        return key_format.redact(super().format(record))


class NoSettingsFilter(SafeExceptionReporterFilter):
    """Hides the settings on the error pages of ``DEBUG``."""

    def get_safe_settings(self) -> dict[str, Any]:
        """Return no settings."""
        return {}
