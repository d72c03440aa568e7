"""The supervisor process: creates the cluster if there is none, starts postgres and stops it after
the last process that uses it.

It is a separate process because processes that use the server cannot be relied on to clean up: most
are ended by a signal. It waits for the exclusive lock on the users' file, which the kernel grants
when the last of them has ended, even if killed. If the supervisor itself is killed, the kernel
(Linux) signals postgres to shut down.

Run as `python -m closient.embedded_postgres.supervisor DATA_FOLDER PROGRAMS_FOLDER DESCRIPTOR`
with the server's log as output. DESCRIPTOR is a pipe; it closes when the supervisor ends.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from closient.embedded_postgres.account import (
    Account,
    AccountError,
    account_for,
    name_of,
    private_folder,
)
from closient.embedded_postgres.copies import copy_programs, remove_copies
from closient.embedded_postgres.layout import Layout
from closient.embedded_postgres.locks import LockTimeoutError, lock, open_lock
from closient.embedded_postgres.privileges import become, closed_to, die_with_parent
from closient.embedded_postgres.processes import postmaster_pid
from closient.embedded_postgres.programs import (
    WORKING_FOLDER,
    ProgramsError,
    environment,
    initdb_command,
    major_version,
    postgres_command,
)
from closient.embedded_postgres.roles import client_names, write_access_files

# Backends of a killed postmaster end immediately, unless they are running a long query.
FORMER_SERVER_TIMEOUT_SECONDS: Final = 60.0
FAST_SHUTDOWN_TIMEOUT_SECONDS: Final = 60.0
IMMEDIATE_SHUTDOWN_TIMEOUT_SECONDS: Final = 20.0


class SupervisorError(Exception):
    """The server cannot run; the message is one sentence."""


FAILURES: Final = (SupervisorError, AccountError, ProgramsError, OSError)


class _ServerEndedError(Exception):
    """postgres has ended."""


class Supervisor:
    """Runs the server of `layout` with the PostgreSQL in the folder `programs`."""

    def __init__(self, layout: Layout, programs: Path) -> None:
        self.layout = layout
        self.programs = programs
        self.account = account_for(layout.root)
        self._original_programs = programs
        self._clients = client_names(self.account)
        # Whether the account cannot access the data folder by its path.
        self._is_closed = False

    def run(self) -> None:
        """Run the server; returns after it has ended. Raises one of FAILURES."""
        server_lock = self._lock_server()
        self._prepare_access()
        try:
            self._run(server_lock)
        finally:
            if self.programs != self._original_programs:
                remove_copies(self.layout.root)

    def _prepare_access(self) -> None:
        """Copy the programs, and use relative paths, if the account has no access otherwise."""
        if os.geteuid() != 0:
            return
        programs = (self.programs / "postgres", self.programs / "initdb", self.programs.parent)
        closed = closed_to(self.account, (self.layout.root, *programs))
        if closed and closed[0] == self.layout.root:
            self._is_closed = True
            del closed[0]
            if not os.path.isdir(WORKING_FOLDER):
                message = (
                    f"root has to run PostgreSQL as {name_of(self.account.uid)}, who cannot enter"
                    f" {self.layout.root}: set DATA_FOLDER to a folder that every account can"
                    " enter, or DATABASE_URL to a PostgreSQL of your own"
                )
                raise AccountError(message)
        if closed:
            # Checked before copying: the message must name the original.
            major_version(self.programs)
            self.programs = copy_programs(self.programs, self.layout.root, self.account)

    def _run(self, server_lock: int) -> None:
        if not self.layout.cluster.exists():
            self._create_cluster()
        self._remove_stale_files()
        users_lock = open_lock(self.layout.users_lock, owner=self._owner)
        with contextlib.suppress(_ServerEndedError), _raising_when_a_child_ends():
            command = postgres_command(self.programs, self.layout, is_closed=self._is_closed)
            server = self._spawn(command, self.layout.cluster, death_signal=signal.SIGINT)
            # From now on only the server's processes hold it.
            os.close(server_lock)
            fcntl.flock(users_lock, fcntl.LOCK_EX)
            _stop(server)
        if self.layout.socket_folder.parent != self.layout.root:
            # Remove it from /tmp. A process that starts the server again gets the lock afterwards,
            # and then creates the folder.
            with contextlib.suppress(OSError):
                fcntl.flock(users_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.layout.socket_folder.rmdir()

    @property
    def _owner(self) -> Account | None:
        return self.account if os.geteuid() == 0 else None

    def _lock_server(self) -> int:
        descriptor = open_lock(self.layout.server_lock, owner=self._owner)
        try:
            lock(descriptor, fcntl.LOCK_EX, timeout=FORMER_SERVER_TIMEOUT_SECONDS)
        except LockTimeoutError:
            message = f"processes of a former server still use {self.layout.cluster}"
            raise SupervisorError(message) from None
        os.set_inheritable(descriptor, True)
        return descriptor

    def _create_cluster(self) -> None:
        # Created under another name and then renamed, so that an existing cluster is complete.
        unfinished = self.layout.unfinished_cluster
        if unfinished.exists():
            shutil.rmtree(unfinished)
        private_folder(unfinished, self.account)
        name = WORKING_FOLDER if self._is_closed else unfinished
        command = initdb_command(self.programs, name)
        child = self._spawn(command, unfinished, death_signal=signal.SIGTERM)
        _, status = os.waitpid(child, 0)
        if status != 0:
            shutil.rmtree(unfinished, ignore_errors=True)
            # initdb has written the reason to the log.
            sys.exit(1)
        unfinished.rename(self.layout.cluster)

    def _remove_stale_files(self) -> None:
        # PostgreSQL assumes that the process with the number in these files is the server. We hold
        # the server lock, so that process is not ours.
        pid = postmaster_pid(self.layout.cluster)
        if pid is not None:
            message = f"process {pid}, a PostgreSQL that was started otherwise, uses its files"
            raise SupervisorError(message)
        for path in (self.layout.pid_file, self.layout.socket_pid_file, self.layout.socket):
            path.unlink(missing_ok=True)

    def _spawn(self, command: list[str], folder: Path, *, death_signal: signal.Signals) -> int:
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            self._exec(command, folder, death_signal, parent)
        return child

    def _exec(
        self, command: list[str], folder: Path, death_signal: signal.Signals, parent: int
    ) -> NoReturn:
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            # Before dropping privileges: only root may be able to enter.
            os.chdir(folder)
            become(self.account)
            if folder == self.layout.cluster:
                write_access_files(".", self._clients)
            # After the change of user, which clears it.
            die_with_parent(death_signal)
            if os.getppid() == parent:
                os.execve(command[0], command, environment())  # noqa: S606
        except (AccountError, OSError) as error:
            _log_failure(error)
        os._exit(1)


@contextlib.contextmanager
def _raising_when_a_child_ends() -> Iterator[None]:
    """Raise _ServerEndedError inside the block, even in a system call, when a child ends."""

    def on_child_end(number: int, frame: FrameType | None) -> None:
        pid, _ = os.waitpid(-1, os.WNOHANG)
        # The signal is also sent for children that were only suspended.
        if pid != 0:
            raise _ServerEndedError

    signal.signal(signal.SIGCHLD, on_child_end)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _stop(server: int) -> None:
    """Shut the server down in three steps, until _ServerEndedError ends the wait."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(server, signal.SIGINT)
        time.sleep(FAST_SHUTDOWN_TIMEOUT_SECONDS)
        os.kill(server, signal.SIGQUIT)
        time.sleep(IMMEDIATE_SHUTDOWN_TIMEOUT_SECONDS)
        os.kill(server, signal.SIGKILL)


def _log_failure(error: Exception) -> None:
    # In one write: postgres may be writing to the log, too.
    os.write(2, f"FATAL:  {' '.join(str(error).split())}\n".encode(errors="replace"))


def main() -> None:
    """Supervise a server until it ends; the log contains the reason if it could not run."""
    layout, programs, alive = Layout(Path(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3])
    os.set_inheritable(alive, False)
    # In the background: the process that started it must not have to wait for it.
    if os.fork() != 0:
        os._exit(0)
    os.chdir("/")
    os.umask(0o077)
    try:
        Supervisor(layout, programs).run()
    except FAILURES as error:
        _log_failure(error)
        sys.exit(1)


if __name__ == "__main__":
    main()
