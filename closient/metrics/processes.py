"""gunicorn's hooks: the folder in which its processes count, and the exporter's start.

Each process counts in its files. The files of an ended process are added to those of all
ended ones, so their number does not grow with restarts.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# The library reads it when it is imported.
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
LOCK = "lock"
# In place of the process id.
ENDED = "ended"

_folder: Path | None = None


def prepare(parent: str | None) -> Path:
    """Create the folder, once in gunicorn's main process, and return it; removed at its end."""
    global _folder  # noqa: PLW0603
    if _folder is None:
        _folder = Path(tempfile.mkdtemp(prefix="closient-metrics-", dir=parent))
        (_folder / LOCK).touch()
        os.environ[VARIABLE] = str(_folder)
        _at_exit(lambda: shutil.rmtree(str(_folder), ignore_errors=True))
    return _folder


def start_exporter(address: str) -> None:
    """Start the process that serves the metrics; it ends with this one."""
    command = [sys.executable, "-m", "closient.metrics.exporter", address, str(_folder)]
    # Ctrl-C in a terminal must not interrupt it: it ends with its parent.
    exporter = subprocess.Popen(command, start_new_session=True)  # noqa: S603
    _at_exit(exporter.terminate)


def add_ended(process_id: int) -> None:
    """Add the counts of an ended process to those of all ended processes, and delete its files."""
    if _folder is None:
        return
    # Imported late: gunicorn's main process counts nothing.
    from prometheus_client import mmap_dict  # noqa: PLC0415

    # It has no types.
    file_class: Any = mmap_dict.MmapedDict

    with locked(_folder, fcntl.LOCK_EX):
        for path in _folder.glob(f"*_{process_id}.db"):
            kind = path.name.partition("_")[0]
            # What an ended process had open is gone.
            if kind in {"counter", "histogram"}:
                total = file_class(str(_folder / f"{kind}_{ENDED}.db"))
                for key, value, moment, _ in file_class.read_all_values_from_file(str(path)):
                    before, _ = total.read_value(key)
                    total.write_value(key, before + value, moment)
                total.close()
            path.unlink()


@contextmanager
def locked(folder: Path, how: int) -> Iterator[None]:
    """Hold the folder's lock for a block, so that no count is read twice or not at all."""
    with (folder / LOCK).open() as file:
        fcntl.flock(file, how)
        yield


def _at_exit(action: Any) -> None:
    """Register an action for the end of this process, but not of those forked from it."""
    owner = os.getpid()
    atexit.register(lambda: action() if os.getpid() == owner else None)
