"""Merges the addresses of images into the imported images of products."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from dashboard.imports.staging import Staging

# The addresses of the imported images of each product, in their order.
IMPORTED_IMAGES = """
    SELECT product_id, array_agg(external_url::text ORDER BY priority, id) AS urls
    FROM catalog_productimage WHERE organization_id = %(org)s AND is_imported GROUP BY product_id
"""
# The images that a row gives.
_UNNESTED = """
    CROSS JOIN LATERAL unnest(r.image_urls, r.image_keys)
        WITH ORDINALITY AS given (url, key, number)
"""
# An image that the row of a written product gives.
_GIVEN = f"""
    import_write w JOIN import_row r ON r.line = w.line AND r.image_urls IS NOT NULL {_UNNESTED}
"""


def merge_images(staging: Staging, *, all_new: bool, has_changed: bool) -> None:
    """Make the imported images of the written products those of their rows, in their order.

    Other images stay. The first becomes the primary one of a product that has none. ``all_new``
    says whether every valid row created its product, ``has_changed`` whether there are written
    products that existed before.
    """
    if all_new:
        # In the order of the file, without sorting it.
        given = f"import_row r {_UNNESTED} WHERE r.problem IS NULL"
    else:
        given = f"{_GIVEN} WHERE w.is_new ORDER BY w.line, given.number"
    staging.run(
        f"""
        INSERT INTO catalog_productimage (id, organization_id, product_id, image,
            external_url, title, is_primary, priority, is_imported)
        SELECT given.key, %(org)s, r.new_key, '', given.url, '',
            given.number = 1, given.number - 1, true
        FROM {given}
        """
    )
    if has_changed:
        _delete(staging)
        _reorder(staging)
        _add(staging)
        _choose_primary(staging)


def _delete(staging: Staging) -> None:
    """Delete the imported images that the rows of their products no longer give."""
    with _found(
        staging,
        """
        SELECT i.id FROM import_write w
        JOIN import_row r ON r.line = w.line AND r.image_urls IS NOT NULL
        JOIN catalog_productimage i ON i.organization_id = %(org)s
            AND i.product_id = w.product_id AND i.is_imported
            AND i.external_url <> ALL (r.image_urls)
        WHERE NOT w.is_new
        """,
    ):
        staging.run("DELETE FROM catalog_productimage i USING import_image f WHERE i.id = f.id")


def _reorder(staging: Staging) -> None:
    with _found(
        staging,
        f"""
        SELECT i.id, given.number - 1 AS priority FROM {_GIVEN}
        JOIN catalog_productimage i ON i.organization_id = %(org)s
            AND i.product_id = w.product_id AND i.is_imported AND i.external_url = given.url
        WHERE NOT w.is_new AND i.priority <> given.number - 1
        """,
    ):
        staging.run(
            "UPDATE catalog_productimage i SET priority = f.priority "
            "FROM import_image f WHERE i.id = f.id"
        )


def _add(staging: Staging) -> None:
    with _found(
        staging,
        f"""
        SELECT given.key, w.product_id, given.url, given.number, w.line FROM {_GIVEN}
        WHERE NOT w.is_new AND NOT EXISTS (
            SELECT 1 FROM catalog_productimage i
            WHERE i.organization_id = %(org)s AND i.product_id = w.product_id
                AND i.is_imported AND i.external_url = given.url
        )
        """,
    ):
        staging.run(
            """
            INSERT INTO catalog_productimage (id, organization_id, product_id, image,
                external_url, title, is_primary, priority, is_imported)
            SELECT f.key, %(org)s, f.product_id, '', f.url, '', false, f.number - 1, true
            FROM import_image f ORDER BY f.line, f.number
            """
        )


def _choose_primary(staging: Staging) -> None:
    with _found(
        staging,
        """
        SELECT DISTINCT ON (c.product_id) c.id
        FROM import_write w
        JOIN import_row r ON r.line = w.line AND r.image_urls IS NOT NULL
        JOIN catalog_productimage c ON c.organization_id = %(org)s
            AND c.product_id = w.product_id
        WHERE NOT w.is_new AND NOT EXISTS (
            SELECT 1 FROM catalog_productimage p
            WHERE p.organization_id = %(org)s AND p.product_id = w.product_id AND p.is_primary
        )
        ORDER BY c.product_id, c.priority, c.created_at DESC, c.id DESC
        """,
    ):
        staging.run(
            "UPDATE catalog_productimage i SET is_primary = true "
            "FROM import_image f WHERE i.id = f.id"
        )


@contextlib.contextmanager
def _found(staging: Staging, query: str) -> Iterator[None]:
    """Keep the rows of a query in the table import_image for the statement of the block.

    Statistics about images may be as old as an empty table: the planner then expects one image in
    all, and compares each image with each row. The writing itself looks up images by their keys.
    """
    with staging.in_bulk():
        staging.run(f"CREATE TEMP TABLE import_image ON COMMIT DROP AS {query}")
    yield
    staging.run("DROP TABLE import_image")
