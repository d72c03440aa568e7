"""What the pages of products, offers and certificates share: lists, forms and deletion.

A list is declared once as a :class:`ListView`: the API parameters it reads, its filters, columns
and templates, and the functions that fetch its rows. The pages that create, edit and delete a row
use :class:`RowPages`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.contrib import messages
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, QueryDict, StreamingHttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from catalog.models import Product, ProductImage
from closient.accounts.models import Organization
from closient.accounts.permissions import Access
from closient.db.ids import format_id, parse_id
from closient.db.transactions import run_with_retry
from closient.http.pagination import MAX_PAGE_SIZE, Page
from closient.http.parameters import read_query
from closient.http.problems import FieldError, Problem
from dashboard.exports.formats import FORMAT, SEPARATOR, ExportFormat
from dashboard.exports.responses import list_response
from dashboard.exports.snapshots import Exporter
from dashboard.exports.tables import ExportTable
from dashboard.pages import filter_form
from dashboard.pages.base import is_fragment, render_page, row_or_404
from dashboard.pages.filter_form import ListQuery
from dashboard.pages.forms import BodyForm, VersionedForm, return_url
from dashboard.pages.list_display import PAGE_SIZES, Display, page_numbers, save_display
from dashboard.pages.saved_views import delete_view, save_view, view_links, view_of

_Row = TypeVar("_Row", bound=Model)
_Created = TypeVar("_Created")
_Values = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a list; ``up`` and ``down`` are the values of ``ordering`` that sort by it.

    Users choose whether a column with a ``name`` is shown; an ``is_extra`` one is not by default.
    """

    label: str
    up: str | None = None
    down: str | None = None
    css: str = ""
    name: str = ""
    is_extra: bool = False


@dataclasses.dataclass(frozen=True)
class Heading:
    """A column heading: its ``aria-sort`` value, and the query that a click on it leads to."""

    column: Column
    sorted: str
    query: str | None


@dataclasses.dataclass(frozen=True)
class PageLink:
    """A page number of the pager and its query; a gap between numbers without one."""

    number: int | None
    query: str
    is_current: bool


@dataclasses.dataclass(frozen=True)
class ExportLink:
    """An entry of the export menu: its label, what the format is for, and the URL of the file."""

    label: str
    note: str
    url: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListView:
    """A list page of an organization, with its export and bulk actions.

    ``name`` gives the routes ``page-<name>`` and ``page-<name>-<action>`` for the actions
    ``export``, ``display``, ``views`` and ``bulk``.
    ``row_list`` declares the filters and returns the rows. ``shown`` prepares a row of a list for
    the template.

    ``create_route`` and ``create_label`` are the link to the page that creates a row,
    ``bulk_actions`` the value and label of each button for the selected rows. Templates: ``rows``
    renders the table rows (it loops over ``rows``), ``empty`` the text for an organization without
    any rows, ``footer`` what follows the list.
    """

    name: str
    title: str
    one: str
    many: str
    row_list: Any
    columns: Sequence[Column]
    export_table: ExportTable
    create_route: str
    create_label: str
    bulk_actions: Sequence[tuple[str, str]] = ()
    shown: Callable[[Any, Any], Any] | None = None
    rows: str
    empty: str
    footer: str = ""
    # The id of the product of a row, whose thumbnail is shown.
    product_of: Callable[[Any], UUID]

    @property
    def optional_columns(self) -> list[Column]:
        """The columns that users can show or hide."""
        return [column for column in self.columns if column.name]

    @property
    def display_route(self) -> str:
        """The route of the display."""
        return f"{self.route}-display"

    @property
    def route(self) -> str:
        """The route of the list."""
        return f"page-{self.name}"

    @property
    def bulk_route(self) -> str:
        """The route of the bulk actions."""
        return f"{self.route}-bulk"

    @property
    def edit_route(self) -> str:
        """The route of the page that changes all rows of the list."""
        return f"{self.route}-edit"

    def url(self, organization: Organization) -> str:
        """Return the URL of the list."""
        return reverse(self.route, args=[organization.id])

    def show(self, request: HttpRequest, access: Access) -> HttpResponse:
        """Show a page of the list (a view)."""
        list_query = self._read(request.GET)
        return self._render(request, access, list_query, self.display_of(request))

    def display_of(self, request: HttpRequest) -> Display:
        """Return how the user wants the list; one query."""
        user: Any = request.user
        defaults = [column.name for column in self.optional_columns if not column.is_extra]
        return Display.of(user, self.name, defaults)

    def change_display(self, request: HttpRequest, access: Access) -> HttpResponse:
        """Remember how the user wants the list, and return to it (a view).

        Raises the ``validation_error`` problem, which becomes an error page.
        """
        user: Any = request.user
        names = [column.name for column in self.optional_columns]
        save_display(user, self.name, request.POST, names)
        list_query = self._read(QueryDict(request.POST.get("back", "").removeprefix("?")))
        is_resized = "page_size" in request.POST or "reset" in request.POST
        query = list_query.change(page_size=None) if is_resized else list_query.query_string
        return redirect(self.url(access.organization) + query)

    @property
    def views_route(self) -> str:
        """The route that saves and deletes views of the list."""
        return f"{self.route}-views"

    def change_views(self, request: HttpRequest, access: Access) -> HttpResponse:
        """Save the filters and the order under a name, or delete a view, and return to the list.

        Raises the ``validation_error`` problem, which becomes an error page.
        """
        organization = access.organization
        list_query = self._read(QueryDict(request.POST.get("back", "").removeprefix("?")))
        name, deleted_id = view_of(request.POST)
        if deleted_id:
            gone = run_with_retry(lambda: delete_view(organization, self.name, deleted_id))
            sentence = f"The view {gone} is deleted." if gone else "The view was already deleted."
        else:
            view = run_with_retry(lambda: save_view(organization, self.name, name, list_query))
            sentence = f"Saved as the view {view.name}."
        messages.success(request, sentence)
        return redirect(self.url(organization) + list_query.query_string)

    def _page(self, list_query: ListQuery, display: Display) -> Page:
        """Return the requested page, of the size in the URL or else of the display."""
        return Page(list_query.page.number, list_query.values["page_size"] or display.page_size)

    def export(self, request: HttpRequest, access: Access) -> StreamingHttpResponse:
        """Send all rows that match the filters as a file (a view).

        Raises the ``validation_error`` problem, which becomes an error page.
        """
        values = read_query(request.GET, [*self.row_list.parameters(), FORMAT, SEPARATOR])
        user: Any = request.user
        exporter = Exporter.of(user=user, key=None)
        export_format = ExportFormat(values["format"] or ExportFormat.CSV)
        return list_response(
            exporter, access.organization, self.export_table, values, export_format
        )

    def _export_links(self, access: Access, list_query: ListQuery) -> list[ExportLink]:
        """Return the entries of the export menu, which keep the filters and the order."""
        path = reverse(f"{self.route}-export", args=[access.organization.id])

        def link(label: str, note: str, **query: str) -> ExportLink:
            return ExportLink(label, note, path + list_query.change(page_size=None, **query))

        return [
            link("Excel workbook", "formatted, with filters", format="xlsx"),
            link("CSV", "commas between cells"),
            link("CSV with semicolons", "for decimal commas, as in 1,5", separator="semicolon"),
            link("JSON Lines", f"for programs, one {self.one} a line", format="jsonl"),
        ]

    def _read(self, query: QueryDict) -> ListQuery:
        return filter_form.read_list_query(query, self.row_list.parameters(), self.row_list.filters)

    def _render(
        self, request: HttpRequest, access: Access, list_query: ListQuery, display: Display
    ) -> HttpResponse:
        """Render the page of the list, or the part of it that htmx requests."""
        path = self.url(access.organization)
        if list_query.needs_redirect and not is_fragment(request):
            return redirect(path + list_query.query_string)
        row_list = self.row_list.of(access.organization, list_query.values)
        page = self._page(list_query, display)
        rows, total = row_list.page(start=page.start, end=page.end)
        if self.shown is not None:
            rows = [self.shown(row, row_list) for row in rows]
        template = "dashboard/list.html"
        if is_fragment(request):
            whole = request.headers.get("HX-Target") == "listing"
            template = "dashboard/listing.html" if whole else "dashboard/list_rows.html"
        if list_query.errors:
            rows, total = [], 0
        context = {
            "errors": filter_form.error_sentences(list_query, self.row_list.filters),
            "active_route": self.route,
            "list": self,
            "list_query": list_query,
            "path": path,
            "rows": rows,
            "total": total,
            "thumbnails": thumbnails_of(access.organization, map(self.product_of, rows)),
            "is_selecting": bool(self.bulk_actions) and bool(rows),
            "controls": filter_form.controls(list_query, self.row_list.filters),
            "hidden_fields": filter_form.hidden_fields(list_query, self.row_list.filters),
            "chips": filter_form.chips(list_query, self.row_list.filters),
            "headings": self._headings(list_query, display),
            "display": display,
            "views": view_links(access.organization, self.name, list_query),
            "shown": display.columns,
            "page_size": page.size,
            "page_sizes": PAGE_SIZES,
            "pages": self._page_links(list_query, page, total),
            "first": page.start + 1,
            "last": page.start + len(rows),
            "previous": list_query.change(page=page.number - 1 if page.number > 2 else None)
            if page.number > 1
            else None,
            "next": list_query.change(page=page.number + 1) if page.end < total else None,
            "export_links": self._export_links(access, list_query),
            # Queried only by an empty list.
            "has_products": Product.objects.of(access.organization).exists,
        }
        response = render_page(request, template, context, status=422 if list_query.errors else 200)
        if is_fragment(request):
            response.headers["HX-Push-Url"] = path + list_query.query_string
        return response

    def _page_links(self, list_query: ListQuery, page: Page, total: int) -> list[PageLink]:
        return [
            PageLink(
                number,
                list_query.change(page=number if number and number > 1 else None) or "?",
                number == page.number,
            )
            for number in page_numbers(page.number, -(-total // page.size))
        ]

    def _headings(self, list_query: ListQuery, display: Display) -> list[Heading]:
        order = list_query.texts.get("ordering")
        result = []
        for column in self.columns:
            if column.name and column.name not in display.columns:
                continue
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

    def redirect_to_edit(self, request: HttpRequest, access: Access) -> HttpResponse:
        """Redirect to the page that edits the selected rows."""
        query = QueryDict(mutable=True)
        query.setlist("row", [format_id(key) for key in self.selected_ids(request)])
        address = reverse(self.edit_route, args=[access.organization.id])
        url = f"{address}?{query.urlencode()}"
        if is_fragment(request):
            return HttpResponse(status=204, headers={"HX-Redirect": url})
        return redirect(url)

    def redirect_back(self, request: HttpRequest, access: Access, sentence: str) -> HttpResponse:
        """Redirect to the list with the filters it had, with a message."""
        list_query = self._read(QueryDict(request.POST.get("back", "").removeprefix("?")))
        url = self.url(access.organization) + list_query.query_string
        return redirect_with_message(request, url, sentence, target="#listing")


def _nothing(row: Model) -> Mapping[str, Any]:
    return {}


def _delete(row: Model) -> None:
    row.delete()


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowPages(Generic[_Row]):
    """The pages that create, edit and delete one row.

    ``queryset`` returns the organization's rows with what the pages show; ``lookup`` is the field
    that identifies a row in URLs. The templates get the row as ``context_name``. ``remove`` deletes
    a locked row; ``more`` returns what else the page of an existing row shows.
    """

    noun: str
    context_name: str
    list_view: ListView
    queryset: Callable[[Organization], QuerySet[_Row]]
    template: str
    delete_template: str = ""
    lookup: str = "pk"
    remove: Callable[[_Row], object] = _delete
    more: Callable[[_Row], Mapping[str, Any]] = _nothing

    def find(self, access: Access, key: UUID | str | None, *, is_locked: bool = False) -> _Row:
        """Return the organization's row with a key, or raise :class:`Http404`.

        ``key`` is ``None`` if the URL contains no valid one.
        """
        if key is None:
            raise Http404
        rows = self.queryset(access.organization).filter(**{self.lookup: key})
        return row_or_404(rows, is_locked=is_locked)

    def return_url(self, request: HttpRequest, access: Access) -> str:
        """Return the page to return to after a form; the list unless the request names one."""
        return return_url(request, self.list_view.url(access.organization))

    def create(
        self,
        request: HttpRequest,
        access: Access,
        form: BodyForm,
        write: Callable[[_Values], _Created],
    ) -> HttpResponse:
        """Show a form, and create a row with ``write(form.values)`` if it is valid."""
        if form.is_valid() and form.save(lambda: write(form.values)) is not None:
            sentence = f"{self.noun.capitalize()} added."
            return redirect_with_message(request, self.return_url(request, access), sentence)
        return self.render_form(request, access, form, None)

    def save(
        self,
        access: Access,
        key: UUID | str | None,
        form: VersionedForm,
        write: Callable[[_Row, _Values], object],
    ) -> _Row | None:
        """Lock the row, merge the form with newer changes, and call ``write(row, form.values)``.

        Returns the row; ``None`` if the form is not submitted, or has errors or conflicts.
        """

        def change() -> _Row:
            row = self.find(access, key, is_locked=True)
            form.check_version(row)
            write(row, form.values)
            return row

        return form.save(change) if form.is_valid() else None

    def render_form(
        self, request: HttpRequest, access: Access, form: BodyForm, row: _Row | None
    ) -> HttpResponse:
        """Render the page of a form; ``row`` is ``None`` for a new one."""
        context = {**self._context(request, access, row), "form": form}
        status = 422 if form.is_rejected else 200
        return render_page(request, self.template, context, status=status)

    def delete(self, request: HttpRequest, access: Access, key: UUID | str | None) -> HttpResponse:
        """Ask for confirmation, and delete the row on POST."""
        row = self.find(access, key)
        if request.method == "POST":
            run_with_retry(lambda: self.remove(self.find(access, key, is_locked=True)))
            messages.success(request, f"{self.noun.capitalize()} deleted.")
            return redirect(self.return_url(request, access))
        return render_page(request, self.delete_template, self._context(request, access, row))

    def _context(self, request: HttpRequest, access: Access, row: _Row | None) -> Mapping[str, Any]:
        return {
            "active_route": self.list_view.route,
            self.context_name: row,
            "back": self.return_url(request, access),
            **(self.more(row) if row is not None else {}),
        }


def thumbnails_of(
    organization: Organization, products: Iterable[UUID]
) -> Mapping[UUID, ProductImage]:
    """Return the primary images with their thumbnails by product, for ``{% thumbnail %}``."""
    keys = set(products)
    return ProductImage.objects.all().thumbnails_of(organization, keys) if keys else {}


def read_action(request: HttpRequest, actions: Iterable[str]) -> str:
    """Return the submitted bulk action. Raises the ``validation_error`` problem for others."""
    action = request.POST.get("action", "")
    if action not in actions:
        detail = f"Must be one of {', '.join(actions)}."
        raise Problem("validation_error", errors=[FieldError("#/action", "choice", detail)])
    return action


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
