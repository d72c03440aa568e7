"""The private server, as used by the application's processes: start it, connect, stop it."""

import atexit
import contextlib
import errno
import fcntl
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psycopg

from closient.embedded_postgres.account import (
    Account,
    AccountError,
    account_for,
    name_of,
    private_folder,
)
from closient.embedded_postgres.layout import ADMIN_ROLE, DATABASE, PORT, ROLE, Layout
from closient.embedded_postgres.locks import LockTimeoutError, lock, open_lock, try_lock
from closient.embedded_postgres.log import Log
from closient.embedded_postgres.processes import postmaster_pid
from closient.embedded_postgres.programs import ProgramsError, major_version, programs_folder
from closient.embedded_postgres.roles import set_up

# Without an answer while starting, and for stopping.
SERVER_TIMEOUT_SECONDS: Final = 120.0
# For another process to start it: recovery from a crash can take long.
OTHER_PROCESS_TIMEOUT_SECONDS: Final = 900.0
_CODE_FOLDER: Final = Path(__file__).resolve().parents[2]


class ServerError(psycopg.OperationalError):
    """The private server could not be started; the message is one sentence that says why."""


class Server:
    """One private PostgreSQL, shared by any number of processes and threads.

    Nothing happens before `ensure_running()`. After it, this process and processes forked from it
    count as users of the server until they end. The server stops after the last user.
    """

    def __init__(self, data_folder: str | os.PathLike[str]) -> None:
        self.layout = Layout(Path(data_folder))
        self._mutex = threading.Lock()
        self._users_lock: int | None = None
        os.register_at_fork(after_in_child=self._after_fork)
        atexit.register(self.stop)

    @property
    def socket_folder(self) -> Path:
        """The folder of the Unix socket: the host for libpq and Django."""
        return self.layout.socket_folder

    def connection_parameters(self, dbname: str = DATABASE, *, role: str = ROLE) -> dict[str, Any]:
        """Return the arguments of psycopg.connect() for database `dbname`."""
        return {"host": str(self.socket_folder), "port": PORT, "user": role, "dbname": dbname}

    def ensure_running(self) -> None:
        """Start the server if it does not run; returns when it accepts connections.

        Costs two small reads if it already runs. Raises ServerError.
        """
        with self._mutex:
            if self._users_lock is not None and postmaster_pid(self.layout.cluster) is not None:
                return
            try:
                self._join_and_start()
            except (AccountError, ProgramsError) as error:
                raise self._error(str(error)) from error
            except OSError as error:
                raise self._error(_sentence(error)) from error

    def stop(self) -> None:
        """Stop using the server; if this was the last user, wait until the server has stopped.

        Waits for a limited time. Does nothing in a process that does not use the server.
        """
        with self._mutex:
            if self._users_lock is None:
                return
            # Closed, not unlocked: processes forked from this one share the lock.
            os.close(self._users_lock)
            self._users_lock = None
            with contextlib.suppress(OSError):
                self._wait_until_stopped_or_used()

    def _join_and_start(self) -> None:
        account = account_for(self.layout.root)
        self._prepare_data_folder(account)
        if self._users_lock is None:
            self._users_lock = self._lock_as_user(account)
        try:
            private_folder(self.layout.socket_folder, account)
            with self._starting_lock(account):
                if not self._is_running():
                    self._start(account)
                    set_up(self._connect)
                elif not self._is_set_up():
                    # The process that started it was interrupted.
                    set_up(self._connect)
        except BaseException:
            os.close(self._users_lock)
            self._users_lock = None
            raise

    def _prepare_data_folder(self, account: Account) -> None:
        root = self.layout.root
        root.parent.mkdir(parents=True, exist_ok=True)
        ours = (self.layout.starting_lock, self.layout.users_lock, self.layout.cluster)
        if root.is_dir() and any(root.iterdir()) and not any(path.exists() for path in ours):
            raise AccountError("the folder contains other files")
        private_folder(root, account)

    def _lock_as_user(self, account: Account) -> int:
        descriptor = open_lock(self.layout.users_lock, owner=_owner(account))
        try:
            # The supervisor has it exclusively while it stops the server.
            lock(descriptor, fcntl.LOCK_SH, timeout=SERVER_TIMEOUT_SECONDS)
        except LockTimeoutError:
            os.close(descriptor)
            raise self._error("it has been stopping for too long") from None
        return descriptor

    @contextlib.contextmanager
    def _starting_lock(self, account: Account) -> Iterator[None]:
        descriptor = open_lock(self.layout.starting_lock, owner=_owner(account))
        try:
            lock(descriptor, fcntl.LOCK_EX, timeout=OTHER_PROCESS_TIMEOUT_SECONDS)
            try:
                yield
            finally:
                # Another thread may have forked a process meanwhile, which must not keep the lock.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        except LockTimeoutError:
            raise self._error("another process has been starting it for too long") from None
        finally:
            os.close(descriptor)

    def _is_running(self) -> bool:
        # If the folder of a running server was deleted, that server does not count.
        if not self.layout.cluster.exists():
            return False
        try:
            return self._answers()
        except psycopg.OperationalError:
            return False

    def _answers(self) -> bool:
        """Return True if the server accepts connections; raises OperationalError."""
        try:
            self._connect(ADMIN_ROLE, "postgres").close()
        except psycopg.OperationalError as error:
            # A cluster of an earlier version, not set up yet.
            if f'role "{ADMIN_ROLE}" does not exist' not in str(error):
                raise
        return True

    def _is_set_up(self) -> bool:
        try:
            self._connect(ROLE, DATABASE).close()
        except psycopg.OperationalError:
            return False
        return True

    def _start(self, account: Account) -> None:
        programs = programs_folder()
        self._check_version(programs)
        log = Log(self.layout.log, owner=_owner(account))
        alive, alive_for_supervisor = os.pipe()
        try:
            try:
                self._run_supervisor(programs, log, alive_for_supervisor)
            finally:
                os.close(alive_for_supervisor)
            self._wait_until_ready(alive, log)
        finally:
            os.close(alive)
            log.close()

    def _run_supervisor(self, programs: Path, log: Log, alive: int) -> None:
        module = "closient.embedded_postgres.supervisor"
        arguments = [str(self.layout.root), str(programs), str(alive)]
        subprocess.run(  # noqa: S603
            [sys.executable, "-m", module, *arguments],
            cwd=_CODE_FOLDER,
            stdin=subprocess.DEVNULL,
            stdout=log.descriptor,
            stderr=log.descriptor,
            pass_fds=[alive],
            start_new_session=True,
            # It runs in the background: its result comes from the pipe and the log.
            check=False,
        )

    def _wait_until_ready(self, alive: int, log: Log) -> None:
        deadline = time.monotonic() + SERVER_TIMEOUT_SECONDS
        pause = 0.02
        while True:
            try:
                self._answers()
            except psycopg.OperationalError as error:
                if "the database system is" in str(error):
                    # It is recovering from a crash.
                    deadline = time.monotonic() + SERVER_TIMEOUT_SECONDS
            else:
                return
            # Nothing writes to the pipe: it becomes readable when the supervisor ends.
            if select.select([alive], [], [], pause)[0]:
                raise self._error(log.reason())
            if time.monotonic() > deadline:
                raise self._error(
                    f"no answer for {SERVER_TIMEOUT_SECONDS:.0f} seconds: {log.reason()}"
                )
            pause = min(pause * 1.2, 0.5)

    def _connect(self, role: str, database: str) -> psycopg.Connection[Any]:
        parameters = self.connection_parameters(database, role=role)
        return psycopg.connect(**parameters, connect_timeout=10)

    def _check_version(self, programs: Path) -> None:
        try:
            data_version = (self.layout.cluster / "PG_VERSION").read_text().strip()
        except OSError:
            return
        version = major_version(programs)
        if data_version != str(version):
            message = (
                f"its data is of PostgreSQL {data_version}, and {programs} contains {version}: set"
                f" POSTGRES_BIN to the programs of PostgreSQL {data_version}, or remove the folder"
            )
            raise ProgramsError(message)

    def _wait_until_stopped_or_used(self) -> None:
        deadline = time.monotonic() + SERVER_TIMEOUT_SECONDS
        users = open_lock(self.layout.users_lock)
        server = open_lock(self.layout.server_lock)
        try:
            while time.monotonic() < deadline:
                if try_lock(users, fcntl.LOCK_EX):
                    # No users are left; the supervisor may not have stopped the server yet.
                    if try_lock(server, fcntl.LOCK_SH):
                        return
                    fcntl.flock(users, fcntl.LOCK_UN)
                elif try_lock(users, fcntl.LOCK_SH):
                    return
                time.sleep(0.005)
        finally:
            os.close(server)
            os.close(users)

    def _after_fork(self) -> None:
        # Another thread of the parent process may have held it.
        self._mutex = threading.Lock()

    def _error(self, reason: str) -> ServerError:
        start = f"The private PostgreSQL in {self.layout.root} cannot be started"
        return ServerError(f"{start}: {reason.rstrip('.')}.")


def _owner(account: Account) -> Account | None:
    return account if os.geteuid() == 0 else None


def _sentence(error: OSError) -> str:
    what = error.strerror or str(error)
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in {errno.EACCES, errno.EPERM}:
        return f"{what}{where}, running as {name_of(os.geteuid())}"
    return f"{what}{where}"


_servers: dict[str, Server] = {}
_servers_mutex = threading.Lock()


def server_for(data_folder: str | os.PathLike[str]) -> Server:
    """Return the `Server` of this process for a data folder."""
    key = os.path.realpath(data_folder)
    with _servers_mutex:
        if key not in _servers:
            _servers[key] = Server(key)
        return _servers[key]
