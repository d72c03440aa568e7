from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("newer_version", "0002_constraint")]
    operations = [
        migrations.RunSQL(
            """
            CREATE FUNCTION season_of_today() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                NEW.season := extract(year FROM now());
                RETURN NEW;
            END $$;
            CREATE TRIGGER season BEFORE INSERT ON catalog_product
                FOR EACH ROW EXECUTE FUNCTION season_of_today();
            """
        )
    ]
