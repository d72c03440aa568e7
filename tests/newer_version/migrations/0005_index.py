from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("newer_version", "0004_table")]
    operations = [migrations.RunSQL("CREATE INDEX season_index ON catalog_product (season)")]
