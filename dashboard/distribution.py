"""Completeness distribution: how many products of an organization are in each percentage band."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from uuid import UUID

from catalog.completeness import Rule, half_up
from closient.tally.models import TallyEntry

# The lowest percentage of each band; the last band is 100 percent only.
_BANDS = tuple(range(0, 101, 10))


@dataclasses.dataclass(frozen=True)
class Band:
    """How many products are between two percentages, both inclusive."""

    low: int
    high: int
    products: int


@dataclasses.dataclass(frozen=True)
class Distribution:
    """The percentages of a catalog under a rule.

    ``average`` is the mean percentage, rounded half up, 0 without products. The bands are 0-9,
    10-19 and so on up to 90-99, and 100; together they contain all products.
    """

    total: int
    complete: int
    average: int
    bands: list[Band]


def counts_by_mask(organization_id: UUID, day: datetime.date) -> dict[int, int]:
    """Return how many products have each fact mask on a day, from the tally in one query.

    At most one count per fact mask, for a catalog of any size. Any rule can be applied to them.
    """
    counts = TallyEntry.objects.of(organization_id).counts("products", day)
    return {int(mask): count for mask, count in counts.items()}


def distribution(by_mask: Mapping[int, int], rule: Rule) -> Distribution:
    """Return the distribution under a rule, from the number of products of each fact mask."""
    percentages = rule.percentages
    products = [0] * len(_BANDS)
    complete = earned = 0
    for mask, count in by_mask.items():
        percentage = percentages[mask]
        products[percentage // 10] += count
        earned += percentage * count
        complete += count if percentage >= rule.threshold else 0
    total = sum(by_mask.values())
    return Distribution(
        total=total,
        complete=complete,
        average=half_up(earned, total) if total else 0,
        bands=[
            Band(low=low, high=min(low + 9, 100), products=count)
            for low, count in zip(_BANDS, products, strict=True)
        ],
    )
