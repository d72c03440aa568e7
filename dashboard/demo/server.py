"""The processes of the demo: gunicorn on a loopback port, and a worker."""

from __future__ import annotations

import contextlib
import functools
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import NoReturn, Self

from django.conf import settings

from closient.embedded_postgres.privileges import die_with_parent

ADDRESS = "127.0.0.1"
MAX_PORT = 65_535
# From the port of the service to that of the shop.
SHOP_OFFSET = 10_000
# Seconds for the server to start, and for a process to stop.
START_TIMEOUT = 60
STOP_TIMEOUT = 5
# Seconds between checks that the processes are still running.
POLL_SECONDS = 0.5
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ServerError(Exception):
    """The server cannot run; the message is the reason."""


class StopRequested(BaseException):
    """The process received SIGINT, SIGTERM or SIGHUP."""


@contextlib.contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Raise :class:`StopRequested` in the block on SIGINT, SIGTERM and SIGHUP."""

    def stop(number: int, frame: FrameType | None) -> None:
        _ignore_signals()
        raise StopRequested

    before = [signal.signal(number, stop) for number in SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)


def reserve_for_shop(port: int) -> socket.socket:
    """Return a listening socket for the shop of a service on a port.

    Its port is the same each time, since stored addresses contain it; another one if it is in use.
    """
    try:
        return reserve(port + SHOP_OFFSET if port + SHOP_OFFSET <= MAX_PORT else port - SHOP_OFFSET)
    except ServerError:
        return reserve(0)


def reserve(port: int) -> socket.socket:
    """Return a listening socket on a port of the loopback address.

    Connections queue in it until the server runs. Raises :class:`ServerError`.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((ADDRESS, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ServerError(
            f"Cannot use port {port} on {ADDRESS} ({error.strerror}). Stop the program that uses "
            "it, or choose another port, for example: make run PORT=8001"
        ) from error
    return listener


class ManagedProcess:
    """A program that runs during a ``with`` block."""

    name: str

    def __init__(self, *arguments: str, pass_fds: Sequence[int] = (), **variables: str) -> None:
        self._arguments = arguments
        self._pass_fds = pass_fds
        self._environment = os.environ | variables

    def __enter__(self) -> Self:
        # In a new session, so Ctrl-C in the terminal reaches only this process, which stops it.
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, *self._arguments],
            cwd=settings.BASE_DIR,
            env=self._environment,
            pass_fds=self._pass_fds,
            start_new_session=True,
            preexec_fn=functools.partial(die_with_parent, signal.SIGTERM),  # noqa: PLW1509
        )
        return self

    def __exit__(self, *exception: object) -> None:
        _ignore_signals()
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def check(self) -> None:
        """Raise :class:`ServerError` if the program has exited."""
        status = self._process.poll()
        if status is not None:
            raise ServerError(f"The {self.name} exited with status {status}; see its output above.")


class WorkerProcess(ManagedProcess):
    """The background worker, which logs only warnings and errors, and may connect to the shop."""

    name = "worker"

    def __init__(self, *, shop_port: int = 0) -> None:
        super().__init__(
            "manage.py", "run_worker", LOG_LEVEL="WARNING", DEMO_SHOP_PORT=str(shop_port)
        )


class WebServer(ManagedProcess):
    """Gunicorn, whose checks of single URLs may connect to the shop."""

    name = "web server"

    def __init__(self, listener: socket.socket, *, shop_port: int = 0) -> None:
        self.listener = listener
        self.port: int = listener.getsockname()[1]
        descriptor = listener.fileno()
        super().__init__(
            *("-m", "gunicorn", "--bind", f"fd://{descriptor}"),
            *("--graceful-timeout", str(STOP_TIMEOUT - 2), "--log-level", "warning"),
            pass_fds=[descriptor],
            DEMO_SHOP_PORT=str(shop_port),
        )

    def __enter__(self) -> Self:
        super().__enter__()
        self.listener.close()
        return self

    def get(self, path: str, headers: dict[str, str]) -> tuple[int, str]:
        """Return the status and body of a GET request; retries until the server responds.

        Raises :class:`ServerError` if the server exits or does not respond within a minute.
        """
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ServerError("The web server exited at once; see its output above.")
            connection = http.client.HTTPConnection(ADDRESS, self.port, timeout=10)
            try:
                connection.request("GET", path, headers=headers)
                response = connection.getresponse()
                return response.status, response.read().decode()
            except (OSError, http.client.HTTPException):
                time.sleep(0.1)
            finally:
                connection.close()
        raise ServerError(f"The web server did not respond within {START_TIMEOUT} seconds.")


def wait(*processes: ManagedProcess) -> NoReturn:
    """Wait for a signal to stop.

    Raises :class:`StopRequested` then, and :class:`ServerError` if a program exits.
    """
    while True:
        for process in processes:
            process.check()
        time.sleep(POLL_SECONDS)


def _ignore_signals() -> None:
    """Ignore further signals while the programs stop, which takes seconds."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
