"""Rows that are gone: what a source brought before and its file no longer has.

Called at the end of an import of a source, in its transaction, while the staging tables exist.
Everything is set-based: what has not changed is neither locked nor written.
"""

from __future__ import annotations

import dataclasses
from uuid import UUID

from catalog.models import ProductStatus, WhenGone
from dashboard.imports.staging import OFFER_KEY, Staging
from offers.models import OfferStatus

_JOIN_PRODUCT = "JOIN catalog_product p ON p.organization_id = %(org)s AND p.gtin = r.gtin"
_SAME_OFFER = " AND ".join(
    [
        "x.organization_id = %(org)s",
        "x.product_id = p.id",
        *(f"x.{name} = o.{name}" for name in OFFER_KEY),
    ]
)


@dataclasses.dataclass(frozen=True)
class SourceRows:
    """The rows of a source, and what happens to those that are gone."""

    source_id: UUID
    when_gone: WhenGone

    def update(self, staging: Staging) -> int | None:
        """Remember what the file has, and apply ``when_gone``; return how many rows are gone.

        These are offers if offers are marked, and products otherwise. A row that is gone from this
        source and that another source has is not touched. A row that is back gets its status back
        unless the file gives one.

        Rejected rows count as there, by their GTIN. If the GTIN of one is not known, it could be
        any, so nothing is gone: returns ``None``.
        """
        return _Update(staging, self).run()


class _Update:
    def __init__(self, staging: Staging, rows: SourceRows) -> None:
        self._staging = staging
        self._source = f"'{rows.source_id}'::uuid"
        self._when_gone = rows.when_gone

    def run(self) -> int | None:
        with self._staging.in_bulk():
            self._collect()
            is_certain = not self._staging.number(
                "SELECT count(*) FROM import_row WHERE problem IS NOT NULL AND gtin IS NULL"
            )
        gone = self._find_gone() if is_certain else None
        if self._when_gone == WhenGone.DISCONTINUE:
            self._set_product_status("import_gone", ProductStatus.DISCONTINUED)
            self._set_product_status("import_back", ProductStatus.ACTIVE)
        elif self._when_gone == WhenGone.OUT_OF_STOCK:
            self._set_offer_status("import_gone", OfferStatus.OUT_OF_STOCK)
            self._set_offer_status("import_back", OfferStatus.ACTIVE)
        self._remember()
        self._staging.run("DROP TABLE import_brought, import_gone, import_back")
        return gone

    def _collect(self) -> None:
        """Collect what the file has, and what is back: with the status that the file gives."""
        self._staging.run(
            f"""
            CREATE TEMP TABLE import_brought ON COMMIT DROP AS
            SELECT p.id AS row_id, false AS is_offer,
                bool_or(r.problem IS NULL) AS is_valid, max(r.status) AS status
            FROM import_row r {_JOIN_PRODUCT} GROUP BY p.id
            UNION ALL
            SELECT x.id, true, true, o.status
            FROM import_offer o JOIN import_row r ON r.line = o.line AND r.problem IS NULL
            {_JOIN_PRODUCT} JOIN offers_offer x ON {_SAME_OFFER}
            """
        )
        # The offers of a rejected row are not known: those of its product count as there.
        self._staging.run(
            f"""
            INSERT INTO import_brought (row_id, is_offer, is_valid, status)
            SELECT DISTINCT x.id, true, false, ''
            FROM import_row r {_JOIN_PRODUCT}
            JOIN offers_offer x ON x.organization_id = %(org)s AND x.product_id = p.id
            JOIN catalog_sourcedrow s ON s.organization_id = %(org)s
                AND s.source_id = {self._source} AND s.row_id = x.id
            WHERE r.problem IS NOT NULL
                AND NOT EXISTS (SELECT 1 FROM import_brought b WHERE b.row_id = x.id)
            """
        )
        self._staging.run("ANALYZE import_brought")
        self._staging.run(
            """
            CREATE TEMP TABLE import_gone (row_id uuid, is_offer boolean) ON COMMIT DROP
            """
        )
        self._staging.run(
            f"""
            CREATE TEMP TABLE import_back ON COMMIT DROP AS
            SELECT s.row_id, s.is_offer
            FROM catalog_sourcedrow s JOIN import_brought b USING (row_id)
            WHERE s.organization_id = %(org)s AND s.source_id = {self._source} AND s.is_gone
                AND b.is_valid AND b.status IS NULL
            """
        )

    def _find_gone(self) -> int:
        """Find the rows that are gone, and return how many are counted."""
        with self._staging.in_bulk():
            self._staging.run(
                f"""
                INSERT INTO import_gone (row_id, is_offer)
                SELECT s.row_id, s.is_offer FROM catalog_sourcedrow s
                WHERE s.organization_id = %(org)s AND s.source_id = {self._source}
                    AND NOT s.is_gone
                    AND NOT EXISTS (SELECT 1 FROM import_brought b WHERE b.row_id = s.row_id)
                """
            )
            self._staging.run("ANALYZE import_gone")
            self._staging.run(
                f"""
                UPDATE catalog_sourcedrow s SET is_gone = true FROM import_gone g
                WHERE s.organization_id = %(org)s AND s.source_id = {self._source}
                    AND s.row_id = g.row_id
                """
            )
            self._staging.run(
                f"""
                DELETE FROM import_gone g USING catalog_sourcedrow s
                WHERE s.organization_id = %(org)s AND s.row_id = g.row_id AND NOT s.is_gone
                    AND s.source_id <> {self._source}
                """
            )
        is_of_offers = "" if self._when_gone == WhenGone.OUT_OF_STOCK else "NOT"
        return self._staging.number(
            f"SELECT count(*) FROM import_gone WHERE {is_of_offers} is_offer"
        )

    def _set_product_status(self, table: str, status: ProductStatus) -> None:
        """Set the status of the products of a table; those that are back were discontinued."""
        before = "=" if status == ProductStatus.ACTIVE else "<>"
        self._set_status(
            "catalog_product",
            f"{table} g ON g.row_id = x.id AND NOT g.is_offer",
            status,
            f"x.status {before} '{ProductStatus.DISCONTINUED}'",
        )

    def _set_offer_status(self, table: str, status: OfferStatus) -> None:
        """Set the status of the offers of a table: active ones, or back those that were marked."""
        before = OfferStatus.OUT_OF_STOCK if status == OfferStatus.ACTIVE else OfferStatus.ACTIVE
        self._set_status(
            "offers_offer",
            f"{table} g ON g.row_id = x.id AND g.is_offer",
            status,
            f"x.status = '{before}'",
        )

    def _set_status(self, table: str, join: str, status: str, condition: str) -> None:
        # Locks rows in the order of their keys, as the triggers do.
        self._staging.run(
            f"""
            SELECT count(*) FROM (
                SELECT 1 FROM {table} x JOIN {join}
                WHERE x.organization_id = %(org)s AND {condition}
                ORDER BY x.id FOR NO KEY UPDATE OF x
            ) locked
            """
        )
        joined, on = join.split(" ON ")
        self._staging.run(
            f"""
            UPDATE {table} x SET status = '{status}', updated_at = statement_timestamp(),
                updated_by = %(actor)s
            FROM {joined} WHERE {on} AND x.organization_id = %(org)s AND {condition}
            """
        )

    def _remember(self) -> None:
        """Write what the file has; forget rows that were deleted."""
        with self._staging.in_bulk():
            self._staging.run(
                f"""
                UPDATE catalog_sourcedrow s SET is_gone = false FROM import_brought b
                WHERE s.organization_id = %(org)s AND s.source_id = {self._source}
                    AND s.row_id = b.row_id AND s.is_gone AND b.is_valid
                """
            )
            self._staging.run(
                f"""
                INSERT INTO catalog_sourcedrow (organization_id, source_id, row_id, is_offer)
                SELECT %(org)s, {self._source}, b.row_id, b.is_offer FROM import_brought b
                WHERE b.is_valid AND NOT EXISTS (
                    SELECT 1 FROM catalog_sourcedrow s
                    WHERE s.organization_id = %(org)s AND s.source_id = {self._source}
                        AND s.row_id = b.row_id
                )
                ON CONFLICT (organization_id, source_id, row_id) DO NOTHING
                """
            )
            self._staging.run(
                f"""
                DELETE FROM catalog_sourcedrow s
                WHERE s.organization_id = %(org)s AND s.source_id = {self._source} AND s.is_gone
                    AND NOT EXISTS (
                        SELECT 1 FROM catalog_product p
                        WHERE p.organization_id = %(org)s AND p.id = s.row_id
                    )
                    AND NOT EXISTS (
                        SELECT 1 FROM offers_offer x
                        WHERE x.organization_id = %(org)s AND x.id = s.row_id
                    )
                """
            )
