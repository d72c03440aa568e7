"""Files of import runs: what was handed in, and the rows that were refused.

They are private. Names are random and without an ending; nothing serves them below an address, and
pages hand them out to those who may edit.
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

logger = logging.getLogger("catalog.imports")


class FileGone(Exception):
    """The storage does not have the file, or does not give it."""


def storage() -> Storage:
    """Return where the files of import runs are."""
    return storages["imports"]


def store(file: File[bytes]) -> str:
    """Store a file and return its name; what a storage raises leaves nothing behind."""
    name = uuid4().hex
    try:
        return storage().save(name, file)
    except Exception:
        discard(name)
        raise


def discard(name: str) -> None:
    """Delete a file; where that fails a later clean-up does it."""
    if name:
        try:
            storage().delete(name)
        # Each storage has exceptions of its own.
        except Exception:
            logger.exception("The storage did not delete %s: it is an orphan now.", name)


@contextmanager
def at_hand(name: str) -> Iterator[Path]:
    """Give the path of a stored file: its own, or one of a copy for the block.

    Raises :class:`FileGone`.
    """
    path = _own_path(name)
    if path is not None:
        if not path.is_file():
            raise FileGone
        yield path
        return
    with tempfile.NamedTemporaryFile(prefix="import-") as copy:
        try:
            with storage().open(name) as stored:
                shutil.copyfileobj(stored, copy)
        except Exception as error:
            logger.exception("The storage did not give %s.", name)
            raise FileGone from error
        copy.flush()
        yield Path(copy.name)


def _own_path(name: str) -> Path | None:
    """Return where a file is on this machine; none where the storage is elsewhere."""
    try:
        return Path(storage().path(name))
    except NotImplementedError:
        return None


def open_rejects(run: ImportRun) -> File[bytes]:
    """Return the refused rows of a run, in the format of its file, to be read and closed.

    Raises :class:`FileGone` where there are none, or none any more.
    """
    if not run.rejects_file:
        raise FileGone
    try:
        return storage().open(run.rejects_file)
    except Exception as error:
        raise FileGone from error


def rejects_name(run: ImportRun) -> str:
    """Return what the rejects are called when somebody downloads them."""
    suffix = ".jsonl" if (run.found or {}).get("format") == "jsonl" else ".csv"
    return rejects.default_path(Path(run.name), suffix).name
