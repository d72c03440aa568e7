"""The change feed of an organization: which rows were changed or deleted, in the order of time.

Each row has one entry, at its last change; changing it again moves the entry to the end. So a
client that follows the feed has seen the last change of every row, and a feed is at most as long
as the rows and the deletions that are kept (``KEEP_DELETIONS_DAYS``).

The feed ends before the oldest transaction that still writes (:mod:`closient.changes.settled`):
what commits later comes later in the feed, too. It reads the primary, whose sessions it knows.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from django.db.models import F

from catalog.models import Product
from certifications.models import CertificationAssignment
from closient.changes.models import Deletion
from closient.changes.settled import settled_before
from closient.changes.triggers import kind_of
from closient.db.transactions import consistent_read
from closient.http import cursors
from offers.models import Offer

CHANGED, DELETED = CHANGES = ("changed", "deleted")

# Models, and where their rows have the GTIN.
_GTINS: dict[type[Any], str] = {
    Product: "gtin",
    Offer: "product__gtin",
    CertificationAssignment: "product__gtin",
}
KINDS = [kind_of(model) for model in _GTINS]
_FIRST_ID = UUID(int=0)


@dataclasses.dataclass(frozen=True, order=True)
class Position:
    """A place in the feed: after the entry of a row at a time."""

    at: datetime.datetime
    id: UUID = _FIRST_ID


# Before every entry.
BEGINNING = Position(datetime.datetime.min.replace(tzinfo=datetime.UTC))


@dataclasses.dataclass(frozen=True)
class Change:
    """The last change of a row, or its deletion; ``gtin`` is that of its product."""

    kind: str
    id: UUID
    gtin: str
    change: str
    at: datetime.datetime

    @property
    def position(self) -> Position:
        """The place of the entry in the feed."""
        return Position(self.at, self.id)


@dataclasses.dataclass(frozen=True)
class ChangePage:
    """Entries of the feed, where the next page begins, and whether there is one already."""

    changes: Sequence[Change]
    end: Position
    has_next: bool


def read_changes(organization_id: UUID, *, after: Position, size: int) -> ChangePage:
    """Return the entries after a position.

    A query for the end of the feed, then four to ten in one snapshot.
    """
    before = settled_before([*_GTINS, Deletion])
    if before is None or before <= after.at:
        # Something is being written since an earlier page was read.
        return ChangePage([], after, has_next=False)
    with consistent_read():
        found = sorted(
            _entries(organization_id, after, before, size + 1), key=lambda change: change.position
        )
    if len(found) > size:
        page = found[:size]
        return ChangePage(page, page[-1].position, has_next=True)
    # All that is settled was read; later changes come at this time or after it.
    return ChangePage(found, Position(before), has_next=False)


def _entries(
    organization_id: UUID, after: Position, before: datetime.datetime, count: int
) -> Iterator[Change]:
    """Yield the first entries of each kind in the range."""

    def first(rows: Any, time: str, key: str, *columns: str) -> Any:
        return cursors.rows_between(
            rows.filter(**{f"{time}__lt": before}).values_list(time, key, *columns),
            (time, key),
            start=0,
            end=count,
            after=(after.at, after.id),
        )

    for model, gtin in _GTINS.items():
        rows = model.objects.of(organization_id).annotate(own_gtin=F(gtin))
        for at, key, own_gtin in first(rows, "updated_at", "pk", "own_gtin"):
            yield Change(kind_of(model), key, own_gtin, CHANGED, at)
    deletions = Deletion.objects.of(organization_id)
    deleted = first(deletions, "deleted_at", "row_id", "kind", "product_id")
    if not deleted:
        return
    # A row may have been deleted before its product, along with it, or without it.
    products = [product_id for *_, product_id in deleted]
    living = Product.objects.of(organization_id).filter(pk__in=products).order_by()
    gtins = {**deletions.gtins(products), **dict(living.values_list("pk", "gtin"))}
    for at, key, kind, product_id in deleted:
        yield Change(kind, key, gtins.get(product_id, ""), DELETED, at)
