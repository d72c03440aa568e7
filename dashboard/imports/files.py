"""Reads the bytes of a file: opens gzip and ZIP, refuses bombs, and knows how far it has read."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, cast

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_ROWS = 20_000_000
# Real catalogs compress to a tenth, at most to a fiftieth. Small files may compress further.
MAX_COMPRESSION = 200
# The directory of a ZIP archive, which has one file.
MAX_DIRECTORY_BYTES = 4 * 1024 * 1024
UNJUDGED_BYTES = 64 * 1024 * 1024
MAX_BYTES = 64 * 1024 * 1024 * 1024

HEAD_LENGTH = 64 * 1024
_BUFFER_LENGTH = 64 * 1024
_COPY_LENGTH = 1024 * 1024
_GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"
_FOREIGN = {
    b"%PDF": "a PDF",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf": "7-Zip",
    b"Rar!": "RAR",
    _GZIP: "gzip within gzip",
}
# In a ZIP archive that is a workbook: XLSX, XLSM and XLSB; ODS.
_WORKBOOK_PARTS = ("[Content_Types].xml", "content.xml")
# What macOS adds to an archive.
_CLUTTER = ("__MACOSX/", ".DS_Store")

Compression = Literal["gzip", "zip"]


class UnreadableFile(ValueError):
    """A file cannot be read to its end, so none of it is imported.

    ``line`` is the physical line where the error is; None if it concerns the whole file.
    """

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason if line is None else f"line {line}: {reason}")
        self.line = line


class InputFile:
    """A file and its bytes, as often as needed; gzip, or a ZIP archive of one file, is unpacked.

    ``head`` are the first bytes. ``bytes_read`` out of ``size`` is how far it has been read. Raises
    :class:`UnreadableFile` for a file that cannot be opened or is in no format for tables.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes_read = 0
        self._member = ""
        try:
            found = path.stat()
            with path.open("rb") as raw:
                start = raw.read(4)
        except OSError as error:
            raise UnreadableFile(f"{path} cannot be opened: {error.strerror}.") from error
        self.size = found.st_size
        self._identity = _identity(found)
        self.compression: Compression | None = None
        if start.startswith(_GZIP):
            self.compression = "gzip"
        elif start == _ZIP:
            self._look_into_archive()
        with self.opened() as stream:
            self.head = stream.read(HEAD_LENGTH)
        for signature, name in _FOREIGN.items():
            if self.head.startswith(signature):
                raise UnreadableFile(
                    f"The file is not a table: it looks like {name}. Save it as CSV or XLSX."
                )

    @property
    def is_compressed(self) -> bool:
        """Whether the file is in gzip or in a ZIP archive."""
        return self.compression is not None

    @property
    def is_archive(self) -> bool:
        """Whether the unpacked file is in ZIP format, as workbooks are."""
        return self.head.startswith(_ZIP)

    @contextlib.contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """The unpacked bytes, streamed.

        Raises :class:`UnreadableFile` if the file is damaged or unpacks to far more than its size.
        """
        with _ArchiveFile(io.FileIO(self.path)) as raw, contextlib.ExitStack() as stack:
            if _identity(os.fstat(raw.fileno())) != self._identity:
                raise UnreadableFile(f"{self.path} was changed while it was being imported.")
            self.bytes_read = 0
            unpacked: IO[bytes] = raw
            with _damage(self.compression):
                if self.compression == "gzip":
                    unpacked = cast("IO[bytes]", stack.enter_context(gzip.open(raw)))
                elif self.compression == "zip":
                    archive = stack.enter_context(zipfile.ZipFile(raw))
                    unpacked = stack.enter_context(archive.open(self._member))
            judged = _Judged(self, raw, unpacked)
            yield stack.enter_context(io.BufferedReader(judged, _BUFFER_LENGTH))

    @contextlib.contextmanager
    def unpacked(self, max_bytes: int) -> Iterator[Path]:
        """The path of the unpacked file: this one, or a temporary copy for the block.

        Raises :class:`UnreadableFile` if it is larger than ``max_bytes``.
        """
        if not self.is_compressed:
            yield self.path
            return
        with tempfile.NamedTemporaryFile(prefix="import-") as copy:
            with self.opened() as stream:
                while block := stream.read(_COPY_LENGTH):
                    if copy.tell() + len(block) > max_bytes:
                        raise UnreadableFile(
                            f"The file unpacks to more than {max_bytes:,} bytes: split it."
                        )
                    copy.write(block)
            copy.flush()
            yield Path(copy.name)

    def _look_into_archive(self) -> None:
        """Recognize a workbook, or an archive of one file, by the directory of a ZIP archive."""
        with (
            _ArchiveFile(io.FileIO(self.path)) as raw,
            _damage("zip"),
            zipfile.ZipFile(raw) as archive,
        ):
            names = [
                info.filename
                for info in archive.infolist()
                if not info.is_dir() and not info.filename.startswith(_CLUTTER)
            ]
        if any(part in names for part in _WORKBOOK_PARTS):
            return
        if len(names) != 1:
            raise UnreadableFile(
                f"The ZIP archive has {len(names):,} files; exactly one is read: "
                "import them one by one."
            )
        self.compression = "zip"
        (self._member,) = names


class _ArchiveFile(io.BufferedReader):
    """A file that is not read in one large piece.

    ``zipfile`` reads the directory of an archive that way, before anyone can see how long it is,
    and needs a dozen times the memory for what it finds.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY_BYTES:
            raise UnreadableFile(
                "The ZIP archive has too many files; exactly one is read: import them one by one."
            )
        return super().read(size)


class _Judged(io.RawIOBase):
    """Unpacked bytes, counted against the bytes of the file that they come from."""

    def __init__(self, source: InputFile, raw: IO[bytes], unpacked: IO[bytes]) -> None:
        self._source = source
        self._raw = raw
        self._unpacked = unpacked
        self._count = 0
        self._judged = UNJUDGED_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        with _damage(self._source.compression):
            block = self._unpacked.read(len(memoryview(buffer)))
        memoryview(buffer)[: len(block)] = block
        self._source.bytes_read = self._raw.tell()
        self._count += len(block)
        if self._count > self._judged:
            self._judge()
            self._judged = self._count + UNJUDGED_BYTES
        return len(block)

    def _judge(self) -> None:
        if self._source.is_compressed and self._count > MAX_COMPRESSION * self._source.bytes_read:
            raise UnreadableFile(
                f"The file unpacks to more than {MAX_COMPRESSION} times its size, "
                "which no catalog does. If it is a catalog, unpack it first."
            )
        if self._count > MAX_BYTES:
            raise UnreadableFile("The file is too large: split it.")


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@contextlib.contextmanager
def _damage(compression: Compression | None) -> Iterator[None]:
    """Turn errors of decompression into a sentence."""
    name = "ZIP archive" if compression == "zip" else "gzip file"
    try:
        yield
    except (zipfile.BadZipFile, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UnreadableFile(f"The {name} is damaged or cut short.") from error
    except NotImplementedError as error:
        raise UnreadableFile(
            f"The {name} is compressed in a way that cannot be read: unpack it first."
        ) from error
    except RuntimeError as error:
        if "encrypted" not in str(error):
            raise
        raise UnreadableFile(f"The {name} is protected by a password: unpack it first.") from error
