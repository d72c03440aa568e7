"""Workbooks: XLSX, XLSM, XLSB, XLS and ODS, read by calamine."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import weakref
import zipfile
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from dashboard.imports import rejects
from dashboard.imports.files import InputFile, UnreadableFile
from dashboard.imports.formats import workbook_cells
from dashboard.imports.formats.base import FileFormat, IsHeader, column_name
from dashboard.imports.formats.header import (
    HEADER_ROWS,
    check_width,
    find_header,
    skipped_notice,
)
from dashboard.imports.rejects import BadRow, Rejected

# Of a workbook, and of all of its parts when they are unpacked.
MAX_BYTES = 256 * 1024 * 1024
MAX_UNPACKED_BYTES = 2 * 1024 * 1024 * 1024
# A margin above the limit of CPU seconds, for a process that waits.
_TIMEOUT_SECONDS = 2 * workbook_cells.MAX_CPU_SECONDS
# Also an encrypted XLSX.
_OLD_EXCEL = b"\xd0\xcf\x11\xe0"

_SPLIT = "Save the sheet as CSV, or split it."
_TOO_LARGE = f"The workbook is too large to be opened. {_SPLIT}"
_DAMAGED = "The workbook is damaged, or no workbook: open it in a spreadsheet and save it again."
_MESSAGES = {
    "long cell": f"A cell is longer than {workbook_cells.MAX_CELL_LENGTH:,} characters.",
    "password": "The workbook is protected by a password: save it without.",
    "too large": _TOO_LARGE,
    "damaged": _DAMAGED,
}


@dataclasses.dataclass(frozen=True)
class _Sheet:
    """A sheet, and the part of the converted workbook with its rows."""

    name: str
    width: int
    start: int
    end: int
    rows: int


class WorkbookFile:
    """A sheet of a workbook: the given one, else the first with a header, else with any cells.

    The line of a row is its number in the sheet. The rows are in a temporary file as long as this
    object exists.
    """

    suffix = ".csv"
    has_escaped_cells = True
    encoding = "utf-8-sig"
    errors = "strict"
    delimiter = None

    def __init__(self, source: InputFile, is_header: IsHeader, sheet: str | None = None) -> None:
        self.source = source
        converted = tempfile.NamedTemporaryFile(prefix="import-")  # noqa: SIM115
        weakref.finalize(self, converted.close)
        self._path = Path(converted.name)
        sheets = [sheet for sheet in _convert(source, self._path) if sheet.rows]
        self._sheet, place = self._choose(sheets, is_header, sheet)
        rows = list(self._first_rows(self._sheet))
        self.header_line, titles = rows[place]
        check_width(self._sheet.width, self.header_line)
        self.titles = titles + [""] * (self._sheet.width - len(titles))
        self.names = [column_name(title) for title in self.titles]
        which = (f"Read the sheet {self._sheet.name!r}.",) if len(sheets) > 1 else ()
        self.notices = (*which, *skipped_notice(place))

    def rows(self) -> Iterator[tuple[int, list[str] | BadRow]]:
        """Yield the cells of each row with its number in the sheet; skips empty rows."""
        width = len(self.titles)
        for count, (number, cells) in enumerate(self._rows(self._sheet), start=1):
            self.source.bytes_read = self.source.size * count // self._sheet.rows
            if number > self.header_line:
                yield number, cells + [""] * (width - len(cells))

    def write_rejects(self, file: TextIO, rejected: Iterator[Rejected]) -> None:
        """Write the header and the rejected rows as CSV, with their lines and reasons."""
        header = list(zip(self.titles, self.names, strict=True))
        rows = self._rows(self._sheet)
        rejects.write_rows(csv.writer(file), header, rows, rejected, is_escaped=True)

    def _choose(
        self, sheets: Sequence[_Sheet], is_header: IsHeader, wanted: str | None
    ) -> tuple[_Sheet, int]:
        """The sheet to read, and the place of its header among its first rows."""
        filled = [sheet for sheet in sheets if wanted in (None, sheet.name)]
        if not filled:
            raise UnreadableFile(
                "The workbook has no cells."
                if wanted is None
                else f"The workbook has no sheet {wanted!r} with cells."
            )
        first: list[tuple[_Sheet, int]] = []
        for sheet in filled:
            rows = [cells for _, cells in self._first_rows(sheet)]
            place, is_recognized = find_header(rows, is_header)
            if is_recognized:
                return sheet, place
            first.append((sheet, place))
        return first[0]

    def _first_rows(self, sheet: _Sheet) -> Iterator[tuple[int, list[str]]]:
        for count, row in enumerate(self._rows(sheet), start=1):
            yield row
            if count == HEADER_ROWS:
                return

    def _rows(self, sheet: _Sheet) -> Generator[tuple[int, list[str]], None, None]:
        with self._path.open("rb") as raw:
            raw.seek(sheet.start)
            text = io.TextIOWrapper(raw, encoding="utf-8", newline="")
            for _, (number, *cells) in zip(range(sheet.rows), csv.reader(text), strict=False):
                yield int(number), cells


def is_workbook(source: InputFile) -> bool:
    """Whether a file is a workbook, by its first bytes."""
    return source.is_archive or source.head.startswith(_OLD_EXCEL)


def _convert(source: InputFile, output: Path) -> list[_Sheet]:
    """Write the rows of all sheets to a file, in another process with limits."""
    with source.unpacked(MAX_BYTES) as path:
        _check_size(path, is_archive=source.is_archive)
        # -P: the modules beside the program have names of the standard library (xml).
        command = [sys.executable, "-P", workbook_cells.__file__, str(path), str(output)]
        # Without the service's secrets.
        environment = {key: value for key, value in os.environ.items() if key == "PYTHONPATH"}
        try:
            done = subprocess.run(  # noqa: S603
                command,
                capture_output=True,
                check=False,
                env=environment,
                stdin=subprocess.DEVNULL,
                timeout=_TIMEOUT_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise UnreadableFile(_TOO_LARGE) from error
    result = _result(done)
    if "error" in result:
        raise UnreadableFile(_MESSAGES[result["error"]])
    return [_Sheet(**sheet) for sheet in result["sheets"]]


def _result(done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    # Rust ends a process that gets no more memory with SIGABRT; the system with SIGKILL.
    if -done.returncode in (signal.SIGABRT, signal.SIGKILL, signal.SIGXCPU, signal.SIGXFSZ):
        return {"error": "too large"}
    if done.returncode < 0:
        return {"error": "damaged"}
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace"))
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _check_size(path: Path, *, is_archive: bool) -> None:
    """Refuse a workbook that is too large, by the directory of its archive."""
    unpacked = size = path.stat().st_size
    if is_archive:
        try:
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(info.file_size for info in archive.infolist())
        except zipfile.BadZipFile as error:
            raise UnreadableFile(_DAMAGED) from error
    if size > MAX_BYTES or unpacked > MAX_UNPACKED_BYTES:
        raise UnreadableFile(_TOO_LARGE)


FORMAT = FileFormat("workbook", detect=is_workbook, open=WorkbookFile)
