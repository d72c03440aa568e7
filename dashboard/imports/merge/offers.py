"""Merges the staged offers into offers."""

from __future__ import annotations

from dashboard.imports.staging import OFFER_KEY, Staging, TableCounts, differs, settings
from offers.models import Channel, OfferStatus, UrlStatus

_FIELDS = ("url", "price", "currency", "status")
_JOIN_PRODUCT = (
    "JOIN import_row r ON r.line = o.line AND r.problem IS NULL "
    "JOIN catalog_product p ON p.organization_id = %(org)s AND p.gtin = r.gtin"
)
_SAME = " AND ".join(
    [
        "x.organization_id = %(org)s",
        "x.product_id = p.id",
        *(f"x.{name} = o.{name}" for name in OFFER_KEY),
    ]
)
_DIFFERS = differs(_FIELDS, "o")


def merge_offers(staging: Staging) -> TableCounts:
    """Create and update offers by product, channel, retailer, store and SKU.

    An offer that already has the values of its row is neither locked nor written.
    """
    with staging.in_bulk():
        new = f"""
            SELECT o.*, p.id AS product_id FROM import_offer o {_JOIN_PRODUCT}
            WHERE NOT EXISTS (SELECT 1 FROM offers_offer x WHERE {_SAME})
        """
        staging.run(f"CREATE TEMP TABLE import_new_offer ON COMMIT DROP AS {new}")
    created = staging.run(
        f"""
        INSERT INTO offers_offer (id, organization_id, product_id, channel, retailer, store, sku,
            url, price, currency, status, url_status, url_detail, metadata)
        SELECT o.new_key, %(org)s, o.product_id, o.channel, o.retailer, o.store, o.sku,
            coalesce(o.url, ''), o.price, coalesce(o.currency, ''),
            coalesce(o.status, '{OfferStatus.ACTIVE}'),
            CASE o.channel WHEN '{Channel.ONLINE}' THEN '{UrlStatus.UNCHECKED}' END, '', '{{}}'
        FROM import_new_offer o ORDER BY o.line
        ON CONFLICT (organization_id, product_id, channel, retailer, store, sku) DO NOTHING
        """
    )
    # Another writer may have created some of them meanwhile: those are updated below.
    staging.note_effects(
        "offer",
        "SELECT o.line, true FROM import_new_offer o JOIN offers_offer x ON x.id = o.new_key",
    )
    staging.run("DROP TABLE import_new_offer")
    return TableCounts(created, _update(staging))


def _update(staging: Staging) -> int:
    with staging.in_bulk():
        staging.run(
            f"""
            CREATE TEMP TABLE import_changed_offer ON COMMIT DROP AS
            SELECT x.id, o.line, o.cleared,
                {", ".join(f"o.{name}" for name in _FIELDS)}
            FROM import_offer o {_JOIN_PRODUCT} JOIN offers_offer x ON {_SAME}
            WHERE x.id <> o.new_key AND ({_DIFFERS})
            """
        )
    # In the order of their keys, as the triggers do.
    staging.run(
        """
        SELECT count(*) FROM (
            SELECT 1 FROM offers_offer x JOIN import_changed_offer o ON o.id = x.id
            ORDER BY x.id FOR NO KEY UPDATE OF x
        ) locked
        """
    )
    updated = staging.run(
        f"""
        UPDATE offers_offer x SET {settings(_FIELDS, "o")},
            updated_at = statement_timestamp(), updated_by = %(actor)s
        FROM import_changed_offer o WHERE o.id = x.id
        """
    )
    staging.note_effects("offer", "SELECT line, false FROM import_changed_offer")
    staging.run("DROP TABLE import_changed_offer")
    return updated
