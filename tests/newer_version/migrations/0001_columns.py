"""Columns of the tables that every request uses, and of those with the most rows."""

from django.db import migrations

TABLES = (
    "accounts_apikey",
    "accounts_organization",
    "accounts_ratelimit",
    "catalog_product",
    "offers_offer",
    "tally_tallyentry",
)


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
        ("catalog", "0001_initial"),
        ("offers", "0001_initial"),
        ("tally", "0001_initial"),
    ]
    operations = [
        migrations.RunSQL(f"ALTER TABLE {table} ADD COLUMN season varchar(20) DEFAULT '' NOT NULL")
        for table in TABLES
    ]
