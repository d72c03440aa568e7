"""Search by words: what a text is found by, and what finds it.

Both are functions of the database, made by a migration: the index and every query use one rule.
Words end at punctuation; case, accents and compatibility characters make no difference; in scripts
without blanks, each part of a word is one.
"""

from __future__ import annotations

from django.contrib.postgres.search import SearchQueryField, SearchVectorField
from django.db.models import BooleanField, Func, TextField, Value
from django.db.models.functions import Cast


class SearchWords(Func):
    """The words of a column, as the index holds them."""

    function = "public.catalog_search_vector"
    arity = 1
    output_field = SearchVectorField()


class SearchText(Func):
    """What a person looks for: all words, each as it is or as the beginning of one."""

    function = "public.catalog_search_query"
    arity = 1
    output_field = SearchQueryField()

    def __init__(self, text: str) -> None:
        super().__init__(Cast(Value(text), TextField()))


class Finds(Func):
    """Whether a text that is looked for finds a column."""

    template = "(%(expressions)s)"
    arg_joiner = " @@ "
    arity = 2
    output_field = BooleanField()

    def __init__(self, column: str, text: str) -> None:
        super().__init__(SearchWords(column), SearchText(text))
