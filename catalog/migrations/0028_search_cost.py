from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ("catalog", "0027_trigrams"),
    ]

    operations = [
        # Splitting a name into words takes thousands of times as long as comparing a number. With
        # the default of 100 the first few matches were looked for in all rows, not in the index.
        migrations.RunSQL(
            "ALTER FUNCTION public.catalog_search_vector(text) COST 2000",
            "ALTER FUNCTION public.catalog_search_vector(text) COST 100",
        ),
    ]
