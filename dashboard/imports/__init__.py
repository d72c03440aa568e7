"""Imports of files: formats, layouts, validation, staging and merge, and the import page's runs."""

from dashboard.imports.engine import (
    BadRows,
    ImportResult,
    Options,
    Progress,
    import_file,
)
from dashboard.imports.files import UnreadableFile
from dashboard.imports.layouts import UnknownLayout
from dashboard.imports.layouts.mapping import InvalidMapping
from dashboard.imports.rejects import Rejected, UnwritableRejects

__all__ = [
    "BadRows",
    "ImportResult",
    "InvalidMapping",
    "Options",
    "Progress",
    "Rejected",
    "UnknownLayout",
    "UnreadableFile",
    "UnwritableRejects",
    "import_file",
]
