"""A PostgreSQL server of Debian's package, which has the programs for backups."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests import programs
from tests.servers import free_port

TIMEOUT_SECONDS = 120.0


def as_postgres() -> list[str]:
    """Return the start of commands that root cannot run as root: PostgreSQL refuses to."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]


def give_to_postgres(folder: Path) -> None:
    """Make a folder the property of the account that runs PostgreSQL."""
    if os.geteuid() == 0:
        account = pwd.getpwnam("postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)


class Cluster:
    """A server with its data in a folder; ``closient`` is its superuser."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.programs = Path(programs.need("initdb")).parent

    def run(self, *command: str | Path) -> None:
        subprocess.run(
            [*as_postgres(), *map(str, command)],
            cwd="/",
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=TIMEOUT_SECONDS,
        )

    def create(self, **settings: str) -> None:
        """Create the data folder."""
        self.run(
            *(self.programs / "initdb", "--pgdata", self.folder, "--username=closient"),
            *("--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"),
        )
        with (self.folder / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def url(self, database: str = "closient", role: str = "closient") -> str:
        return f"postgres://{role}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "closient") -> psycopg.Connection[Any]:
        return psycopg.connect(self.url(database), autocommit=True)

    def value(self, sql: str, *values: Any, database: str = "closient") -> Any:
        """Return the single value of a statement."""
        with self.connect(database) as connection:
            row = connection.execute(sql, values or None).fetchone()
            assert row is not None
            return row[0]

    @contextmanager
    def running(self) -> Iterator[Cluster]:
        """Run the server for a block; it is ready when the block starts, also after a recovery."""
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= "
            "-c fsync=off -c max_connections=50"
        )
        log = self.folder / "log"
        control = (self.programs / "pg_ctl", "--pgdata", self.folder, "--wait", "--timeout=100")
        self.run(*control, "start", "--log", log, "--options", options)
        try:
            yield self
        finally:
            self.run(*control, "stop", "--mode=immediate")
