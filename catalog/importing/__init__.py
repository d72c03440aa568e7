"""Import of products from files."""

from catalog.importing.formats import Format, UnreadableFile
from catalog.importing.products import (
    BadRows,
    ImportResult,
    Options,
    Progress,
    import_products,
)
from catalog.importing.rejects import Rejected, UnwritableRejects

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
