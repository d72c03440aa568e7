"""Creating and changing certification assignments and their certifications."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from catalog.editing import with_product
from catalog.models import Product
from certifications.models import Certification, CertificationAssignment
from closient.accounts.models import Organization
from closient.http.conflicts import writing
from closient.text.validators import InvalidField


def certification_of(
    organization_id: UUID, code: str, *, label: str = "", body: str = ""
) -> Certification:
    """Return an organization's certification with this code, creating it if needed.

    Other assignments share the row: an existing label or body stays, and only a blank one is
    filled. Concurrent calls with a new code get the same row.
    """
    mine = Certification.objects.filter(organization_id=organization_id, code=code)
    found = mine.first()
    if found is None:
        new = Certification(organization_id=organization_id, code=code, label=label, body=body)
        # Waits for a concurrent insert of the same code, and then inserts nothing.
        Certification.objects.bulk_create([new], ignore_conflicts=True)
        found = mine.get()
    filled = [
        name
        for name, given in (("label", label), ("body", body))
        if given and not getattr(found, name)
    ]
    if filled:
        for name in filled:
            setattr(found, name, {"label": label, "body": body}[name])
        found.save(update_fields=filled)
    return found


def with_references(organization: Organization, values: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the certification's code and the product's GTIN in values by their rows.

    Creates a certification if needed. Raises ``InvalidField`` for an unknown GTIN.
    """
    fields = with_product(organization, values)
    if "certification" in fields:
        fields["certification"] = certification_of(organization.pk, **fields["certification"])
    return fields


def assign_certification(product: Product, values: Mapping[str, Any]) -> CertificationAssignment:
    """Create an assignment to a product and return it.

    ``values`` are fields by name. Raises ``InvalidField``, and ``IntegrityError`` if a
    constraint fails.
    """
    assignment = CertificationAssignment(
        organization_id=product.organization_id, product=product, **values
    )
    check_dates(assignment.valid_from, assignment.expiry_date)
    with writing(assignment):
        assignment.save(force_insert=True)
    return assignment


def change_assignment(assignment: CertificationAssignment, values: Mapping[str, Any]) -> bool:
    """Change an assignment whose row the caller has locked; return whether anything changed.

    ``values`` are fields by name. Only columns that differ are written. Raises
    ``InvalidField``, and ``IntegrityError`` if a constraint fails.
    """
    names = [field.attname for field in assignment._meta.concrete_fields]
    before = {name: getattr(assignment, name) for name in names}
    for name, value in values.items():
        setattr(assignment, name, value)
    check_dates(assignment.valid_from, assignment.expiry_date)
    changed = [name for name, value in before.items() if getattr(assignment, name) != value]
    if changed:
        with writing(assignment):
            assignment.save(update_fields=[*changed, "updated_by"])
    return bool(changed)


def check_dates(begins: datetime.date | None, ends: datetime.date | None) -> None:
    """Raise ``InvalidField`` if a certificate ends before it begins."""
    if begins is not None and ends is not None and ends < begins:
        raise InvalidField(
            "expiry_date cannot be before valid_from.", field="expiry_date", code="dates_reversed"
        )
