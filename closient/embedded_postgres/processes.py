"""Find out whether a server runs, or only left its pid file behind."""

import os
import subprocess
from pathlib import Path


def postmaster_pid(cluster: Path) -> int | None:
    """Return the process id of the PostgreSQL that runs on `cluster`, or None.

    The pid file alone proves nothing: a killed server leaves it behind, and its number may belong
    to another process by now. Never raises.
    """
    folder = os.fspath(cluster)
    try:
        # Read on every connection; pathlib would take longer than reading the file.
        with open(f"{folder}/postmaster.pid", "rb") as file:
            pid = int(file.readline())
    except (OSError, ValueError):
        return None
    if pid <= 0:
        return None
    program, arguments = _command_line(pid)
    # A backend shows a title in place of its command line, and a zombie shows nothing.
    is_postgres = os.path.basename(program) in {"postgres", "postmaster"}
    return pid if is_postgres and folder in arguments else None


def _command_line(pid: int) -> tuple[str, str]:
    """Return a process' program and its arguments as one string, both empty if it has ended."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            program, _, arguments = os.fsdecode(file.read()).partition("\0")
    except OSError:
        if not os.path.exists("/proc/self/cmdline"):
            return _command_line_by_ps(pid)
        return "", ""
    return program, arguments


def _command_line_by_ps(pid: int) -> tuple[str, str]:
    command = ["/bin/ps", "-o", "command=", "-p", str(pid)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    # Ours always has the data folder first among its arguments; the program's path may have spaces.
    program, _, arguments = answer.stdout.strip().partition(" -D ")
    return program, arguments
