from django.db import migrations

# Rows that are in NFC (Unicode Standard Annex 15) stay as they are, and so do those whose normal
# form would be that of another row: a person has to decide which of the two goes.
NORMALIZE = """
DO $do$
DECLARE
    found uuid;
BEGIN
    FOR found IN SELECT id FROM {table} WHERE {wrong} ORDER BY id LOOP
        BEGIN
            UPDATE {table} SET {settings} WHERE id = found;
        EXCEPTION WHEN unique_violation THEN
            RAISE WARNING '{table}: row % differs from another one in its Unicode form only', found;
        END;
    END LOOP;
END
$do$
"""


def normalize(table, texts, documents):
    settings = [f"{name} = normalize({name}, NFC)" for name in texts]
    settings += [f"{name} = normalize({name}::text, NFC)::jsonb" for name in documents]
    wrong = [f"{name} IS NOT NFC NORMALIZED" for name in texts]
    wrong += [f"{name}::text IS NOT NFC NORMALIZED" for name in documents]
    return NORMALIZE.format(
        table=table, settings=", ".join(settings), wrong=" OR ".join(wrong)
    )


class Migration(migrations.Migration):

    dependencies = [
        ("offers", "0009_updated_by"),
    ]

    operations = [
        migrations.RunSQL(normalize("offers_offer", ["retailer", "store", "sku"], ["metadata"]), migrations.RunSQL.noop),
    ]
