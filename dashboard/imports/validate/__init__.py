"""Validates a record: returns its rows of the staging tables, or the reasons why it is rejected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from closient.db.ids import uuid7_text
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
    to_json,
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
    nutrients = check_nutrients(check, record.nutrients)
    values = check_metadata(check, record.metadata)
    images = check_images(check, record.images)
    offers = [offer for each in record.offers if (offer := check_offer(check, each))]
    certificates = [
        certificate
        for each in record.certificates
        if (certificate := check_certificate(check, each))
    ]
    if check.problems:
        return StagedRecord(bad_row(line, check.problems, gtin))
    given = texts.get
    product = ProductRow(
        line,
        gtin,
        None,
        None,
        given("name"),
        given("description"),
        given("brand"),
        given("manufacturer"),
        given("category"),
        given("gpc_brick_code"),
        given("country_of_origin"),
        given("net_content"),
        # A product always has a status.
        given("status") or None,
        _nutrition(given("serving_size"), nutrients, overwrite_blank=overwrite_blank),
        _metadata(values, overwrite_blank=overwrite_blank),
        images,
        [uuid7_text() for _ in images] if images is not None else None,
        uuid7_text(),
    )
    return StagedRecord(product, offers, certificates, check.repairs)


def bad_row(line: int, problems: Sequence[Problem], gtin: str | None = None) -> ProductRow:
    """The row of the staging table for a rejected record; its GTIN still counts as used."""
    more = len(problems) - _MAX_PROBLEMS
    shown = [str(problem) for problem in problems[:_MAX_PROBLEMS]]
    shown += [f"and {more} more problems"] if more > 0 else []
    rules = list(dict.fromkeys(problem.label for problem in problems))
    return ProductRow(line=line, gtin=gtin, problem="; ".join(shown), rules=rules)


def _nutrition(
    serving_size: str | None, nutrients: Sequence[str] | None, *, overwrite_blank: bool
) -> str | None:
    """The JSON object to merge into the product's nutrition, from the JSON of each nutrient.

    None if it would change nothing.
    """
    members = []
    if serving_size:
        members.append(f'"serving_size": {to_json(serving_size)}')
    elif serving_size is not None and overwrite_blank:
        members.append('"serving_size": null')
    if nutrients:
        members.append(f'"nutrients": [{", ".join(nutrients)}]')
    elif nutrients is not None and overwrite_blank:
        members.append('"nutrients": null')
    return f"{{{', '.join(members)}}}" if members else None


def _metadata(values: Mapping[str, str], *, overwrite_blank: bool) -> str | None:
    """The JSON object to merge into the product's metadata; None if it would change nothing."""
    if overwrite_blank:
        return to_json({key: text or None for key, text in values.items()}) if values else None
    changes = {key: text for key, text in values.items() if text}
    return to_json(changes) if changes else None
