"""Imports of files: formats, validation, staging and merge, and the runs of the import page."""

from dashboard.imports.engine import (
    BadRows,
    ImportResult,
    Options,
    Progress,
    import_file,
)
from dashboard.imports.files import UnreadableFile
from dashboard.imports.rejects import Rejected, UnwritableRejects

__all__ = [
    "BadRows",
    "ImportResult",
    "Options",
    "Progress",
    "Rejected",
    "UnreadableFile",
    "UnwritableRejects",
    "import_file",
]
