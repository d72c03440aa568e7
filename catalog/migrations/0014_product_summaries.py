import catalog.completeness
import closient.tally.fields
import closient.tally.triggers
import django.db.models.deletion
import django.db.models.expressions
import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations, models


# The facts that a product's own columns have: all but images (16) and offers (128).
OWN_FACTS = 303

# The triggers of the new table post its rows to the tally: in place of those of the products, and
# by status. No one writes meanwhile, because the triggers of products have been removed before.
FILL = f"""
LOCK TABLE public.tally_tallyentry IN SHARE ROW EXCLUSIVE MODE;
DELETE FROM public.tally_tallyentry WHERE account = 'products';
SET LOCAL closient.repair_tally = 'on';
INSERT INTO public.catalog_productsummary (product_id, organization_id, status, own_facts,
        image_count, active_offer_count, certified_during)
    SELECT id, organization_id, status, facts & {OWN_FACTS},
        image_count, active_offer_count, certified_during
    FROM public.catalog_product ORDER BY id;
SET LOCAL closient.repair_tally = '';
"""
# Runs when the products have their former columns again.
EMPTY = """
UPDATE public.catalog_product AS p
    SET image_count = s.image_count, active_offer_count = s.active_offer_count,
        certified_during = s.certified_during
    FROM public.catalog_productsummary AS s
    WHERE s.product_id = p.id;
DELETE FROM public.tally_tallyentry WHERE account = 'products_by_status';
"""


class Migration(migrations.Migration):

    dependencies = [
        ('catalog', '0013_field_help'),
        ('certifications', '0008_field_help'),
        ('offers', '0012_field_help'),
        ('tally', '0001_initial'),
    ]

    operations = [
        pgtrigger.migrations.RemoveTrigger(
            model_name='product',
            name='tally_insert',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='product',
            name='tally_update',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='product',
            name='tally_delete',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='product',
            name='tally_truncate',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='product',
            name='keep_derived_insert',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='product',
            name='keep_derived_update',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='productimage',
            name='tally_insert',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='productimage',
            name='tally_update',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='productimage',
            name='tally_delete',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='productimage',
            name='tally_truncate',
        ),
        migrations.CreateModel(
            name='ProductSummary',
            fields=[
                ('product', models.OneToOneField(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, primary_key=True, related_name='summary', serialize=False, to='catalog.product')),
                ('status', models.CharField(choices=[('draft', 'Draft'), ('active', 'Active'), ('discontinued', 'Discontinued')], max_length=16)),
                ('own_facts', models.SmallIntegerField()),
                ('image_count', models.IntegerField(db_default=0, default=0)),
                ('active_offer_count', models.IntegerField(db_default=0, default=0)),
                ('certified_during', closient.tally.fields.DateMultiRangeField(db_default=closient.tally.fields.NoDays(), default=closient.tally.fields.no_days)),
                ('facts', models.GeneratedField(db_persist=True, expression=django.db.models.expressions.CombinedExpression(models.F('own_facts'), '+', django.db.models.expressions.CombinedExpression(models.Case(models.When(models.Q(('image_count__gt', 0)), then=models.Value(16)), default=models.Value(0)), '+', models.Case(models.When(models.Q(('active_offer_count__gt', 0)), then=models.Value(128)), default=models.Value(0)))), output_field=models.SmallIntegerField())),
            ],
            options={
                'verbose_name_plural': 'product summaries',
            },
        ),
        migrations.AddField(
            model_name='productsummary',
            name='organization',
            field=models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='accounts.organization'),
        ),
        # Counters change often: room in each page keeps those updates out of the indexes.
        migrations.RunSQL("ALTER TABLE public.catalog_productsummary SET (fillfactor = 75)", migrations.RunSQL.noop),
        pgtrigger.migrations.AddTrigger(
            model_name='productsummary',
            trigger=pgtrigger.compiler.Trigger(name='tally_insert', sql=closient.tally.triggers.CountingTriggerSql(declare='DECLARE ids uuid[]; former_ids uuid[]; organizations uuid[]; amounts integer[]; spans datemultirange[]; found bigint;', func="IF NOT EXISTS (SELECT FROM new_rows) THEN RETURN NULL; END IF;\n\n        WITH changes AS (\n            SELECT c.organization_id, c.facts, c.certified_during, c.status, sum(c.sign) AS amount\n            FROM (SELECT organization_id, facts, certified_during, status, 1 AS sign FROM new_rows) AS c\n            WHERE true\n            GROUP BY c.organization_id, c.facts, c.certified_during, c.status HAVING sum(c.sign) <> 0\n        ), entries AS (\n            INSERT INTO public.tally_tallyentry (organization_id, account, bucket, effective_on, amount)\n            SELECT c.organization_id, e.account, e.bucket, e.effective_on, sum(c.amount * e.sign)\n            FROM changes AS c CROSS JOIN LATERAL (\n        SELECT 'products' AS account, coalesce(c.facts::text, '') AS bucket, DATE '0001-01-01' AS effective_on, 1 AS sign\n        WHERE true\n        UNION ALL\n        SELECT 'products' AS account, b.bucket, b.effective_on, b.sign\n        FROM unnest(c.certified_during) AS days CROSS JOIN LATERAL (\n            VALUES\n                (coalesce(c.facts::text, ''), coalesce(lower(days), DATE '0001-01-01'), -1),\n                (coalesce((c.facts | 64)::text, ''), coalesce(lower(days), DATE '0001-01-01'), 1),\n                (coalesce((c.facts | 64)::text, ''), upper(days), -1),\n                (coalesce(c.facts::text, ''), upper(days), 1)\n        ) AS b (bucket, effective_on, sign)\n        WHERE b.effective_on IS NOT NULL AND true\n     UNION ALL \n        SELECT 'products_by_status' AS account, coalesce(c.status::text, '') || '/' || coalesce(c.facts::text, '') AS bucket, DATE '0001-01-01' AS effective_on, 1 AS sign\n        WHERE c.status <> 'active'\n        UNION ALL\n        SELECT 'products_by_status' AS account, b.bucket, b.effective_on, b.sign\n        FROM unnest(c.certified_during) AS days CROSS JOIN LATERAL (\n            VALUES\n                (coalesce(c.status::text, '') || '/' || coalesce(c.facts::text, ''), coalesce(lower(days), DATE '0001-01-01'), -1),\n                (coalesce(c.status::text, '') || '/' || coalesce((c.facts | 64)::text, ''), coalesce(lower(days), DATE '0001-01-01'), 1),\n                (coalesce(c.status::text, '') || '/' || coalesce((c.facts | 64)::text, ''), upper(days), -1),\n                (coalesce(c.status::text, '') || '/' || coalesce(c.facts::text, ''), upper(days), 1)\n        ) AS b (bucket, effective_on, sign)\n        WHERE b.effective_on IS NOT NULL AND c.status <> 'active'\n    ) AS e\n            GROUP BY c.organization_id, e.account, e.bucket, e.effective_on\n            HAVING sum(c.amount * e.sign) <> 0\n            RETURNING organization_id\n        )\n        SELECT array_agg(f.organization_id) INTO organizations\n            FROM (\n                SELECT organization_id, greatest(count(*), 128) AS amount\n                FROM entries GROUP BY organization_id\n                HAVING random() < count(*) / 128.0\n            ) AS f\n            WHERE 4 * f.amount > random() * (\n                SELECT count(*) FROM public.tally_tallyentry AS t WHERE t.organization_id = f.organization_id\n            );\n        IF organizations IS NOT NULL\n            AND current_setting('transaction_isolation') = 'read committed'\n        THEN\n            PERFORM public.tally_fold(organizations);\n        END IF;\n    \nRETURN NULL;", hash='451005b02f1fe87c86bb1ecbbec303d8355046f4', level='STATEMENT', operation='INSERT', pgid='pgtrigger_tally_insert_6ce2f', referencing='REFERENCING NEW TABLE AS new_rows ', table='catalog_productsummary', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='productsummary',
            trigger=pgtrigger.compiler.Trigger(name='tally_update', sql=closient.tally.triggers.CountingTriggerSql(declare='DECLARE ids uuid[]; former_ids uuid[]; organizations uuid[]; amounts integer[]; spans datemultirange[]; found bigint;', func="IF NOT EXISTS (SELECT FROM new_rows) THEN RETURN NULL; END IF;\n\n        WITH changes AS (\n            SELECT c.organization_id, c.facts, c.certified_during, c.status, sum(c.sign) AS amount\n            FROM (SELECT organization_id, facts, certified_during, status, 1 AS sign FROM new_rows UNION ALL SELECT organization_id, facts, certified_during, status, -1 AS sign FROM old_rows) AS c\n            WHERE true\n            GROUP BY c.organization_id, c.facts, c.certified_during, c.status HAVING sum(c.sign) <> 0\n        ), entries AS (\n            INSERT INTO public.tally_tallyentry (organization_id, account, bucket, effective_on, amount)\n            SELECT c.organization_id, e.account, e.bucket, e.effective_on, sum(c.amount * e.sign)\n            FROM changes AS c CROSS JOIN LATERAL (\n        SELECT 'products' AS account, coalesce(c.facts::text, '') AS bucket, DATE '0001-01-01' AS effective_on, 1 AS sign\n        WHERE true\n        UNION ALL\n        SELECT 'products' AS account, b.bucket, b.effective_on, b.sign\n        FROM unnest(c.certified_during) AS days CROSS JOIN LATERAL (\n            VALUES\n                (coalesce(c.facts::text, ''), coalesce(lower(days), DATE '0001-01-01'), -1),\n                (coalesce((c.facts | 64)::text, ''), coalesce(lower(days), DATE '0001-01-01'), 1),\n                (coalesce((c.facts | 64)::text, ''), upper(days), -1),\n                (coalesce(c.facts::text, ''), upper(days), 1)\n        ) AS b (bucket, effective_on, sign)\n        WHERE b.effective_on IS NOT NULL AND true\n     UNION ALL \n        SELECT 'products_by_status' AS account, coalesce(c.status::text, '') || '/' || coalesce(c.facts::text, '') AS bucket, DATE '0001-01-01' AS effective_on, 1 AS sign\n        WHERE c.status <> 'active'\n        UNION ALL\n        SELECT 'products_by_status' AS account, b.bucket, b.effective_on, b.sign\n        FROM unnest(c.certified_during) AS days CROSS JOIN LATERAL (\n            VALUES\n                (coalesce(c.status::text, '') || '/' || coalesce(c.facts::text, ''), coalesce(lower(days), DATE '0001-01-01'), -1),\n                (coalesce(c.status::text, '') || '/' || coalesce((c.facts | 64)::text, ''), coalesce(lower(days), DATE '0001-01-01'), 1),\n                (coalesce(c.status::text, '') || '/' || coalesce((c.facts | 64)::text, ''), upper(days), -1),\n                (coalesce(c.status::text, '') || '/' || coalesce(c.facts::text, ''), upper(days), 1)\n        ) AS b (bucket, effective_on, sign)\n        WHERE b.effective_on IS NOT NULL AND c.status <> 'active'\n    ) AS e\n            GROUP BY c.organization_id, e.account, e.bucket, e.effective_on\n            HAVING sum(c.amount * e.sign) <> 0\n            RETURNING organization_id\n        )\n        SELECT array_agg(f.organization_id) INTO organizations\n            FROM (\n                SELECT organization_id, greatest(count(*), 128) AS amount\n                FROM entries GROUP BY organization_id\n                HAVING random() < count(*) / 128.0\n            ) AS f\n            WHERE 4 * f.amount > random() * (\n                SELECT count(*) FROM public.tally_tallyentry AS t WHERE t.organization_id = f.organization_id\n            );\n        IF organizations IS NOT NULL\n            AND current_setting('transaction_isolation') = 'read committed'\n        THEN\n            PERFORM public.tally_fold(organizations);\n        END IF;\n    \nRETURN NULL;", hash='60466a66807263b544f26db96c30bf73b8148828', level='STATEMENT', operation='UPDATE', pgid='pgtrigger_tally_update_8cdc8', referencing='REFERENCING OLD TABLE AS old_rows  NEW TABLE AS new_rows ', table='catalog_productsummary', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='productsummary',
            trigger=pgtrigger.compiler.Trigger(name='tally_delete', sql=closient.tally.triggers.CountingTriggerSql(declare='DECLARE ids uuid[]; former_ids uuid[]; organizations uuid[]; amounts integer[]; spans datemultirange[]; found bigint;', func="IF NOT EXISTS (SELECT FROM old_rows) THEN RETURN NULL; END IF;\n\n        WITH changes AS (\n            SELECT c.organization_id, c.facts, c.certified_during, c.status, sum(c.sign) AS amount\n            FROM (SELECT organization_id, facts, certified_during, status, -1 AS sign FROM old_rows) AS c\n            WHERE true\n            GROUP BY c.organization_id, c.facts, c.certified_during, c.status HAVING sum(c.sign) <> 0\n        ), entries AS (\n            INSERT INTO public.tally_tallyentry (organization_id, account, bucket, effective_on, amount)\n            SELECT c.organization_id, e.account, e.bucket, e.effective_on, sum(c.amount * e.sign)\n            FROM changes AS c CROSS JOIN LATERAL (\n        SELECT 'products' AS account, coalesce(c.facts::text, '') AS bucket, DATE '0001-01-01' AS effective_on, 1 AS sign\n        WHERE true\n        UNION ALL\n        SELECT 'products' AS account, b.bucket, b.effective_on, b.sign\n        FROM unnest(c.certified_during) AS days CROSS JOIN LATERAL (\n            VALUES\n                (coalesce(c.facts::text, ''), coalesce(lower(days), DATE '0001-01-01'), -1),\n                (coalesce((c.facts | 64)::text, ''), coalesce(lower(days), DATE '0001-01-01'), 1),\n                (coalesce((c.facts | 64)::text, ''), upper(days), -1),\n                (coalesce(c.facts::text, ''), upper(days), 1)\n        ) AS b (bucket, effective_on, sign)\n        WHERE b.effective_on IS NOT NULL AND true\n     UNION ALL \n        SELECT 'products_by_status' AS account, coalesce(c.status::text, '') || '/' || coalesce(c.facts::text, '') AS bucket, DATE '0001-01-01' AS effective_on, 1 AS sign\n        WHERE c.status <> 'active'\n        UNION ALL\n        SELECT 'products_by_status' AS account, b.bucket, b.effective_on, b.sign\n        FROM unnest(c.certified_during) AS days CROSS JOIN LATERAL (\n            VALUES\n                (coalesce(c.status::text, '') || '/' || coalesce(c.facts::text, ''), coalesce(lower(days), DATE '0001-01-01'), -1),\n                (coalesce(c.status::text, '') || '/' || coalesce((c.facts | 64)::text, ''), coalesce(lower(days), DATE '0001-01-01'), 1),\n                (coalesce(c.status::text, '') || '/' || coalesce((c.facts | 64)::text, ''), upper(days), -1),\n                (coalesce(c.status::text, '') || '/' || coalesce(c.facts::text, ''), upper(days), 1)\n        ) AS b (bucket, effective_on, sign)\n        WHERE b.effective_on IS NOT NULL AND c.status <> 'active'\n    ) AS e\n            GROUP BY c.organization_id, e.account, e.bucket, e.effective_on\n            HAVING sum(c.amount * e.sign) <> 0\n            RETURNING organization_id\n        )\n        SELECT array_agg(f.organization_id) INTO organizations\n            FROM (\n                SELECT organization_id, greatest(count(*), 128) AS amount\n                FROM entries GROUP BY organization_id\n                HAVING random() < count(*) / 128.0\n            ) AS f\n            WHERE 4 * f.amount > random() * (\n                SELECT count(*) FROM public.tally_tallyentry AS t WHERE t.organization_id = f.organization_id\n            );\n        IF organizations IS NOT NULL\n            AND current_setting('transaction_isolation') = 'read committed'\n        THEN\n            PERFORM public.tally_fold(organizations);\n        END IF;\n    \nRETURN NULL;", hash='e4da9eca91d3523667af42d8e7cc748b9d552be4', level='STATEMENT', operation='DELETE', pgid='pgtrigger_tally_delete_ced27', referencing='REFERENCING OLD TABLE AS old_rows ', table='catalog_productsummary', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='productsummary',
            trigger=pgtrigger.compiler.Trigger(name='tally_truncate', sql=closient.tally.triggers.CountingTriggerSql(declare='DECLARE ids uuid[]; former_ids uuid[]; organizations uuid[]; amounts integer[]; spans datemultirange[]; found bigint;', func="LOCK TABLE public.tally_tallyentry IN SHARE ROW EXCLUSIVE MODE;\nDELETE FROM public.tally_tallyentry WHERE account = 'products';\nLOCK TABLE public.tally_tallyentry IN SHARE ROW EXCLUSIVE MODE;\nDELETE FROM public.tally_tallyentry WHERE account = 'products_by_status';\nRETURN NULL;", hash='09ba00778a03c7e4f06548bd1551996f08706018', level='STATEMENT', operation='TRUNCATE', pgid='pgtrigger_tally_truncate_b288d', table='catalog_productsummary', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='productsummary',
            trigger=pgtrigger.compiler.Trigger(name='only_triggers_write', sql=closient.tally.triggers.UnconditionalTriggerSql(condition="WHEN (pg_trigger_depth() = 0 AND current_setting('closient.repair_tally', true) IS DISTINCT FROM 'on')", func="\n            IF TG_OP = 'TRUNCATE' AND NOT EXISTS (SELECT FROM public.catalog_product) THEN\n                RETURN NULL;\n            END IF;\n            RAISE EXCEPTION 'Only the database writes product summaries: write the rows that they describe.'\n                USING ERRCODE = 'check_violation',\n                    CONSTRAINT = 'catalog_productsummary_only_triggers_write';\n        ", hash='441d4aec24460d753187a903f2c8e4ee2457fc37', level='STATEMENT', operation='INSERT OR UPDATE OR DELETE OR TRUNCATE', pgid='pgtrigger_only_triggers_write_309c5', table='catalog_productsummary', when='AFTER')),
        ),
        migrations.RunSQL(FILL, EMPTY),
        migrations.AddIndex(
            model_name='productsummary',
            index=models.Index(fields=['organization', 'facts', 'status', '-product'], name='catalog_summary_facts'),
        ),
        migrations.AddIndex(
            model_name='productsummary',
            index=models.Index(fields=['organization', '-product'], include=('facts', 'status'), name='catalog_summary_newest'),
        ),
        migrations.RunSQL("ANALYZE public.catalog_productsummary", migrations.RunSQL.noop),
        migrations.RemoveIndex(
            model_name='product',
            name='catalog_product_facts',
        ),
        migrations.RemoveIndex(
            model_name='product',
            name='catalog_product_newest',
        ),
        migrations.RemoveField(
            model_name='product',
            name='facts',
        ),
        migrations.RemoveField(
            model_name='product',
            name='active_offer_count',
        ),
        migrations.RemoveField(
            model_name='product',
            name='certified_during',
        ),
        migrations.RemoveField(
            model_name='product',
            name='image_count',
        ),
        # Before the new column, which writes the table again.
        migrations.RunSQL(
            "ALTER TABLE public.catalog_product RESET (fillfactor)",
            "ALTER TABLE public.catalog_product SET (fillfactor = 85)",
        ),
        migrations.AddField(
            model_name='product',
            name='own_facts',
            field=models.GeneratedField(db_persist=True, expression=django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(models.Case(models.When(catalog.completeness.IsFilled('name'), then=models.Value(1)), default=models.Value(0)), '+', models.Case(models.When(catalog.completeness.IsFilled('description'), then=models.Value(2)), default=models.Value(0))), '+', models.Case(models.When(models.Q(('brand__isnull', False)), then=models.Value(4)), default=models.Value(0))), '+', models.Case(models.When(catalog.completeness.IsFilled('category'), then=models.Value(8)), default=models.Value(0))), '+', models.Case(models.When(catalog.completeness.HasNutrient('nutrition'), then=models.Value(32)), default=models.Value(0))), '+', models.Case(models.When(catalog.completeness.IsFilled('country_of_origin'), then=models.Value(256)), default=models.Value(0))), output_field=models.SmallIntegerField()),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='product',
            trigger=pgtrigger.compiler.Trigger(name='tally_insert', sql=closient.tally.triggers.CountingTriggerSql(declare='DECLARE ids uuid[]; former_ids uuid[]; organizations uuid[]; amounts integer[]; spans datemultirange[]; found bigint; copies_own_facts smallint[]; copies_status varchar(16)[];', func='IF NOT EXISTS (SELECT FROM new_rows) THEN RETURN NULL; END IF;\n\n            INSERT INTO public.catalog_productsummary (product_id, organization_id, own_facts, status)\n                SELECT r.id, r.organization_id, r.own_facts, r.status FROM new_rows AS r\n                ON CONFLICT (product_id) DO NOTHING;\n        \nRETURN NULL;', hash='60e4481b8acd59be7a1e63a2688382e4b83aba8c', level='STATEMENT', operation='INSERT', pgid='pgtrigger_tally_insert_d905c', referencing='REFERENCING NEW TABLE AS new_rows ', table='catalog_product', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='product',
            trigger=pgtrigger.compiler.Trigger(name='tally_update', sql=closient.tally.triggers.CountingTriggerSql(declare='DECLARE ids uuid[]; former_ids uuid[]; organizations uuid[]; amounts integer[]; spans datemultirange[]; found bigint; copies_own_facts smallint[]; copies_status varchar(16)[];', func='IF NOT EXISTS (SELECT FROM new_rows) THEN RETURN NULL; END IF;\n\n        SELECT array_agg(d.id ORDER BY d.id) FILTER (WHERE d.sign > 0), array_agg(d.own_facts ORDER BY d.id) FILTER (WHERE d.sign > 0), array_agg(d.status ORDER BY d.id) FILTER (WHERE d.sign > 0),\n            array_agg(d.id ORDER BY d.id) FILTER (WHERE d.sign < 0)\n            INTO ids, copies_own_facts, copies_status, former_ids\n            FROM (\n                SELECT c.id, c.own_facts, c.status, sum(c.sign) AS sign\n                FROM (SELECT id, own_facts, status, 1 AS sign FROM new_rows UNION ALL SELECT id, own_facts, status, -1 AS sign FROM old_rows) AS c\n                GROUP BY c.id, c.own_facts, c.status\n                HAVING sum(c.sign) <> 0\n            ) AS d;\n        IF ids IS NOT NULL THEN\n            IF ids <> former_ids THEN\n                DELETE FROM public.catalog_productsummary AS s\n                    WHERE s.product_id = ANY (former_ids) AND s.product_id <> ALL (ids);\n            END IF;\n            UPDATE public.catalog_productsummary AS s SET own_facts = copies_own_facts[width_bucket(s.product_id, ids)], status = copies_status[width_bucket(s.product_id, ids)] WHERE s.product_id = ANY (ids);\n            GET DIAGNOSTICS found = ROW_COUNT;\n            IF found < cardinality(ids) THEN \n            INSERT INTO public.catalog_productsummary (product_id, organization_id, own_facts, status)\n                SELECT r.id, r.organization_id, r.own_facts, r.status FROM public.catalog_product AS r WHERE r.id = ANY (ids)\n                ON CONFLICT (product_id) DO NOTHING;\n         END IF;\n        END IF;\n    \nRETURN NULL;', hash='86ea728542f2a258f8a4af03ff2e62b0623c837a', level='STATEMENT', operation='UPDATE', pgid='pgtrigger_tally_update_6b093', referencing='REFERENCING OLD TABLE AS old_rows  NEW TABLE AS new_rows ', table='catalog_product', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='product',
            trigger=pgtrigger.compiler.Trigger(name='tally_delete', sql=closient.tally.triggers.CountingTriggerSql(declare='DECLARE ids uuid[]; former_ids uuid[]; organizations uuid[]; amounts integer[]; spans datemultirange[]; found bigint; copies_own_facts smallint[]; copies_status varchar(16)[];', func='IF NOT EXISTS (SELECT FROM old_rows) THEN RETURN NULL; END IF;\n\n        SELECT array_agg(o.id) INTO ids FROM old_rows AS o;\n        DELETE FROM public.catalog_productsummary AS s WHERE s.product_id = ANY (ids);\n    \nRETURN NULL;', hash='ce597960484f3807961afcf3dce5795a414e1470', level='STATEMENT', operation='DELETE', pgid='pgtrigger_tally_delete_d4941', referencing='REFERENCING OLD TABLE AS old_rows ', table='catalog_product', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='product',
            trigger=pgtrigger.compiler.Trigger(name='tally_truncate', sql=closient.tally.triggers.CountingTriggerSql(declare='DECLARE ids uuid[]; former_ids uuid[]; organizations uuid[]; amounts integer[]; spans datemultirange[]; found bigint; copies_own_facts smallint[]; copies_status varchar(16)[];', func='IF EXISTS (SELECT FROM public.catalog_productsummary) THEN TRUNCATE public.catalog_productsummary; END IF;\nRETURN NULL;', hash='39219879e743cf9cd7e167f06818349cf533845a', level='STATEMENT', operation='TRUNCATE', pgid='pgtrigger_tally_truncate_6d73a', table='catalog_product', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='productimage',
            trigger=pgtrigger.compiler.Trigger(name='tally_insert', sql=closient.tally.triggers.CountingTriggerSql(declare='DECLARE ids uuid[]; former_ids uuid[]; organizations uuid[]; amounts integer[]; spans datemultirange[]; found bigint;', func='IF NOT EXISTS (SELECT FROM new_rows) THEN RETURN NULL; END IF;\n\n        SELECT array_agg(d.id ORDER BY d.id), array_agg(d.amount ORDER BY d.id)\n            INTO ids, amounts\n            FROM (\n                SELECT c.product_id AS id, sum(c.sign)::integer AS amount\n                FROM (SELECT product_id, 1 AS sign FROM new_rows) AS c\n                GROUP BY c.product_id\n                HAVING sum(c.sign) <> 0 AND true\n            ) AS d;\n        IF ids IS NOT NULL THEN\n            UPDATE public.catalog_productsummary AS s\n                SET image_count = s.image_count\n                    + amounts[width_bucket(s.product_id, ids)]\n                WHERE s.product_id = ANY (ids);\n            GET DIAGNOSTICS found = ROW_COUNT;\n            IF found < cardinality(ids) THEN \n            INSERT INTO public.catalog_productsummary (product_id, organization_id, own_facts, status, image_count)\n                SELECT r.id, r.organization_id, r.own_facts, r.status, amounts[width_bucket(r.id, ids)] FROM public.catalog_product AS r WHERE r.id = ANY (ids)\n                ON CONFLICT (product_id) DO NOTHING;\n         END IF;\n        END IF;\n    \nRETURN NULL;', hash='74125ecd0c1a124494cf3f99f809f094484ba4f1', level='STATEMENT', operation='INSERT', pgid='pgtrigger_tally_insert_620be', referencing='REFERENCING NEW TABLE AS new_rows ', table='catalog_productimage', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='productimage',
            trigger=pgtrigger.compiler.Trigger(name='tally_update', sql=closient.tally.triggers.CountingTriggerSql(declare='DECLARE ids uuid[]; former_ids uuid[]; organizations uuid[]; amounts integer[]; spans datemultirange[]; found bigint;', func='IF NOT EXISTS (SELECT FROM new_rows) THEN RETURN NULL; END IF;\n\n        SELECT array_agg(d.id ORDER BY d.id), array_agg(d.amount ORDER BY d.id)\n            INTO ids, amounts\n            FROM (\n                SELECT c.product_id AS id, sum(c.sign)::integer AS amount\n                FROM (SELECT product_id, 1 AS sign FROM new_rows UNION ALL SELECT product_id, -1 AS sign FROM old_rows) AS c\n                GROUP BY c.product_id\n                HAVING sum(c.sign) <> 0 AND true\n            ) AS d;\n        IF ids IS NOT NULL THEN\n            UPDATE public.catalog_productsummary AS s\n                SET image_count = s.image_count\n                    + amounts[width_bucket(s.product_id, ids)]\n                WHERE s.product_id = ANY (ids);\n            GET DIAGNOSTICS found = ROW_COUNT;\n            IF found < cardinality(ids) THEN \n            INSERT INTO public.catalog_productsummary (product_id, organization_id, own_facts, status, image_count)\n                SELECT r.id, r.organization_id, r.own_facts, r.status, amounts[width_bucket(r.id, ids)] FROM public.catalog_product AS r WHERE r.id = ANY (ids)\n                ON CONFLICT (product_id) DO NOTHING;\n         END IF;\n        END IF;\n    \nRETURN NULL;', hash='15ad486d3471f003c66989a341acaee3a5235f0b', level='STATEMENT', operation='UPDATE', pgid='pgtrigger_tally_update_48e01', referencing='REFERENCING OLD TABLE AS old_rows  NEW TABLE AS new_rows ', table='catalog_productimage', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='productimage',
            trigger=pgtrigger.compiler.Trigger(name='tally_delete', sql=closient.tally.triggers.CountingTriggerSql(declare='DECLARE ids uuid[]; former_ids uuid[]; organizations uuid[]; amounts integer[]; spans datemultirange[]; found bigint;', func='IF NOT EXISTS (SELECT FROM old_rows) THEN RETURN NULL; END IF;\n\n        SELECT array_agg(d.id ORDER BY d.id), array_agg(d.amount ORDER BY d.id)\n            INTO ids, amounts\n            FROM (\n                SELECT c.product_id AS id, sum(c.sign)::integer AS amount\n                FROM (SELECT product_id, -1 AS sign FROM old_rows) AS c\n                GROUP BY c.product_id\n                HAVING sum(c.sign) <> 0 AND (pg_trigger_depth() = 1 OR EXISTS (SELECT FROM public.catalog_product AS p WHERE p.id = c.product_id))\n            ) AS d;\n        IF ids IS NOT NULL THEN\n            UPDATE public.catalog_productsummary AS s\n                SET image_count = s.image_count\n                    + amounts[width_bucket(s.product_id, ids)]\n                WHERE s.product_id = ANY (ids);\n            GET DIAGNOSTICS found = ROW_COUNT;\n            IF found < cardinality(ids) THEN \n            INSERT INTO public.catalog_productsummary (product_id, organization_id, own_facts, status, image_count)\n                SELECT r.id, r.organization_id, r.own_facts, r.status, amounts[width_bucket(r.id, ids)] FROM public.catalog_product AS r WHERE r.id = ANY (ids)\n                ON CONFLICT (product_id) DO NOTHING;\n         END IF;\n        END IF;\n    \nRETURN NULL;', hash='d97d993d4fdb59964ee52af0375165007bb751cc', level='STATEMENT', operation='DELETE', pgid='pgtrigger_tally_delete_f1741', referencing='REFERENCING OLD TABLE AS old_rows ', table='catalog_productimage', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='productimage',
            trigger=pgtrigger.compiler.Trigger(name='tally_truncate', sql=closient.tally.triggers.CountingTriggerSql(declare='DECLARE ids uuid[]; former_ids uuid[]; organizations uuid[]; amounts integer[]; spans datemultirange[]; found bigint;', func='UPDATE public.catalog_productsummary SET image_count = 0 WHERE image_count <> 0;\nRETURN NULL;', hash='6a778728ef10d2fa40788f7ef8354ea7abee0528', level='STATEMENT', operation='TRUNCATE', pgid='pgtrigger_tally_truncate_f8427', table='catalog_productimage', when='AFTER')),
        ),
        # A new column has no statistics.
        migrations.RunSQL("ANALYZE public.catalog_product", migrations.RunSQL.noop),
    ]
