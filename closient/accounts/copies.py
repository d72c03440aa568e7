"""Copies of the rows of organizations in their cells; the rows in the directory are authoritative.

A change is copied at once, and the cell's worker copies what was missed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS

from closient.accounts.models import Organization
from closient.cells.models import Placement
from closient.cells.routing import cell_of, in_cell, in_directory, own_cell

_FIELDS = [field.name for field in Organization._meta.concrete_fields if not field.primary_key]


def copy_organization(organization: Organization) -> None:
    """Copy the row of an organization to its cell, if that is not the directory."""
    if not settings.CELLS:
        return
    cell = cell_of(organization.pk)
    if cell != DEFAULT_DB_ALIAS:
        with in_cell(cell):
            write_copies([organization])


def write_copies(organizations: Iterable[Organization]) -> int:
    """Write the rows that differ to the current database; return how many."""
    rows = {organization.pk: organization for organization in organizations}
    known = Organization.objects.in_bulk(rows)
    new = [row for key, row in rows.items() if key not in known]
    changed = [row for key, row in rows.items() if key in known and _differ(row, known[key])]
    Organization.objects.bulk_create(new, ignore_conflicts=True)
    Organization.objects.bulk_update(changed, _FIELDS)
    return len(new) + len(changed)


def copy_organizations() -> int:
    """Copy what has changed in the rows of this worker's cell; return how many rows."""
    if own_cell() == DEFAULT_DB_ALIAS:
        return 0
    with in_directory():
        placed = Placement.objects.filter(cell=own_cell()).values("pk")
        rows: list[Any] = list(Organization.objects.filter(pk__in=placed))
    return write_copies(rows)


def _differ(one: Organization, other: Organization) -> bool:
    return any(getattr(one, name) != getattr(other, name) for name in _FIELDS)
