"""What all processes count about the database."""

from __future__ import annotations

from prometheus_client import Counter

HANGS = Counter(
    "closient_database_hangs",
    "How often a process found that the database server does not respond.",
)
REPLICA_READS = Counter(
    "closient_replica_reads",
    "Reads that may run on the replica, by the server they used: replica or primary.",
    ["server"],
)
