"""Storage of the files of images and certificates, kept consistent with their rows.

A file is written before its row and deleted after it. So a row always has its file, and a failure
in between leaves at most an orphan: a file whose name was never published.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import logging
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

from django.apps import apps
from django.core.files.base import File
from django.core.files.storage import Storage
from django.db import transaction
from django.db.models import FileField, Model, Q
from django.db.models.fields.files import FieldFile
from django.utils import timezone

from catalog.images.reencoding import Kind, Picture
from catalog.models import ProductImage
from closient.cells.routing import cells, in_cell

logger = logging.getLogger("catalog.images")
Kept = TypeVar("Kept", bound="StoredFile")

FOLDER = "products"
# By then every upload has written its row or failed.
ORPHANED_AFTER = datetime.timedelta(days=1)
# Files that are compared with the rows at a time, and that one run of the worker deletes.
CHUNK = 10_000
MAX_REMOVED = 10_000

MEDIA_TYPES = {kind.suffix: kind.media_type for kind in Kind}
# The pattern of names of pictures; no others are served.
NAME = re.compile(
    rf"{FOLDER}/[0-9]{{4}}/[0-9]{{2}}/[0-9a-f]{{32}}"
    rf"(?P<suffix>{'|'.join(re.escape(suffix) for suffix in MEDIA_TYPES)})\Z"
)

# The pattern of all names that are given here; files with other names are ignored.
_GIVEN_NAME = re.compile(r"[a-z]+/[0-9]{4}/[0-9]{2}/[0-9a-f]{32}\.[a-z0-9]{2,5}\Z")


class StorageFailed(Exception):
    """The storage failed to save or return a file; the reason is in the log."""


def storage() -> Storage:
    """Return the storage of product images."""
    return ProductImage._meta.get_field("image").storage


@dataclasses.dataclass
class StoredFile:
    """A file in the storage, under ``name``; a row may refer to it."""

    name: str
    # True once a row was written that may get committed.
    has_row: bool = False


@dataclasses.dataclass
class StoredPicture(StoredFile):
    """A picture whose file is in the storage."""

    picture: Picture = dataclasses.field(kw_only=True)


def stored(picture: Picture) -> AbstractContextManager[StoredPicture]:
    """Keep a picture in the storage as :func:`stored_file` does."""
    return _kept(StoredPicture(store(picture), picture=picture))


def stored_file(
    model: type[Model], field: str, file: File[bytes]
) -> AbstractContextManager[StoredFile]:
    """Store a file while its row is written, and delete the file if no row was written.

    If the commit fails after the row was written, the row may exist: the file stays, at worst as
    an orphan. Raises :class:`StorageFailed`.
    """
    return _kept(StoredFile(_store(model, field, file)))


@contextmanager
def _kept(keeping: Kept) -> Iterator[Kept]:
    try:
        yield keeping
    finally:
        if not keeping.has_row:
            discard(keeping.name)


def store(picture: Picture) -> str:
    """Write the file of a picture, and return its name. Raises :class:`StorageFailed`."""
    return _store(ProductImage, "image", picture.as_file())


def _store(model: type[Model], field: str, file: File[bytes]) -> str:
    column: Any = model._meta.get_field(field)
    name = column.generate_filename(None, str(file.name))
    try:
        return storage().save(name, file)
    # Every storage raises different exceptions.
    except Exception as error:
        logger.exception("The storage could not save a file.")
        discard(name)
        raise StorageFailed from error


def discard_after_commit(*files: FieldFile) -> None:
    """Delete files after the commit of the transaction that deletes their row."""
    for name in [file.name for file in files if file.name]:
        transaction.on_commit(lambda name=name: discard(name))  # type: ignore[misc]


def discard(name: str) -> None:
    """Delete a file; a failure is logged and leaves an orphan."""
    try:
        storage().delete(name)
    except Exception:
        logger.exception("The storage could not delete %s: it is an orphan now.", name)


def orphans(stop: threading.Event | None = None) -> Iterator[str]:
    """Yield the names of files older than a day that no row refers to.

    Orphans come from deleted products, whose rows of images and attachments the database deletes
    without their files, and from uploads whose process died. Files with other names are ignored.
    In each cell one query per model for ``CHUNK`` files of a month of uploads; ends before the next
    chunk once ``stop`` is set. Raises the exceptions of the storage, and those of an unavailable
    cell.
    """
    latest = timezone.now() - ORPHANED_AFTER
    for top, columns in _columns_by_folder().items():
        for folder in (month for year in _folders(top) for month in _folders(year)):
            files = storage().listdir(folder)[1]
            for start in range(0, len(files), CHUNK):
                if stop is not None and stop.is_set():
                    return
                names = [f"{folder}/{file}" for file in files[start : start + CHUNK]]
                names = [name for name in names if _GIVEN_NAME.match(name)]
                if not names:
                    continue
                # Read after listing the files, so a file without a row never had one or is recent.
                used = set().union(*(_used_in(cell, names, columns) for cell in cells()))
                yield from (
                    name for name in names if name not in used and _modified_at(name) < latest
                )


def _columns_by_folder() -> dict[str, list[FileField]]:
    """Return the columns of all models whose files are in the storage, by their folder."""
    found: dict[str, list[FileField]] = {}
    for model in apps.get_models():
        for field in model._meta.fields:
            if isinstance(field, FileField) and field.storage == storage():
                found.setdefault(str(field.upload_to).partition("/")[0], []).append(field)
    return found


def _used_in(cell: str, files: Sequence[str], columns: Iterable[FileField]) -> set[str]:
    """Return the names that rows of a cell refer to, and maybe others; one query per model."""
    names: set[str] = set()
    by_model: dict[type[Model], list[str]] = {}
    for column in columns:
        by_model.setdefault(column.model, []).append(column.name)
    with in_cell(cell):
        for model, fields in by_model.items():
            among = [(f"{field}__in", files) for field in fields]
            rows = model._default_manager.filter(Q(*among, _connector=Q.OR)).order_by()
            for values in rows.values_list(*fields):
                names.update(values)
    return names


def remove_orphans(stop: threading.Event | None = None, most: int = MAX_REMOVED) -> int:
    """Delete files that :func:`orphans` yields and return how many; raises the same.

    Ends once ``stop`` is set, and after ``most`` files: the next run goes on.
    """
    count = 0
    for name in itertools.islice(orphans(stop), most):
        if stop is not None and stop.is_set():
            break
        storage().delete(name)
        count += 1
    return count


def _modified_at(name: str) -> datetime.datetime:
    return storage().get_modified_time(name)


def _folders(parent: str) -> list[str]:
    """Return the sorted subfolders of a folder; none if the folder does not exist."""
    try:
        return [f"{parent}/{folder}" for folder in sorted(storage().listdir(parent)[0])]
    except FileNotFoundError:
        return []
