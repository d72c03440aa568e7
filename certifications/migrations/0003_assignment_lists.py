from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0002_ratelimit'),
        ('catalog', '0002_product_words'),
        ('certifications', '0002_assignment_number'),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name='certificationassignment',
            name='certifications_assignment_exp',
        ),
        migrations.RemoveIndex(
            model_name='certificationassignment',
            name='certifications_assignment_cert',
        ),
        migrations.AddIndex(
            model_name='certificationassignment',
            index=models.Index(fields=['organization', 'expiry_date', 'id'], include=('verification_status',), name='certifications_assignment_exp'),
        ),
        migrations.AddIndex(
            model_name='certificationassignment',
            index=models.Index(fields=['organization', 'certification', 'expiry_date', 'id'], include=('verification_status',), name='certifications_assignment_cert'),
        ),
    ]
