"""Import of products from files."""

from dashboard.imports.formats import Format, UnreadableFile
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
    "Format",
    "ImportResult",
    "Options",
    "Progress",
    "Rejected",
    "UnreadableFile",
    "UnwritableRejects",
    "import_products",
]
