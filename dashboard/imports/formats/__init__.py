"""The formats that can be imported: one module each, and one entry here."""

from __future__ import annotations

from dashboard.imports.files import InputFile
from dashboard.imports.formats import json_lines, open_food_facts, own_csv
from dashboard.imports.formats.base import FileFormat

AUTO = "auto"
# In the order in which a file is compared with them; the last one takes every delimited file.
FORMATS = {
    format.name: format for format in (json_lines.FORMAT, open_food_facts.FORMAT, own_csv.FORMAT)
}


def format_of(source: InputFile, name: str = AUTO) -> FileFormat:
    """The format of a name, or with ``auto`` the one that a file has.

    Raises :class:`UnreadableFile` if the file has none.
    """
    if name != AUTO:
        return FORMATS[name]
    return next(format for format in FORMATS.values() if format.detect(source))
