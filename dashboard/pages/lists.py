"""The list pages of products, offers and certificates.

Each list is declared once as a :class:`ListPage`: the API parameters it reads, its filters, columns
and templates. Its view parses the query, fetches a page of rows and renders them::

    list_query = PRODUCTS.read(request)
    rows, total = ...  # from list_query.page.start to list_query.page.end
    return PRODUCTS.render(request, access, list_query, rows=rows, total=total)
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.urls import reverse

from closient.accounts.permissions import Access
from closient.db.ids import parse_id
from closient.http.pagination import MAX_PAGE_SIZE
from closient.http.parameters import Parameter, read_query
from dashboard.pages import filters
from dashboard.pages.base import is_fragment, render_page
from dashboard.pages.exports import SEPARATOR
from dashboard.pages.filters import Filter, ListQuery


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a list; ``up`` and ``down`` are the values of ``ordering`` that sort by it."""

    label: str
    up: str | None = None
    down: str | None = None
    css: str = ""


@dataclasses.dataclass(frozen=True)
class Heading:
    """A column heading: its ``aria-sort`` value, and the query that a click on it leads to."""

    column: Column
    sorted: str
    query: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListPage:
    """A list page of an organization.

    Templates: ``rows`` renders the table rows (it loops over ``rows``), ``empty`` the text for an
    organization without any rows, ``bulk`` the buttons for selected rows, ``actions`` those beside
    the heading. The route of the export is ``<route>-export``.
    """

    route: str
    title: str
    one: str
    many: str
    parameters: Sequence[Parameter]
    filters: Sequence[Filter]
    columns: Sequence[Column]
    rows: str
    empty: str
    actions: str = ""
    bulk: str = ""
    bulk_route: str = ""

    def read(self, request: HttpRequest) -> ListQuery:
        """Parse the query of the list."""
        return filters.read_list_query(request.GET, self.parameters, self.filters)

    def read_export(self, request: HttpRequest) -> dict[str, Any]:
        """Parse the query of an export.

        Raises the ``validation_error`` problem, which becomes an error page.
        """
        return read_query(request.GET, [*self.parameters, SEPARATOR])

    def render(
        self,
        request: HttpRequest,
        access: Access,
        list_query: ListQuery,
        *,
        rows: Sequence[Any],
        total: int,
        **context: Any,
    ) -> HttpResponse:
        """Render the page of the list, or the part of it that htmx requests."""
        path = reverse(self.route, args=[access.organization.id])
        if list_query.needs_redirect and not is_fragment(request):
            return redirect(path + list_query.query_string)
        template = "dashboard/list.html"
        if is_fragment(request):
            whole = request.headers.get("HX-Target") == "listing"
            template = "dashboard/listing.html" if whole else "dashboard/list_rows.html"
        page = list_query.page
        if list_query.errors:
            rows, total = [], 0
        context |= {
            "errors": filters.error_sentences(list_query, self.filters),
            "active_route": self.route,
            "list": self,
            "list_query": list_query,
            "path": path,
            "rows": rows,
            "total": total,
            "is_selecting": bool(self.bulk) and bool(rows),
            "controls": filters.controls(list_query, self.filters),
            "hidden_fields": filters.hidden_fields(list_query),
            "chips": filters.chips(list_query, self.filters),
            "headings": self._headings(list_query),
            "first": page.start + 1,
            "last": page.start + len(rows),
            "previous": list_query.change(page=page.number - 1 if page.number > 2 else None)
            if page.number > 1
            else None,
            "next": list_query.change(page=page.number + 1) if page.end < total else None,
            "export": reverse(f"{self.route}-export", args=[access.organization.id])
            + list_query.change(page_size=None),
            "export_semicolons": reverse(f"{self.route}-export", args=[access.organization.id])
            + list_query.change(page_size=None, separator="semicolon"),
        }
        response = render_page(request, template, context, status=422 if list_query.errors else 200)
        if is_fragment(request):
            response.headers["HX-Push-Url"] = path + list_query.query_string
        return response

    def _headings(self, list_query: ListQuery) -> list[Heading]:
        order = list_query.texts.get("ordering")
        result = []
        for column in self.columns:
            current = {column.up: "ascending", column.down: "descending"}.get(order) or ""
            if order is None or (column.up is None and column.down is None):
                current = ""
            if current == "ascending":
                next_order = column.down
            elif current == "descending":
                next_order = None
            else:
                next_order = column.up or column.down
            is_sortable = column.up is not None or column.down is not None
            query = (list_query.change(ordering=next_order) or "?") if is_sortable else None
            result.append(Heading(column, current, query))
        return result

    def selected_ids(self, request: HttpRequest) -> list[UUID]:
        """Return the ids of the selected rows, at most a page of them.

        The ids are user input: the query that uses them must filter by organization.
        """
        return parse_ids(request.POST.getlist("row"))

    def redirect_back(self, request: HttpRequest, access: Access, sentence: str) -> HttpResponse:
        """Redirect to the list with the filters it had, with a message."""
        list_query = filters.read_list_query(
            QueryDict(request.POST.get("back", "").removeprefix("?")), self.parameters, self.filters
        )
        return redirect_with_message(
            request,
            reverse(self.route, args=[access.organization.id]) + list_query.query_string,
            sentence,
            target="#listing",
        )


def parse_ids(texts: Sequence[str]) -> list[UUID]:
    """Return the ids in texts, at most a page of a list; skips invalid ones."""
    keys = []
    for text in texts[:MAX_PAGE_SIZE]:
        try:
            keys.append(parse_id(text))
        except ValueError:
            continue
    return keys


def redirect_with_message(
    request: HttpRequest, address: str, sentence: str, *, target: str | None = None
) -> HttpResponse:
    """Redirect after a write, with a success message on the next page.

    For htmx with a ``target``, only that element is reloaded and the message is shown at once.
    """
    if not is_fragment(request):
        messages.success(request, sentence)
        return redirect(address)
    if target is None:
        messages.success(request, sentence)
        return HttpResponse(status=204, headers={"HX-Redirect": address})
    location = {"path": address, "target": target, "swap": "outerHTML"}
    events = json.dumps({"say": sentence})
    return HttpResponse(
        status=204, headers={"HX-Location": json.dumps(location), "HX-Trigger": events}
    )
