"""Creating and changing certification assignments and their certifications."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from uuid import UUID

from catalog.editing import with_product
from catalog.images.storage import discard_after_commit
from catalog.models import Product
from certifications.models import (
    CertificateAttachment,
    Certification,
    CertificationAssignment,
)
from closient.accounts.models import Organization
from closient.db.transactions import StaleRead
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
    filled = _fill(found, {"label": label, "body": body})
    if filled:
        found.save(update_fields=filled)
    return found


class CertificationsByCode:
    """An organization's certifications with some codes, read with one query.

    Those that do not exist yet are not saved until :meth:`save`.
    """

    def __init__(self, organization_id: UUID, codes: Collection[str]) -> None:
        self._organization_id = organization_id
        rows = Certification.objects.filter(organization_id=organization_id, code__in=codes)
        self._by_code = {row.code: row for row in rows} if codes else {}
        for code in codes:
            if code not in self._by_code:
                new = Certification(organization_id=organization_id, code=code)
                self._by_code[code] = new

    def __getitem__(self, code: str) -> Certification:
        return self._by_code[code]

    def save(self, given: Iterable[Mapping[str, str]]) -> None:
        """Create the certifications of the given parts, and fill blank labels and bodies.

        The parts are ``code``, ``label`` and ``body``, as in :func:`certification_of`; the first
        label of a code counts. Rows are written in the order of their codes, which avoids
        deadlocks. Raises ``StaleRead`` if another transaction has created one meanwhile.
        """
        parts: dict[str, dict[str, str]] = {}
        for one in given:
            filled = parts.setdefault(one["code"], {})
            for name in ("label", "body"):
                if one.get(name):
                    filled.setdefault(name, one[name])
        new = [self._by_code[code] for code in sorted(parts) if self._by_code[code]._state.adding]
        for row in new:
            _fill(row, parts[row.code])
        if new:
            # Waits for a concurrent insert of the same code, and then inserts nothing.
            Certification.objects.bulk_create(new, ignore_conflicts=True)
            created = Certification.objects.filter(pk__in=[row.pk for row in new])
            if created.count() < len(new):
                raise StaleRead("Another transaction has created a certification of the batch.")
        blank = [code for code in parts if _fill(self._by_code[code], parts[code])]
        if blank:
            self._fill_stored(blank, parts)

    def _fill_stored(self, codes: Collection[str], parts: Mapping[str, Mapping[str, str]]) -> None:
        rows = Certification.objects.filter(organization_id=self._organization_id, code__in=codes)
        locked = rows.order_by("code").select_for_update(no_key=True)
        filled = [row for row in locked if _fill(row, parts[row.code])]
        Certification.objects.bulk_update(filled, ["label", "body"])


def _fill(certification: Certification, parts: Mapping[str, str]) -> list[str]:
    """Set blank label and body from parts; return the names of those that were set."""
    filled = [
        name for name in ("label", "body") if parts.get(name) and not getattr(certification, name)
    ]
    for name in filled:
        setattr(certification, name, parts[name])
    return filled


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
    assignment = new_assignment(product.organization_id, {**values, "product": product})
    with writing(assignment):
        assignment.save(force_insert=True)
    return assignment


def new_assignment(organization_id: UUID, values: Mapping[str, Any]) -> CertificationAssignment:
    """Return an assignment that is not saved yet; raises ``InvalidField``."""
    assignment = CertificationAssignment(organization_id=organization_id, **values)
    check_dates(assignment.valid_from, assignment.expiry_date)
    return assignment


def change_assignment(assignment: CertificationAssignment, values: Mapping[str, Any]) -> bool:
    """Change an assignment whose row the caller has locked; return whether anything changed.

    ``values`` are fields by name. Only columns that differ are written. Raises
    ``InvalidField``, and ``IntegrityError`` if a constraint fails.
    """
    changed = assign_to_assignment(assignment, values)
    if changed:
        with writing(assignment):
            assignment.save(update_fields=[*changed, "updated_by"])
    return bool(changed)


def assign_to_assignment(
    assignment: CertificationAssignment, values: Mapping[str, Any]
) -> list[str]:
    """Set fields of an assignment without saving it; return the columns that differ.

    Raises ``InvalidField``.
    """
    names = [field.attname for field in assignment._meta.concrete_fields]
    before = {name: getattr(assignment, name) for name in names}
    for name, value in values.items():
        setattr(assignment, name, value)
    check_dates(assignment.valid_from, assignment.expiry_date)
    return [name for name, value in before.items() if getattr(assignment, name) != value]


def remove_assignment(assignment: CertificationAssignment) -> None:
    """Delete an assignment whose row the caller has locked, and its files after the commit."""
    attachments = CertificateAttachment.objects.of_assignment(assignment)
    files = [attachment.file for attachment in attachments]
    assignment.delete()
    discard_after_commit(*files)


def check_dates(begins: datetime.date | None, ends: datetime.date | None) -> None:
    """Raise ``InvalidField`` if a certificate ends before it begins."""
    if begins is not None and ends is not None and ends < begins:
        raise InvalidField(
            "expiry_date cannot be before valid_from.", field="expiry_date", code="dates_reversed"
        )
