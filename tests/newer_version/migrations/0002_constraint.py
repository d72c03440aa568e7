from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("newer_version", "0001_columns")]
    operations = [
        migrations.RunSQL(
            "ALTER TABLE catalog_product ADD CONSTRAINT season_is_one_line "
            "CHECK (season !~ '[[:cntrl:]]')"
        )
    ]
