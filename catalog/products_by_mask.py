"""Pages of products with certain fact masks and statuses, newest first, by one of two query plans.

One plan scans all products of the organization, newest first, and skips those that do not match:
fast if most match. The other reads the newest products of each bucket, a status with a mask, and
merges them: fast for early pages or few matches, however they are distributed. Both read indexes of
the summaries only. The counts of the tally decide which plan is cheaper.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Q

from catalog.completeness import DATED_FACT, StoredMasks, stored_masks
from catalog.models import (
    Product,
    ProductQuerySet,
    ProductStatus,
    ProductSummary,
    ProductSummaryQuerySet,
)
from closient.tally.declarations import BUCKET_SEPARATOR
from closient.tally.models import TallyEntry

# Below this many index entries, which take a few milliseconds, plans are not compared.
MIN_ROWS_TO_COMPARE = 10_000
# Cost of reading an entry from many ranges and sorting it, relative to reading one in order.
ROW_COST_FACTOR = 5

# Greater than every id.
LAST_ID = UUID(int=2**128 - 1)

# Masks that depend on certificates are separate: only their products' rows are read.
_NEWEST_OF_EACH = """
    SELECT newest.product_id
    FROM unnest(%(always)s::text[], %(always_masks)s::smallint[]) AS stored (status, mask)
    CROSS JOIN LATERAL (
        SELECT product_id FROM public.catalog_productsummary
        WHERE organization_id = %(organization_id)s AND facts = stored.mask
            AND status = stored.status AND product_id < %(before)s
        ORDER BY product_id DESC LIMIT %(end)s
    ) AS newest
    UNION ALL
    SELECT newest.product_id
    FROM unnest(%(dated)s::text[], %(dated_masks)s::smallint[], %(certified)s::boolean[])
        AS stored (status, mask, is_certified)
    CROSS JOIN LATERAL (
        SELECT product_id FROM public.catalog_productsummary
        WHERE organization_id = %(organization_id)s AND facts = stored.mask
            AND status = stored.status
            AND (certified_during @> %(day)s) = stored.is_certified
            AND product_id < %(before)s
        ORDER BY product_id DESC LIMIT %(end)s
    ) AS newest
    ORDER BY product_id DESC OFFSET %(start)s LIMIT %(size)s
"""


class Bucket(NamedTuple):
    """What the tally counts products by."""

    status: str
    mask: int


def counts_by_bucket(organization_id: UUID, day: datetime.date) -> dict[Bucket, int]:
    """Return the number of an organization's products in each bucket on a day, without empty ones.

    One query. The active products are those in no other status.
    """
    accounts = ("products", "products_by_status")
    sums = TallyEntry.objects.of(organization_id).counts_by_account(accounts, day)
    counts = {}
    active = Counter({int(mask): count for mask, count in sums["products"].items()})
    for bucket, count in sums["products_by_status"].items():
        status, _, mask = bucket.partition(BUCKET_SEPARATOR)
        counts[Bucket(status, int(mask))] = count
        active[int(mask)] -= count
    counts |= {Bucket(ProductStatus.ACTIVE, mask): count for mask, count in active.items() if count}
    return counts


@dataclasses.dataclass(frozen=True)
class ProductsByMask:
    """An organization's products whose fact mask on a day is one of ``masks``.

    Of one status, or of all with ``None``. ``counts`` are all products of the organization by
    bucket on that day, from the tally, without zeros.
    """

    organization_id: UUID
    day: datetime.date
    counts: Mapping[Bucket, int]
    masks: frozenset[int]
    status: str | None = None

    @functools.cached_property
    def total(self) -> int:
        """The number of these products."""
        return sum(
            count
            for counts in self._by_status.values()
            for mask, count in counts.items()
            if mask in self.masks
        )

    @property
    def products(self) -> ProductQuerySet:
        """The products, in no order."""
        return Product.objects.of(self.organization_id).order_by().filter(self._where("summary__"))

    @property
    def _summaries(self) -> ProductSummaryQuerySet:
        """The summaries of the products, in no order."""
        return ProductSummary.objects.of(self.organization_id).filter(self._where(""))

    def _where(self, summary: str) -> Q:
        """Return the condition of the products; ``summary`` is the path to the summary."""
        condition = Q() if self.status is None else Q(**{f"{summary}status": self.status})
        if not self._have_all_masks:
            total: dict[int, int] = {}
            for counts in self._by_status.values():
                for mask, count in counts.items():
                    total[mask] = total.get(mask, 0) + count
            condition &= self._stored(total).on(self.day, summary)
        return condition

    @functools.cached_property
    def _by_status(self) -> dict[str, dict[int, int]]:
        """The counts by mask of each status."""
        found: dict[str, dict[int, int]] = {}
        for (status, mask), count in self.counts.items():
            if self.status in (None, status):
                found.setdefault(status, {})[mask] = count
        return found

    @property
    def _have_all_masks(self) -> bool:
        """Whether these are all products of the status."""
        return all(self.masks >= counts.keys() for counts in self._by_status.values())

    def newest(self, start: int, end: int, *, before: UUID | None = None) -> list[UUID]:
        """Return the ids of the products from ``start`` up to ``end``, newest first.

        Only products older than ``before``, if it is given.
        """
        scanned_rows = end * sum(self.counts.values()) // max(self.total, 1)
        merged_rows = self._merged_rows(end)
        is_scan_cheaper = (
            merged_rows > MIN_ROWS_TO_COMPARE and ROW_COST_FACTOR * merged_rows > scanned_rows
        )
        if is_scan_cheaper or (self.status is None and self._have_all_masks):
            rows = self._summaries
            rows = rows if before is None else rows.filter(product__lt=before)
            return list(rows.order_by("-pk").values_list("pk", flat=True)[start:end])
        always: list[Bucket] = []
        dated: list[Bucket] = []
        certified: list[bool] = []
        for status, counts in self._by_status.items():
            stored = self._stored(counts)
            always += [Bucket(status, mask) for mask in stored.always]
            for masks, is_certified in ((stored.certified, True), (stored.uncertified, False)):
                dated += [Bucket(status, mask) for mask in masks]
                certified += [is_certified] * len(masks)
        with connection.cursor() as cursor:
            cursor.execute(
                _NEWEST_OF_EACH,
                {
                    "organization_id": self.organization_id,
                    "day": self.day,
                    "before": before or LAST_ID,
                    "always": [bucket.status for bucket in always],
                    "always_masks": [bucket.mask for bucket in always],
                    "dated": [bucket.status for bucket in dated],
                    "dated_masks": [bucket.mask for bucket in dated],
                    "certified": certified,
                    "start": start,
                    "end": end,
                    "size": end - start,
                },
            )
            return [key for (key,) in cursor]

    def _stored(self, counts: Mapping[int, int]) -> StoredMasks:
        """Return the stored masks of ``masks``, among products with these counts by mask.

        Where no product has a mask with or without the certificate, it is treated as matching: the
        query then need not read the dates.
        """
        found = {mask & ~DATED_FACT.bit for mask in self.masks & counts.keys()}
        return stored_masks(
            lambda mask: (
                mask & ~DATED_FACT.bit in found and (mask in self.masks or mask not in counts)
            )
        )

    def _merged_rows(self, end: int) -> int:
        """Return about how many rows the newest of each bucket up to ``end`` are."""
        rows = 0
        for counts in self._by_status.values():
            stored = self._stored(counts)
            rows += sum(min(_both(counts, mask), end) for mask in stored.always)
            for mask, bit in (
                *((mask, DATED_FACT.bit) for mask in stored.certified),
                *((mask, 0) for mask in stored.uncertified),
            ):
                both = _both(counts, mask)
                rows += min(both, end * both // counts[mask | bit])
        return rows


def _both(counts: Mapping[int, int], stored: int) -> int:
    return counts.get(stored, 0) + counts.get(stored | DATED_FACT.bit, 0)
