"""Writing certification assignments, and the certifications that they name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from catalog.models import Product
from certifications.models import Certification, CertificationAssignment
from closient.http.conflicts import writing


class DatesReversed(ValueError):
    """A certificate would expire before it begins."""


def certification_of(
    organization_id: UUID, code: str, *, label: str = "", body: str = ""
) -> Certification:
    """Return an organization's certification of this code, made if there is none.

    Others rely on what is there: a label or body that the certification has stays, and only a
    blank one is filled. Two who name a new code at the same time get the same row.
    """
    mine = Certification.objects.filter(organization_id=organization_id, code=code)
    found = mine.first()
    if found is None:
        new = Certification(organization_id=organization_id, code=code, label=label, body=body)
        # Waits for whoever makes the same one just now, and then makes none.
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


def assign_certification(product: Product, values: Mapping[str, Any]) -> CertificationAssignment:
    """Return a new, saved assignment to a product.

    ``values`` are fields by name. Raises :class:`DatesReversed`, and what the database refuses as
    ``IntegrityError``.
    """
    assignment = CertificationAssignment(
        organization_id=product.organization_id, product=product, **values
    )
    _check_dates(assignment)
    with writing(assignment):
        assignment.save(force_insert=True)
    return assignment


def change_assignment(assignment: CertificationAssignment, values: Mapping[str, Any]) -> bool:
    """Give an assignment, whose row the caller has locked, new values; return whether any is new.

    ``values`` are fields by name. Only columns that differ are written. Raises
    :class:`DatesReversed`, and what the database refuses as ``IntegrityError``.
    """
    names = [field.attname for field in assignment._meta.concrete_fields]
    before = {name: getattr(assignment, name) for name in names}
    for name, value in values.items():
        setattr(assignment, name, value)
    _check_dates(assignment)
    changed = [name for name, value in before.items() if getattr(assignment, name) != value]
    if changed:
        with writing(assignment):
            assignment.save(update_fields=[*changed, "updated_by"])
    return bool(changed)


def _check_dates(assignment: CertificationAssignment) -> None:
    begins, ends = assignment.valid_from, assignment.expiry_date
    if begins is not None and ends is not None and ends < begins:
        raise DatesReversed("expiry_date cannot be before valid_from.")
