from django.db import migrations

# Rows that are in NFC (Unicode Standard Annex 15) stay as they are.
COLUMNS = {
    "catalog_product": (
        ["name", "description", "manufacturer", "category", "net_content"],
        ["nutrition", "metadata"],
    ),
    "catalog_productimage": (["title"], []),
    "catalog_brand": (["name"], []),
}


def normalize(table, texts, documents):
    settings = [f"{name} = normalize({name}, NFC)" for name in texts]
    settings += [f"{name} = normalize({name}::text, NFC)::jsonb" for name in documents]
    wrong = [f"{name} IS NOT NFC NORMALIZED" for name in texts]
    wrong += [f"{name}::text IS NOT NFC NORMALIZED" for name in documents]
    return f"UPDATE {table} SET {', '.join(settings)} WHERE {' OR '.join(wrong)}"


# What two brand names are compared by: compatibility characters as their plain ones, lower case,
# no marks that cannot be seen, single blanks and hyphens. As long as a name may be, for the index.
BRAND_KEY = r"""
CREATE FUNCTION public.catalog_brand_key(name text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $function$
DECLARE
    key text := lower(name);
BEGIN
    IF octet_length(name) <> char_length(name) THEN
        key := regexp_replace(name, '[\u00AD\u200B-\u200F\u2060\uFE00-\uFE0F\uFEFF]+', '', 'g');
        key := lower(normalize(key, NFKC));
        key := replace(translate(normalize(key, NFKC), 'ς‐', 'σ-'), 'ß', 'ss');
    END IF;
    key := regexp_replace(key, '[\u0009-\u000D\u001C-\u0020\u0085\u1680\u2028\u2029]+', ' ', 'g');
    RETURN btrim(left(key, 255));
END
$function$
"""
# The oldest brand of each key keeps its name and gets the products of the others.
MERGE_BRANDS = """
WITH keyed AS (
    SELECT id, first_value(id) OVER (
        PARTITION BY organization_id, public.catalog_brand_key(name) ORDER BY created_at, id
    ) AS kept
    FROM catalog_brand
)
UPDATE catalog_product p SET brand_id = keyed.kept
FROM keyed WHERE p.brand_id = keyed.id AND keyed.id <> keyed.kept
"""
REMOVE_BRANDS = """
DELETE FROM catalog_brand b USING (
    SELECT id, first_value(id) OVER (
        PARTITION BY organization_id, public.catalog_brand_key(name) ORDER BY created_at, id
    ) AS kept
    FROM catalog_brand
) keyed
WHERE b.id = keyed.id AND keyed.id <> keyed.kept
"""


class Migration(migrations.Migration):

    dependencies = [
        ("catalog", "0007_search_words"),
    ]

    operations = [
        migrations.RunSQL(BRAND_KEY, "DROP FUNCTION public.catalog_brand_key(text)"),
        migrations.RunSQL(MERGE_BRANDS, migrations.RunSQL.noop),
        migrations.RunSQL(REMOVE_BRANDS, migrations.RunSQL.noop),
        *(
            migrations.RunSQL(normalize(table, texts, documents), migrations.RunSQL.noop)
            for table, (texts, documents) in COLUMNS.items()
        ),
    ]
