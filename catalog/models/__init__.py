"""Trade items and what describes them: brands, products, images, and the rule that rates them."""

from catalog.models.brand import Brand
from catalog.models.changed import updated_by
from catalog.models.image import ProductImage, ProductImageQuerySet
from catalog.models.import_run import ImportRun, ImportRunQuerySet, ImportStatus
from catalog.models.import_source import (
    FetchOutcome,
    ImportSource,
    ImportSourceQuerySet,
    Interval,
    SourcedRow,
    WhenGone,
)
from catalog.models.product import (
    Product,
    ProductQuerySet,
    ProductStatus,
    found_by,
    of_products_found_by,
    product_fk,
)
from catalog.models.rule import CompletenessRule, effective_rule
from catalog.models.summary import ProductSummary, ProductSummaryQuerySet

__all__ = [
    "Brand",
    "CompletenessRule",
    "FetchOutcome",
    "ImportRun",
    "ImportRunQuerySet",
    "ImportSource",
    "ImportSourceQuerySet",
    "ImportStatus",
    "Interval",
    "Product",
    "ProductImage",
    "ProductImageQuerySet",
    "ProductQuerySet",
    "ProductStatus",
    "ProductSummary",
    "ProductSummaryQuerySet",
    "SourcedRow",
    "WhenGone",
    "effective_rule",
    "found_by",
    "of_products_found_by",
    "product_fk",
    "updated_by",
]
