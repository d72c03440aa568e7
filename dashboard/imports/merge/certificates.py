"""Merges the staged certificates into certifications and their assignments."""

from __future__ import annotations

from certifications.models import VerificationStatus
from dashboard.imports.staging import Staging, TableCounts, differs, settings

_FIELDS = ("issuing_body", "valid_from", "expiry_date", "verification_status", "verification_url")
_JOIN = (
    "JOIN import_row r ON r.line = c.line AND r.problem IS NULL "
    "JOIN catalog_product p ON p.organization_id = %(org)s AND p.gtin = r.gtin "
    "JOIN certifications_certification k "
    "ON k.organization_id = %(org)s AND k.code = c.certification"
)
_SAME = (
    "x.organization_id = %(org)s AND x.product_id = p.id AND x.certification_id = k.id "
    "AND x.certificate_number = c.certificate_number"
)
_DIFFERS = differs(_FIELDS, "c")


def merge_certificates(staging: Staging) -> TableCounts:
    """Create and update certificates by product, certification and certificate number.

    A certification is created when its first certificate needs it. A certificate that already has
    the values of its row is neither locked nor written.
    """
    _create_certifications(staging)
    with staging.in_bulk():
        staging.run(
            f"""
            CREATE TEMP TABLE import_new_certificate ON COMMIT DROP AS
            SELECT c.*, p.id AS product_id, k.id AS certification_id
            FROM import_certificate c {_JOIN}
            WHERE NOT EXISTS (SELECT 1 FROM certifications_certificationassignment x WHERE {_SAME})
            """
        )
    created = staging.run(
        f"""
        INSERT INTO certifications_certificationassignment (id, organization_id, product_id,
            certification_id, certificate_number, issuing_body, valid_from, expiry_date,
            verification_status, verification_url, metadata)
        SELECT c.new_key, %(org)s, c.product_id, c.certification_id, c.certificate_number,
            coalesce(c.issuing_body, ''), c.valid_from, c.expiry_date,
            coalesce(c.verification_status, '{VerificationStatus.UNVERIFIED}'),
            coalesce(c.verification_url, ''), '{{}}'
        FROM import_new_certificate c ORDER BY c.line
        ON CONFLICT (organization_id, product_id, certification_id, certificate_number) DO NOTHING
        """
    )
    # Another writer may have created some of them meanwhile: those are updated below.
    staging.note_effects(
        "certificate",
        "SELECT c.line, true FROM import_new_certificate c "
        "JOIN certifications_certificationassignment x ON x.id = c.new_key",
    )
    staging.run("DROP TABLE import_new_certificate")
    return TableCounts(created, _update(staging))


def _create_certifications(staging: Staging) -> None:
    staging.run(
        """
        INSERT INTO certifications_certification (id, organization_id, code, label, body)
        SELECT DISTINCT ON (c.certification) c.new_key, %(org)s, c.certification,
            coalesce(c.label, ''), ''
        FROM import_certificate c JOIN import_row r ON r.line = c.line AND r.problem IS NULL
        ORDER BY c.certification, c.label IS NULL, c.line
        ON CONFLICT (organization_id, code) DO NOTHING
        """
    )


def _update(staging: Staging) -> int:
    with staging.in_bulk():
        staging.run(
            f"""
            CREATE TEMP TABLE import_changed_certificate ON COMMIT DROP AS
            SELECT x.id, c.line, c.cleared,
                {", ".join(f"c.{name}" for name in _FIELDS)}
            FROM import_certificate c {_JOIN}
            JOIN certifications_certificationassignment x ON {_SAME}
            WHERE x.id <> c.new_key AND ({_DIFFERS})
            """
        )
    # In the order of their keys, as the triggers do.
    staging.run(
        """
        SELECT count(*) FROM (
            SELECT 1 FROM certifications_certificationassignment x
            JOIN import_changed_certificate c ON c.id = x.id
            ORDER BY x.id FOR NO KEY UPDATE OF x
        ) locked
        """
    )
    updated = staging.run(
        f"""
        UPDATE certifications_certificationassignment x SET {settings(_FIELDS, "c")},
            updated_at = statement_timestamp(), updated_by = %(actor)s
        FROM import_changed_certificate c WHERE c.id = x.id
        """
    )
    staging.note_effects("certificate", "SELECT line, false FROM import_changed_certificate")
    staging.run("DROP TABLE import_changed_certificate")
    return updated
