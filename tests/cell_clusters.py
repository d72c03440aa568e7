"""Two private PostgreSQL servers: the directory, and a cell named north."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from tests.clusters import Cluster, Tenant, clusters, manage


class Cells(NamedTuple):
    """The directory and the cell, and the environment of a service on both."""

    home: Cluster
    north: Cluster
    variables: dict[str, str]

    def manage(self, *arguments: str) -> str:
        return manage(self.home.url, *arguments, **self.variables)

    def tenant(self, name: str) -> Tenant:
        return Tenant(self.home.url, name, is_migrated=True)


@contextmanager
def two_cells() -> Iterator[Cells]:
    """Create the servers; remove them after the block."""
    with clusters(2) as (home, north):
        for server in (home, north):
            server.settings["wal_level"] = "logical"
        home.create()
        manage(home.url, "migrate", "--verbosity=0")
        # The fastest copy of the schema.
        north.create_standby_of(home)
        north.sql("SELECT pg_promote()")
        yield Cells(
            home,
            north,
            {
                "DATABASE_URL": home.url,
                "CELLS": f"north={north.url}",
                "HTTPS": "0",
                "API_LIMIT_PER_MINUTE": "1000000",
                "API_LIMIT_PER_DAY": "100000000",
                "PAGE_LIMIT_PER_MINUTE": "1000000",
                "EXPORT_LIMIT_PER_MINUTE": "1000",
            },
        )
