"""Exports certification assignments as rows or objects, with the field names of the API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from certifications.lists import AssignmentList
from certifications.serializers import CertificationAssignmentSerializer

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
    "certification",
    "certification_label",
    "certification_body",
    *_STORED,
    "metadata",
    "product_name",
    "is_active",
)
# Rows in memory at a time.
BATCH = 1_000

_encode = json.JSONEncoder(ensure_ascii=False).encode


def exported_assignments(assignments: AssignmentList) -> Iterator[list[Any]]:
    """Yield a row for each assignment of a list, in its order, with the columns of ``HEADER``.

    One query, read a thousand rows at a time.
    """
    for assignment in assignments.everything().iterator(chunk_size=BATCH):
        certification = assignment.certification
        yield [
            assignment.product.gtin,
            certification.code,
            certification.label,
            certification.body,
            *(getattr(assignment, name) for name in _STORED),
            _encode(assignment.metadata) if assignment.metadata else "",
            assignment.product.name,
            assignment.is_active(assignments.today),
        ]


def assignment_objects(assignments: AssignmentList) -> Iterator[dict[str, Any]]:
    """Yield each assignment as the API shows it; one query, a thousand rows at a time."""
    serializer = CertificationAssignmentSerializer(context={"today": assignments.today})
    for assignment in assignments.everything().iterator(chunk_size=BATCH):
        yield serializer.to_representation(assignment)
