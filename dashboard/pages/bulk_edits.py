"""The pages that change many rows: the grid of products, one value for all, progress and undo."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import IntegrityError
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from catalog.countries import country_names
from catalog.gtin import InvalidGtin, normalize_gtin
from catalog.models import Brand, Product, ProductStatus, effective_rule
from certifications.models import VerificationStatus
from closient.accounts.actors import acting_as, current_actor
from closient.accounts.models import ApiKeyRole, Organization
from closient.accounts.permissions import Access
from closient.changes.models import Cause, Change
from closient.db.ids import format_id, parse_id
from closient.db.transactions import run_with_retry
from closient.http.pagination import MAX_PAGE_SIZE
from closient.http.problems import Problem
from closient.text.validators import InvalidField
from dashboard.bulk_edits import runs
from dashboard.bulk_edits.grid import (
    COLUMNS,
    CellsRejected,
    cell_name,
    edited_rows,
    save_cells,
    value_of,
)
from dashboard.bulk_edits.likely_values import LikelyValue, likely_values
from dashboard.bulk_edits.preview import Preview, mask_after, preview
from dashboard.bulk_edits.targets import (
    CERTIFICATES,
    OFFERS,
    PRODUCTS,
    REPLACE_IN_URL,
    Target,
)
from dashboard.models import BulkEdit, BulkEditStatus
from dashboard.numbers import NUMBERS
from dashboard.pages import filter_form
from dashboard.pages.base import is_fragment, organization_page, render_page
from dashboard.pages.resources import parse_ids, thumbnails_of
from dashboard.templatetags.labels import status_label
from offers.models import OfferStatus

ROWS_PER_PAGE = 50
# Without a choice, the grid has these columns.
DEFAULT_COLUMNS = ("name", "brand", "category", "country_of_origin")
MAX_BRANDS = 500


@dataclasses.dataclass(frozen=True)
class SetField:
    """A field that can get one value for all rows, with its control."""

    name: str
    label: str
    kind: str = "text"
    options: Sequence[tuple[str, str]] = ()

    @property
    def can_be_cleared(self) -> bool:
        """Whether the value can be empty."""
        return self.kind not in ("select", "replace", "renewal")


def _choices(words: Any) -> list[tuple[str, str]]:
    return [(word, status_label(word)) for word in words]


SET_FIELDS: Mapping[str, Sequence[SetField]] = {
    PRODUCTS.kind: (
        SetField("country_of_origin", "Country", "country"),
        SetField("brand", "Brand", "brand"),
        SetField("category", "Category"),
        SetField("manufacturer", "Manufacturer"),
        SetField("net_content", "Net content"),
        SetField("gpc_brick_code", "GPC brick"),
        SetField("status", "Status", "select", _choices(ProductStatus.values)),
        SetField("description", "Description", "long"),
        SetField("nutrition", "Nutrition, as that of the product with the GTIN"),
    ),
    OFFERS.kind: (
        SetField(REPLACE_IN_URL, "Address: replace a part", "replace"),
        SetField("status", "Status", "select", _choices(OfferStatus.values)),
        SetField("retailer", "Retailer"),
    ),
    CERTIFICATES.kind: (
        SetField("expiry_date", "Renewal: new dates and number", "renewal"),
        SetField("issuing_body", "Issuing body"),
        SetField(
            "verification_status", "Verification", "select", _choices(VerificationStatus.values)
        ),
    ),
}
_TITLES: Mapping[str, str] = {
    PRODUCTS.kind: "products",
    OFFERS.kind: "offers",
    CERTIFICATES.kind: "certifications",
}
_NOUNS: Mapping[str, tuple[str, str]] = {
    PRODUCTS.kind: ("product", "products"),
    OFFERS.kind: ("offer", "offers"),
    CERTIFICATES.kind: ("certificate", "certificates"),
}


@dataclasses.dataclass(frozen=True)
class Scope:
    """The rows that a page is about: the selected ones, or those that match the filters."""

    target: Target
    texts: Mapping[str, str]
    ids: Sequence[UUID] | None
    fields: Sequence[str]

    @classmethod
    def read(cls, target: Target, query: QueryDict) -> Scope:
        """Read it from a query, or from the ``scope`` that a form repeats."""
        names = [one.name for one in target.row_list.filters]
        texts = {name: str(query[name]) for name in names if name in query}
        ids = parse_ids(query.getlist("row")) if "row" in query else None
        fields = [name for name in query.getlist("fields") if name in COLUMNS]
        return cls(target, texts, ids, fields or list(DEFAULT_COLUMNS))

    @property
    def row_texts(self) -> list[str]:
        """The ids of the selected rows in a query; one empty text if none of them is valid."""
        return [format_id(key) for key in self.ids or ()] or [""]

    @property
    def query(self) -> str:
        """The query string of the scope."""
        query = QueryDict(mutable=True)
        query.update(self.texts)
        if self.ids is not None:
            query.setlist("row", self.row_texts)
        query.setlist("fields", list(self.fields))
        return query.urlencode(safe=",")

    def rows(self, organization: Organization) -> Any:
        """Return the rows."""
        return self.target.rows(organization, self.texts, self.ids)

    def request(self, given: Mapping[str, Any]) -> runs.Request:
        """Return the request to set values of the rows."""
        return runs.Request(self.target, self.texts if self.ids is None else None, self.ids, given)


def given_values(organization: Organization, data: QueryDict) -> dict[str, Any]:
    """Return what a form sets, as the API takes it. Raises a ``validation_error``."""
    name = data.get("set", "")
    value = data.get(f"value.{name}", "").strip()
    if name == REPLACE_IN_URL:
        return {name: {"old": data.get("old", "").strip(), "new": data.get("new", "").strip()}}
    if name == "expiry_date":
        dates = {"valid_from": data.get("valid_from", ""), "expiry_date": data.get("expiry", "")}
        number = data.get("number", "").strip()
        given = {key: text for key, text in dates.items() if text}
        return {**given, **({"certificate_number": number} if number else {})}
    if name and not value and not data.get("clear"):
        raise InvalidField("Enter a value, or choose to clear the field.", field=name, code="blank")
    if name == "nutrition" and value:
        return {name: _nutrition_of(organization, value)}
    return {name: value} if name else {}


def _nutrition_of(organization: Organization, gtin: str) -> Any:
    try:
        key = normalize_gtin(gtin)
    except InvalidGtin:
        key = ""
    found = Product.objects.of(organization).filter(gtin=key).first()
    if found is None or not found.nutrition:
        raise InvalidField(
            "Enter the GTIN of one of your products that has nutrition.",
            field="nutrition",
            code="gtin",
        )
    return found.nutrition


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell of the grid: its name in the form, the text in it, and the text that is saved."""

    field: str
    label: str
    name: str
    value: str
    saved: str
    kind: str
    error: str
    suggestion: LikelyValue | None


@dataclasses.dataclass(frozen=True)
class GridRow:
    """A product in the grid; ``percentage_after`` is that with all cells filled."""

    product: Product
    cells: Sequence[Cell]
    percentage: int
    percentage_after: int
    has_error: bool


_KINDS = {
    "description": "long",
    "country_of_origin": "country",
    "brand": "brand",
    "status": "status",
}


def _grid(
    organization: Organization,
    products: Sequence[Product],
    fields: Sequence[str],
    data: Mapping[str, str],
    errors: Mapping[str, str],
) -> list[GridRow]:
    rule, day = effective_rule(organization), organization.today()
    suggested = {field: likely_values(organization, field, products) for field in fields}
    filled = {"brand_name" if field == "brand" else field: "x" for field in fields}
    rows = []
    for product in products:
        cells = []
        for field in fields:
            name = cell_name(product.pk, field)
            saved = value_of(product, field)
            cells.append(
                Cell(
                    field,
                    COLUMNS[field],
                    name,
                    data.get(name, saved),
                    data.get(f"was.{name}", saved),
                    _KINDS.get(field, "text"),
                    errors.get(name, ""),
                    suggested[field].get(product.pk),
                )
            )
        mask = product.fact_mask(day)
        rows.append(
            GridRow(
                product,
                cells,
                rule.percentage(mask),
                rule.percentage(mask_after(mask, filled) | mask),
                any(cell.error for cell in cells),
            )
        )
    return rows


@organization_page(read_role=ApiKeyRole.EDITOR)
def edit_products(request: HttpRequest, access: Access) -> HttpResponse:
    """Show products as a grid, and save its cells or set one value for all of them."""
    return _edit(request, access, PRODUCTS)


@organization_page(read_role=ApiKeyRole.EDITOR)
def edit_offers(request: HttpRequest, access: Access) -> HttpResponse:
    """Set one value for many offers."""
    return _edit(request, access, OFFERS)


@organization_page(read_role=ApiKeyRole.EDITOR)
def edit_certificates(request: HttpRequest, access: Access) -> HttpResponse:
    """Renew many certificates, or set one value for all of them."""
    return _edit(request, access, CERTIFICATES)


def _edit(request: HttpRequest, access: Access, target: Target) -> HttpResponse:
    if request.method != "POST":
        scope = Scope.read(target, request.GET)
        return _show(request, access, scope)
    scope = Scope.read(target, QueryDict(request.POST.get("scope", "")))
    if request.POST.get("action") == "preview":
        return _show_preview(request, access, scope)
    if request.POST.get("action") == "all":
        return _set_all(request, access, scope)
    return _save_grid(request, access, scope)


def _show(  # noqa: PLR0913 - what a rejected form shows
    request: HttpRequest,
    access: Access,
    scope: Scope,
    *,
    sentence: str = "",
    errors: Mapping[str, str] | None = None,
    effect: Preview | None = None,
) -> HttpResponse:
    organization = access.organization
    is_grid = scope.target is PRODUCTS
    data: Mapping[str, str] = request.POST.dict() if request.method == "POST" else {}
    try:
        rows = scope.rows(organization)
        total = rows.count()
    except Problem as error:
        sentence = " ".join(found.detail for found in error.errors)
        rows, total = scope.target.model.objects.none(), 0
    page = _page_of(request)
    products: Sequence[Product] = []
    if is_grid:
        keys = list(rows.order_by("-pk").values_list("pk", flat=True)[_slice(page)])
        found = Product.objects.of(organization).select_related("brand", "summary")
        products = list(found.filter(pk__in=keys).order_by("-pk"))
    noun = _NOUNS[scope.target.kind]
    context = {
        "active_route": f"page-{_TITLES[scope.target.kind]}",
        "scope": scope,
        "chips": _chips(scope),
        "total": total,
        "one": noun[0],
        "many": noun[1],
        "set_fields": SET_FIELDS[scope.target.kind],
        "chosen": data.get("set") or _default_field(scope),
        "data": data,
        "sentence": sentence,
        "error_count": len(errors or {}),
        "effect": effect,
        "grid": _grid(organization, products, scope.fields, data, errors or {}),
        "thumbnails": thumbnails_of(organization, (product.pk for product in products)),
        "columns": [(name, title, name in scope.fields) for name, title in COLUMNS.items()],
        "is_grid": is_grid,
        "statuses": _choices(ProductStatus.values),
        "brands": _brands(organization) if is_grid else [],
        "countries": country_names() if is_grid else [],
        "page": page,
        "pages": -(-total // ROWS_PER_PAGE),
        "back": reverse(f"page-{_TITLES[scope.target.kind]}", args=[organization.id]),
        "path": request.path,
        "saved": _saved(request),
    }
    status = 422 if errors or sentence else 200
    return render_page(request, "dashboard/bulk_edit.html", context, status=status)


def _saved(request: HttpRequest) -> tuple[int, str] | None:
    """Return what the last save of the grid did: the products, and the id of its change."""
    text = request.GET.get("saved", "")
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        return None
    try:
        return int(text), format_id(parse_id(request.GET.get("change", "")))
    except ValueError:
        return 0, ""


def _page_of(request: HttpRequest) -> int:
    text = request.POST.get("page") or request.GET.get("page") or "1"
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 8 else 1


def _slice(page: int) -> slice:
    return slice((page - 1) * ROWS_PER_PAGE, page * ROWS_PER_PAGE)


def _default_field(scope: Scope) -> str:
    names = [one.name for one in SET_FIELDS[scope.target.kind]]
    return next((name for name in scope.fields if name in names), names[0])


def _chips(scope: Scope) -> list[str]:
    filters = {one.name: one for one in scope.target.row_list.filters}
    return [filter_form.chip_of(filters[name], text) for name, text in scope.texts.items()]


def _brands(organization: Organization) -> list[str]:
    names = Brand.objects.filter(organization=organization).order_by("name")
    return list(names.values_list("name", flat=True)[:MAX_BRANDS])


def _checked(work: Callable[[], Any]) -> tuple[Any, str]:
    """Return a result, or the sentence that says why there is none."""
    try:
        return work(), ""
    except runs.EditFailed as error:
        return None, str(error)
    except InvalidField as error:
        return None, str(error)
    except IntegrityError as error:
        return None, runs.sentence_of(error)
    except Problem as error:
        if error.kind.error_code not in ("validation_error", "conflict"):
            raise
        return None, " ".join(found.detail for found in error.errors) or str(error.detail)


def _show_preview(request: HttpRequest, access: Access, scope: Scope) -> HttpResponse:
    organization = access.organization

    def work() -> Preview:
        values = scope.target.validated(given_values(organization, request.POST))
        return run_with_retry(
            lambda: preview(organization, scope.target, scope.rows(organization), values)
        )

    effect, sentence = _checked(work)
    if not is_fragment(request):
        return _show(request, access, scope, sentence=sentence, effect=effect)
    one, many = _NOUNS[scope.target.kind]
    context = {"effect": effect, "sentence": sentence, "one": one, "many": many}
    return render_page(request, "dashboard/bulk_preview.html", context)


def _set_all(request: HttpRequest, access: Access, scope: Scope) -> HttpResponse:
    organization = access.organization
    user: Any = request.user

    def work() -> BulkEdit:
        total = scope.rows(organization).count()
        if str(total) != request.POST.get("expected", str(total)):
            many = _NOUNS[scope.target.kind][1]
            raise runs.EditFailed(f"{total:,} {many} match now. Check it, and change them again.")
        asked = scope.request(given_values(organization, request.POST))
        return run_with_retry(lambda: runs.start(organization, asked, user.pk))

    edit, sentence = _checked(work)
    if edit is None:
        return _show(request, access, scope, sentence=f"Nothing was changed. {sentence}")
    return redirect("page-bulk-edit", organization.id, edit.pk)


def _save_grid(request: HttpRequest, access: Access, scope: Scope) -> HttpResponse:
    organization = access.organization
    keys = parse_ids(request.POST.getlist("shown"))[:MAX_PAGE_SIZE]
    rows = edited_rows(request.POST, keys, scope.fields)
    before = scope.rows(organization).count()
    with acting_as(current_actor(), Cause.BULK_EDIT) as origin:
        try:
            changed = run_with_retry(lambda: save_cells(organization, rows)) if rows else 0
        except CellsRejected as error:
            shown = {cell_name(key, field) for key in keys for field in scope.fields}
            gone = [text for name, text in error.errors.items() if "deleted" in text]
            sentence = f"{len(gone):,} edited products have been deleted." if gone else ""
            errors = {name: text for name, text in error.errors.items() if name in shown}
            return _show(request, access, scope, errors=errors, sentence=sentence)
    page, total = _page_of(request), scope.rows(organization).count()
    if not changed:
        return redirect(f"{request.path}?{scope.query}&page={page}&saved=0")
    # In a queue the saved products no longer match, so the next ones are on the same page.
    if total == before:
        page += 1
    page = max(1, min(page, -(-total // ROWS_PER_PAGE)))
    query = f"{scope.query}&saved={changed}&change={format_id(origin.id)}"
    return redirect(f"{request.path}?{query}&page={page}")


@organization_page()
def show_bulk_edit(request: HttpRequest, access: Access, edit_id: UUID | None) -> HttpResponse:
    """Show the progress and the result of a bulk edit or an undo."""
    mine = BulkEdit.objects.of(access.organization)
    edit = mine.filter(pk=edit_id).first() if edit_id else None
    if edit is None:
        raise Http404
    undos = BulkEdit.objects.of(access.organization).filter(undoes=edit.pk)
    undone = undos.exclude(status=BulkEditStatus.FAILED).first()
    numbers = []
    if edit.numbers_before and edit.numbers_after:
        numbers = [
            (number.label, number.unit, before, after)
            for number in NUMBERS
            if (before := edit.numbers_before.get(number.name)) is not None
            and (after := edit.numbers_after.get(number.name)) is not None
        ]
    one, many = _NOUNS.get(edit.kind, ("row", "rows"))
    context = {
        "active_route": "page-activity",
        "edit": edit,
        "undone": undone,
        "numbers": numbers,
        "one": one,
        "many": many,
        "values": _shown_values(edit),
        "list_route": f"page-{_TITLES[edit.kind]}" if edit.kind else "page-products",
        "percent": min(100, 100 * edit.done // edit.matched) if edit.matched else 0,
    }
    if is_fragment(request) and edit.is_ended:
        return HttpResponse(headers={"HX-Refresh": "true"})
    template = "bulk_progress.html" if is_fragment(request) else "bulk_result.html"
    return render_page(request, f"dashboard/{template}", context)


def _shown_values(edit: BulkEdit) -> list[tuple[str, str]]:
    labels = {field.name: field.label for field in SET_FIELDS.get(edit.kind, ())} | COLUMNS
    shown = []
    for name, value in edit.values.items():
        if name == REPLACE_IN_URL:
            shown.append(("Addresses", f"{value['old']} \N{RIGHTWARDS ARROW} {value['new']}"))
        elif name == "nutrition":
            shown.append(("Nutrition", "as that of another product"))
        else:
            label = labels.get(name, name.replace("_", " ").capitalize())
            shown.append((label, str(value) or "cleared"))
    return shown


@require_POST
@organization_page()
def undo_change(request: HttpRequest, access: Access, change_id: UUID | None) -> HttpResponse:
    """Take a change back."""
    user: Any = request.user
    if change_id is None:
        raise Http404
    try:
        edit = run_with_retry(lambda: runs.start_undo(access.organization, change_id, user.pk))
    except Change.DoesNotExist:
        raise Http404 from None
    except runs.EditFailed as error:
        raise Problem("conflict", str(error)) from error
    return redirect("page-bulk-edit", access.organization.id, edit.pk)
