"""What the web processes count. The exporter adds up the processes."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)

REQUESTS = Counter(
    "closient_http_requests",
    "Requests by route (the name of the URL pattern), method and status.",
    ["route", "method", "status"],
)
REQUEST_SECONDS = Histogram(
    "closient_http_request_seconds",
    "Seconds from a complete request to the last byte of its response, by route.",
    ["route"],
    buckets=SECONDS,
)
CONNECTIONS = Gauge(
    "closient_http_connections",
    "Open connections of clients.",
    multiprocess_mode="livesum",
)
IN_PROGRESS = Gauge(
    "closient_http_requests_in_progress",
    "Complete requests whose response is not finished, each second.",
    multiprocess_mode="livesum",
)
STORED_BYTES = Gauge(
    "closient_http_stored_bytes",
    "Bytes of bodies and responses that are stored for slow clients, each second.",
    multiprocess_mode="livesum",
)


@functools.cache
def ready() -> Gauge:
    """Return the gauge of readiness; processes that never ask for it do not expose it."""
    return Gauge(
        "closient_ready",
        "1 if the service is ready as /readyz says, checked every ten seconds in each process.",
        # The lowest: a process that is not ready fails some of the requests.
        multiprocess_mode="livemin",
    )


def count(route: str, method: str, status: str, seconds: float) -> None:
    """Count a request; clients choose none of the labels."""
    REQUESTS.labels(route, method if method in METHODS else "other", status).inc()
    REQUEST_SECONDS.labels(route).observe(seconds)


def set_connections(servers: Iterable[Any]) -> None:
    """Set the state of the connections of this process."""
    channels = [channel for each in servers for channel in list(each.active_channels.values())]
    CONNECTIONS.set(len(channels))
    IN_PROGRESS.set(sum(len(channel.requests) for channel in channels))
    STORED_BYTES.set(sum(channel.stored for channel in channels))
