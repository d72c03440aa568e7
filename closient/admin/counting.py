"""Counts with a limit: a page shows whether there are many rows, not how many millions."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.utils.functional import cached_property

# Counting this many rows takes a few milliseconds; users do not page through more.
COUNT_LIMIT = 10_000


class AtLeast(int):
    """A count that reached the limit: a number that is displayed as ``10,000+``."""

    def __str__(self) -> str:
        return f"{int(self):,}+"


def count_up_to_limit(rows: QuerySet[Any]) -> int:
    """Return the number of rows; :class:`AtLeast` ``COUNT_LIMIT`` if there are more."""
    found = rows.order_by()[: COUNT_LIMIT + 1].count()
    return AtLeast(COUNT_LIMIT) if found > COUNT_LIMIT else found


class CappedPaginator(Paginator):  # type: ignore[type-arg]  # not generic at run time
    """Pages through the first ``COUNT_LIMIT`` rows and never counts more."""

    object_list: QuerySet[Any]

    @cached_property
    def count(self) -> int:
        """The number of rows on all pages."""
        return count_up_to_limit(self.object_list)
