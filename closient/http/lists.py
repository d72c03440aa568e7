"""Lists of rows: filters that are declared once, an order, and pages."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from django.db.models import Q

from closient.http import pagination
from closient.http.cursors import Position
from closient.http.parameters import Parameter


@dataclasses.dataclass(frozen=True, kw_only=True)
class Filter:
    """A filter of a list: a query parameter, a control on the page, and a chip above the list.

    ``condition`` returns the filter of the rows for a value and the list. ``matches`` returns
    whether the rows of a tally bucket pass, for a value, the bucket and the list: such a filter
    costs no counting of rows. A filter has one of them or both.

    ``labels`` are the page's texts for values; those named come first. ``chip`` is a format of
    ``label`` and ``text``. ``blank`` is the chip of an empty value, for parameters where an empty
    value has a meaning. ``help`` is shown in an empty search field. A filter without
    ``has_control`` is for programs: the page shows its chip if the URL has it. ``suggest`` is what
    the page suggests in a text field, a kind of :mod:`dashboard.suggestions`.
    """

    parameter: Parameter
    condition: Callable[[Any, Any], Q] | None = None
    matches: Callable[[Any, Any, Any], bool] | None = None
    label: str
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    chip: str = "{label}: {text}"
    blank: str = ""
    help: str = ""
    has_control: bool = True
    suggest: str = ""

    @property
    def name(self) -> str:
        """The name of the parameter."""
        return self.parameter.name

    @property
    def kind(self) -> str:
        """The control: ``search``, ``select``, ``checks``, ``number``, ``date`` or ``text``."""
        schema = self.parameter.schema
        if self.name == "q":
            return "search"
        if schema["type"] == "array":
            return "checks"
        if "enum" in schema or schema["type"] == "boolean":
            return "select"
        if schema["type"] == "integer":
            return "number"
        return "date" if schema.get("format") == "date" else "text"

    @property
    def words(self) -> Sequence[str]:
        """The values to choose from, those with labels first; empty for other controls."""
        schema = self.parameter.schema
        allowed: Sequence[str] = (
            ("true", "false")
            if schema["type"] == "boolean"
            else schema.get("items", schema).get("enum", ())
        )
        return [*self.labels, *(word for word in allowed if word not in self.labels)]

    @property
    def minimum(self) -> int | None:
        """The lowest number."""
        bound: int | None = self.parameter.schema.get("minimum")
        return bound

    @property
    def maximum(self) -> int | None:
        """The highest number."""
        bound: int | None = self.parameter.schema.get("maximum")
        return bound


class RowList:
    """A list of rows: declared filters with their ``values`` by name, and an order.

    ``values`` are those of the query parameters, ``None`` for one that is not set.
    """

    filters: ClassVar[Sequence[Filter]]
    ordering: ClassVar[Parameter]
    values: Mapping[str, Any]

    @classmethod
    def parameters(cls) -> tuple[Parameter, ...]:
        """Return the query parameters of the list, in the API and on the page."""
        return (*cls.unpaged_parameters(), *pagination.PARAMETERS)

    @classmethod
    def unpaged_parameters(cls) -> tuple[Parameter, ...]:
        """Return the query parameters of the whole list: its filters and its order."""
        return (*(one.parameter for one in cls.filters), cls.ordering)

    @functools.cached_property
    def given(self) -> list[tuple[Filter, Any]]:
        """The filters that are set, with their values."""
        values = ((one, self.values.get(one.name)) for one in self.filters)
        return [(one, value) for one, value in values if value is not None]

    @property
    def is_counted(self) -> bool:
        """Whether the tally can count the rows: no other filters are set than by its buckets."""
        return all(one.matches is not None for one, _ in self.given)

    def matches(self, bucket: Any) -> bool:
        """Return whether the rows of a tally bucket pass the filters by bucket."""
        return all(one.matches(value, bucket, self) for one, value in self.given if one.matches)

    def conditions(self) -> list[Q]:
        """Return the conditions of the filters that are set."""
        return [one.condition(value, self) for one, value in self.given if one.condition]


class PagedList(Protocol):
    """What endpoints and pages need of a list."""

    def page(self, *, start: int, end: int, after: Position | None = None) -> tuple[list[Any], int]:
        """Return the rows from ``start`` to ``end`` and the total; both count from ``after``."""

    def position(self, row: Any) -> Position:
        """Return the position of a row in the order."""
