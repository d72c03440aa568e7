"""Opens an archive as untrusted input: nothing of it is believed before it is checked."""

from __future__ import annotations

import contextlib
import itertools
import json
import zipfile
import zlib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, NoReturn

from catalog.images.reencoding import MAX_BYTES
from dashboard.archive.contents import (
    FILES,
    IMAGE_NAME,
    MAX_IMAGES,
    MAX_JSON_FILE,
    MAX_LINE,
    MAX_LINES_FILE,
    MAX_ROWS,
)
from dashboard.imports.files import MAX_COMPRESSION, UNJUDGED_BYTES
from dashboard.imports.formats.json_lines import InvalidJson, members_of

_ENCRYPTED = 0x1


class InvalidArchive(ValueError):
    """The archive cannot be imported; the message says where and why, in a sentence."""


class ArchiveFile:
    """An opened archive: its JSON files, its lines and its images.

    Entries are read by name and never written to a path. Raises :class:`InvalidArchive`, as all
    methods do.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except OSError as error:
            raise InvalidArchive(f"The file cannot be opened: {error.strerror}.") from error
        except (zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError) as error:
            raise InvalidArchive(
                "The file is not a ZIP archive, or it is damaged or incomplete: download it again."
            ) from error
        try:
            self.images = self._check_entries()
        except InvalidArchive:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def __enter__(self) -> ArchiveFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_entries(self) -> frozenset[str]:
        """Check the directory of the ZIP file, and return the names of the images."""
        entries = self._zip.infolist()
        names = {entry.filename for entry in entries}
        for name in FILES:
            if name not in names:
                raise InvalidArchive(f"{name} is missing: this is not an archive of a dashboard.")
        if len(names) < len(entries):
            raise InvalidArchive("A file comes twice in the archive.")
        if len(entries) > MAX_IMAGES + len(FILES):
            raise InvalidArchive(f"The archive has more than {MAX_IMAGES:,} images.")
        # Entries that share bytes unpack to more than the limits of each entry suggest.
        in_order = sorted(entries, key=lambda entry: entry.header_offset)
        for entry, following in itertools.pairwise(in_order):
            if entry.header_offset + entry.compress_size >= following.header_offset:
                raise InvalidArchive("The entries of the archive overlap: it is malicious.")
        for entry in entries:
            self._check_entry(entry)
        return frozenset(names - set(FILES))

    def _check_entry(self, entry: zipfile.ZipInfo) -> None:
        name = entry.filename
        if name not in FILES and not IMAGE_NAME.match(name):
            raise InvalidArchive(f"{name[:80]!a} does not belong into an archive.")
        if entry.flag_bits & _ENCRYPTED:
            raise InvalidArchive(f"{name} is encrypted.")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InvalidArchive(f"{name} is compressed in a way that archives do not use.")
        most = MAX_BYTES
        if name in FILES:
            most = MAX_LINES_FILE if name.endswith(".jsonl") else MAX_JSON_FILE
        if entry.file_size > most:
            raise InvalidArchive(
                f"{name} has {entry.file_size:,} bytes; at most {most:,} are allowed."
            )
        if entry.file_size > max(UNJUDGED_BYTES, MAX_COMPRESSION * entry.compress_size):
            raise InvalidArchive(f"{name} unpacks to more than {MAX_COMPRESSION} times its size.")

    def read_json(self, name: str) -> dict[str, Any]:
        """Return the object in a JSON file."""
        with self._opened(name) as file:
            return _object(file.read(), name)

    def lines(self, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield each object of a JSON Lines file with the number of its line, from 1."""
        with self._opened(name) as file:
            number = 0
            while line := file.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    raise InvalidArchive(
                        f"{name}, line {number}: has more than {MAX_LINE:,} bytes."
                    )
                if number > MAX_ROWS:
                    raise InvalidArchive(f"{name} has more than {MAX_ROWS:,} lines.")
                yield number, _object(line, f"{name}, line {number}")

    @contextlib.contextmanager
    def image(self, name: str) -> Iterator[tuple[IO[bytes], int]]:
        """Open an image, and yield it with its size in bytes."""
        with self._opened(name) as file:
            yield file, self._zip.getinfo(name).file_size

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[IO[bytes]]:
        # A ZIP entry never yields more than its size in the directory, and ends with a checksum.
        try:
            with self._zip.open(name) as file:
                yield file
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise InvalidArchive(f"{name} is damaged or incomplete.") from error


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)


def _object(text: bytes, place: str) -> dict[str, Any]:
    """Return the JSON object of a text; ``place`` names it in errors."""
    try:
        # No number has a point: those that have one fit no field.
        value = json.loads(
            text.decode(),
            object_pairs_hook=members_of,
            parse_float=Decimal,
            parse_constant=_refuse,
        )
    except UnicodeDecodeError:
        raise InvalidArchive(f"{place}: is not UTF-8.") from None
    except InvalidJson as error:
        raise InvalidArchive(f"{place}: {error}.") from None
    except (ValueError, RecursionError):
        raise InvalidArchive(f"{place}: is not valid JSON.") from None
    if not isinstance(value, dict):
        raise InvalidArchive(f"{place}: must be an object.")
    return value
