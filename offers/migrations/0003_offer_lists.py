import django.db.models.functions.comparison
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0002_ratelimit'),
        ('catalog', '0002_product_words'),
        ('offers', '0002_offer_retailer'),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name='offer',
            name='offers_offer_failing',
        ),
        migrations.AddIndex(
            model_name='offer',
            index=models.Index(models.F('organization'), models.F('channel'), models.F('status'), django.db.models.functions.comparison.Coalesce('url_status', models.Value('')), models.OrderBy(models.F('id'), descending=True), include=('url_status',), name='offers_offer_bucket'),
        ),
        migrations.AddIndex(
            model_name='offer',
            index=models.Index(fields=['organization', 'retailer', '-id'], include=('channel', 'status', 'url_status'), name='offers_offer_by_retailer'),
        ),
        migrations.AddIndex(
            model_name='offer',
            index=models.Index(condition=models.Q(('channel', 'online'), ('url_status__in', ('broken', 'timeout', 'dns_failure'))), fields=['organization', 'retailer', '-id'], include=('status', 'url_status', 'url_failing_since'), name='offers_offer_failing'),
        ),
    ]
