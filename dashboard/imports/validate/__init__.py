"""Validates a record: returns its rows of the staging tables, or the reasons why it is rejected."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from closient.db.ids import uuid7
from dashboard.imports.records import Problem, Record
from dashboard.imports.repair.conventions import Conventions
from dashboard.imports.validate.certificates import check_certificate
from dashboard.imports.validate.check import RecordCheck
from dashboard.imports.validate.offers import check_offer
from dashboard.imports.validate.products import (
    check_gtin,
    check_images,
    check_metadata,
    check_nutrients,
    check_texts,
)
from dashboard.imports.validate.rows import CertificateRow, OfferRow, ProductRow, StagedRecord

__all__ = [
    "CertificateRow",
    "OfferRow",
    "ProductRow",
    "StagedRecord",
    "bad_row",
    "clean_record",
]

_MAX_PROBLEMS = 10
_encode = json.JSONEncoder(ensure_ascii=False).encode


def clean_record(
    line: int, record: Record, *, overwrite_blank: bool, conventions: Conventions
) -> StagedRecord:
    """A record as rows of the staging tables.

    With ``overwrite_blank`` an empty cell clears the field; without, it changes nothing.
    ``conventions`` are those of the record's file.
    """
    check = RecordCheck(line, overwrite_blank, conventions, list(record.problems))
    gtin = check_gtin(check, record)
    texts = check_texts(check, record.texts)
    # An empty cell removes a part that is null here.
    nutrition = {
        "serving_size": texts.pop("serving_size", None),
        "nutrients": check_nutrients(check, record.nutrients),
    }
    given = {part: value for part, value in nutrition.items() if value is not None}
    values = check_metadata(check, record.metadata)
    images = check_images(check, record.images)
    offers = [check_offer(check, each) for each in record.offers]
    certificates = [check_certificate(check, each) for each in record.certificates]
    if check.problems:
        return StagedRecord(bad_row(line, check.problems, gtin))
    # A product always has a status.
    texts["status"] = texts.get("status") or None
    columns: dict[str, Any] = {**texts}
    product = ProductRow(
        line=line,
        gtin=gtin,
        nutrition=_merge_object(given, overwrite_blank=overwrite_blank),
        metadata=_merge_object(values, overwrite_blank=overwrite_blank),
        image_urls=images,
        image_keys=[uuid7() for _ in images] if images is not None else None,
        new_key=uuid7(),
        **columns,
    )
    # Without a problem, none of them is None.
    return StagedRecord(
        product, [*filter(None, offers)], [*filter(None, certificates)], check.repairs
    )


def bad_row(line: int, problems: Sequence[Problem], gtin: str | None = None) -> ProductRow:
    """The row of the staging table for a rejected record; its GTIN still counts as used."""
    more = len(problems) - _MAX_PROBLEMS
    shown = [str(problem) for problem in problems[:_MAX_PROBLEMS]]
    shown += [f"and {more} more problems"] if more > 0 else []
    rules = list(dict.fromkeys(problem.label for problem in problems))
    return ProductRow(line=line, gtin=gtin, problem="; ".join(shown), rules=rules)


def _merge_object(value: Mapping[str, Any], *, overwrite_blank: bool) -> str | None:
    """The JSON object to merge into the product's; None if it would change nothing."""
    if overwrite_blank:
        changes = {key: part or None for key, part in value.items()}
    else:
        changes = {key: part for key, part in value.items() if part}
    return _encode(changes) if changes else None
