"""Imports of files: formats, validation, staging and merge, and the runs of the import page."""

from dashboard.imports.files import UnreadableFile
from dashboard.imports.products import (
    BadRows,
    ImportResult,
    Options,
    Progress,
    import_products,
)
from dashboard.imports.rejects import Rejected, UnwritableRejects

__all__ = [
    "BadRows",
    "ImportResult",
    "Options",
    "Progress",
    "Rejected",
    "UnreadableFile",
    "UnwritableRejects",
    "import_products",
]
