"""Merges the staged records into products and brands with a few large statements.

They run at READ COMMITTED: later statements have to see what other transactions committed while
this one waited for them.
"""

from __future__ import annotations

from catalog.models import ProductStatus
from dashboard.imports.merge.images import IMPORTED_IMAGES, merge_images
from dashboard.imports.staging import Staging, TableCounts

# The columns of a product that are copied from the row.
_TEXTS = (
    "name",
    "description",
    "manufacturer",
    "category",
    "gpc_brick_code",
    "country_of_origin",
    "net_content",
    "status",
)
_OBJECTS = ("nutrition", "metadata")
_EMPTY = "''"
_DEFAULTS = {"status": f"'{ProductStatus.ACTIVE}'"}
# A row's brand: the one with its name, compared by brand key, or the key under which it should
# have been created. If there is none after all, the foreign key fails and no product loses
# its brand silently.
_BRAND = "CASE WHEN r.brand <> '' THEN coalesce(n.id, r.new_key) END"
_JOIN_BRAND = "LEFT JOIN import_brand n ON n.name = r.brand"
_JOIN_PRODUCT = "JOIN catalog_product p ON p.organization_id = %(org)s AND p.gtin = r.gtin"


def merge_products(staging: Staging) -> TableCounts:
    """Create and update products from the rows that were not rejected, with their images.

    A product that already has the values of its row is neither locked nor written.
    """
    return _Merge(staging).run()


class _Merge:
    def __init__(self, staging: Staging) -> None:
        self._staging = staging

    def run(self) -> TableCounts:
        if self._collect_brands():
            self._prepare_brands()
        created = self._create_products() if self._staging.creates_products else 0
        self._staging.refresh_statistics("catalog_product", created)
        updated = 0
        all_new = created == self._staging.valid_count
        if not all_new and self._find_changed():
            self._index_changed()
            self._lock_changed()
            updated = self._update_products()
        if self._staging.has_images:
            merge_images(self._staging, all_new=all_new, has_changed=updated > 0)
        return TableCounts(created, updated)

    def _collect_brands(self) -> int:
        """Collect the brands of the rows: many rows have few brands, and the key takes time."""
        found = self._staging.run(
            """
            INSERT INTO import_brand (name, key, line, new_key)
            SELECT name, public.catalog_brand_key(name), line, new_key::uuid FROM (
                SELECT brand AS name, min(line) AS line, min(new_key::text) AS new_key
                FROM import_row WHERE problem IS NULL AND brand <> '' GROUP BY brand
            ) brands
            """
        )
        self._staging.run("ANALYZE import_brand")
        return found

    def _prepare_brands(self) -> None:
        """Create the brands that are missing, and lock those that products will get."""
        created = self._create_brands()
        # No one can delete a brand that is not committed yet.
        if created < self._staging.number("SELECT count(DISTINCT key) FROM import_brand"):
            self._lock_brands()
            # A brand that was deleted before it could be locked is created again.
            created += self._create_brands()
        self._staging.refresh_statistics("catalog_brand", created)
        self._find_brands()

    def _create_brands(self) -> int:
        return self._staging.run(
            """
            INSERT INTO catalog_brand (id, organization_id, name)
            SELECT DISTINCT ON (n.key) n.new_key, %(org)s, n.name FROM import_brand n
            WHERE NOT EXISTS (
                SELECT 1 FROM catalog_brand b
                WHERE b.organization_id = %(org)s AND b.key = n.key
            )
            ORDER BY n.key, n.line
            ON CONFLICT (organization_id, key) DO NOTHING
            """
        )

    def _lock_brands(self) -> None:
        """Lock the brands that products will get, so that no one deletes them."""
        with self._staging.in_bulk():
            self._staging.run(
                f"""
                WITH wanted AS MATERIALIZED (
                    SELECT DISTINCT b.id
                    FROM import_row r {_JOIN_BRAND}
                    JOIN catalog_brand b ON b.organization_id = %(org)s AND b.key = n.key
                    LEFT {_JOIN_PRODUCT}
                    WHERE r.problem IS NULL AND r.brand <> '' AND p.brand_id IS DISTINCT FROM b.id
                )
                SELECT count(*) FROM (
                    SELECT 1 FROM catalog_brand b JOIN wanted w ON w.id = b.id
                    WHERE b.organization_id = %(org)s
                    ORDER BY b.id FOR KEY SHARE OF b
                ) locked
                """
            )

    def _find_brands(self) -> None:
        with self._staging.in_bulk():
            self._staging.run(
                "UPDATE import_brand n SET id = b.id FROM catalog_brand b "
                "WHERE b.organization_id = %(org)s AND b.key = n.key"
            )

    def _find_new(self) -> int:
        with self._staging.in_bulk():
            return self._staging.run(
                """
                INSERT INTO import_write (product_id, line, is_new)
                SELECT r.new_key, r.line, true FROM import_row r
                WHERE r.problem IS NULL AND NOT EXISTS (
                    SELECT 1 FROM catalog_product p
                    WHERE p.organization_id = %(org)s AND p.gtin = r.gtin
                )
                """
            )

    def _create_products(self) -> int:
        names = ", ".join((*_TEXTS, *_OBJECTS))
        texts = ", ".join(f"coalesce(r.{name}, {_DEFAULTS.get(name, _EMPTY)})" for name in _TEXTS)
        objects = ", ".join(f"jsonb_strip_nulls(coalesce(r.{name}, '{{}}'))" for name in _OBJECTS)
        found = self._find_new()
        if found == self._staging.valid_count:
            # In the order of the file, without sorting it.
            rows = f"import_row r {_JOIN_BRAND} WHERE r.problem IS NULL"
        else:
            rows = (
                f"import_write w JOIN import_row r ON r.line = w.line {_JOIN_BRAND} ORDER BY r.line"
            )
        created = self._staging.run(
            f"""
            INSERT INTO catalog_product (id, organization_id, gtin, brand_id, {names})
            SELECT r.new_key, %(org)s, r.gtin, {_BRAND}, {texts}, {objects}
            FROM {rows}
            ON CONFLICT (organization_id, gtin) DO NOTHING
            """
        )
        if created < found:
            # Another writer created the same product first: the row updates that one.
            self._staging.run(
                """
                DELETE FROM import_write w WHERE NOT EXISTS (
                    SELECT 1 FROM catalog_product p WHERE p.id = w.product_id
                )
                """
            )
        return created

    def _find_changed(self) -> int:
        differences = [
            *(f"p.{name} <> r.{name}" for name in _TEXTS),
            *(f"p.{name} <> {self._staging.merged(name)}" for name in _OBJECTS),
            f"(r.brand IS NOT NULL AND p.brand_id IS DISTINCT FROM {_BRAND})",
        ]
        join_images = ""
        if self._staging.has_images:
            differences.append("coalesce(i.urls, '{}') <> r.image_urls")
            join_images = f"LEFT JOIN ({IMPORTED_IMAGES}) i ON i.product_id = p.id"
        with self._staging.in_bulk():
            found = self._staging.run(
                f"""
                INSERT INTO import_write (product_id, line, is_new)
                SELECT p.id, r.line, false
                FROM import_row r {_JOIN_PRODUCT} {_JOIN_BRAND} {join_images}
                WHERE r.problem IS NULL AND p.id <> r.new_key AND ({" OR ".join(differences)})
                """
            )
        self._staging.run("ANALYZE import_write")
        return found

    def _index_changed(self) -> None:
        """Let rows be looked up by their product.

        After an import that was rolled back, such as a check, statistics may say for minutes that
        there are no products: the planner would then read all rows for each product.
        """
        self._staging.run("CREATE INDEX ON import_write (product_id) WHERE NOT is_new")
        self._staging.run("CREATE INDEX ON import_row (line)")

    def _lock_changed(self) -> None:
        """Lock the products to change in the order of their keys, as the triggers do."""
        self._staging.run(
            """
            SELECT count(*) FROM (
                SELECT 1 FROM catalog_product p JOIN import_write w ON w.product_id = p.id
                WHERE NOT w.is_new ORDER BY p.id FOR NO KEY UPDATE OF p
            ) locked
            """
        )
        # Products that were deleted meanwhile stay deleted.
        self._staging.run(
            """
            DELETE FROM import_write w WHERE NOT w.is_new AND NOT EXISTS (
                SELECT 1 FROM catalog_product p WHERE p.id = w.product_id
            )
            """
        )

    def _update_products(self) -> int:
        settings = ", ".join(
            [
                *(f"{name} = coalesce(r.{name}, p.{name})" for name in _TEXTS),
                *(
                    f"{name} = coalesce({self._staging.merged(name)}, p.{name})"
                    for name in _OBJECTS
                ),
                f"brand_id = CASE WHEN r.brand IS NULL THEN p.brand_id ELSE {_BRAND} END",
                "updated_at = statement_timestamp()",
                "updated_by = %(actor)s",
            ]
        )
        return self._staging.run(
            f"""
            UPDATE catalog_product p SET {settings}
            FROM import_write w JOIN import_row r ON r.line = w.line {_JOIN_BRAND}
            WHERE p.id = w.product_id AND NOT w.is_new
            """
        )
