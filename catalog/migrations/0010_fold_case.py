from importlib import import_module

from django.db import migrations

WORDS = import_module("catalog.migrations.0007_search_words").WORDS
normal_texts = import_module("catalog.migrations.0008_normal_texts")


def replace(function):
    """Return the statement that gives an existing function this body."""
    return function.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")


def fold(function):
    """Return the same function without lower(), whose result depends on the database's locale."""
    # The first use is for texts in ASCII alone.
    for ascii in ("lower(value)", "lower(name)"):
        function = function.replace(ascii, f'{ascii[:-1]} COLLATE "C")')
    return replace(function).replace("lower(normalize(", "public.fold_case(normalize(")


class Migration(migrations.Migration):

    dependencies = [
        ("accounts", "0005_fold_case"),
        ("catalog", "0009_brand_key"),
    ]

    operations = [
        migrations.RunSQL(fold(WORDS), replace(WORDS)),
        migrations.RunSQL(fold(normal_texts.BRAND_KEY), replace(normal_texts.BRAND_KEY)),
        # What was stored under the former functions.
        migrations.RunSQL("REINDEX INDEX public.catalog_product_words", migrations.RunSQL.noop),
        migrations.RunSQL(normal_texts.MERGE_BRANDS, migrations.RunSQL.noop),
        migrations.RunSQL(normal_texts.REMOVE_BRANDS, migrations.RunSQL.noop),
        # A write of the name computes the key again.
        migrations.RunSQL(
            "UPDATE catalog_brand SET name = name WHERE key <> public.catalog_brand_key(name)",
            migrations.RunSQL.noop,
        ),
    ]
