"""Lists of an organization's products, a page at a time.

The tally counts products by fact mask. A list that asks for completeness alone has its length
from there; ordered by completeness, it also knows from there into which percentages a page falls,
and reads no others.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db.models import Subquery

from catalog import completeness
from catalog.completeness import Rule
from catalog.models import Brand, Product, ProductQuerySet
from catalog.products_by_mask import ProductsByMask
from closient.db.transactions import snapshot
from closient.http import cursors
from closient.http.cursors import Position
from closient.tally.models import TallyEntry


class Order(enum.StrEnum):
    """Orders of a list; ties are broken by id, newest first."""

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
        """Whether it is an order by completeness."""
        return self in (Order.LEAST_COMPLETE, Order.MOST_COMPLETE)


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

    def page(
        self, *, start: int, end: int, after: Position | None = None
    ) -> tuple[list[Product], int]:
        """Return the products from ``start`` up to ``end``, with their brands, and how many there
        are in all. After a position they are counted from there.

        Three queries that read one state; after a position one more for each column of the order,
        or for each percentage on the page.
        """
        with snapshot():
            if self.wanted.is_counted:
                keys, total = self._counted(start, end, after)
            else:
                keys, total = self._searched(start, end, after)
            return self._rows(keys), total

    def position(self, product: Product) -> Position:
        """Return where a product is in the order."""
        if self.order.is_by_percentage:
            return self.rule.percentage(product.fact_mask(self.day)), product.pk
        return cursors.position_of(product, self.order.columns)

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
        return self._with_percentage(self._wanted_rows).order_by(*self.order.columns)

    @property
    def _wanted_rows(self) -> ProductQuerySet:
        """The products that are wanted, in no order of the list."""
        rows, wanted = self._products, self.wanted
        if wanted.status is not None:
            rows = rows.filter(status=wanted.status)
        if wanted.brand is not None:
            named = Brand.objects.named(wanted.brand).filter(organization=self.organization_id)
            rows = rows.filter(brand=Subquery(named.order_by().values("pk")))
        if wanted.text is not None:
            rows = rows.search(wanted.text)
        if not wanted.has_any_mask:
            rows = rows.filter(completeness.where_mask(self._is_wanted, self.day))
        return rows

    def _searched(self, start: int, end: int, after: Position | None) -> tuple[list[UUID], int]:
        """Return a page's keys and the length of a list that has to be counted."""
        rows = self._wanted_rows
        total = rows.order_by().count()
        return (self._keys(rows, start, end, after) if start < total else []), total

    def _is_wanted(self, mask: int) -> bool:
        return self.wanted.has_mask(mask, self.rule)

    def _keys(
        self, rows: ProductQuerySet, start: int, end: int, after: Position | None
    ) -> list[UUID]:
        """Return the keys of some rows in the list's order."""
        keys = self._with_percentage(rows).values_list("pk", flat=True)
        return cursors.rows_between(keys, self.order.columns, start=start, end=end, after=after)

    def _with_percentage(self, rows: ProductQuerySet) -> ProductQuerySet:
        """Return rows with the percentage as a column, where they are ordered by it."""
        if not self.order.is_by_percentage:
            return rows
        percentage: Any = completeness.percentage_on(self.day, self.rule)
        return rows.alias(completeness=percentage)

    def _counted(self, start: int, end: int, after: Position | None) -> tuple[list[UUID], int]:
        """Return a page's keys and the length of a list that the tally knows."""
        tally = TallyEntry.objects.of(self.organization_id).counts("products", self.day)
        counts = {int(bucket): count for bucket, count in tally.items()}
        wanted = [mask for mask in counts if self._is_wanted(mask)]
        total = sum(counts[mask] for mask in wanted)
        if start >= total:
            return [], total
        if after is None:
            end = min(end, total)
        if self.order.is_by_percentage:
            groups = self._groups(counts, wanted)
            if after is None:
                return self._by_percentage(groups, start, end), total
            return self._by_percentage_after(groups, after, end), total
        products = ProductsByMask(self.organization_id, self.day, counts, frozenset(wanted))
        if self.order is Order.NEWEST:
            before = UUID(str(after[0])) if after is not None else None
            return products.newest(start, end, before=before), total
        return self._keys(products.rows, start, end, after), total

    def _by_percentage(
        self, groups: Iterable[tuple[int, ProductsByMask]], start: int, end: int
    ) -> list[UUID]:
        """Return the keys from ``start`` to ``end``, read from the groups they fall into only."""
        keys: list[UUID] = []
        for _, products in groups:
            if start < products.total and end > 0:
                keys += products.newest(max(start, 0), min(end, products.total))
            start, end = start - products.total, end - products.total
        return keys

    def _by_percentage_after(
        self, groups: Iterable[tuple[int, ProductsByMask]], after: Position, size: int
    ) -> list[UUID]:
        """Return the first keys after a position, read from the groups they fall into only."""
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
        self, counts: Mapping[int, int], wanted: Sequence[int]
    ) -> Iterator[tuple[int, ProductsByMask]]:
        """Yield each percentage and the wanted products that have it, in the list's order."""
        groups: dict[int, list[int]] = {}
        for mask in wanted:
            groups.setdefault(self.rule.percentage(mask), []).append(mask)
        for percentage in sorted(groups, reverse=self.order is Order.MOST_COMPLETE):
            masks = frozenset(groups[percentage])
            yield percentage, ProductsByMask(self.organization_id, self.day, counts, masks)
