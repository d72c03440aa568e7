"""Lists of an organization's products, one page at a time.

The tally counts products by fact mask and status. It gives the length of a list that is filtered
only by completeness and status; for a list ordered by completeness it also gives the percentages
that a page covers, so only those are read.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self
from uuid import UUID

from django.db.models import Q

from catalog import completeness
from catalog.completeness import Rule
from catalog.filters import PRODUCT_FILTERS
from catalog.models import Product, ProductQuerySet, effective_rule
from catalog.products_by_mask import Bucket, ProductsByMask, counts_by_bucket
from closient.accounts.models import Organization
from closient.db.replicas import reads_on_replica
from closient.http import cursors, parameters
from closient.http.cursors import Position
from closient.http.lists import RowList

# Rows in memory at a time while all rows of a list are read, and ids.
CHUNK = 1_000
MAX_IDS = 32_000


class Order(enum.StrEnum):
    """Orders of a list. Products with equal values come newest first."""

    NEWEST = ""
    LEAST_COMPLETE = "completeness"
    MOST_COMPLETE = "-completeness"
    NAME = "name"
    LAST_CHANGED = "-updated_at"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns to order by, as an index has them."""
        return (*([self.value] if self.value else []), "-pk")

    @property
    def is_by_percentage(self) -> bool:
        """Whether the order is by completeness."""
        return self in (Order.LEAST_COMPLETE, Order.MOST_COMPLETE)


@dataclasses.dataclass(frozen=True)
class ProductList(RowList):
    """A list of an organization's products, with completeness by a rule on a day."""

    filters = PRODUCT_FILTERS
    ordering = parameters.choice(
        "ordering",
        "Order of the list, newest first by default. Ties come newest first.",
        words=[order.value for order in Order if order is not Order.NEWEST],
        example="completeness",
    )

    organization_id: UUID
    rule: Rule
    day: datetime.date
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, organization: Organization, values: Mapping[str, Any]) -> Self:
        """Return the list for query parameters, by the organization's rule, today."""
        return cls(organization.pk, effective_rule(organization), organization.today(), values)

    @property
    def order(self) -> Order:
        """The order."""
        return Order(self.values.get("ordering") or "")

    @reads_on_replica
    def page(
        self, *, start: int, end: int, after: Position | None = None
    ) -> tuple[list[Product], int]:
        """Return the products from ``start`` to ``end`` with their brands, and the total.

        With a position, ``start`` and ``end`` count from there. Three queries in one snapshot;
        with a position one more for each column of the order, or each percentage on the page.
        """
        if self.is_counted:
            keys, total = self._counted(start, end, after)
        else:
            keys, total = self._searched(start, end, after)
        return self._rows(keys, self._products.select_related("brand", "summary")), total

    def position(self, product: Product) -> Position:
        """Return the position of a product in the order."""
        if self.order.is_by_percentage:
            return self.rule.percentage(product.fact_mask(self.day)), product.pk
        return cursors.position_of(product, self.order.columns)

    def _rows(self, keys: Sequence[UUID], rows: ProductQuerySet) -> list[Product]:
        """Return the rows with these ids in this order."""
        if not keys:
            return []
        index = {key: number for number, key in enumerate(keys)}
        found = rows.filter(pk__in=keys).order_by()
        return sorted(found, key=lambda product: index[product.pk])

    @property
    def _products(self) -> ProductQuerySet:
        return Product.objects.of(self.organization_id)

    def everything(self, rows: ProductQuerySet) -> Iterator[Product]:
        """Yield all products of the list in its order, with constant memory.

        ``rows`` are products of the organization with what else to select. Must run in a
        ``consistent_read``.
        """
        if self._is_read_in_batches:
            yield from self._in_batches(rows)
            return
        listed = self._with_percentage(rows.filter(*self._all_conditions()))
        yield from listed.order_by(*self.order.columns).iterator(chunk_size=CHUNK)

    @property
    def _is_read_in_batches(self) -> bool:
        """Whether to read it in batches: one query would read and sort all products first."""
        if not self.is_counted or self.order.is_by_percentage:
            return self.is_counted
        if self.order is not Order.NEWEST or not self.given:
            return False
        counts = self._counts()
        # If most products match, a scan from the newest finds them, at less cost for each.
        matching = sum(count for bucket, count in counts.items() if self.matches(bucket))
        return 2 * matching < sum(counts.values())

    def _in_batches(self, rows: ProductQuerySet) -> Iterator[Product]:
        """Yield all products, whose ids are found by the tally.

        Reads growing batches of ids, each from the position where the one before ended.
        """
        after: Position | None = None
        size = CHUNK
        while True:
            keys, _ = self._counted(0, size, after)
            for start in range(0, len(keys), CHUNK):
                products = self._rows(keys[start : start + CHUNK], rows)
                yield from products
            if len(keys) < size:
                return
            after, size = self.position(products[-1]), min(2 * size, MAX_IDS)

    @property
    def matching(self) -> ProductQuerySet:
        """The matching products, unordered."""
        return self._products.filter(*self._all_conditions())

    def _all_conditions(self) -> list[Q]:
        """Return the conditions of all filters, also of those that the tally's buckets decide."""
        conditions = self.conditions()
        if any(one.condition is None for one, _ in self.given):
            conditions.append(completeness.where_mask(self._matches_mask, self.day))
        return conditions

    def _matches_mask(self, mask: int) -> bool:
        """Return whether products with a mask pass, if they have the list's status."""
        return self.matches(Bucket(self._status or "", mask))

    @property
    def _status(self) -> str | None:
        """The status that is listed; ``None`` for all."""
        return self.values.get("status")

    def _searched(self, start: int, end: int, after: Position | None) -> tuple[list[UUID], int]:
        """Return the ids of a page and the total, by counting the rows."""
        rows = self.matching
        total = rows.order_by().count()
        return (self._keys(rows, start, end, after) if start < total else []), total

    def _keys(
        self, rows: ProductQuerySet, start: int, end: int, after: Position | None
    ) -> list[UUID]:
        """Return the ids of rows in the list's order."""
        keys = self._with_percentage(rows).values_list("pk", flat=True)
        return cursors.rows_between(keys, self.order.columns, start=start, end=end, after=after)

    def _with_percentage(self, rows: ProductQuerySet) -> ProductQuerySet:
        """Add the percentage as an alias to rows that are ordered by it."""
        if not self.order.is_by_percentage:
            return rows
        percentage: Any = completeness.percentage_on(self.day, self.rule)
        return rows.alias(completeness=percentage)

    def _counted(self, start: int, end: int, after: Position | None) -> tuple[list[UUID], int]:
        """Return the ids of a page and the total, by the tally."""
        counts = self._counts()
        matching = [bucket for bucket in counts if self.matches(bucket)]
        total = sum(counts[bucket] for bucket in matching)
        if start >= total:
            return [], total
        if after is None:
            end = min(end, total)
        if self.order.is_by_percentage:
            groups = self._groups(counts, matching)
            if after is None:
                return self._by_percentage(groups, start, end), total
            return self._by_percentage_after(groups, after, end), total
        products = self._by_mask(counts, matching)
        if self.order is Order.NEWEST:
            before = UUID(str(after[0])) if after is not None else None
            return products.newest(start, end, before=before), total
        return self._keys(products.products, start, end, after), total

    def _counts(self) -> dict[Bucket, int]:
        """Return the number of products in each bucket, from the tally."""
        return counts_by_bucket(self.organization_id, self.day)

    def _by_mask(self, counts: Mapping[Bucket, int], matching: Iterable[Bucket]) -> ProductsByMask:
        """Return the products in buckets that match the list."""
        masks = frozenset(bucket.mask for bucket in matching)
        return ProductsByMask(self.organization_id, self.day, counts, masks, self._status)

    def _by_percentage(
        self, groups: Iterable[tuple[int, ProductsByMask]], start: int, end: int
    ) -> list[UUID]:
        """Return the ids from ``start`` to ``end``, reading only the groups that they are in."""
        keys: list[UUID] = []
        for _, products in groups:
            if start < products.total and end > 0:
                keys += products.newest(max(start, 0), min(end, products.total))
            start, end = start - products.total, end - products.total
        return keys

    def _by_percentage_after(
        self, groups: Iterable[tuple[int, ProductsByMask]], after: Position, size: int
    ) -> list[UUID]:
        """Return the first ids after a position, reading only the groups that they are in."""
        percentage_before, id_before = after[0], UUID(str(after[1]))
        is_rising = self.order is Order.LEAST_COMPLETE
        keys: list[UUID] = []
        for percentage, products in groups:
            if percentage == percentage_before:
                keys += products.newest(0, size, before=id_before)
            elif (percentage > percentage_before) == is_rising and len(keys) < size:
                keys += products.newest(0, size - len(keys))
        return keys

    def _groups(
        self, counts: Mapping[Bucket, int], matching: Sequence[Bucket]
    ) -> Iterator[tuple[int, ProductsByMask]]:
        """Yield each percentage and its matching products, in the list's order."""
        groups: dict[int, list[Bucket]] = {}
        for bucket in matching:
            groups.setdefault(self.rule.percentage(bucket.mask), []).append(bucket)
        for percentage in sorted(groups, reverse=self.order is Order.MOST_COMPLETE):
            yield percentage, self._by_mask(counts, groups[percentage])
