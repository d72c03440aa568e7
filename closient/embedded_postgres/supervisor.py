"""The process beside the server: it makes the cluster when there is none, starts postgres and stops
it after its last user.

It is a process of its own because no user of the server can be relied on to clean up: most end by a
signal. It waits for the exclusive lock on the users' file, which the kernel grants when the last of
them is gone, killed ones included. Should the supervisor itself be killed, the kernel (Linux) tells
postgres to shut down.

Run as `python -m closient.embedded_postgres.supervisor DATA_FOLDER PROGRAMS_FOLDER DESCRIPTOR`
with the server's log as its output; DESCRIPTOR is a pipe that closes when there is no server.
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

# Backends whose postmaster was killed end within moments, unless in the middle of a long query.
FORMER_SERVER_TIMEOUT_SECONDS: Final = 60.0
FAST_SHUTDOWN_TIMEOUT_SECONDS: Final = 60.0
IMMEDIATE_SHUTDOWN_TIMEOUT_SECONDS: Final = 20.0


class SupervisorError(Exception):
    """There can be no server; the message is one sentence."""


FAILURES: Final = (SupervisorError, AccountError, ProgramsError, OSError)


class _ServerEndedError(Exception):
    """postgres is gone."""


class Supervisor:
    """Runs the server of `layout` with the PostgreSQL in the folder `programs`."""

    def __init__(self, layout: Layout, programs: Path) -> None:
        self.layout = layout
        self.programs = programs
        self.account = account_for(layout.root)
        self._original_programs = programs
        self._clients = client_names(self.account)
        # Whether the account cannot get to the data folder by its path.
        self._is_closed = False

    def run(self) -> None:
        """Return when the server is gone; raises one of FAILURES."""
        server_lock = self._lock_server()
        self._reach()
        try:
            self._run(server_lock)
        finally:
            if self.programs != self._original_programs:
                remove_copies(self.layout.root)

    def _reach(self) -> None:
        """Find out what the server's account cannot reach, and get around it."""
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
            # Whether they run at all can be said of the originals alone.
            major_version(self.programs)
            self.programs = copy_programs(self.programs, self.layout.root, self.account)

    def _run(self, server_lock: int) -> None:
        if not self.layout.cluster.exists():
            self._make_cluster()
        self._remove_what_a_killed_server_left()
        users_lock = open_lock(self.layout.users_lock, owner=self._owner)
        with contextlib.suppress(_ServerEndedError), _raising_when_a_child_ends():
            command = postgres_command(self.programs, self.layout, is_closed=self._is_closed)
            server = self._spawn(command, self.layout.cluster, dies_with_us=signal.SIGINT)
            # From here on it is held by the server's processes, and by none but them.
            os.close(server_lock)
            fcntl.flock(users_lock, fcntl.LOCK_EX)
            _stop(server)
        if self.layout.socket_folder.parent != self.layout.root:
            # Nobody leaves litter in the temporary folder; a user who is starting it again has yet
            # to get the lock, and makes the folder after that.
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
            message = f"processes of a former server are still at work on {self.layout.cluster}"
            raise SupervisorError(message) from None
        os.set_inheritable(descriptor, True)
        return descriptor

    def _make_cluster(self) -> None:
        # Made aside and renamed, so that a cluster that is there is a whole one.
        unfinished = self.layout.unfinished_cluster
        if unfinished.exists():
            shutil.rmtree(unfinished)
        private_folder(unfinished, self.account)
        name = WORKING_FOLDER if self._is_closed else unfinished
        command = initdb_command(self.programs, name)
        child = self._spawn(command, unfinished, dies_with_us=signal.SIGTERM)
        _, status = os.waitpid(child, 0)
        if status != 0:
            shutil.rmtree(unfinished, ignore_errors=True)
            # initdb has already said why.
            sys.exit(1)
        unfinished.rename(self.layout.cluster)

    def _remove_what_a_killed_server_left(self) -> None:
        # PostgreSQL takes any living process with the number in these files for the server. We hold
        # the server lock, so that process is none of ours.
        pid = postmaster_pid(self.layout.cluster)
        if pid is not None:
            message = f"process {pid}, a PostgreSQL started by other means, has its files in use"
            raise SupervisorError(message)
        for path in (self.layout.pid_file, self.layout.socket_pid_file, self.layout.socket):
            path.unlink(missing_ok=True)

    def _spawn(self, command: list[str], folder: Path, *, dies_with_us: signal.Signals) -> int:
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            self._exec(command, folder, dies_with_us, parent)
        return child

    def _exec(
        self, command: list[str], folder: Path, dies_with_us: signal.Signals, parent: int
    ) -> NoReturn:
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            # Entered as root, who may.
            os.chdir(folder)
            become(self.account)
            if folder == self.layout.cluster:
                write_access_files(".", self._clients)
            # Only now: a change of user clears it.
            die_with_parent(dies_with_us)
            if os.getppid() == parent:
                os.execve(command[0], command, environment())  # noqa: S606
        except (AccountError, OSError) as error:
            _complain(error)
        os._exit(1)


@contextlib.contextmanager
def _raising_when_a_child_ends() -> Iterator[None]:
    """Raise _ServerEndedError inside the block, even out of a system call, when a child ended."""

    def on_child_end(number: int, frame: FrameType | None) -> None:
        pid, _ = os.waitpid(-1, os.WNOHANG)
        # The signal also tells of children that were only stopped for a while.
        if pid != 0:
            raise _ServerEndedError

    signal.signal(signal.SIGCHLD, on_child_end)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _stop(server: int) -> None:
    """Shut the server down, ever more urgently; _ServerEndedError cuts the waiting short."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(server, signal.SIGINT)
        time.sleep(FAST_SHUTDOWN_TIMEOUT_SECONDS)
        os.kill(server, signal.SIGQUIT)
        time.sleep(IMMEDIATE_SHUTDOWN_TIMEOUT_SECONDS)
        os.kill(server, signal.SIGKILL)


def _complain(error: Exception) -> None:
    # In one write, because postgres may be writing to the log as well.
    os.write(2, f"FATAL:  {' '.join(str(error).split())}\n".encode(errors="replace"))


def main() -> None:
    """Supervise a server until it is gone; the log tells why when there could be none."""
    layout, programs, alive = Layout(Path(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3])
    os.set_inheritable(alive, False)
    # In the background: its starter shall neither wait for it nor have to bury it.
    if os.fork() != 0:
        os._exit(0)
    os.chdir("/")
    os.umask(0o077)
    try:
        Supervisor(layout, programs).run()
    except FAILURES as error:
        _complain(error)
        sys.exit(1)


if __name__ == "__main__":
    main()
