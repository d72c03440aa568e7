"""The demo's processes: gunicorn on a loopback port and a worker, for as long as this one wants."""

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
# Seconds in which the server has to answer, and to stop.
PATIENCE = 60
STOPPING = 5
# Seconds between looks whether they are still there.
LOOK_EVERY = 0.5
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ServerError(Exception):
    """The server cannot run; the message is one sentence."""


class Stopped(BaseException):
    """Somebody wants this process to end: Ctrl-C, a polite kill, or the terminal was closed."""


@contextlib.contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Raise :class:`Stopped` in the block on SIGINT, SIGTERM and SIGHUP."""

    def stop(number: int, frame: FrameType | None) -> None:
        _ignore_signals()
        raise Stopped

    before = [signal.signal(number, stop) for number in SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)


def reserve(port: int) -> socket.socket:
    """Return a listening socket on the port of the loopback address.

    Connections wait in it until the server is there. Raises :class:`ServerError`.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((ADDRESS, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ServerError(
            f"Port {port} of {ADDRESS} cannot be used ({error.strerror}): "
            "stop what runs there, or choose another one, as in: make run PORT=8001"
        ) from error
    return listener


class Process:
    """Another program, started on entering the block and gone after it."""

    name: str

    def __init__(self, *words: str, pass_fds: Sequence[int] = (), **variables: str) -> None:
        self._words = words
        self._pass_fds = pass_fds
        self._environment = os.environ | variables

    def __enter__(self) -> Self:
        # A session of its own: a Ctrl-C in the terminal reaches it through this process only.
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, *self._words],
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
            self._process.wait(STOPPING)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def check(self) -> None:
        """Raise :class:`ServerError` when it has ended by itself."""
        status = self._process.poll()
        if status is not None:
            raise ServerError(f"The {self.name} ended with status {status}; it says why above.")


class Worker(Process):
    """What the service does in the background; it speaks up only when something is wrong."""

    name = "worker"

    def __init__(self) -> None:
        super().__init__("manage.py", "run_worker", LOG_LEVEL="WARNING")


class Server(Process):
    """Gunicorn."""

    name = "web server"

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.port: int = listener.getsockname()[1]
        descriptor = listener.fileno()
        super().__init__(
            *("-m", "gunicorn", "--bind", f"fd://{descriptor}"),
            *("--graceful-timeout", str(STOPPING - 2), "--log-level", "warning"),
            pass_fds=[descriptor],
        )

    def __enter__(self) -> Self:
        super().__enter__()
        self.listener.close()
        return self

    def get(self, path: str, headers: dict[str, str]) -> tuple[int, str]:
        """Return the status and the body of an answer, having waited until there is one.

        Raises :class:`ServerError` when the server ends, or gives none within a minute.
        """
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ServerError("The web server ended at once; it says why above.")
            connection = http.client.HTTPConnection(ADDRESS, self.port, timeout=10)
            try:
                connection.request("GET", path, headers=headers)
                answer = connection.getresponse()
                return answer.status, answer.read().decode()
            except (OSError, http.client.HTTPException):
                time.sleep(0.1)
            finally:
                connection.close()
        raise ServerError(f"The web server did not answer within {PATIENCE} seconds.")


def wait(*processes: Process) -> NoReturn:
    """Wait for somebody who wants them to end.

    Raises :class:`Stopped` then, and :class:`ServerError` when one ends by itself.
    """
    while True:
        for process in processes:
            process.check()
        time.sleep(LOOK_EVERY)


def _ignore_signals() -> None:
    """Finish what was begun: stopping takes seconds and leaves nothing behind."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
