"""PostgreSQL servers with replication, on loopback ports, and the project on them."""

from __future__ import annotations

import functools
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg

from closient.embedded_postgres import programs
from closient.embedded_postgres.account import Account, account_for
from closient.embedded_postgres.copies import copy_programs, remove_copies
from closient.embedded_postgres.privileges import become, closed_to
from tests import wire
from tests.servers import ROOT, free_port
from tests.waiting import wait_until

TIMEOUT_SECONDS = 60.0
NAME = "closient"
# Crashes of processes lose nothing without it.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "fsync": "off",
    "wal_level": "replica",
    "hot_standby": "on",
    "log_statement": "all",
    "dynamic_shared_memory_type": "mmap",
}


class Cluster:
    """A PostgreSQL server."""

    def __init__(self, folder: Path, programs_folder: Path, account: Account) -> None:
        self.folder = folder
        self.port = free_port()
        self.log = folder.with_suffix(".log")
        self.settings: dict[str, str] = {}
        self._programs = programs_folder
        self._account = account

    @property
    def url(self) -> str:
        return f"postgres://{NAME}@127.0.0.1:{self.port}/{NAME}"

    def create(self) -> None:
        """Create an empty primary and start it."""
        command = ["initdb", "-D", str(self.folder), "-U", NAME, "--auth=trust", "--no-sync"]
        self._run(*command, "--encoding=UTF8", "--no-locale")
        self.start()
        self.sql(f"CREATE DATABASE {NAME}", database="postgres")

    def create_standby_of(self, primary: Cluster) -> None:
        """Create a streaming standby and start it."""
        where = f"host=127.0.0.1 port={primary.port} user={NAME} application_name=standby"
        self._run("pg_basebackup", "-D", str(self.folder), "-d", where, "-R", "-c", "fast", "-N")
        self.start()
        wait_until(lambda: primary.sql("SELECT count(*) FROM pg_stat_replication") == 1)

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        options = [f"--{name}={value}" for name, value in (SETTINGS | self.settings).items()]
        with self.log.open("ab") as log:
            self._process = psutil.Popen(
                [self._programs / "postgres", "-D", self.folder, f"--port={self.port}", *options],
                **self._as_account(),
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        wait_until(self._responds)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stop it in fast mode, or kill all its processes at once."""
        if self._process.is_running():
            everything = [self._process, *self._process.children(recursive=True)]
            for process in everything if number == signal.SIGKILL else everything[:1]:
                process.send_signal(number)
            self._process.wait(TIMEOUT_SECONDS)
            psutil.wait_procs(everything, timeout=TIMEOUT_SECONDS)

    def remove(self) -> None:
        """Stop it and delete its files."""
        self.stop()
        shutil.rmtree(self.folder)
        self.log.unlink()
        self.settings.clear()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Suspend every process of the server for a block."""
        suspended = [self._process, *self._process.children(recursive=True)]
        for process in suspended:
            process.suspend()
        try:
            yield
        finally:
            for process in suspended:
                process.resume()

    def sql(self, statement: str, *, database: str = NAME) -> Any:
        """Run a statement and return the first value of its result."""
        url = self.url.removesuffix(NAME) + database
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            cursor = connection.execute(statement)
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None

    def statements(self, text: str) -> int:
        """Return how often a text was in a statement of a client."""
        return self.log.read_text(errors="replace").count(text)

    def _responds(self) -> bool:
        try:
            self.sql("SELECT 1", database="postgres")
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, name: str, *arguments: str) -> None:
        command = [str(self._programs / name), *arguments]
        ran = subprocess.run(
            command, **self._as_account(), check=False, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr

    def _as_account(self) -> dict[str, Any]:
        """Return the options of a process that does not run as root."""
        change_user = functools.partial(become, self._account) if os.geteuid() == 0 else None
        return {"cwd": "/", "env": programs.environment(), "preexec_fn": change_user}


@contextmanager
def clusters(count: int) -> Iterator[list[Cluster]]:
    """Yield servers that are not created yet; stop and remove them after the block."""
    folder = Path(tempfile.mkdtemp(prefix="closient-clusters-"))
    account = account_for(folder)
    os.chown(folder, *account)
    found = programs.programs_folder()
    is_copied = os.geteuid() == 0 and bool(closed_to(account, [found / "postgres"]))
    if is_copied:
        original, found = found, copy_programs(found, folder, account)
        shutil.copy2(original / "pg_basebackup", found / "pg_basebackup")
    made = [Cluster(folder / f"server{number}", found, account) for number in range(count)]
    try:
        yield made
    finally:
        for cluster in made:
            if hasattr(cluster, "_process"):
                cluster.stop()
        shutil.rmtree(folder)
        if is_copied:
            remove_copies(folder)


def manage(url: str, *arguments: str, **variables: str) -> str:
    """Run a command of manage.py and return what it printed."""
    ran = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": url} | variables,
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


# Prints the id of each organization, and its manager's key and the session of its viewer.
_CREATE = """
import json, sys
from django.test import Client
from closient.accounts.api_keys import create_api_key
from closient.accounts.models import Membership, Organization, User
from closient.db.ids import format_id
found = []
for name, email in GIVEN:
    organization = Organization.objects.create(name=name)
    _, key = create_api_key(name="Test", organization=organization, role="manager")
    user = User.objects.create_user(email=email, password=None)
    Membership.objects.create(user=user, organization=organization, role="viewer")
    client = Client()
    client.force_login(user)
    found.append([format_id(organization.pk), key, client.cookies["sessionid"].value])
print(json.dumps(found))
"""
VIEWER = "viewer@example.com"


def create_tenants(url: str, **emails: str) -> list[Tenant]:
    """Create organizations in a migrated database; each name has the email of a viewer."""
    given = [(name.replace("_", " "), email) for name, email in emails.items()]
    script = _CREATE.replace("GIVEN", repr(given))
    printed = manage(url, "shell", "--no-imports", "-c", script)
    return [Tenant(*row) for row in json.loads(printed.splitlines()[-1])]


class Reply(wire.Reply):
    """A response, which may be a page of a list."""

    @property
    def total(self) -> int:
        """The length of the list of which this is a page."""
        return int(self.json["pagination"]["total_count"])


class Tenant:
    """An organization with a key and a user, and requests in its name."""

    def __init__(self, organization: str, key: str, session: str) -> None:
        self.organization = organization
        self.key = key
        self.cookie = f"sessionid={session}"
        self.api = "/dashboard/api/v1"
        self.stats = f"{self.api}/stats/{self.organization}"

    @classmethod
    def create(cls, url: str, *, products: int = 0) -> Tenant:
        """Migrate a database, and create an organization in it, with products of the demo."""
        manage(url, "migrate", "--verbosity=0")
        (tenant,) = create_tenants(url, Replica_Foods=VIEWER)
        if products:
            manage(url, "seed_demo", f"--products={products}", "--organization=Replica Foods")
        return tenant

    def request(self, port: int, path: str, body: Any = None, **headers: str) -> Reply:
        """Send a request: with a body a POST of the API."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
        try:
            who = {"X-API-Key": self.key} if path.startswith(self.api) else {"Cookie": self.cookie}
            connection.request(
                "GET" if body is None else "POST",
                path,
                body=None if body is None else json.dumps(body),
                headers=who | {"Content-Type": "application/json"} | headers,
            )
            response = connection.getresponse()
            return Reply(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()
