"""Validates the certificates of a record."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

from certifications.models import Certification, CertificationAssignment, VerificationStatus
from closient.db.ids import uuid7_text
from dashboard.imports.repair.conventions import DATE_FIELDS
from dashboard.imports.repair.dates import UnreadableDate, needs_order, read_date
from dashboard.imports.validate.check import RecordCheck, choice, length_of
from dashboard.imports.validate.rows import CertificateRow

_LENGTHS = {
    "certification": length_of(Certification, "code"),
    "label": length_of(Certification, "label"),
    **{
        field: length_of(CertificationAssignment, field)
        for field in ("certificate_number", "issuing_body")
    },
    **dict.fromkeys(("verification_status", *DATE_FIELDS), 255),
}
_URL_LENGTH = length_of(CertificationAssignment, "verification_url")
_VERIFICATION_WORDS = {
    "yes": VerificationStatus.VERIFIED.value,
    "true": VerificationStatus.VERIFIED.value,
    "no": VerificationStatus.UNVERIFIED.value,
    "false": VerificationStatus.UNVERIFIED.value,
    "not verified": VerificationStatus.UNVERIFIED.value,
}
_READERS = {"verification_status": choice(VerificationStatus.values, _VERIFICATION_WORDS)}


def check_certificate(check: RecordCheck, given: Mapping[str, str]) -> CertificateRow | None:
    """The staging row of a certificate; None if it is not valid."""
    before = len(check.problems)
    texts = {
        field: check.address(field, cell, _URL_LENGTH)
        if field == "verification_url"
        else check.text(field, cell, _LENGTHS[field], read=_READERS.get(field))
        for field, cell in given.items()
    }
    if not texts.get("certification"):
        check.reject("certification", "missing", "is missing")
    begins, ends = (_date(check, field, texts.get(field, "")) for field in DATE_FIELDS)
    if begins and ends and ends < begins:
        check.reject("expiry_date", "before valid_from", f"{ends} is before valid_from, {begins}")
    if len(check.problems) > before:
        return None
    return CertificateRow(
        line=check.line,
        certification=texts["certification"],
        label=texts.get("label") or None,
        certificate_number=texts.get("certificate_number", ""),
        issuing_body=check.changed(texts.get("issuing_body")),
        valid_from=begins,
        expiry_date=ends,
        verification_status=texts.get("verification_status") or None,
        verification_url=check.changed(texts.get("verification_url")),
        cleared=check.cleared(given, DATE_FIELDS),
        new_key=uuid7_text(),
    )


def _date(check: RecordCheck, field: str, text: str) -> datetime.date | None:
    if not text:
        return None
    order = check.conventions.day_first if needs_order(text) else None
    try:
        return read_date(text, day_first=order, repairs=check.repairs)
    except UnreadableDate as error:
        check.reject(field, error.rule, str(error))
        return None
