"""Files of import runs: the uploaded file, and the rejected rows.

They are private: names are random, no URL serves them, and pages send them to editors only.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from django.core.files.base import File
from django.core.files.storage import Storage, storages

from catalog.models import ImportRun
from dashboard.imports import rejects

logger = logging.getLogger("dashboard.imports")


class FileMissing(Exception):
    """The storage does not have the file, or cannot return it."""


def storage() -> Storage:
    """The storage of the files of import runs."""
    return storages["imports"]


def store(file: File[bytes]) -> str:
    """Store a file and return its name; raises what the storage raises, and then stores nothing."""
    name = uuid4().hex
    try:
        return storage().save(name, file)
    except Exception:
        discard(name)
        raise


def discard(name: str) -> None:
    """Delete a file; if that fails, a later cleanup deletes it."""
    if name:
        try:
            storage().delete(name)
        # Each storage raises its own exceptions.
        except Exception:
            logger.exception("The storage did not delete %s; a later cleanup will try again.", name)


@contextmanager
def local_copy(name: str) -> Iterator[Path]:
    """The path of a stored file, or of a temporary copy for the block.

    Raises :class:`FileMissing`.
    """
    path = _own_path(name)
    if path is not None:
        if not path.is_file():
            raise FileMissing
        yield path
        return
    with tempfile.NamedTemporaryFile(prefix="import-") as copy:
        try:
            with storage().open(name) as stored:
                shutil.copyfileobj(stored, copy)
        except Exception as error:
            logger.exception("The storage did not return %s.", name)
            raise FileMissing from error
        copy.flush()
        yield Path(copy.name)


def _own_path(name: str) -> Path | None:
    """The path of a file; ``None`` if the storage is not on this machine."""
    try:
        return Path(storage().path(name))
    except NotImplementedError:
        return None


def open_rejects(run: ImportRun) -> File[bytes]:
    """The rejected rows of a run as an open file, in the format of the uploaded one.

    Raises :class:`FileMissing` if there are none, or no longer any.
    """
    if not run.rejects_file:
        raise FileMissing
    try:
        return storage().open(run.rejects_file)
    except Exception as error:
        raise FileMissing from error


def rejects_name(run: ImportRun) -> str:
    """The file name of the rejected rows for a download."""
    suffix = ".jsonl" if (run.found or {}).get("layout") == "jsonl" else ".csv"
    return rejects.default_path(Path(run.name), suffix).name
