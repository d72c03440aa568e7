from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ("catalog", "0027_trigrams"),
    ]

    operations = [
        # With the default of 100, PostgreSQL looked for the first few matches by splitting the names
        # of all rows, and not in the index: for a word in no name, seconds in a million products.
        migrations.RunSQL(
            "ALTER FUNCTION public.catalog_search_vector(text) COST 2000",
            "ALTER FUNCTION public.catalog_search_vector(text) COST 100",
        ),
    ]
