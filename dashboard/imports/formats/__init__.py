"""The formats that can be imported: one module each, and one entry here."""

from __future__ import annotations

from dashboard.imports.files import InputFile
from dashboard.imports.formats import delimited, json_lines, json_objects, workbook, xml_items
from dashboard.imports.formats.base import FileFormat

# In the order in which a file is compared with them; the last one takes every text file.
FORMATS: tuple[FileFormat, ...] = (
    workbook.FORMAT,
    xml_items.FORMAT,
    json_lines.FORMAT,
    json_objects.FORMAT,
    delimited.FORMAT,
)


def format_of(source: InputFile) -> FileFormat:
    """The format of a file; raises :class:`UnreadableFile` if the file has none."""
    return next(format for format in FORMATS if format.detect(source))
