import django.contrib.postgres.indexes
from django.db import migrations

import catalog.search

# Characters by what a search makes of them: ideographs, kana and hangul, whose words no blanks
# divide; signs between words; accents and what cannot be seen.
DENSE = r"\u3005-\u3007\u3040-\u30FF\u3400-\u9FFF\uAC00-\uD7AF\uF900-\uFAFF\U00020000-\U0003FFFF"
SEPARATING = (
    r"\u0080-\u00BF\u00D7\u00F7\u2000-\u206F\u20A0-\u2BFF\u2E00-\u2E7F"
    r"\u3000-\u3004\u3008-\u303F\u30FB"
)
IGNORED = r"\u00AD\u0300-\u036F\u200B-\u200F\u2060\uFE00-\uFE0F\uFEFF"
# What a name is found by. Plain ASCII, as most names are, takes the short way. Otherwise:
# compatibility characters as their plain ones, no accents, lower case with one sigma, a few letters
# as two; and each dense character with the one after it. The beginnings of these pairs are the
# single characters.
WORDS = r"""
CREATE FUNCTION public.catalog_search_words(value text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $function$
DECLARE
    folded text;
    words text[];
    pairs text[] := '{}';
BEGIN
    IF octet_length(value) = char_length(value) THEN
        folded := lower(value);
    ELSE
        folded := regexp_replace(normalize(value, NFKD), '[IGNORED]+', '', 'g');
        folded := translate(lower(normalize(folded, NFKC)), 'ςıøłđħŧ', 'σioldht');
        folded := replace(replace(replace(folded, 'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe');
        folded := regexp_replace(folded, '[SEPARATING]+', ' ', 'g');
        IF folded ~ '[DENSE]' THEN
            SELECT array_agg(one || CASE WHEN following ~ '[DENSE]' THEN following ELSE '' END)
            INTO pairs
            FROM (
                SELECT one, lead(one) OVER (ORDER BY place) AS following
                FROM regexp_split_to_table(folded, '') WITH ORDINALITY AS piece (one, place)
            ) AS characters
            WHERE one ~ '[DENSE]';
            folded := regexp_replace(folded, '[DENSE]+', ' ', 'g');
        END IF;
    END IF;
    -- A number with decimals is one word, whichever mark it has.
    IF folded ~ '[0-9][.,][0-9]' THEN
        folded := regexp_replace(folded, '([0-9])[.,](?=[0-9])', '\1٫', 'g');
    END IF;
    IF folded ~ '[^\u0020a-z0-9\u0080-\U0010FFFF]' THEN
        folded := regexp_replace(folded, '[\u0001-\u002F\u003A-\u0060\u007B-\u007F]+', ' ', 'g');
    END IF;
    words := array_remove(string_to_array(folded, ' '), '');
    -- A lexeme has 2,046 bytes at most; characters can become several.
    IF octet_length(folded) > 2046 THEN
        words := ARRAY(SELECT left(word, 255) FROM unnest(words) AS word);
    END IF;
    RETURN words || pairs;
END
$function$
"""
for name, characters in (("DENSE", DENSE), ("SEPARATING", SEPARATING), ("IGNORED", IGNORED)):
    WORDS = WORDS.replace(f"[{name}]", f"[{characters}]")
VECTOR = """
CREATE FUNCTION public.catalog_search_vector(value text) RETURNS tsvector
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $function$
BEGIN
    RETURN array_to_tsvector(public.catalog_search_words(value));
END
$function$
"""
# All words, each as it is or as the beginning of one.
QUERY = """
CREATE FUNCTION public.catalog_search_query(value text) RETURNS tsquery
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $function$
DECLARE
    words text[] := public.catalog_search_words(value);
BEGIN
    IF words = '{}' THEN
        RETURN ''::tsquery;
    END IF;
    RETURN ('''' || array_to_string(words, ''':* & ''') || ''':*')::tsquery;
END
$function$
"""


class Migration(migrations.Migration):

    dependencies = [
        ("catalog", "0006_updated_by"),
    ]

    operations = [
        migrations.RunSQL(WORDS, "DROP FUNCTION public.catalog_search_words(text)"),
        migrations.RunSQL(VECTOR, "DROP FUNCTION public.catalog_search_vector(text)"),
        migrations.RunSQL(QUERY, "DROP FUNCTION public.catalog_search_query(text)"),
        migrations.RemoveIndex(
            model_name="product",
            name="catalog_product_words",
        ),
        migrations.AddIndex(
            model_name="product",
            index=django.contrib.postgres.indexes.GinIndex(
                catalog.search.SearchWords("name"), name="catalog_product_words"
            ),
        ),
        # The planner knows nothing of a new expression until then.
        migrations.RunSQL("ANALYZE catalog_product", migrations.RunSQL.noop),
    ]
