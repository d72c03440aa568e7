from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='RateLimit',
            fields=[
                ('subject', models.CharField(max_length=64, primary_key=True, serialize=False)),
                ('minute_started_at', models.DateTimeField()),
                ('minute_count', models.IntegerField()),
                ('day_started_at', models.DateTimeField(db_index=True)),
                ('day_count', models.IntegerField()),
                ('is_allowed', models.BooleanField(help_text='Whether the last request was.')),
            ],
        ),
        # Written by every request and worth nothing after a crash: no write-ahead log, so no
        # wait for the disk, and room on each page for updates in place.
        migrations.RunSQL(
            'ALTER TABLE accounts_ratelimit SET UNLOGGED;'
            ' ALTER TABLE accounts_ratelimit SET (fillfactor = 40);',
            migrations.RunSQL.noop,
        ),
    ]
