import django.contrib.postgres.indexes
import django.db.models.functions.text
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('certifications', '0001_initial'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='certificationassignment',
            index=models.Index(django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper('certificate_number'), name='text_pattern_ops'), name='certifications_assignment_no'),
        ),
    ]
