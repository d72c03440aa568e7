"""Merges the addresses of images into the imported images of products."""

from __future__ import annotations

from dashboard.imports.staging import Staging

# The addresses of the imported images of each product, in their order.
IMPORTED_IMAGES = """
    SELECT product_id, array_agg(external_url::text ORDER BY priority, id) AS urls
    FROM catalog_productimage WHERE organization_id = %(org)s AND is_imported GROUP BY product_id
"""
_WANTED = """
    import_write w JOIN import_row r ON r.line = w.line AND r.image_urls IS NOT NULL
    CROSS JOIN LATERAL unnest(r.image_urls, r.image_keys)
        WITH ORDINALITY AS given (url, key, number)
"""


def merge_images(staging: Staging) -> None:
    """Make the imported images of the written products those of their rows, in their order.

    Other images stay. The first becomes the primary one of a product that has none.
    """
    staging.run(
        """
        DELETE FROM catalog_productimage i USING import_write w, import_row r
        WHERE r.line = w.line AND r.image_urls IS NOT NULL AND NOT w.is_new
            AND i.product_id = w.product_id AND i.is_imported
            AND i.external_url <> ALL (r.image_urls)
        """
    )
    staging.run(
        f"""
        UPDATE catalog_productimage i SET priority = given.number - 1
        FROM {_WANTED}
        WHERE NOT w.is_new AND i.product_id = w.product_id AND i.is_imported
            AND i.external_url = given.url AND i.priority <> given.number - 1
        """
    )
    staging.run(
        f"""
        INSERT INTO catalog_productimage (id, organization_id, product_id, image,
            external_url, title, is_primary, priority, is_imported)
        SELECT given.key, %(org)s, w.product_id, '', given.url, '',
            given.number = 1 AND w.is_new, given.number - 1, true
        FROM {_WANTED}
        WHERE w.is_new OR NOT EXISTS (
            SELECT 1 FROM catalog_productimage i
            WHERE i.product_id = w.product_id AND i.is_imported AND i.external_url = given.url
        )
        ORDER BY w.line, given.number
        """
    )
    staging.run(
        """
        UPDATE catalog_productimage i SET is_primary = true
        FROM (
            SELECT DISTINCT ON (c.product_id) c.id
            FROM import_write w
            JOIN import_row r ON r.line = w.line AND r.image_urls IS NOT NULL
            JOIN catalog_productimage c ON c.organization_id = %(org)s
                AND c.product_id = w.product_id
            WHERE NOT w.is_new AND NOT EXISTS (
                SELECT 1 FROM catalog_productimage p
                WHERE p.product_id = w.product_id AND p.is_primary
            )
            ORDER BY c.product_id, c.priority, c.created_at DESC, c.id DESC
        ) first
        WHERE i.id = first.id
        """
    )
