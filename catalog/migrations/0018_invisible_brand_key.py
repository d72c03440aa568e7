from importlib import import_module

from django.db import IntegrityError, migrations, transaction

OLD = import_module("catalog.migrations.0010_fold_case").fold(
    import_module("catalog.migrations.0008_normal_texts").BRAND_KEY
)
OLD_MARKS = r"[\u00AD\u200B-\u200F\u2060\uFE00-\uFE0F\uFEFF]+"
# Also the marks that turn the writing direction, which copying from other programs leaves in texts,
# and the other characters that cannot be seen.
MARKS = (
    r"[\u00AD\u034F\u061C\u180E\u200B-\u200F\u202A-\u202E\u2060-\u2064\u2066-\u2069\uFE00-\uFE0F"
    r"\uFEFF]+"
)
NEW = OLD.replace(OLD_MARKS, MARKS)
# Products moved in one transaction.
CHUNK = 5_000

AFFECTED = f"""
    SELECT id, organization_id, name FROM public.catalog_brand
    WHERE name ~ '{MARKS}' AND key <> public.catalog_brand_key(name)
    ORDER BY organization_id, created_at, id
"""
# The brand that has the key already, which no one deletes meanwhile.
KEPT = """
    SELECT id FROM public.catalog_brand
    WHERE organization_id = %(organization)s AND key = public.catalog_brand_key(%(name)s)
    FOR KEY SHARE
"""
# A write of the name computes the key again.
RENEW = "UPDATE public.catalog_brand SET name = name WHERE id = %(id)s"
# In the order of their keys, as the triggers lock them.
MOVE = """
    WITH moved AS MATERIALIZED (
        SELECT id FROM public.catalog_product
        WHERE organization_id = %(organization)s AND brand_id = %(id)s
        ORDER BY id LIMIT %(chunk)s FOR NO KEY UPDATE
    )
    UPDATE public.catalog_product p SET brand_id = %(kept)s FROM moved WHERE p.id = moved.id
"""


def merge_brands(apps, schema_editor):
    """Give brands with invisible characters their new key, or their products to its brand.

    Each transaction holds the locks of one brand and at most ``CHUNK`` of its products. Running it
    again continues.
    """
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        cursor.execute(AFFECTED)
        affected = cursor.fetchall()
    for id, organization, name in affected:
        parameters = {"id": id, "organization": organization, "name": name, "chunk": CHUNK}
        while not merge_chunk(connection, parameters):
            pass


def merge_chunk(connection, parameters):
    """Merge a part of a brand's products; return whether the brand is done."""
    try:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            # No product gets the brand meanwhile, so none loses it when it is deleted.
            cursor.execute(
                "SELECT 1 FROM public.catalog_brand WHERE id = %(id)s FOR UPDATE", parameters
            )
            if not cursor.fetchone():
                return True
            cursor.execute(KEPT, parameters)
            kept = cursor.fetchone()
            if kept is None:
                cursor.execute(RENEW, parameters)
                return True
            cursor.execute(MOVE, {**parameters, "kept": kept[0]})
            if cursor.rowcount == CHUNK:
                return False
            cursor.execute("DELETE FROM public.catalog_brand WHERE id = %(id)s", parameters)
            return True
    except IntegrityError:
        # Another transaction created a brand with the key first.
        return False


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ("catalog", "0017_import_run_groups"),
    ]

    operations = [
        # From here on no brand gets a key of the former function.
        migrations.RunSQL(NEW, OLD),
        migrations.RunPython(merge_brands, migrations.RunPython.noop),
    ]
