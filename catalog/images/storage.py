"""Files of pictures in the storage, and what keeps them and their rows together.

A file is written before its row and deleted after it. So a row always has its file, and whatever
fails in between leaves at most a file whose name nobody has ever been told.
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
from django.utils import timezone

from catalog.images.validation import Kind, Picture
from catalog.models import ProductImage

logger = logging.getLogger("catalog.images")

FOLDER = "products"
# Whoever uploads has written the row long before.
ORPHANED_AFTER = datetime.timedelta(days=1)

MEDIA_TYPES = {kind.suffix: kind.media_type for kind in Kind}
# The names that pictures are stored under, and no others.
NAME = re.compile(
    rf"{FOLDER}/[0-9]{{4}}/[0-9]{{2}}/[0-9a-f]{{32}}"
    rf"(?P<suffix>{'|'.join(re.escape(suffix) for suffix in MEDIA_TYPES)})\Z"
)


class StorageFailed(Exception):
    """The storage did not take or give a file; the log says why."""


def storage() -> Storage:
    """Return where the files of product images are."""
    return ProductImage._meta.get_field("image").storage


@dataclasses.dataclass
class StoredPicture:
    """A picture whose file is in the storage, under ``name``; a row may refer to it."""

    name: str
    picture: Picture
    # Set once a row is written that the database may keep.
    has_row: bool = False


@contextmanager
def stored(picture: Picture) -> Iterator[StoredPicture]:
    """Store a picture for as long as it takes to write its row; without one it goes again.

    Where the row was written and the commit fails nobody knows whether it is there: the file
    stays, at worst as an orphan. Raises :class:`StorageFailed`.
    """
    keeping = StoredPicture(_store(picture), picture)
    try:
        yield keeping
    finally:
        if not keeping.has_row:
            _discard(keeping.name)


def _store(picture: Picture) -> str:
    field = ProductImage._meta.get_field("image")
    file = picture.as_file()
    name = field.generate_filename(None, str(file.name))
    try:
        return storage().save(name, file)
    # Each storage has exceptions of its own.
    except Exception as error:
        logger.exception("The storage did not take a picture.")
        _discard(name)
        raise StorageFailed from error


def discard_after_commit(name: str) -> None:
    """Delete a file once the transaction that removes its row has been committed."""
    if name:
        transaction.on_commit(lambda: _discard(name))


def _discard(name: str) -> None:
    """Delete a file; where that fails it is an orphan, which is told in the log alone."""
    try:
        storage().delete(name)
    except Exception:
        logger.exception("The storage did not delete %s: it is an orphan now.", name)


def orphans() -> Iterator[str]:
    """Yield the names of the files older than a day that no row refers to.

    Deleting a product deletes the rows of its images in the database, which knows no files; and an
    upload whose process dies leaves one. Files of other names are not looked at. One query for
    each month of uploads. Raises whatever the storage raises.
    """
    latest = timezone.now() - ORPHANED_AFTER
    for year in _folders(FOLDER):
        for folder in _folders(year):
            files = [f"{folder}/{file}" for file in storage().listdir(folder)[1]]
            # Read after the files: a file without a row by now never had one, or is young.
            rows = ProductImage.objects.filter(image__startswith=f"{folder}/")
            used = set(rows.values_list("image", flat=True))
            for name in files:
                if NAME.match(name) and name not in used and _modified_at(name) < latest:
                    yield name


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
    """Return the folders inside one, in order; a folder that is not there has none."""
    try:
        return [f"{parent}/{folder}" for folder in sorted(storage().listdir(parent)[0])]
    except FileNotFoundError:
        return []
