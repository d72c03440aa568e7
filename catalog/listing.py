"""Lists of an organization's products, a page at a time.

The tally counts products by fact mask. A list that asks for completeness alone has its length
from there; ordered by completeness, it also knows from there into which percentages a page falls,
and reads no others.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db.models import Subquery

from catalog import completeness
from catalog.completeness import Rule
from catalog.models import Brand, Product, ProductQuerySet
from catalog.products_by_mask import ProductsByMask
from closient.api.transactions import snapshot
from closient.tally.models import TallyEntry


class Order(enum.StrEnum):
    """Orders of a list; ties are broken by id, newest first."""

    NEWEST = ""
    LEAST_COMPLETE = "completeness"
    MOST_COMPLETE = "-completeness"
    NAME = "name"
    LAST_CHANGED = "-updated_at"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which products are wanted; ``None`` where it makes no difference.

    Percentages include their bounds. All facts in ``missing`` are missing. ``brand`` is the whole
    name; ``text`` is what a person looks for (:meth:`catalog.models.ProductQuerySet.search`).
    """

    is_complete: bool | None = None
    missing: Sequence[str] = ()
    min_percentage: int | None = None
    max_percentage: int | None = None
    status: str | None = None
    brand: str | None = None
    text: str | None = None

    def has_mask(self, mask: int, rule: Rule) -> bool:
        """Return whether products with a fact mask are wanted, as far as that decides it."""
        percentage = rule.percentage(mask)
        return (
            self.is_complete in (None, rule.is_complete(mask))
            and not mask & completeness.mask_of(self.missing)
            and (self.min_percentage is None or percentage >= self.min_percentage)
            and (self.max_percentage is None or percentage <= self.max_percentage)
        )

    @property
    def is_counted(self) -> bool:
        """Whether the tally knows how many there are."""
        return self.status is None and self.brand is None and self.text is None

    @property
    def has_any_mask(self) -> bool:
        """Whether completeness makes no difference."""
        return (
            self.is_complete is None
            and not self.missing
            and self.min_percentage is None
            and self.max_percentage is None
        )


@dataclasses.dataclass(frozen=True)
class ProductList:
    """A list of an organization's products, judged by a rule on a day (the organization's own)."""

    organization_id: UUID
    rule: Rule
    day: datetime.date
    wanted: Wanted = dataclasses.field(default_factory=Wanted)
    order: Order = Order.NEWEST

    def page(self, *, start: int, end: int) -> tuple[list[Product], int]:
        """Return the products from ``start`` up to ``end``, with their brands, and how many there
        are in all. Three queries that read one state.
        """
        with snapshot():
            if self.wanted.is_counted:
                keys, total = self._counted(start, end)
            else:
                keys, total = self._searched(start, end)
            return self._rows(keys), total

    def _rows(self, keys: Sequence[UUID]) -> list[Product]:
        if not keys:
            return []
        rows = self._products.filter(pk__in=keys).select_related("brand").order_by()
        place = {key: place for place, key in enumerate(keys)}
        return sorted(rows, key=lambda product: place[product.pk])

    @property
    def _products(self) -> ProductQuerySet:
        return Product.objects.of(self.organization_id)

    def everything(self) -> ProductQuerySet:
        """Return all products of the list in its order, for who reads them to the end."""
        return self._in_order(self._wanted_rows)

    @property
    def _wanted_rows(self) -> ProductQuerySet:
        """The products that are wanted, in no order of the list."""
        rows, wanted = self._products, self.wanted
        if wanted.status is not None:
            rows = rows.filter(status=wanted.status)
        if wanted.brand is not None:
            named = Brand.objects.filter(organization=self.organization_id, name=wanted.brand)
            rows = rows.filter(brand=Subquery(named.order_by().values("pk")))
        if wanted.text is not None:
            rows = rows.search(wanted.text)
        if not wanted.has_any_mask:
            rows = rows.filter(completeness.where_mask(self._is_wanted, self.day))
        return rows

    def _searched(self, start: int, end: int) -> tuple[list[UUID], int]:
        """Return a page's keys and the length of a list that has to be counted."""
        rows = self._wanted_rows
        total = rows.order_by().count()
        return (self._keys(rows, start, end) if start < total else []), total

    def _is_wanted(self, mask: int) -> bool:
        return self.wanted.has_mask(mask, self.rule)

    def _keys(self, rows: ProductQuerySet, start: int, end: int) -> list[UUID]:
        """Return the keys of some rows in the list's order."""
        return list(self._in_order(rows).values_list("pk", flat=True)[start:end])

    def _in_order(self, rows: ProductQuerySet) -> ProductQuerySet:
        order: dict[Order, list[Any]] = {
            Order.NEWEST: [],
            Order.LEAST_COMPLETE: ["percentage"],
            Order.MOST_COMPLETE: ["-percentage"],
            Order.NAME: ["name"],
            Order.LAST_CHANGED: ["-updated_at"],
        }
        if self.order in (Order.LEAST_COMPLETE, Order.MOST_COMPLETE):
            rows = rows.alias(percentage=completeness.percentage_on(self.day, self.rule))
        return rows.order_by(*order[self.order], "-pk")

    def _counted(self, start: int, end: int) -> tuple[list[UUID], int]:
        """Return a page's keys and the length of a list that the tally knows."""
        tally = TallyEntry.objects.of(self.organization_id).counts("products", self.day)
        counts = {int(bucket): count for bucket, count in tally.items()}
        wanted = [mask for mask in counts if self._is_wanted(mask)]
        total = sum(counts[mask] for mask in wanted)
        if start >= total:
            return [], total
        end = min(end, total)
        if self.order in (Order.LEAST_COMPLETE, Order.MOST_COMPLETE):
            return self._by_percentage(counts, wanted, start, end), total
        products = ProductsByMask(self.organization_id, self.day, counts, frozenset(wanted))
        if self.order is Order.NEWEST:
            return products.newest(start, end), total
        return self._keys(products.rows, start, end), total

    def _by_percentage(
        self, counts: Mapping[int, int], wanted: Sequence[int], start: int, end: int
    ) -> list[UUID]:
        """Return the keys from ``start`` to ``end``, read from the groups they fall into only."""
        keys: list[UUID] = []
        for group in self._groups(wanted):
            products = ProductsByMask(self.organization_id, self.day, counts, group)
            if start < products.total and end > 0:
                keys += products.newest(max(start, 0), min(end, products.total))
            start, end = start - products.total, end - products.total
        return keys

    def _groups(self, wanted: Sequence[int]) -> Iterator[frozenset[int]]:
        """Yield the wanted masks of each percentage, in the list's order."""
        groups: dict[int, list[int]] = {}
        for mask in wanted:
            groups.setdefault(self.rule.percentage(mask), []).append(mask)
        for percentage in sorted(groups, reverse=self.order is Order.MOST_COMPLETE):
            yield frozenset(groups[percentage])
