"""The private server as the processes that use it see it."""

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

# How long, in seconds, the server may take to say anything, and to stop.
SERVER_TIMEOUT_SECONDS: Final = 120.0
# How long somebody else may take to start it: recovering from a crash takes as long as it takes.
OTHER_PROCESS_TIMEOUT_SECONDS: Final = 900.0
_CODE_FOLDER: Final = Path(__file__).resolve().parents[2]


class ServerError(psycopg.OperationalError):
    """The private server could not be started; the message is one sentence that says why."""


class Server:
    """One private PostgreSQL, shared by any number of processes and threads.

    Nothing happens before `ensure_running()`. From then on this process, and each process forked
    from it, counts as a user of the server until it ends, however it ends. The server stops when
    the last user is gone.
    """

    def __init__(self, data_folder: str | os.PathLike[str]) -> None:
        self.layout = Layout(Path(data_folder))
        self._mutex = threading.Lock()
        self._users_lock: int | None = None
        os.register_at_fork(after_in_child=self._after_fork)
        atexit.register(self.stop)

    @property
    def socket_folder(self) -> Path:
        """The folder of the Unix socket, which is what libpq and Django take for the host."""
        return self.layout.socket_folder

    def connection_parameters(self, dbname: str = DATABASE, *, role: str = ROLE) -> dict[str, Any]:
        """Return what psycopg.connect() needs to reach database `dbname`."""
        return {"host": str(self.socket_folder), "port": PORT, "user": role, "dbname": dbname}

    def ensure_running(self) -> None:
        """Return once the server accepts connections, started by us if need be.

        Costs two small reads when it already runs. Raises ServerError.
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
        """Cease to be a user of the server; return after it has stopped if we were the last.

        Waits a bounded time. Does nothing in a process that does not use the server.
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
            self._users_lock = self._joined(account)
        try:
            private_folder(self.layout.socket_folder, account)
            with self._starting(account):
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
            raise AccountError("the folder has other things in it")
        private_folder(root, account)

    def _joined(self, account: Account) -> int:
        descriptor = open_lock(self.layout.users_lock, owner=_owner(account))
        try:
            # The supervisor has it exclusively while it stops the server.
            lock(descriptor, fcntl.LOCK_SH, timeout=SERVER_TIMEOUT_SECONDS)
        except LockTimeoutError:
            os.close(descriptor)
            raise self._error("it has been stopping for too long") from None
        return descriptor

    @contextlib.contextmanager
    def _starting(self, account: Account) -> Iterator[None]:
        descriptor = open_lock(self.layout.starting_lock, owner=_owner(account))
        try:
            lock(descriptor, fcntl.LOCK_EX, timeout=OTHER_PROCESS_TIMEOUT_SECONDS)
            try:
                yield
            finally:
                # A process that another thread forks meanwhile must not go on holding it.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        except LockTimeoutError:
            raise self._error("another process has been starting it for too long") from None
        finally:
            os.close(descriptor)

    def _is_running(self) -> bool:
        # Should the folder have been deleted under a running server, that one is not it.
        if not self.layout.cluster.exists():
            return False
        try:
            return self._answers()
        except psycopg.OperationalError:
            return False

    def _answers(self) -> bool:
        """Return True when the server takes connections; raises OperationalError."""
        try:
            self._connect(ADMIN_ROLE, "postgres").close()
        except psycopg.OperationalError as error:
            # One of an earlier version, which is not set up yet.
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
            # It goes into the background; the pipe and the log tell how it fares.
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
                    # It is there, recovering from a crash.
                    deadline = time.monotonic() + SERVER_TIMEOUT_SECONDS
            else:
                return
            # Never written to, the pipe becomes readable when the supervisor is gone.
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
            made_by = (self.layout.cluster / "PG_VERSION").read_text().strip()
        except OSError:
            return
        version = major_version(programs)
        if made_by != str(version):
            message = (
                f"its data was made by PostgreSQL {made_by} and {programs} has {version}: set"
                f" POSTGRES_BIN to the programs of PostgreSQL {made_by}, or remove the folder"
            )
            raise ProgramsError(message)

    def _wait_until_stopped_or_used(self) -> None:
        deadline = time.monotonic() + SERVER_TIMEOUT_SECONDS
        users = open_lock(self.layout.users_lock)
        server = open_lock(self.layout.server_lock)
        try:
            while time.monotonic() < deadline:
                if try_lock(users, fcntl.LOCK_EX):
                    # No user is left: the supervisor has yet to notice, or is done.
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
        # Another thread of the parent may have held it.
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
    """Return this process' one `Server` for a data folder."""
    key = os.path.realpath(data_folder)
    with _servers_mutex:
        if key not in _servers:
            _servers[key] = Server(key)
        return _servers[key]
