from django.db import migrations, models

# As before, and keeps the days of merged entries that are not older than 400 days: without them
# nothing could say later what changed on which day.
FOLD = """
CREATE OR REPLACE FUNCTION public.tally_fold(organizations uuid[]) RETURNS bigint
LANGUAGE plpgsql SET enable_seqscan TO off SET jit TO off AS $$
DECLARE
    horizon CONSTANT date := (now() AT TIME ZONE 'UTC')::date - 1;
    ids bigint[];
    merged bigint;
BEGIN
    SELECT array_agg(u.id) INTO ids
    FROM (
        SELECT array_agg(t.id) AS ids
        FROM public.tally_tallyentry AS t
        WHERE t.organization_id = ANY (organizations)
        GROUP BY t.organization_id, t.account, t.bucket,
            CASE WHEN t.effective_on <= horizon THEN DATE '0001-01-01' ELSE t.effective_on END
        HAVING count(*) > 1
    ) AS g CROSS JOIN LATERAL unnest(g.ids) AS u (id);

    SELECT array_agg(l.id) INTO ids
    FROM (
        SELECT t.id FROM public.tally_tallyentry AS t WHERE t.id = ANY (ids)
        FOR UPDATE SKIP LOCKED
    ) AS l;

    WITH gone AS (
        DELETE FROM public.tally_tallyentry AS t WHERE t.id = ANY (ids)
        RETURNING t.organization_id, t.account, t.bucket, t.amount,
            CASE WHEN t.effective_on <= horizon THEN DATE '0001-01-01' ELSE t.effective_on END
                AS effective_on,
            CASE WHEN t.effective_on BETWEEN horizon - 400 AND horizon THEN t.effective_on END
                AS passed_on
    ), kept AS (
        INSERT INTO public.tally_tallyentry
            (organization_id, account, bucket, effective_on, amount)
        SELECT organization_id, account, bucket, effective_on, sum(amount) FROM gone
        GROUP BY organization_id, account, bucket, effective_on HAVING sum(amount) <> 0
        RETURNING 1
    ), past AS (
        INSERT INTO public.tally_pastentry
            (organization_id, account, bucket, effective_on, amount)
        SELECT organization_id, account, bucket, passed_on, sum(amount) FROM gone
        WHERE passed_on IS NOT NULL
        GROUP BY organization_id, account, bucket, passed_on HAVING sum(amount) <> 0
    )
    SELECT (SELECT count(*) FROM gone) - (SELECT count(*) FROM kept) INTO merged;
    RETURN merged;
END
$$;
"""

# The function of the first migration.
_PAST = FOLD[FOLD.index(", past AS (") : FOLD.index("    SELECT (SELECT count(*) FROM gone)")]
FORMER_FOLD = FOLD.replace(_PAST, "\n")


class Migration(migrations.Migration):

    dependencies = [
        ('tally', '0002_audit'),
    ]

    operations = [
        migrations.CreateModel(
            name='PastEntry',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('organization_id', models.UUIDField()),
                ('account', models.CharField(max_length=32)),
                ('bucket', models.CharField(max_length=64)),
                ('effective_on', models.DateField()),
                ('amount', models.IntegerField()),
            ],
            options={
                'verbose_name_plural': 'past tally entries',
                'indexes': [models.Index(fields=['organization_id', 'effective_on'], name='tally_pastentry_days')],
            },
        ),
        migrations.RunSQL(FOLD, FORMER_FOLD),
    ]
