"""Counts that stop: a page needs to know whether there are many, not how many millions."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.utils.functional import cached_property

# Counting up to here takes a few milliseconds, and nobody leafs through more.
COUNT_LIMIT = 10_000


class AtLeast(int):
    """A count that was stopped: it calculates as the number it reached and reads as ``10,000+``."""

    def __str__(self) -> str:
        return f"{int(self):,}+"


def count_up_to_limit(rows: QuerySet[Any]) -> int:
    """Return how many rows there are; :class:`AtLeast` ``COUNT_LIMIT`` where there are more."""
    found = rows.order_by()[: COUNT_LIMIT + 1].count()
    return AtLeast(COUNT_LIMIT) if found > COUNT_LIMIT else found


class CappedPaginator(Paginator):  # type: ignore[type-arg]  # not generic at run time
    """Pages through the first ``COUNT_LIMIT`` rows and never counts further."""

    object_list: QuerySet[Any]

    @cached_property
    def count(self) -> int:
        """The number of rows that can be reached by leafing."""
        return count_up_to_limit(self.object_list)
