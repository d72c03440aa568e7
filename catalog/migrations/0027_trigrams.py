from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ("catalog", "0026_category_and_country_indexes"),
    ]

    operations = [
        # Comes with PostgreSQL (contrib) and is trusted: who may create a schema may create it.
        migrations.RunSQL(
            "CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public",
            migrations.RunSQL.noop,
        ),
    ]
