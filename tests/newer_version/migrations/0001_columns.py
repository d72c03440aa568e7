"""Columns of the tables that every request uses, and of those with the most rows.

Each statement commits by itself: a migration that waits for a second table while it holds the lock
of a first one can have a deadlock with a reader of both, and the reader may be the one that fails.
"""

from django.db import migrations

TABLES = (
    "catalog_product",
    "accounts_apikey",
    "accounts_organization",
    "accounts_ratelimit",
    "offers_offer",
    "tally_tallyentry",
)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [
        ("accounts", "0001_initial"),
        ("catalog", "0001_initial"),
        ("offers", "0001_initial"),
        ("tally", "0001_initial"),
    ]
    operations = [
        # Again from the first one after a lock timeout.
        migrations.RunSQL(
            f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS season varchar(20) DEFAULT '' NOT NULL"
        )
        for table in TABLES
    ]
