"""What the lists of products, offers and certifications have in common.

A list is declared once, as a :class:`Listing`: which parameters of the API it reads, which filters
and columns it shows, and the templates of its rows. Its view reads the query, asks the application
for a page of rows, and shows them::

    asked = PRODUCTS.read(request)
    rows, total = ...  # from asked.page.start to asked.page.end
    return PRODUCTS.show(request, access, asked, rows=rows, total=total)
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
from closient.http.pagination import LARGEST_SIZE
from closient.http.parameters import Parameter, read_query
from dashboard.pages import filters
from dashboard.pages.base import is_fragment, show
from dashboard.pages.exports import SEPARATOR
from dashboard.pages.filters import Asked, Filter


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a list; ``up`` and ``down`` are the values of ``ordering`` that sort by it."""

    label: str
    up: str | None = None
    down: str | None = None
    css: str = ""


@dataclasses.dataclass(frozen=True)
class Heading:
    """A column as it is shown: how it sorts now (as ``aria-sort`` says it), and the next query."""

    column: Column
    sorted: str
    query: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listing:
    """A list of rows of an organization, with what is above and below it.

    ``rows`` is the template of the table rows (it loops over ``rows``), ``empty`` of what is said
    where the organization has none at all, ``bulk`` of the buttons for selected rows, ``actions``
    of those beside the heading. The route of the export is that of the list with ``-export``.
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

    def read(self, request: HttpRequest) -> Asked:
        """Return what the address of the list asks for."""
        return filters.read_asked(request.GET, self.parameters, self.filters)

    def read_strictly(self, request: HttpRequest) -> dict[str, Any]:
        """Return the values of the query, for an export: a wrong one is refused.

        Raises the API's ``validation_error``, which becomes a page.
        """
        return read_query(request.GET, [*self.parameters, SEPARATOR])

    def show(
        self,
        request: HttpRequest,
        access: Access,
        asked: Asked,
        *,
        rows: Sequence[Any],
        total: int,
        **context: Any,
    ) -> HttpResponse:
        """Return the page of the list, or the part of it that htmx asks for."""
        path = reverse(self.route, args=[access.organization.id])
        if asked.is_untidy and not is_fragment(request):
            return redirect(path + asked.address)
        template = "dashboard/list.html"
        if is_fragment(request):
            whole = request.headers.get("HX-Target") == "listing"
            template = "dashboard/listing.html" if whole else "dashboard/list_rows.html"
        page = asked.page
        if asked.errors:
            rows, total = [], 0
        context |= {
            "errors": filters.error_sentences(asked, self.filters),
            "place": self.route,
            "listing": self,
            "asked": asked,
            "path": path,
            "rows": rows,
            "total": total,
            "is_selecting": bool(self.bulk) and bool(rows),
            "controls": filters.controls(asked, self.filters),
            "kept": filters.kept(asked),
            "chips": filters.chips(asked, self.filters),
            "headings": self._headings(asked),
            "first": page.start + 1,
            "last": page.start + len(rows),
            "previous": asked.query(page=page.number - 1 if page.number > 2 else None)
            if page.number > 1
            else None,
            "next": asked.query(page=page.number + 1) if page.end < total else None,
            "export": reverse(f"{self.route}-export", args=[access.organization.id])
            + asked.query(page_size=None),
            "export_semicolons": reverse(f"{self.route}-export", args=[access.organization.id])
            + asked.query(page_size=None, separator="semicolon"),
        }
        response = show(request, template, context, status=422 if asked.errors else 200)
        if is_fragment(request):
            response.headers["HX-Push-Url"] = path + asked.address
        return response

    def _headings(self, asked: Asked) -> list[Heading]:
        order = asked.texts.get("ordering")
        result = []
        for column in self.columns:
            present = {column.up: "ascending", column.down: "descending"}.get(order) or ""
            if order is None or (column.up is None and column.down is None):
                present = ""
            if present == "ascending":
                following = column.down
            elif present == "descending":
                following = None
            else:
                following = column.up or column.down
            sorts = column.up is not None or column.down is not None
            query = (asked.query(ordering=following) or "?") if sorts else None
            result.append(Heading(column, present, query))
        return result

    def chosen(self, request: HttpRequest) -> list[UUID]:
        """Return the keys of the rows that were ticked: at most a page of them.

        They are what a browser sent: whose rows they are is for the query that uses them.
        """
        return ids_in(request.POST.getlist("row"))

    def shown_again(self, request: HttpRequest, access: Access, sentence: str) -> HttpResponse:
        """Lead back to the list as it was when its rows were ticked, and say what was done."""
        stood = filters.read_asked(
            QueryDict(request.POST.get("back", "").removeprefix("?")), self.parameters, self.filters
        )
        return shown_again(
            request,
            reverse(self.route, args=[access.organization.id]) + stood.address,
            sentence,
            target="#listing",
        )


def ids_in(texts: Sequence[str]) -> list[UUID]:
    """Return the ids in some texts, a page of a list at most; what is no id is passed over."""
    keys = []
    for text in texts[:LARGEST_SIZE]:
        try:
            keys.append(parse_id(text))
        except ValueError:
            continue
    return keys


def shown_again(
    request: HttpRequest, address: str, sentence: str, *, target: str | None = None
) -> HttpResponse:
    """Lead to an address after a write and say there, once, what was done.

    With htmx only ``target`` is fetched anew, and the sentence is said at once.
    """
    if not is_fragment(request):
        messages.success(request, sentence)
        return redirect(address)
    if target is None:
        messages.success(request, sentence)
        return HttpResponse(status=204, headers={"HX-Redirect": address})
    location = {"path": address, "target": target, "swap": "outerHTML"}
    said = json.dumps({"say": sentence})
    return HttpResponse(
        status=204, headers={"HX-Location": json.dumps(location), "HX-Trigger": said}
    )
