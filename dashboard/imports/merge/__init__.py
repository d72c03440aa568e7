"""Merges the staged records into the organization, table by table."""

from __future__ import annotations

from typing import NamedTuple

from dashboard.imports.merge.certificates import merge_certificates
from dashboard.imports.merge.offers import merge_offers
from dashboard.imports.merge.products import merge_products
from dashboard.imports.staging import Staging, TableCounts


class MergeResult(NamedTuple):
    """What was written: rows of the file that created or changed something, and rows by table."""

    created: int
    updated: int
    tables: dict[str, TableCounts]


def apply(staging: Staging) -> MergeResult:
    """Write the records that were not rejected."""
    tables = {"products": merge_products(staging)}
    if staging.counts["import_offer"]:
        tables["offers"] = merge_offers(staging)
    if staging.counts["import_certificate"]:
        tables["certificates"] = merge_certificates(staging)
    return MergeResult(*staging.count_effects(), tables)
