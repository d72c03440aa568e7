"""The files of a private server."""

import hashlib
import os
from pathlib import Path
from typing import Final

DATABASE: Final = "closient"
ROLE: Final = "closient"
# The superuser of the cluster, which no application uses.
ADMIN_ROLE: Final = "closient_admin"
# Only a part of the socket's file name: the server never listens on TCP.
PORT: Final = 5432

# sockaddr_un holds 108 bytes on Linux and 104 on macOS and the BSDs, the final NUL included.
MAX_SOCKET_PATH_LENGTH: Final = 103


class Layout:
    """The files of the private server whose data folder is `root`.

    `root` contains the database cluster, the server's log and three lock files:

    * `users_lock`: every process that uses the server holds it shared. When the supervisor gets it
      exclusively, no process uses the server.
    * `starting_lock`: the process that starts the server holds it exclusively.
    * `server_lock`: the supervisor holds it exclusively; initdb, postgres and its backends inherit
      it. So it is free only if no process works on the cluster.
    """

    def __init__(self, root: Path) -> None:
        # One spelling for each folder: the path of the socket is derived from it.
        self.root = Path(os.path.realpath(root))
        self.cluster = self.root / "cluster"
        self.unfinished_cluster = self.root / "cluster.new"
        self.log = self.root / "server.log"
        self.users_lock = self.root / "users.lock"
        self.starting_lock = self.root / "starting.lock"
        self.server_lock = self.root / "server.lock"
        self.socket_folder = self._socket_folder()
        self.socket = self.socket_folder / f".s.PGSQL.{PORT}"
        self.socket_pid_file = self.socket_folder / f".s.PGSQL.{PORT}.lock"
        self.pid_file = self.cluster / "postmaster.pid"

    def _socket_folder(self) -> Path:
        inside = self.root / "socket"
        path = os.fsencode(inside / f".s.PGSQL.{PORT}")
        # libpq reads a host with a comma as a list of hosts.
        if len(path) <= MAX_SOCKET_PATH_LENGTH and b"," not in path:
            return inside
        name = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:20]
        # Not TMPDIR or XDG_RUNTIME_DIR: processes with different environments must find each other.
        # `private_folder` rejects the folder if another account owns it.
        return Path("/tmp") / f"closient-postgres-{name}"  # noqa: S108
