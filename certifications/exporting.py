"""Exports certification assignments as rows of a CSV, with the field names of the API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from certifications.lists import AssignmentList

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
            assignment.product.name,
            certification.code,
            certification.label,
            certification.body,
            *(getattr(assignment, name) for name in _STORED),
            "true" if assignment.is_active(assignments.today) else "false",
            _encode(assignment.metadata) if assignment.metadata else "",
        ]
