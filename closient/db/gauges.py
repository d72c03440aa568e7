"""The gauges of this process's use of the database: its connections, and the replica."""

from __future__ import annotations

import functools

from closient.db import observation, replicas
from closient.metrics.database import CONNECTIONS, REPLICA_LEFT_ALONE

_STATES = ("active", "idle")


def update() -> None:
    """Set the gauges, in a process whose metrics another one reads from files."""
    for state in _STATES:
        CONNECTIONS.labels(state).set(observation.connections(state))
    REPLICA_LEFT_ALONE.set(replicas.left_alone_seconds())


def update_when_scraped() -> None:
    """Let each scrape set the gauges, in a process that serves its own metrics."""
    for state in _STATES:
        CONNECTIONS.labels(state).set_function(functools.partial(observation.connections, state))
    REPLICA_LEFT_ALONE.set_function(replicas.left_alone_seconds)
