"""Spans of requests and of their statements, sent with OTLP over HTTP.

A request's span continues the trace of its ``traceparent`` header. Spans contain no queries, no
headers, no parameters of statements, and no names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.conf import settings
from django.db.backends.signals import connection_created

from closient.db.ids import format_id
from closient.http.observation import OBSERVATION
from closient.http.trace_context import HEADER
from closient.metrics.web import METHODS
from closient.text import key_format

SERVICE = "closient-dashboard"
# Monitors request them all the time.
UNTRACED = frozenset({"/healthz", "/readyz"})
MAX_STATEMENT = 2_000
_HEADER_KEY = f"HTTP_{HEADER.upper()}"

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


def traced(application: Application) -> Application:
    """Return the application with spans, if ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set.

    Call it once, in a process that answers requests.
    """
    if not settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        return application
    # Only with the extra.
    from opentelemetry import trace  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    # The packages read this and the other standard variables themselves.
    os.environ.setdefault("OTEL_SERVICE_NAME", SERVICE)
    address = f"{settings.OTEL_EXPORTER_OTLP_ENDPOINT.rstrip('/')}/v1/traces"
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=address)))
    trace.set_tracer_provider(provider)
    connection_created.connect(_trace_statements, dispatch_uid="closient.telemetry.traces")
    return _Traced(application)


class _Traced:
    """A WSGI application whose requests have spans, from their start to the end of the response."""

    def __init__(self, application: Application) -> None:
        from opentelemetry import context, trace  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
            TraceContextTextMapPropagator,
        )

        self._application = application
        self._context, self._trace = context, trace
        self._tracer = trace.get_tracer("closient")
        self._propagator = TraceContextTextMapPropagator()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ.get("PATH_INFO") in UNTRACED:
            return self._application(environ, start_response)
        carrier = {HEADER: environ.get(_HEADER_KEY, "")}
        method = environ["REQUEST_METHOD"]
        method = method if method in METHODS else "_OTHER"
        span = self._tracer.start_span(
            method,
            context=self._propagator.extract(carrier, context=self._context.Context()),
            kind=self._trace.SpanKind.SERVER,
            attributes={"http.request.method": method},
        )
        # Log lines then name this span, not that of the client.
        self._propagator.inject(carrier, self._trace.set_span_in_context(span))
        environ[_HEADER_KEY] = carrier[HEADER]
        token = self._context.attach(self._trace.set_span_in_context(span))

        def start(status: str, *args: Any) -> Any:
            code = int(status[:3])
            span.set_attribute("http.response.status_code", code)
            if code >= 500:
                span.set_status(self._trace.StatusCode.ERROR)
            return start_response(status, *args)

        def end() -> None:
            _describe(span, method, environ)
            span.end()
            self._context.detach(token)

        try:
            response = self._application(environ, start)
        except BaseException:
            end()
            raise
        is_file = isinstance(response, environ.get("wsgi.file_wrapper", ()))
        if is_file:
            # The server sends it itself.
            end()
            return response
        return _Response(response, end)


class _Response:
    """A response that calls a function when it is closed."""

    def __init__(self, response: Iterable[bytes], end: Callable[[], None]) -> None:
        self._response, self._end = response, end

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._response)

    def close(self) -> None:
        try:
            if close := getattr(self._response, "close", None):
                close()
        finally:
            self._end()


def _describe(span: Any, method: str, environ: dict[str, Any]) -> None:
    """Add what the middleware has found out about the request."""
    observation = environ.get(OBSERVATION)
    if observation is None:
        return
    span.update_name(f"{method} {observation.route}")
    span.set_attribute("http.route", observation.route)
    span.set_attribute("url.path", key_format.redact(observation.path)[:MAX_STATEMENT])
    if observation.organization_id:
        span.set_attribute("closient.organization_id", format_id(observation.organization_id))


def _trace_statements(connection: Any, **more: Any) -> None:
    """Add spans to the statements of a new connection."""
    if _statement not in connection.execute_wrappers:
        connection.execute_wrappers.append(_statement)


def _statement(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
    """Run a statement in a span, if it belongs to a traced request."""
    from opentelemetry import trace  # noqa: PLC0415

    if not trace.get_current_span().is_recording():
        return execute(sql, params, many, context)
    # Statements that are composed on the client contain values.
    text = key_format.redact(sql.strip()) if isinstance(sql, str) else ""
    attributes = {
        "db.system.name": "postgresql",
        "db.query.text": text[:MAX_STATEMENT],
        "closient.database": context["connection"].alias,
    }
    name = text.split(maxsplit=1)[0].upper() if text else "statement"
    tracer = trace.get_tracer("closient")
    # Messages of errors contain values.
    with tracer.start_as_current_span(
        name,
        kind=trace.SpanKind.CLIENT,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            return execute(sql, params, many, context)
        except Exception as error:
            span.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise
