"""The filters of a list: form controls, chips and the URL query that holds them.

A list reads its query with the parameters of the API. The form above a list sends more than these
allow: empty fields, and one value for each checked box. Its hidden field ``form`` marks such a
query, and :func:`normalize_form_query` turns it into the query of the URL.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from django.http import QueryDict

from closient.http.lists import Filter
from closient.http.pagination import Page
from closient.http.parameters import Parameter, read_query
from closient.http.problems import Problem
from dashboard.templatetags.labels import status_label

# Hidden fields of the form: that the query comes from it, and which fields are empty on purpose
# ("No retailer").
FORM = "form"
BLANK = "blank"


def _search_first(filters: Sequence[Filter]) -> list[Filter]:
    return sorted(filters, key=lambda one: one.kind != "search")


def label_of(one: Filter, value: str) -> str:
    """Return the label of a filter's value; free text is its own label."""
    if value in one.labels:
        return one.labels[value]
    return status_label(value) if value in one.words else value


def chip_of(one: Filter, value: str) -> str:
    """Return the chip of a filter's value."""
    if not value and one.blank:
        return one.blank
    return one.chip.format(label=one.label, text=label_of(one, value))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListQuery:
    """The query of a list.

    ``texts`` are the parameters as in the URL, ``values`` as parsed by the API. With an invalid
    parameter ``values`` are those of an empty query, the list shows no rows, and ``errors`` has a
    sentence for each invalid parameter, by name.
    """

    texts: Mapping[str, str]
    values: Mapping[str, Any]
    errors: Mapping[str, str]
    # The query comes from the form: redirect to the normalized one.
    needs_redirect: bool

    @property
    def page(self) -> Page:
        """The requested page."""
        return Page.of(self.values)

    def change(self, **changes: str | int | None) -> str:
        """Return the query string with parameters changed; ``None`` removes one.

        It has no page unless ``page`` is among the changes. It starts with ``?`` unless empty.
        """
        texts = {name: text for name, text in self.texts.items() if name != "page"}
        texts |= {name: str(text) for name, text in changes.items() if text is not None}
        removed = [name for name, text in changes.items() if text is None]
        query = QueryDict(mutable=True)
        query.update({name: text for name, text in texts.items() if name not in removed})
        return f"?{query.urlencode(safe=',')}" if query else ""

    @property
    def edit_query(self) -> str:
        """The query of the page that edits the rows: the filters, without order and page."""
        return self.change(ordering=None, page_size=None)

    @property
    def query_string(self) -> str:
        """The query string of the list as shown, including its page."""
        number = self.page.number
        return self.change(page=number if number > 1 else None)


def normalize_form_query(
    query: QueryDict, parameters: Sequence[Parameter], filters: Sequence[Filter]
) -> QueryDict:
    """Return the query of the form as the query of a URL."""
    kinds = {filter_.name: filter_.kind for filter_ in filters}
    result = QueryDict(mutable=True)
    for parameter in parameters:
        name = parameter.name
        texts = [text for text in query.getlist(name) if text.strip()]
        if kinds.get(name) == "checks":
            texts = [",".join(texts)] if texts else []
        elif kinds.get(name) in ("search", "text"):
            texts = [text.strip() for text in texts]
        if not texts and name in query.getlist(BLANK):
            texts = [""]
        result.setlist(name, texts)
    return result


def read_list_query(
    query: QueryDict, parameters: Sequence[Parameter], filters: Sequence[Filter]
) -> ListQuery:
    """Parse the query of a list; errors are in ``ListQuery.errors``."""
    needs_redirect = FORM in query
    if needs_redirect:
        query = normalize_form_query(query, parameters, filters)
    given = [parameter.name for parameter in parameters if query.getlist(parameter.name)]
    texts = {name: query.getlist(name)[0] for name in given}
    try:
        values = read_query(query, parameters)
    except Problem as problem:
        errors = {error.pointer.rpartition("/")[2]: error.detail for error in problem.errors}
        empty = read_query(QueryDict(), parameters)
        return ListQuery(texts=texts, values=empty, errors=errors, needs_redirect=False)
    return ListQuery(texts=texts, values=values, errors={}, needs_redirect=needs_redirect)


def error_sentences(list_query: ListQuery, filters: Sequence[Filter]) -> list[str]:
    """Return the errors of a query, each with the label of its filter."""
    labels = {filter_.name: filter_.label for filter_ in filters}
    return [f"{labels.get(name, name)}: {detail}" for name, detail in list_query.errors.items()]


def _printable(text: str) -> str:
    """Return a query value as a page can show it: HTML cannot contain NUL."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")


@dataclasses.dataclass(frozen=True)
class Chip:
    """An active filter, and the query string without it."""

    text: str
    query: str


def chips(list_query: ListQuery, filters: Sequence[Filter]) -> list[Chip]:
    """Return a chip for each active filter, the search first; for ``checks`` one for each value."""
    result = []
    for filter_ in _search_first(filters):
        text = list_query.texts.get(filter_.name)
        if text is None:
            continue
        if filter_.kind != "checks":
            query = list_query.change(**{filter_.name: None})
            result.append(Chip(chip_of(filter_, _printable(text)), query))
            continue
        values = text.split(",")
        for value in dict.fromkeys(values):
            others = ",".join(other for other in values if other != value)
            query = list_query.change(**{filter_.name: others or None})
            result.append(Chip(chip_of(filter_, _printable(value)), query))
    return result


@dataclasses.dataclass(frozen=True)
class Control:
    """A filter with its current value, as the form shows it.

    ``options`` are (value, label, whether it is selected); ``chosen`` is the number of selected
    ones.
    """

    filter: Filter
    value: str
    options: Sequence[tuple[str, str, bool]]
    is_blank: bool
    chosen: int
    error: str


def controls(list_query: ListQuery, filters: Sequence[Filter]) -> list[Control]:
    """Return the controls of the form above the list, the search first."""
    result = []
    for filter_ in _search_first(filters):
        if not filter_.has_control:
            continue
        text = list_query.texts.get(filter_.name)
        values = (text or "").split(",") if filter_.kind == "checks" else [text or ""]
        options = [(word, label_of(filter_, word), word in values) for word in filter_.words]
        is_blank = text == "" and bool(filter_.blank)
        chosen = sum(is_chosen for _, _, is_chosen in options)
        error = list_query.errors.get(filter_.name, "")
        result.append(Control(filter_, _printable(text or ""), options, is_blank, chosen, error))
    return result


def hidden_fields(list_query: ListQuery, filters: Sequence[Filter]) -> list[tuple[str, str]]:
    """Return what the form keeps in hidden fields: ordering, page size, filters without control.

    A filter with an empty value is kept by its name in ``BLANK``.
    """
    without_control = (filter_.name for filter_ in filters if not filter_.has_control)
    kept = [
        (name, _printable(list_query.texts[name]))
        for name in ("ordering", "page_size", *without_control)
        if name in list_query.texts
    ]
    return [(name, text) if text else (BLANK, name) for name, text in kept]
