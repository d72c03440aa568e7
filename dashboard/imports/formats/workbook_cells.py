"""Converts a workbook into text: a program for a process with limits of its memory and time.

    python workbook_cells.py WORKBOOK OUTPUT

writes the rows of all sheets as CSV, and a JSON object to the standard output:
``{"sheets": [{"name", "width", "start", "end", "rows"}]}`` with the part of the output that a sheet
has, in bytes, or ``{"error": "..."}`` with a key of the messages of ``workbook.py``. The first cell
of a row is its number in the sheet; empty rows and empty cells at the end of a row are left out.

The library keeps a sheet in memory as a rectangle from its first to its last cell, so a small file
can claim any amount of memory. Then this process ends, and not the one that imports.
"""

from __future__ import annotations

import csv
import datetime
import json
import os
import resource
import sys
import tempfile
from decimal import Decimal
from typing import Any, TextIO

import python_calamine

MAX_MEMORY_BYTES = 2 * 1024 * 1024 * 1024
MAX_CPU_SECONDS = 600
MAX_OUTPUT_BYTES = 4 * 1024 * 1024 * 1024
MAX_CELL_LENGTH = 131_072
# Of formats that the library tells to be encrypted.
_ENCRYPTED_ENDINGS = ("xls", "xlsx", "ods")


class _LongCell(ValueError):
    pass


def _cell_text(value: Any) -> str:
    """The text of a cell: whole numbers without a point, dates and times in ISO 8601."""
    if isinstance(value, str):
        if len(value) > MAX_CELL_LENGTH:
            raise _LongCell
        return value
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else f"{Decimal(repr(value)):f}"
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        value = value.date()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


def _write_sheet(
    sheet: python_calamine.CalamineSheet, output: TextIO, name: str
) -> dict[str, object]:
    writer = csv.writer(output, lineterminator="\r\n")
    start = output.tell()
    rows = 0
    for number, values in enumerate(sheet.iter_rows(), start=1):
        cells = [_cell_text(value) for value in values]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            writer.writerow([number, *cells])
            rows += 1
    return {
        "name": name,
        "width": sheet.width,
        "start": start,
        "end": output.tell(),
        "rows": rows,
    }


def _write_workbook(path: str, output: TextIO) -> list[dict[str, object]]:
    """Write all sheets, the visible ones first."""
    with python_calamine.CalamineWorkbook.from_path(path) as workbook:
        kinds = python_calamine.SheetTypeEnum
        sheets = [sheet for sheet in workbook.sheets_metadata if sheet.typ == kinds.WorkSheet]
        sheets.sort(key=lambda sheet: sheet.visible != python_calamine.SheetVisibleEnum.Visible)
        return [
            _write_sheet(workbook.get_sheet_by_name(sheet.name), output, sheet.name)
            for sheet in sheets
        ]


def _is_encrypted(path: str) -> bool:
    """Whether a workbook that cannot be read needs a password.

    The library recognizes the format by the contents, but says so only of files whose ending it
    knows; uploaded files have none.
    """
    with tempfile.TemporaryDirectory() as folder:
        for ending in _ENCRYPTED_ENDINGS:
            link = f"{folder}/workbook.{ending}"
            os.symlink(os.path.abspath(path), link)
            try:
                python_calamine.CalamineWorkbook.from_path(link).close()
            except python_calamine.PasswordError:
                return True
            except BaseException as error:
                if "password" in str(error).lower():
                    return True
    return False


def main(path: str, output_path: str) -> dict[str, object]:
    """Convert a workbook and return the result as it is printed."""
    for limit, value in (
        (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
        (resource.RLIMIT_CPU, MAX_CPU_SECONDS),
        (resource.RLIMIT_FSIZE, MAX_OUTPUT_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    try:
        with open(output_path, "w", encoding="utf-8", newline="") as output:
            return {"sheets": _write_workbook(path, output)}
    except _LongCell:
        return {"error": "long cell"}
    except python_calamine.PasswordError:
        return {"error": "password"}
    except (MemoryError, OSError):
        return {"error": "too large"}
    except BaseException as error:
        # Also a panic of the library, which is not an Exception.
        reason = str(error).lower()
        if "limit exceeded" in reason:
            return {"error": "too large"}
        return {"error": "password" if _is_encrypted(path) else "damaged"}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(*sys.argv[1:])))
