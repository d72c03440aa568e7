"""What all processes count about the database."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

HANGS = Counter(
    "closient_database_hangs",
    "How often a process found that the database server does not respond.",
)
CONNECTIONS = Gauge(
    "closient_database_connections",
    "Open connections to the database, by state: active (in a statement or transaction) or idle.",
    ["state"],
    multiprocess_mode="livesum",
)
CONNECT_SECONDS = Histogram(
    "closient_database_connect_seconds",
    "Seconds to connect to the database, failed attempts included.",
    buckets=SECONDS,
)
ERRORS = Counter(
    "closient_database_errors",
    "Errors of the database and its connections, by kind.",
    ["kind"],
)
REPLICA_LEFT_ALONE = Gauge(
    "closient_replica_left_alone_seconds",
    "For how long this process has not used the replica because it was not ready; 0 if it uses it.",
    multiprocess_mode="livemax",
)
REPLICA_READS = Counter(
    "closient_replica_reads",
    "Reads that may run on the replica, by the server they used: replica or primary.",
    ["server"],
)
