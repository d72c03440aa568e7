"""Pages of products with certain fact masks, newest first, by one of two query plans.

One plan scans all products of the organization, newest first, and skips those that do not match:
fast if most match. The other reads the newest products of each mask and merges them: fast for
early pages or few matches, however they are distributed. Both read indexes only. The counts of the
tally decide which plan is cheaper.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Mapping
from uuid import UUID

from django.db import connection

from catalog.completeness import DATED_FACT, StoredMasks, stored_masks
from catalog.models import Product, ProductQuerySet, ProductSummary, ProductSummaryQuerySet

# Below this many index entries, which take a few milliseconds, plans are not compared.
MIN_ROWS_TO_COMPARE = 10_000
# Cost of reading an entry from many ranges and sorting it, relative to reading one in order.
ROW_COST_FACTOR = 5

# Greater than every id.
LAST_ID = UUID(int=2**128 - 1)

# Masks that depend on certificates are separate: only their products' rows are read.
_NEWEST_OF_EACH = """
    SELECT newest.product_id
    FROM unnest(%(always)s::smallint[]) AS stored (mask)
    CROSS JOIN LATERAL (
        SELECT product_id FROM public.catalog_productsummary
        WHERE organization_id = %(organization_id)s AND facts = stored.mask
            AND product_id < %(before)s
        ORDER BY product_id DESC LIMIT %(end)s
    ) AS newest
    UNION ALL
    SELECT newest.product_id
    FROM unnest(%(dated)s::smallint[], %(certified)s::boolean[]) AS stored (mask, is_certified)
    CROSS JOIN LATERAL (
        SELECT product_id FROM public.catalog_productsummary
        WHERE organization_id = %(organization_id)s AND facts = stored.mask
            AND (certified_during @> %(day)s) = stored.is_certified
            AND product_id < %(before)s
        ORDER BY product_id DESC LIMIT %(end)s
    ) AS newest
    ORDER BY product_id DESC OFFSET %(start)s LIMIT %(size)s
"""


@dataclasses.dataclass(frozen=True)
class ProductsByMask:
    """An organization's products whose fact mask on a day is one of ``masks``.

    ``counts`` are all products of the organization by mask on that day, from the tally, without
    zeros.
    """

    organization_id: UUID
    day: datetime.date
    counts: Mapping[int, int]
    masks: frozenset[int]

    @functools.cached_property
    def total(self) -> int:
        """The number of these products."""
        return sum(self._count(mask) for mask in self.masks)

    @property
    def products(self) -> ProductQuerySet:
        """The products, in no order."""
        rows = Product.objects.of(self.organization_id).order_by()
        return rows if self._are_all else rows.filter(self._stored.on(self.day))

    @property
    def _summaries(self) -> ProductSummaryQuerySet:
        """The summaries of the products, in no order."""
        rows = ProductSummary.objects.of(self.organization_id)
        return rows if self._are_all else rows.filter(self._stored.on(self.day, summary=""))

    @property
    def _are_all(self) -> bool:
        """Whether these are all products of the organization."""
        return self.masks >= self.counts.keys()

    def newest(self, start: int, end: int, *, before: UUID | None = None) -> list[UUID]:
        """Return the ids of the products from ``start`` up to ``end``, newest first.

        Only products older than ``before``, if it is given.
        """
        scanned_rows = end * sum(self.counts.values()) // max(self.total, 1)
        merged_rows = self._merged_rows(end)
        is_scan_cheaper = (
            merged_rows > MIN_ROWS_TO_COMPARE and ROW_COST_FACTOR * merged_rows > scanned_rows
        )
        if is_scan_cheaper or self._are_all:
            rows = self._summaries
            rows = rows if before is None else rows.filter(product__lt=before)
            return list(rows.order_by("-pk").values_list("pk", flat=True)[start:end])
        dated = dict.fromkeys(self._stored.certified, True)
        dated |= dict.fromkeys(self._stored.uncertified, False)
        with connection.cursor() as cursor:
            cursor.execute(
                _NEWEST_OF_EACH,
                {
                    "organization_id": self.organization_id,
                    "day": self.day,
                    "before": before or LAST_ID,
                    "always": list(self._stored.always),
                    "dated": list(dated),
                    "certified": list(dated.values()),
                    "start": start,
                    "end": end,
                    "size": end - start,
                },
            )
            return [key for (key,) in cursor]

    def _count(self, mask: int) -> int:
        return self.counts.get(mask, 0)

    @functools.cached_property
    def _stored(self) -> StoredMasks:
        """The stored masks of ``masks``.

        Where no product has a mask with or without the certificate, it is treated as matching: the
        query then need not read the dates.
        """
        found = {mask & ~DATED_FACT.bit for mask in self.masks if self._count(mask)}
        return stored_masks(
            lambda mask: (
                mask & ~DATED_FACT.bit in found and (mask in self.masks or not self._count(mask))
            )
        )

    def _merged_rows(self, end: int) -> int:
        """Return about how many rows the newest of each mask up to ``end`` are."""
        rows = sum(min(self._both(mask), end) for mask in self._stored.always)
        for mask, bit in (
            *((mask, DATED_FACT.bit) for mask in self._stored.certified),
            *((mask, 0) for mask in self._stored.uncertified),
        ):
            both = self._both(mask)
            rows += min(both, end * both // self._count(mask | bit))
        return rows

    def _both(self, stored: int) -> int:
        return self._count(stored) + self._count(stored | DATED_FACT.bit)
