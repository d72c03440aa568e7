"""Pagination: the query parameters and the response envelope of lists."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self, TypeVar

from django.http import QueryDict
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from closient.http import cursors, parameters
from closient.http.cursors import Position
from closient.http.parameters import Parameter
from closient.http.problems import Problem

Row = TypeVar("Row")

DEFAULT_SIZE = 25
MAX_PAGE_SIZE = 100
# Far past every end, and safe to multiply by the size.
LAST_PAGE = 1_000_000_000

EXAMPLE_CURSOR = "WzEsIk9hdCBkcmluayJd.VqQ4jV0w2lJ1mHn7c5rX8t3bYkZs9uDfGaEoPiRxNhM"
NO_CURSOR = (
    "Not a cursor of this list: use the `next_after` of a page with the same filters and ordering."
)


def _read_cursor(text: str) -> str:
    if len(text) > cursors.MAX_CURSOR_LENGTH or not re.fullmatch(cursors.PATTERN, text):
        raise parameters.InvalidParameter("cursor", NO_CURSOR)
    return text


def cursor_parameter(description: str) -> Parameter:
    """Return the parameter ``after``, which takes a cursor."""
    return Parameter(
        "after",
        description,
        _read_cursor,
        {
            "type": "string",
            "maxLength": cursors.MAX_CURSOR_LENGTH,
            "pattern": cursors.PATTERN,
            "examples": [EXAMPLE_CURSOR],
        },
    )


PARAMETERS = (
    parameters.integer(
        "page",
        "Page number, from 1 (the default). A page past the end is empty.",
        minimum=1,
        maximum=LAST_PAGE,
        example=1,
    ),
    parameters.integer(
        "page_size",
        f"How many rows a page has, {DEFAULT_SIZE} by default.",
        minimum=1,
        maximum=MAX_PAGE_SIZE,
        example=DEFAULT_SIZE,
    ),
    cursor_parameter(
        "Instead of `page`: the `next_after` of another page. Returns the rows after its last "
        "row. Following it reads every row that keeps its place exactly once, even if rows are "
        "added or deleted in between. The filters and `ordering` must be the same."
    ),
)
_NAMES = {parameter.name for parameter in PARAMETERS}


@dataclasses.dataclass(frozen=True)
class Page:
    """The requested page: its number, from 1, and its size in rows."""

    number: int
    size: int

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Page:
        """Return the page for parameters read by ``read_query``."""
        return cls(values["page"] or 1, values["page_size"] or DEFAULT_SIZE)

    @property
    def start(self) -> int:
        """The number of rows before the page."""
        return (self.number - 1) * self.size

    @property
    def end(self) -> int:
        """The number of rows up to the end of the page, if it is full."""
        return self.start + self.size


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListPage(Page):
    """The requested page of a list, by number or by cursor.

    After a cursor there is one row more than fits on the page, if there is one: it says whether
    another page follows.
    """

    request: Request
    list_id: str
    after: Position | None = None

    @classmethod
    def read(cls, request: Request, declared: Iterable[Parameter]) -> tuple[Self, dict[str, Any]]:
        """Return the page, and the values of all declared parameters.

        Raises a ``validation_error`` for wrong values, a cursor of another list, and a cursor
        beside a page number.
        """
        values = parameters.read_query(request.query_params, declared)
        list_id = _list_id(request, values)
        page = Page.of(values)
        if values["after"] is None:
            return cls(page.number, page.size, request=request, list_id=list_id), values
        if values["page"] is not None:
            raise after_problem("exclusive", "Give either `page` or `after`.")
        try:
            number, *after = cursors.decode(list_id, values["after"])
        except ValueError:
            raise after_problem("cursor", NO_CURSOR) from None
        return cls(number, page.size, request=request, list_id=list_id, after=after), values

    @property
    def start(self) -> int:
        """The number of rows before the page; 0 with a cursor."""
        return 0 if self.after is not None else super().start

    @property
    def end(self) -> int:
        """The number of rows to read for the page, including those before it."""
        return self.size + 1 if self.after is not None else super().end

    def answer(
        self,
        rows: Sequence[Row],
        *,
        total_count: int,
        show: Callable[[Sequence[Row]], Any],
        position: Callable[[Row], Position],
    ) -> Response:
        """Return the response with the rows from ``start`` to ``end``.

        ``show`` returns rows as the answer shows them, ``position`` where a row is in the order.
        """
        total_pages = -(-total_count // self.size)
        has_next = len(rows) > self.size if self.after is not None else self.number < total_pages
        shown = rows[: self.size]
        next_after = None
        if has_next and shown:
            next_after = cursors.encode(self.list_id, [self.number + 1, *position(shown[-1])])
        body = {
            "data": show(shown),
            "pagination": {
                "page": self.number,
                "page_size": self.size,
                "total_count": total_count,
                "total_pages": total_pages,
                "has_next": has_next,
                "has_previous": self.number > 1 and total_count > 0,
                "next_after": next_after,
            },
        }
        return Response(body, headers=self._link(next_after) if next_after else {})

    def _link(self, next_after: str) -> dict[str, str]:
        """Return the Link header of the next page (RFC 8288)."""
        query = self.request.query_params.copy()
        query.pop("page", None)
        query["after"] = next_after
        return link_header(self.request.path, query)


def link_header(path: str, query: QueryDict) -> dict[str, str]:
    """Return the Link header of a next page (RFC 8288)."""
    return {"Link": f'<{path}?{query.urlencode(safe=",")}>; rel="next"'}


def after_problem(code: str, detail: str) -> Problem:
    """Return the problem of a cursor."""
    return Problem("validation_error", errors=[parameters.parameter_error("after", code, detail)])


def _list_id(request: Request, values: Mapping[str, Any]) -> str:
    """Return the identity of a list: its URL, filters and order."""
    match: Any = request._request.resolver_match
    filters = {
        name: sorted(value) if isinstance(value, frozenset) else value
        for name, value in values.items()
        if name not in _NAMES and value is not None
    }
    return f"{match.route} {sorted(match.kwargs.items())} {sorted(filters.items())}"


class PaginationSerializer(serializers.Serializer[Any]):
    """The position of a page in its list."""

    page = serializers.IntegerField(
        min_value=1,
        help_text="Number of this page, from 1. With a cursor: one more than the page that "
        "returned it.",
        style={"example": 1},
    )
    page_size = serializers.IntegerField(
        min_value=1,
        max_value=MAX_PAGE_SIZE,
        help_text="Rows per page.",
        style={"example": DEFAULT_SIZE},
    )
    total_count = serializers.IntegerField(
        min_value=0, help_text="Rows on all pages.", style={"example": 87}
    )
    total_pages = serializers.IntegerField(
        min_value=0, help_text="Number of the last page; 0 without rows.", style={"example": 4}
    )
    has_next = serializers.BooleanField(
        help_text="Whether a page with rows follows.", style={"example": True}
    )
    has_previous = serializers.BooleanField(
        help_text="Whether rows come before this page.", style={"example": False}
    )
    next_after = serializers.CharField(
        allow_null=True,
        help_text="Cursor of the next page, for `after`; null on the last page. The `Link` "
        "header has its URL.",
        style={"example": EXAMPLE_CURSOR},
    )


@functools.cache
def page_of(
    serializer: type[serializers.BaseSerializer[Any]],
) -> type[serializers.BaseSerializer[Any]]:
    """Return the serializer of a page whose rows another serializer shows (for the document)."""
    name = serializer.__name__.removesuffix("Serializer")
    members = {
        "__doc__": "One page of a list.",
        "data": serializer(many=True, help_text="The rows of this page, in the list's order."),
        "pagination": PaginationSerializer(help_text="The position of the page in the list."),
    }
    return type(f"{name}PageSerializer", (serializers.Serializer,), members)
