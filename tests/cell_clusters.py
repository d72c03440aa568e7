"""Two private PostgreSQL servers: the directory, and a cell named north."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from closient.db.ids import parse_id
from tests.clusters import Cluster, Tenant, clusters, create_tenants, manage
from tests.servers import ROOT


class Cells(NamedTuple):
    """The directory and the cell, and the environment of a service on both."""

    home: Cluster
    north: Cluster
    variables: dict[str, str]

    def manage(self, *arguments: str) -> str:
        return manage(self.home.url, *arguments, **self.variables)

    def tenants(self, *names: str) -> list[Tenant]:
        """Create organizations in the directory."""
        emails = {name.replace(" ", "_"): email_of(name) for name in names}
        return create_tenants(self.home.url, **emails)

    def move(self, tenant: Tenant, cell: str, *arguments: str) -> str:
        to = ("--to", cell, "--delete-after", "0")
        return self.manage("move_organization", tenant.organization, *to, *arguments)

    @contextmanager
    def moving(self, tenant: Tenant, cell: str) -> Iterator[Iterator[str]]:
        """Move in a block that gets the printed lines; kill the process at its end."""
        command = ("move_organization", tenant.organization, "--to", cell)
        process = subprocess.Popen(
            [sys.executable, "manage.py", *command],
            cwd=ROOT,
            env=os.environ | self.variables,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        try:
            yield iter(process.stdout)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

    def seed(self, name: str, products: int) -> None:
        self.manage("seed_demo", "--products", str(products), "--organization", name)

    def differences(self) -> list[str]:
        """Audit both, and return the last line of each."""
        return [self.manage("audit_tally", "--cell", cell) for cell in ("default", "north")]


def email_of(name: str) -> str:
    """Return the address of an organization's viewer."""
    return f"{name.replace(' ', '.').lower()}@example.com"


def key_of(tenant: Tenant) -> str:
    """Return the id of an organization as PostgreSQL writes it."""
    return str(parse_id(tenant.organization))


def count(server: Cluster, table: str, tenant: Tenant) -> int:
    """Return how many rows of an organization a server has."""
    where = f"organization_id = '{key_of(tenant)}'"
    return int(server.sql(f"SELECT count(*) FROM {table} WHERE {where}"))


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
