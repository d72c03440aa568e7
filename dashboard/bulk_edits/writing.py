"""Writes a bulk edit: in batches, within one transaction."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

from catalog.models import Brand
from closient.accounts.actors import current_actor
from closient.accounts.models import Organization
from dashboard.bulk_edits.targets import REPLACE_IN_URL, Replacement, Target, differs, new_address

BATCH_ROWS = 5_000

# Called with the number of rows that have been looked at.
Progress = Callable[[int], None]


def write(
    organization: Organization,
    target: Target,
    rows: QuerySet[Any],
    values: Mapping[str, Any],
    progress: Progress = lambda rows: None,
) -> tuple[int, int]:
    """Set values of rows; return how many rows there were and how many changed.

    Must be called in a transaction. Rows that have the values are neither locked nor written; the
    others are locked in the order of their keys, as everywhere. Raises ``InvalidField`` for an
    address that cannot be replaced, and ``IntegrityError``.
    """
    if values.get("brand_name"):
        Brand.objects.get_or_make(organization.pk, values["brand_name"])
    columns = target.columns_of(organization.pk, values)
    replacement = columns.get(REPLACE_IN_URL)
    settings = {name: value for name, value in columns.items() if name != REPLACE_IN_URL}
    condition = differs(target, values, columns)
    total = changed = 0
    for keys in _batches(rows):
        # The filter again: what another person has changed since then may no longer match.
        batch = rows.filter(pk__in=keys).filter(condition)
        locked = batch.order_by("pk").select_for_update(no_key=True, of=("self",))
        if isinstance(replacement, Replacement):
            changed += _replace(locked.values_list("pk", "url"), replacement, settings)
        else:
            ids = list(locked.values_list("pk", flat=True))
            found = target.model.objects.of(organization).filter(pk__in=ids).order_by()
            changed += found.update(**settings, updated_by=current_actor())
        total += len(keys)
        progress(total)
    return total, changed


def _replace(rows: Any, replacement: Replacement, settings: Mapping[str, Any]) -> int:
    """Replace a part of the addresses of locked offers, and set other columns."""
    urls = {key: new_address(url, replacement) for key, url in rows}
    with connection.cursor() as cursor:
        more = "".join(f", {name} = %({name})s" for name in settings)
        cursor.execute(
            "UPDATE offers_offer AS o SET url = v.url, updated_by = %(actor)s" + more + " "
            "FROM unnest(%(ids)s::uuid[], %(urls)s::text[]) AS v (id, url) WHERE o.id = v.id",
            {
                **settings,
                "actor": current_actor(),
                "ids": list(urls.keys()),
                "urls": list(urls.values()),
            },
        )
        return int(cursor.rowcount)


def _batches(rows: QuerySet[Any]) -> Iterator[list[UUID]]:
    """Yield the ids of rows in order; those that match at the beginning, whatever changes then."""
    found = rows.order_by("pk").values_list("pk", flat=True).iterator(chunk_size=BATCH_ROWS)
    while batch := list(itertools.islice(found, BATCH_ROWS)):
        yield batch
