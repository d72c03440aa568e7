"""Full-text search: SQL functions that index a text and parse a search.

Both are database functions created by a migration, so the index and every query split words the
same way. Words end at punctuation; case, accents and compatibility characters are ignored; in
scripts without spaces, each part of a word is a word.
"""

from __future__ import annotations

from django.contrib.postgres.search import SearchQueryField, SearchVectorField
from django.db.models import BooleanField, Func, TextField, Value
from django.db.models.functions import Cast


class SearchWords(Func):
    """SQL: the words of a column, as the index stores them."""

    function = "public.catalog_search_vector"
    arity = 1
    output_field = SearchVectorField()


class SearchText(Func):
    """SQL: a search for all words of a text, each as a whole word or a prefix."""

    function = "public.catalog_search_query"
    arity = 1
    output_field = SearchQueryField()

    def __init__(self, text: str) -> None:
        super().__init__(Cast(Value(text), TextField()))


class Finds(Func):
    """SQL: the column matches the search text."""

    template = "(%(expressions)s)"
    arg_joiner = " @@ "
    arity = 2
    output_field = BooleanField()

    def __init__(self, column: str, text: str) -> None:
        super().__init__(SearchWords(column), SearchText(text))
