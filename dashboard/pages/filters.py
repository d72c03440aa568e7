"""The filters of a list as a person sets them, and the address that holds them.

A list reads its query by the declarations of the API. The form above it may send more than those
allow: a field that was left empty, a word for each box that was ticked. Its marker tells, and
``tidy`` makes of it what stands in the address bar.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from django.http import QueryDict

from closient.http.pagination import Page
from closient.http.parameters import Parameter, read_query
from closient.http.problems import Problem

# In the query of the form: that it comes from there, and which empty field means "without any".
FORM = "form"
BLANK = "blank"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Filter:
    """A parameter of the list as a control and, once it is set, as a chip.

    ``kind`` is the control: ``search``, ``text``, ``number``, ``date``, ``select`` or ``checks``
    (several words at once). ``options`` are (word, text). ``blank`` is the chip of an empty text,
    for parameters where that means something.
    """

    name: str
    label: str
    kind: str = "text"
    options: Sequence[tuple[str, str]] = ()
    chip: str = "{label}: {text}"
    blank: str = ""
    help: str = ""
    minimum: int | None = None
    maximum: int | None = None

    def text_of(self, word: str) -> str:
        """Return what a value of the query is called."""
        return dict(self.options).get(word, word)

    def chip_of(self, value: str) -> str:
        """Return the chip of a value."""
        if not value and self.blank:
            return self.blank
        return self.chip.format(label=self.label, text=self.text_of(value))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """What the query of a list asks for.

    ``texts`` are the parameters as they stand in the address, ``values`` as the API reads them.
    Where one of them is wrong there are no values, the list shows no rows, and ``errors`` says why
    in a sentence for each wrong parameter, by name.
    """

    texts: Mapping[str, str]
    values: Mapping[str, Any]
    errors: Mapping[str, str]
    # The query came from the form as it is: the address has to be put in order.
    is_untidy: bool

    @property
    def page(self) -> Page:
        """The page that is asked for."""
        return Page.of(self.values)

    def query(self, **changes: str | int | None) -> str:
        """Return the query with some parameters changed, ``None`` leaving one out.

        It leads to the first page, unless the page is what changes. Begins with ``?`` unless
        nothing is in it.
        """
        texts = {name: text for name, text in self.texts.items() if name != "page"}
        texts |= {name: str(text) for name, text in changes.items() if text is not None}
        gone = [name for name, text in changes.items() if text is None]
        query = QueryDict(mutable=True)
        query.update({name: text for name, text in texts.items() if name not in gone})
        return f"?{query.urlencode(safe=',')}" if query else ""

    @property
    def address(self) -> str:
        """The query of the list as it is shown, its page included."""
        number = self.page.number
        return self.query(page=number if number > 1 else None)


def tidy(query: QueryDict, parameters: Sequence[Parameter], filters: Sequence[Filter]) -> QueryDict:
    """Return the query of the form as it would stand in an address."""
    kinds = {one.name: one.kind for one in filters}
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


def read_asked(
    query: QueryDict, parameters: Sequence[Parameter], filters: Sequence[Filter]
) -> Asked:
    """Return what a query asks for, or what is wrong with it."""
    is_untidy = FORM in query
    if is_untidy:
        query = tidy(query, parameters, filters)
    given = [parameter.name for parameter in parameters if query.getlist(parameter.name)]
    texts = {name: query.getlist(name)[0] for name in given}
    try:
        values = read_query(query, parameters)
    except Problem as problem:
        errors = {error.pointer.rpartition("/")[2]: error.detail for error in problem.errors}
        nothing = read_query(QueryDict(), parameters)
        return Asked(texts=texts, values=nothing, errors=errors, is_untidy=False)
    return Asked(texts=texts, values=values, errors={}, is_untidy=is_untidy)


def error_sentences(asked: Asked, filters: Sequence[Filter]) -> list[str]:
    """Return what is wrong with a query, each sentence with the label of its filter."""
    labels = {one.name: one.label for one in filters}
    return [f"{labels.get(name, name)}: {detail}" for name, detail in asked.errors.items()]


def _shown(text: str) -> str:
    """Return a text of the query as a page can show it: HTML holds no NUL."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")


@dataclasses.dataclass(frozen=True)
class Chip:
    """A filter that is set, and the query without it."""

    text: str
    query: str


def chips(asked: Asked, filters: Sequence[Filter]) -> list[Chip]:
    """Return what is filtered by, each with the way to take it away."""
    result = []
    for one in filters:
        text = asked.texts.get(one.name)
        if text is None:
            continue
        if one.kind != "checks":
            result.append(Chip(one.chip_of(_shown(text)), asked.query(**{one.name: None})))
            continue
        words = text.split(",")
        for word in dict.fromkeys(words):
            others = ",".join(other for other in words if other != word)
            chip = one.chip_of(_shown(word))
            result.append(Chip(chip, asked.query(**{one.name: others or None})))
    return result


@dataclasses.dataclass(frozen=True)
class Control:
    """A filter with its present value, as the form shows it.

    ``options`` are (word, text, whether it is chosen).
    """

    filter: Filter
    value: str
    options: Sequence[tuple[str, str, bool]]
    is_blank: bool
    chosen: int
    error: str


def controls(asked: Asked, filters: Sequence[Filter]) -> list[Control]:
    """Return the fields of the form above the list."""
    result = []
    for one in filters:
        text = asked.texts.get(one.name)
        words = (text or "").split(",") if one.kind == "checks" else [text or ""]
        options = [(word, label, word in words) for word, label in one.options]
        is_blank = text == "" and bool(one.blank)
        chosen = sum(is_chosen for _, _, is_chosen in options)
        error = asked.errors.get(one.name, "")
        result.append(Control(one, _shown(text or ""), options, is_blank, chosen, error))
    return result


def kept(asked: Asked) -> list[tuple[str, str]]:
    """Return what the form sends along beside its fields: the order, and the size of a page."""
    return [(name, asked.texts[name]) for name in ("ordering", "page_size") if name in asked.texts]
