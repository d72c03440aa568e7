"""Errors to Sentry: what is logged as an error, with its traceback.

Events are built here from named parts, so that nothing else is sent: no requests (headers, cookies,
bodies, queries, addresses), no users, no values of variables, no breadcrumbs.
"""

from __future__ import annotations

import re
from typing import Any

from django.conf import settings

from closient.http import request_id, trace_context
from closient.text import key_format

# Parts of an event without data of users.
KEPT = (
    "event_id",
    "timestamp",
    "platform",
    "level",
    "logger",
    "release",
    "environment",
    "server_name",
    "sdk",
)
FRAME = (
    "filename",
    "abs_path",
    "module",
    "function",
    "lineno",
    "pre_context",
    "context_line",
    "post_context",
    "in_app",
)
# Values of rows in errors of PostgreSQL, email addresses, and passwords in URLs.
_VALUES = re.compile(r"^(LINE \d+|DETAIL|CONTEXT|QUERY|STATEMENT):.*", re.MULTILINE | re.DOTALL)
_EMAIL = re.compile(r"[^\s@<>\"'(,;:=]+@[^\s@<>\"'),;:]+")
_LOGIN = re.compile(r"(://)[^/\s@]*@")
# A query may contain anything.
_QUERY = re.compile(r"(?<=[\w/])\?[^\s'\">]*=[^\s'\">]*")


def start() -> None:
    """Send errors of this process from now on, if ``SENTRY_DSN`` is set."""
    if not settings.SENTRY_DSN:
        return
    # Only with the extra.
    import sentry_sdk  # noqa: PLC0415
    from sentry_sdk.integrations.atexit import AtexitIntegration  # noqa: PLC0415
    from sentry_sdk.integrations.dedupe import DedupeIntegration  # noqa: PLC0415
    from sentry_sdk.integrations.excepthook import ExcepthookIntegration  # noqa: PLC0415
    from sentry_sdk.integrations.logging import LoggingIntegration  # noqa: PLC0415

    # SENTRY_ENVIRONMENT and SENTRY_RELEASE are read by the package.
    sentry_sdk.init(
        dsn=settings.SENTRY_DSN,
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[
            LoggingIntegration(),
            ExcepthookIntegration(),
            DedupeIntegration(),
            AtexitIntegration(callback=lambda pending, timeout: None),
        ],
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        auto_session_tracking=False,
        send_client_reports=False,
        before_send=clean,
        before_breadcrumb=lambda crumb, hint: None,
    )


def clean(event: Any, hint: Any = None) -> Any:
    """Return the event with only the named parts, and without keys and values in its texts."""
    kept = {name: event[name] for name in KEPT if name in event}
    if entry := event.get("logentry"):
        kept["logentry"] = {"formatted": clean_text(_message(entry))}
    if exceptions := event.get("exception", {}).get("values"):
        kept["exception"] = {"values": [_exception(each) for each in exceptions]}
    tags = {"request_id": request_id.current()}
    if trace := trace_context.current():
        tags["trace_id"] = trace.trace_id
    kept["tags"] = {name: value for name, value in tags.items() if value != "-"}
    return kept


def clean_text(text: str) -> str:
    """Remove keys, queries, passwords in URLs, email addresses, and values of rows."""
    text = _VALUES.sub(r"\1: [removed]", key_format.redact(text))
    text = _LOGIN.sub(r"\1[removed]@", text)
    text = _QUERY.sub("?[removed]", text)
    return _EMAIL.sub(lambda m: m[0] if m[0].startswith("//[removed]") else "[email]", text)


def _message(entry: Any) -> str:
    if text := entry.get("formatted"):
        return str(text)
    message, params = str(entry.get("message", "")), entry.get("params")
    try:
        return message % tuple(params) if params else message
    except (TypeError, ValueError):
        return message


def _exception(value: Any) -> dict[str, Any]:
    frames = (value.get("stacktrace") or {}).get("frames", [])
    return {
        "type": value.get("type"),
        "module": value.get("module"),
        "value": clean_text(str(value.get("value") or "")),
        "stacktrace": {
            "frames": [{name: frame[name] for name in FRAME if name in frame} for frame in frames]
        },
    }
