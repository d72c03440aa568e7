"""Certification assignments as rows of a CSV, under the names that the API has for their fields."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from certifications.lists import AssignmentFilter
from certifications.models import CertificationAssignment

_STORED = (
    "certificate_number",
    "issuing_body",
    "valid_from",
    "expiry_date",
    "verification_status",
    "verification_url",
)
HEADER = (
    "gtin",
    "product_name",
    "certification",
    "certification_label",
    "certification_body",
    *_STORED,
    "is_active",
    "metadata",
)
# Rows that are in memory at a time.
BATCH = 1_000

_encode = json.JSONEncoder(ensure_ascii=False).encode


def exported_assignments(
    organization_id: UUID, filters: AssignmentFilter, today: datetime.date
) -> Iterator[list[Any]]:
    """Yield a row for each matching assignment, in list order, with the columns of ``HEADER``.

    One query, read a thousand rows at a time.
    """
    found = filters.filter(CertificationAssignment.objects.of(organization_id), today)
    if filters.certification is not None:
        found = found.filter(certification__code=filters.certification)
    rows = found.with_names().order_by(*filters.order)
    for assignment in rows.iterator(chunk_size=BATCH):
        certification = assignment.certification
        yield [
            assignment.product.gtin,
            assignment.product.name,
            certification.code,
            certification.label,
            certification.body,
            *(getattr(assignment, name) for name in _STORED),
            "true" if assignment.is_active(today) else "false",
            _encode(assignment.metadata) if assignment.metadata else "",
        ]
