from django.db import migrations, models

import catalog.models.brand


class Migration(migrations.Migration):

    dependencies = [
        ("catalog", "0008_normal_texts"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="brand",
            name="catalog_brand_name_unique",
        ),
        migrations.AddField(
            model_name="brand",
            name="key",
            field=models.GeneratedField(
                db_persist=True,
                expression=catalog.models.brand.BrandKey("name"),
                output_field=models.CharField(max_length=255),
            ),
        ),
        migrations.AddConstraint(
            model_name="brand",
            constraint=models.UniqueConstraint(
                fields=("organization", "key"),
                name="catalog_brand_name_unique",
                violation_error_message="The organization has a brand of this name already.",
            ),
        ),
    ]
