"""Real servers while the database hangs, becomes read-only, fails over or restarts."""

from __future__ import annotations

import functools
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import psycopg
import pytest

from closient.embedded_postgres import programs
from closient.embedded_postgres.account import Account
from closient.embedded_postgres.layout import ADMIN_ROLE
from closient.embedded_postgres.privileges import become
from closient.embedded_postgres.server import Server
from tests.servers import ROOT, serving
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

TIMEOUT_SECONDS = 60.0


class TimedResponse(NamedTuple):
    """A response, and the seconds it took."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["Content-Type"] == "application/problem+json"
        body: dict[str, Any] = json.loads(self.body)
        return body


class Database:
    """A separate PostgreSQL with a migrated database, an organization and a key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = Server(folder / "postgres")
        self.server.ensure_running()
        # Other programs use it as an external server, which they cannot start.
        where = self.server.connection_parameters()
        self.url = "postgres://{user}@:{port}/{host}/{dbname}".format(**where)
        self.environment = os.environ | {"DATABASE_URL": self.url}
        self.manage("migrate", "--verbosity=0")
        self.organization = self.manage("create_organization", "Outage Foods")
        self.key = self.manage("create_api_key", self.organization)

    def manage(self, *arguments: str) -> str:
        """Run a command of manage.py and return the last line that it printed."""
        ran = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
        )
        return (ran.stdout.strip().splitlines() or [""])[-1]

    def sql(self, statement: str) -> Any:
        """Run a statement as the superuser of the server, outside any transaction."""
        parameters = self.server.connection_parameters(role=ADMIN_ROLE)
        with psycopg.connect(**parameters, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            cursor = connection.execute(statement)
            return cursor.fetchone() if cursor.description else None

    @property
    def postmaster(self) -> psutil.Process:
        (pid_file,) = (self.folder / "postgres").rglob("postmaster.pid")
        return psutil.Process(int(pid_file.read_text().split()[0]))

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Suspend every process of the server for a block."""
        stopped = [self.postmaster, *self.postmaster.children(recursive=True)]
        for process in stopped:
            process.suspend()
        try:
            yield
        finally:
            for process in stopped:
                process.resume()

    def restart(self) -> None:
        """Stop the server in fast mode, and start it again."""
        postmaster = self.postmaster
        postmaster.send_signal(signal.SIGINT)
        psutil.wait_procs([postmaster], timeout=TIMEOUT_SECONDS)
        self.server.ensure_running()

    @contextmanager
    def as_standby(self) -> Iterator[None]:
        """Run the server as the standby of a stopped primary, for a block.

        The private server writes too little for one, and says so in its arguments.
        """
        postmaster, command = self.postmaster, self.postmaster.cmdline()
        cluster = self.server.layout.cluster
        account = Account(postmaster.uids().real, postmaster.gids().real)

        def start() -> subprocess.Popen[bytes]:
            # In the cluster's folder, which the account can access.
            change_user = functools.partial(become, account)
            started = subprocess.Popen(
                [*command, "-c", "wal_level=replica"],
                env=programs.environment(),
                cwd=cluster,
                preexec_fn=change_user if os.geteuid() == 0 else None,  # noqa: PLW1509
            )
            wait_until(self.server._is_running)
            return started

        def stop(process: Any) -> None:
            process.send_signal(signal.SIGINT)
            process.wait(TIMEOUT_SECONDS)

        stop(postmaster)
        # First as a primary, to write the records that a standby needs.
        stop(start())
        (cluster / "standby.signal").touch()
        standby = start()
        try:
            yield
        finally:
            (cluster / "standby.signal").unlink(missing_ok=True)
            stop(standby)
            self.server.ensure_running()

    def set_read_only(self, value: str) -> None:
        """Make new transactions of every session read-only, or not."""
        self.sql(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        self.sql("SELECT pg_reload_conf()")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    made = Database(tmp_path_factory.mktemp("outage"))
    yield made
    made.server.stop()


class Service:
    """The service on that database."""

    def __init__(self, port: int, database: Database) -> None:
        self.port = port
        self.stats = f"/dashboard/api/v1/stats/{database.organization}"
        self.key = {"X-API-Key": database.key}

    def request(
        self, path: str, headers: dict[str, str] | None = None, form: str | None = None
    ) -> TimedResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)
        began = time.monotonic()
        try:
            method = "GET" if form is None else "POST"
            connection.request(method, path, body=form, headers=headers or {})
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        return TimedResponse(
            response.status, dict(response.getheaders()), body, time.monotonic() - began
        )

    def request_stats(self) -> TimedResponse:
        return self.request(self.stats, self.key)

    def log_in(self) -> TimedResponse:
        """Submit the login form, which counts the attempt."""
        token = "a" * 64
        return self.request(
            "/account/login",
            {
                "Cookie": f"csrftoken={token}",
                "Content-Type": "application/x-www-form-urlencoded",
            },
            f"csrfmiddlewaretoken={token}&username=a@example.com&password=x",
        )


@pytest.fixture
def service(database: Database) -> Iterator[Service]:
    with serving(DATABASE_URL=database.url, HTTPS="0") as (port, _):
        made = Service(port, database)
        assert made.request_stats().status == 200
        yield made


def assert_unavailable(response: TimedResponse) -> None:
    assert response.status == 503
    assert response.headers["Retry-After"] == "1"
    problem = response.problem
    assert (problem["error_code"], problem["retryable"]) == ("unavailable", True)


def assert_unavailable_page(response: TimedResponse) -> None:
    assert response.status == 503
    assert response.headers["Retry-After"] == "1"
    assert b"The service is temporarily unavailable" in response.body
    assert b'class="brand"' in response.body


def test_hanging_server_is_503_and_health_checks_respond(
    database: Database, service: Service
) -> None:
    with ThreadPoolExecutor(12) as threads:
        # Every thread of the service has a connection.
        warm = [threads.submit(service.request_stats) for _ in range(12)]
        assert {each.result().status for each in warm} == {200}
        with database.hanging():
            first = [threads.submit(service.request_stats) for _ in range(8)]
            first_login = threads.submit(service.log_in)
            for each in first:
                assert_unavailable(each.result())
                assert each.result().seconds < 15
            assert_unavailable_page(first_login.result())
            # From now on no request waits for the database.
            later = [threads.submit(service.request_stats) for _ in range(8)]
            for each in later:
                assert_unavailable(each.result())
            alive = service.request("/healthz")
            assert (alive.status, alive.body) == (200, b"ok\n")
            ready = service.request("/readyz")
            assert ready.status == 503
            assert ready.problem["detail"] == "The database does not respond."
            fastest_old = min(each.result().seconds for each in first)
            assert max(each.result().seconds for each in later) < fastest_old
            assert alive.seconds < fastest_old
    wait_until(lambda: service.request_stats().status == 200)
    wait_until(lambda: service.request("/readyz").status == 200)


def test_server_that_hangs_during_connect_is_503(database: Database) -> None:
    with serving(DATABASE_URL=database.url, HTTPS="0") as (port, _):
        service = Service(port, database)
        with database.hanging():
            # No thread has a connection yet.
            assert_unavailable(service.request_stats())
            assert service.request("/healthz").status == 200
        wait_until(lambda: service.request_stats().status == 200)


def test_database_restart_fails_no_request(database: Database, service: Service) -> None:
    database.restart()
    # The old connections have ended, which is detected without a query.
    assert [service.request_stats().status for _ in range(8)] == [200] * 8


def test_read_only_server_is_503_until_it_accepts_writes(
    database: Database, service: Service
) -> None:
    database.set_read_only("on")
    try:
        answers = [service.request_stats() for _ in range(4)]
        login, ready = service.log_in(), service.request("/readyz")
        open_page = service.request("/account/login")
    finally:
        database.set_read_only("off")
    for response in answers:
        assert_unavailable(response)
    assert_unavailable_page(login)
    assert ready.status == 503
    assert ready.problem["detail"] == "The database is read-only."
    # Requests that do not write still succeed.
    assert open_page.status == 200
    wait_until(lambda: service.request_stats().status == 200)
    wait_until(lambda: service.request("/readyz").status == 200)


@contextmanager
def working(database: Database) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Run a worker for a block that gets the process and its log."""
    database.sql("UPDATE jobs_job SET due_at = now()")
    log = database.folder / f"worker-{time.monotonic_ns()}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "run_worker"],
            cwd=ROOT,
            env=database.environment | {"DATA_FOLDER": str(database.folder / "data")},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until(lambda: "job=clear_sessions done" in log.read_text())
            yield process, log
        finally:
            process.kill()
            process.wait()


def run_again(database: Database) -> None:
    """Wait until a periodic job that starts from now on has ended.

    Makes the job due at each look, since the end of an earlier run sets the time of the next.
    """
    (now,) = database.sql("SELECT now()")

    def has_run() -> bool:
        (ran,) = database.sql(
            f"SELECT last_started_at > '{now}' AND last_ended_at >= last_started_at"
            " FROM jobs_job WHERE name = 'clear_sessions'"
        )
        if not ran:
            database.sql("UPDATE jobs_job SET due_at = now() WHERE name = 'clear_sessions'")
        return bool(ran)

    wait_until(has_run)


@pytest.mark.slow
def test_worker_waits_for_a_hanging_server(database: Database) -> None:
    with working(database) as (process, _):
        with database.hanging(), pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=6)
        run_again(database)
        assert process.poll() is None


@pytest.mark.campaign
def test_standby_is_503_and_worker_waits_until_it_is_promoted(
    database: Database, service: Service
) -> None:
    with working(database) as (process, log), database.as_standby():
        assert database.sql("SELECT pg_is_in_recovery()") == (True,)
        for _ in range(4):
            assert_unavailable(service.request_stats())
        assert_unavailable_page(service.log_in())
        assert service.request("/readyz").problem["detail"] == "The database is read-only."
        wait_until(lambda: "the database is unavailable, retrying" in log.read_text())
        assert process.poll() is None
        assert database.sql("SELECT pg_promote()") == (True,)
        wait_until(lambda: service.request_stats().status == 200)
        wait_until(lambda: service.request("/readyz").status == 200)
        run_again(database)
        assert process.poll() is None
        assert "Traceback" not in log.read_text()


@pytest.mark.campaign
def test_statement_timeout_applies_to_requests_and_not_to_commands(
    database: Database,
) -> None:
    limits = {"DATABASE_STATEMENT_TIMEOUT": "1", "HTTPS": "0"}
    with serving(DATABASE_URL=database.url, **limits) as (port, _):
        service = Service(port, database)
        with psycopg.connect(**database.server.connection_parameters()) as other:
            other.execute("LOCK TABLE tally_tallyentry IN ACCESS EXCLUSIVE MODE")
            assert_unavailable(service.request_stats())
            # The server has canceled the statement too.
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            assert database.sql(waiting) == (0,)
        assert service.request_stats().status == 200
    program = (
        "import django; django.setup();"
        "from django.db import connection;"
        "cursor = connection.cursor(); cursor.execute('SHOW statement_timeout');"
        "print(cursor.fetchone()[0])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=database.environment | limits | {"DJANGO_SETTINGS_MODULE": "closient.settings"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert ran.stdout == "0\n"


@pytest.mark.campaign
def test_statement_prepared_before_a_migration_runs_after_it(
    database: Database, service: Service
) -> None:
    assert [service.request_stats().status for _ in range(8)] == [200] * 8
    database.sql("ALTER TABLE accounts_organization ALTER name TYPE varchar(300)")
    try:
        assert [service.request_stats().status for _ in range(8)] == [200] * 8
    finally:
        database.sql("ALTER TABLE accounts_organization ALTER name TYPE varchar(255)")


def test_request_waits_briefly_for_its_locked_rate_limit(
    database: Database, service: Service
) -> None:
    with psycopg.connect(**database.server.connection_parameters()) as other:
        other.execute("SELECT 1 FROM accounts_ratelimit FOR UPDATE")
        with ThreadPoolExecutor(8) as threads:
            asked = [threads.submit(service.request_stats) for _ in range(8)]
            for each in asked:
                assert_unavailable(each.result())
                # Two seconds; the limit of a statement is fifteen.
                assert each.result().seconds < 10
    assert service.request_stats().status == 200


@contextmanager
def over_tcp(database: Database) -> Iterator[int]:
    """Proxy one TCP connection to the database; yields the port."""

    def carry(reading: socket.socket, writing: socket.socket) -> None:
        while data := reading.recv(65_536):
            writing.sendall(data)
        writing.shutdown(socket.SHUT_WR)

    def serve() -> None:
        client, _ = listener.accept()
        with client, socket.socket(socket.AF_UNIX) as server:
            where = database.server.connection_parameters()
            server.connect(f"{where['host']}/.s.PGSQL.{where['port']}")
            back = threading.Thread(target=carry, args=(server, client))
            back.start()
            carry(client, server)
            back.join()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(TIMEOUT_SECONDS)
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


@pytest.mark.parametrize(
    ("options", "milliseconds"), [("", 10_000), ("?tcp_user_timeout=700", 700)]
)
@pytest.mark.campaign
def test_connections_end_when_the_server_disappears(
    database: Database, options: str, milliseconds: int
) -> None:
    """The network drops packets: the kernel ends the connection, busy or idle."""
    program = (
        "import django, socket; django.setup();"
        "from django.db import connection; connection.ensure_connection();"
        "own = socket.socket(fileno=connection.connection.pgconn.socket);"
        "tcp = socket.IPPROTO_TCP;"
        "names = ['TCP_USER_TIMEOUT', 'TCP_KEEPIDLE', 'TCP_KEEPINTVL', 'TCP_KEEPCNT'];"
        "print(*[own.getsockopt(tcp, getattr(socket, name)) for name in names],"
        " own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)); own.detach()"
    )
    with over_tcp(database) as port:
        where = database.server.connection_parameters()
        url = f"postgres://{where['user']}@127.0.0.1:{port}/{where['dbname']}{options}"
        ran = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=database.environment
            | {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "closient.settings"},
            check=True,
            capture_output=True,
            text=True,
        )
    assert ran.stdout == f"{milliseconds} 30 5 3 1\n"
