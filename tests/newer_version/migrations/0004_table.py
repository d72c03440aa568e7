"""A table that refers to products."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("newer_version", "0003_trigger")]
    operations = [
        migrations.RunSQL(
            "CREATE TABLE newer_version_season (id uuid PRIMARY KEY, product_id uuid NOT NULL "
            "REFERENCES catalog_product ON DELETE CASCADE)"
        )
    ]
