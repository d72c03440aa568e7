"""Storage of image files and thumbnails, kept consistent with their rows.

A file is written before its row and deleted after it. So a row always has its file, and a failure
in between leaves at most an orphan: a file whose name was never published.
"""

from __future__ import annotations

import dataclasses
import datetime
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from django.core.files.storage import Storage
from django.db import transaction
from django.db.models.fields.files import FieldFile
from django.utils import timezone

from catalog.images.reencoding import Kind, Picture
from catalog.models import ProductImage
from closient.cells.routing import cells, in_cell

logger = logging.getLogger("catalog.images")

FOLDER = "products"
# By then every upload has written its row or failed.
ORPHANED_AFTER = datetime.timedelta(days=1)

MEDIA_TYPES = {kind.suffix: kind.media_type for kind in Kind}
# The pattern of stored names; files with other names are ignored.
NAME = re.compile(
    rf"{FOLDER}/[0-9]{{4}}/[0-9]{{2}}/[0-9a-f]{{32}}"
    rf"(?P<suffix>{'|'.join(re.escape(suffix) for suffix in MEDIA_TYPES)})\Z"
)


class StorageFailed(Exception):
    """The storage failed to save or return a file; the reason is in the log."""


def storage() -> Storage:
    """Return the storage of product images."""
    return ProductImage._meta.get_field("image").storage


@dataclasses.dataclass
class StoredPicture:
    """A picture whose file is in the storage, under ``name``; a row may refer to it."""

    name: str
    picture: Picture
    # True once a row was written that may get committed.
    has_row: bool = False


@contextmanager
def stored(picture: Picture) -> Iterator[StoredPicture]:
    """Store a picture while its row is written, and delete the file if no row was written.

    If the commit fails after the row was written, the row may exist: the file stays, at worst as
    an orphan. Raises :class:`StorageFailed`.
    """
    keeping = StoredPicture(store(picture), picture)
    try:
        yield keeping
    finally:
        if not keeping.has_row:
            discard(keeping.name)


def store(picture: Picture) -> str:
    """Write the file of a picture, and return its name. Raises :class:`StorageFailed`."""
    field = ProductImage._meta.get_field("image")
    file = picture.as_file()
    name = field.generate_filename(None, str(file.name))
    try:
        return storage().save(name, file)
    # Every storage raises different exceptions.
    except Exception as error:
        logger.exception("The storage could not save a picture.")
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


def orphans() -> Iterator[str]:
    """Yield the names of files older than a day that no row refers to.

    Orphans come from deleted products, whose image rows the database deletes without their files,
    and from uploads whose process died. Files with other names are ignored. Two queries per month
    of uploads in each cell. Raises the exceptions of the storage, and those of an unavailable cell.
    """
    latest = timezone.now() - ORPHANED_AFTER
    for year in _folders(FOLDER):
        for folder in _folders(year):
            files = [f"{folder}/{file}" for file in storage().listdir(folder)[1]]
            # Read after listing the files, so a file without a row never had one or is recent.
            used = set().union(*(_used_in(cell, folder) for cell in cells()))
            for name in files:
                if NAME.match(name) and name not in used and _modified_at(name) < latest:
                    yield name


def _used_in(cell: str, folder: str) -> set[str]:
    """Return the names of a folder's files that rows of a cell refer to."""
    with in_cell(cell):
        names: set[str] = set()
        for field in ("image", "thumbnail"):
            rows = ProductImage.objects.filter(**{f"{field}__startswith": f"{folder}/"})
            names.update(rows.values_list(field, flat=True))
        return names


def remove_orphans() -> int:
    """Delete the files that :func:`orphans` yields and return how many; raises the same."""
    count = 0
    for name in orphans():
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
