"""The web server's processes: restart under load, shutdown during requests, and logs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from closient.text import key_format
from tests.clients import key_of, stats_path
from tests.factories import OrganizationFactory
from tests.servers import ROOT, environment
from tests.wire import TIMEOUT_SECONDS, Reply, connect, exchange, parse, read_all

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

ALIVE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
CLOSE = b"Connection: close\r\n\r\n"


class Running:
    """A server with its log."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self.process = process
        self.log = b""

    def stop(self) -> None:
        """Stop it as an operator does, and store its output."""
        self.process.terminate()
        self.log = self.process.communicate(timeout=TIMEOUT_SECONDS * 2)[0]

    def workers(self) -> set[int]:
        """Return the ids of the worker processes."""
        return {child.pid for child in psutil.Process(self.process.pid).children()}


def start(listener: socket.socket, *options: str, **variables: str) -> Running:
    """Start a server on a listening socket."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--bind", f"fd://{listener.fileno()}", *options],
        cwd=ROOT,
        env=environment(PYTHONWARNINGS="ignore", **variables),
        pass_fds=[listener.fileno()],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return Running(listener.getsockname()[1], process)


@contextmanager
def running(*options: str, **variables: str) -> Iterator[Running]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = start(listener, *options, **variables)
        # Once the server has stopped, its port refuses connections.
        listener.close()
        try:
            assert exchange(server.port, ALIVE + CLOSE).status == 200
            yield server
        finally:
            if server.process.poll() is None:
                server.stop()


def test_shutdown_finishes_started_requests_and_prints_no_error(transactional_db: None) -> None:
    organization = OrganizationFactory()
    key = key_of(organization, role="manager")
    path = stats_path(organization)
    with running("--log-level", "warning", LOG_LEVEL="WARNING") as server:
        idle = connect(server.port)
        begun = connect(server.port)
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\n"
        begun.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 4\r\n\r\n".encode())
        (worker,) = server.workers()
        deadline = time.monotonic() + TIMEOUT_SECONDS
        # A connection that no process has accepted has not started.
        while time.monotonic() < deadline:
            found = psutil.Process(worker).net_connections()
            if sum(c.status == "ESTABLISHED" and c.laddr.port == server.port for c in found) == 2:
                break
        server.process.terminate()
        # Once the port is closed the server is stopping.
        while psutil.pid_exists(worker) and time.monotonic() < deadline:
            if not any(c.status == "LISTEN" for c in psutil.Process(worker).net_connections()):
                break
        begun.sendall(b"null")
        reply = parse(read_all(begun))
        assert reply.status == 405
        assert reply.headers["connection"] == "close"
        assert read_all(idle) == b""
        server.stop()
        assert server.process.returncode == 0
        assert server.log == b""
        idle.close()
        begun.close()


def test_worker_ends_with_its_parent(transactional_db: None) -> None:
    with running() as server:
        (worker,) = server.workers()
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait(TIMEOUT_SECONDS)
        process = psutil.Process(worker) if psutil.pid_exists(worker) else None
        if process is not None:
            process.wait(TIMEOUT_SECONDS)
        assert not psutil.pid_exists(worker)
        server.process.communicate()


def test_log_contains_no_api_key(transactional_db: None) -> None:
    organization = OrganizationFactory()
    key = key_of(organization, role="manager")
    with running("--log-level", "debug", LOG_LEVEL="DEBUG") as server:
        for sent in (
            f"GET / HTTP/1.1\r\nHost: localhost\r\nX-API-Key {key}\r\n\r\n",
            f"{key} / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            f"GET /{key} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            f"GET /{key} HTTP/1.1\r\nHost: {key}\r\nConnection: close\r\n\r\n",
            f"GET /dashboard/api/v1/{key}?a={key} HTTP/1.1\r\nHost: localhost\r\n"
            f"X-Request-ID: {key}\r\nConnection: close\r\n\r\n",
            f"GET {stats_path(organization)} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\n"
            "Connection: close\r\n\r\n",
            # The log contains the path of a form without a token.
            f"POST /dashboard/{key}/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            "Content-Length: 0\r\n\r\n",
        ):
            assert exchange(server.port, sent.encode()).status
        server.stop()
    assert key_format.body_of(key).encode() not in server.log
    assert b"/dashboard/csb_[redacted]/" in server.log


def test_gunicorn_log_contains_no_api_key(tmp_path: Path) -> None:
    key = key_format.new_text("csb")
    log = tmp_path / "gunicorn.log"
    ended = subprocess.call(
        [
            Path(sys.executable).with_name("gunicorn"),
            "--error-logfile",
            log,
            "--bind",
            "127.0.0.1:0",
        ],
        cwd=ROOT,
        # A key in the wrong setting: the service does not start, and prints a traceback.
        env=environment(CORS_ALLOWED_ORIGINS=key),
        timeout=TIMEOUT_SECONDS,
    )
    assert ended != 0
    assert "CORS_ALLOWED_ORIGINS: csb_[redacted] is not an origin" in log.read_text()
    assert key_format.body_of(key) not in log.read_text()


def exchange_once_served(port: int, sent: bytes) -> Reply:
    """Send bytes to a starting server and return its response."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            return exchange(port, sent)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline


def workers_within_timeout(gunicorn: psutil.Process, count: int) -> int:
    """Wait for a number of worker processes, and return the number reached."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while len(gunicorn.children()) != count and time.monotonic() < deadline:
        assert gunicorn.is_running()
    return len(gunicorn.children())


def test_web_settings_are_read_from_the_settings_file(
    transactional_db: None, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    file = tmp_path / "service.env"
    file.write_text(f"WEB_BIND=127.0.0.1:{port}\nWEB_CONCURRENCY=3\nWEB_IDLE_TIMEOUT=50\n")
    variables = environment(ENV_FILE=str(file), WEB_IDLE_TIMEOUT="1")
    del variables["WEB_CONCURRENCY"]
    process = subprocess.Popen(
        [Path(sys.executable).with_name("gunicorn"), "--log-level", "warning"],
        cwd=ROOT,
        env=variables,
    )
    try:
        gunicorn = psutil.Process(process.pid)
        assert workers_within_timeout(gunicorn, 3) == 3
        assert exchange_once_served(port, ALIVE + CLOSE).status == 200
        # The environment has priority: an idle connection is closed after a second, not after 50.
        with connect(port) as idle:
            assert read_all(idle) == b""
        # A rolling restart reads the file again.
        file.write_text(file.read_text().replace("CONCURRENCY=3", "CONCURRENCY=2"))
        process.send_signal(signal.SIGHUP)
        assert workers_within_timeout(gunicorn, 2) == 2
    finally:
        process.terminate()
        process.wait(TIMEOUT_SECONDS * 2)
