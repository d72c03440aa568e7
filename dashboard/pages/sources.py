"""The pages of sources: addresses from which files are imported regularly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from catalog.models import ImportSource, Interval, WhenGone
from closient.accounts.models import ApiKeyRole
from closient.accounts.permissions import Access
from closient.db.transactions import run_with_retry
from dashboard.imports.layouts.mapping import InvalidMapping, parse_mapping, shown_mapping
from dashboard.imports.serializers import ImportSourceSerializer
from dashboard.imports.sources import editing
from dashboard.imports.sources.editing import TooManySources
from dashboard.imports.sources.states import MOVING, shown_sources
from dashboard.pages.base import is_fragment, organization_page, render_page, row_or_404
from dashboard.pages.forms import VersionedForm, form_field, post_data, text_input
from dashboard.pages.reading_options import ReadingOptionsForm

_editors_page = organization_page(read_role=ApiKeyRole.EDITOR)

# Fields of the form that are shown at once; the others are below "More options".
_FIRST = ("url", "interval_hours", "when_gone")


class SourceForm(ReadingOptionsForm, VersionedForm):
    """The form of a source."""

    noun = "source"
    serializer_class = ImportSourceSerializer
    field_order = (*_FIRST, "name", "username", "password", "layout", "mapping")

    url = form_field(
        "Address of the file",
        widget=text_input(type="url", inputmode="url", placeholder="https://"),
        help_text="An https address of a file as you would upload it, such as a product feed.",
    )
    interval_hours = form_field(
        "Fetch it", widget=forms.Select(choices=Interval.choices), initial=Interval.DAILY.value
    )
    when_gone = form_field(
        "Rows that disappear from the file",
        widget=forms.Select(choices=WhenGone.choices),
        initial=WhenGone.KEEP.value,
        help_text="Applies to what this source brought before.",
    )
    name = form_field("Name", help_text="Empty: the host of the address.")
    username = form_field("User", help_text="Only if the address asks for a login.")
    password = form_field(
        "Password",
        widget=forms.PasswordInput({"autocomplete": "new-password"}),
        help_text="Stored encrypted, and never shown again.",
    )
    mapping = form_field(
        "Columns",
        widget=forms.Textarea({"rows": 4, "spellcheck": "false"}),
        help_text="For a file that no layout recognizes: one line for each column, such as "
        "EAN-Code=gtin, Titel=name or =EUR=offer_currency for all rows.",
    )
    overwrite_blank = form_field(
        "Empty cells",
        widget=forms.Select(
            choices=[("False", "Leave the field as it is"), ("True", "Clear the field")]
        ),
        initial="False",
    )
    skip_bad_rows = form_field(
        "Rejected rows",
        widget=forms.Select(
            choices=[("True", "Import the others"), ("False", "Wait for confirmation")]
        ),
        initial="True",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        source = kwargs.get("changes")
        self._stored_mapping: dict[str, str] = (source and source.mapping) or {}
        if source is not None:
            self.initial.update(self.field_values(source))
            if source.has_password:
                self.fields["password"].help_text = "A password is stored. Empty: keep it."

    def clean_mapping(self) -> dict[str, str]:
        """Return the mapping of the lines; the stored one if they show that."""
        lines = [line for line in (self.cleaned_data["mapping"] or "").splitlines() if line.strip()]
        if lines == shown_mapping(self._stored_mapping).splitlines():
            return self._stored_mapping
        try:
            return parse_mapping(lines) if lines else {}
        except InvalidMapping as error:
            raise forms.ValidationError(str(error)) from None

    def field_values(self, row: Any) -> dict[str, Any]:
        """Return the values of a source by field name, the mapping as lines."""
        values = super().field_values(row)
        return {**values, "mapping": shown_mapping(row.mapping or {})}

    def body(self) -> dict[str, Any]:
        """Return the body; an empty password keeps the stored one."""
        body = super().body()
        if not body.get("password"):
            body.pop("password", None)
        return body

    @property
    def first_fields(self) -> list[forms.BoundField]:
        """The fields that are shown at once."""
        return [self[name] for name in _FIRST]

    @property
    def more_fields(self) -> list[forms.BoundField]:
        """The fields below "More options"."""
        return [field for field in self.visible_fields() if field.name not in _FIRST]

    @property
    def has_more(self) -> bool:
        """Whether one of the other fields has a value or an error."""
        return (
            self.has_options
            or any(field.errors for field in self.more_fields)
            or any(self[name].value() for name in ("username", "mapping"))
            or str(self["overwrite_blank"].value()) == "True"
            or str(self["skip_bad_rows"].value()) == "False"
        )


@require_GET
@_editors_page
def show_sources(request: HttpRequest, access: Access) -> HttpResponse:
    """Show the sources of an organization with their states."""
    shown = shown_sources(ImportSource.objects.of(access.organization))
    context = {
        "active_route": "page-imports",
        "sources": [{"host": urlsplit(each.source.url).hostname, "is": each} for each in shown],
        "is_moving": any(each.state in MOVING for each in shown),
        "max_sources": editing.MAX_SOURCES,
    }
    template = "source_list.html" if is_fragment(request) else "sources.html"
    return render_page(request, f"dashboard/{template}", context)


@_editors_page
def new_source(request: HttpRequest, access: Access) -> HttpResponse:
    """Show the form of a new source, and create it."""
    form = SourceForm(post_data(request), initial={"url": request.GET.get("url", "")})
    if form.is_valid():
        try:
            source = form.save(lambda: editing.create_source(access.organization, form.values))
        except TooManySources as error:
            form.reject("", str(error))
            source = None
        if source is not None:
            messages.success(request, "Source added. Its file is fetched now.")
            return redirect("page-sources", access.organization.id)
    return _show_form(request, access, form, None)


@_editors_page
def show_source(request: HttpRequest, access: Access, source_id: UUID | None) -> HttpResponse:
    """Show a source, and save changes to it."""

    def change() -> ImportSource:
        row = _find(access, source_id, is_locked=True)
        form.check_version(row)
        editing.change_source(row, form.values)
        return row

    source = _find(access, source_id)
    form = SourceForm(post_data(request), changes=source)
    if form.is_valid() and form.save(change) is not None:
        messages.success(request, form.saved_message())
        return redirect("page-sources", access.organization.id)
    return _show_form(request, access, form, source)


def _show_form(
    request: HttpRequest, access: Access, form: SourceForm, source: ImportSource | None
) -> HttpResponse:
    context = {
        "active_route": "page-imports",
        "form": form,
        "source": source,
        "shown": shown_sources([source])[0] if source else None,
        "back": reverse("page-sources", args=[access.organization.id]),
    }
    status = 422 if form.is_rejected else 200
    return render_page(request, "dashboard/source.html", context, status=status)


@_editors_page
def delete_source(request: HttpRequest, access: Access, source_id: UUID | None) -> HttpResponse:
    """Ask for confirmation, and delete a source."""
    source = _find(access, source_id)
    if request.method == "POST":
        run_with_retry(lambda: _find(access, source_id, is_locked=True).delete())
        messages.success(request, "Source deleted.")
        return redirect("page-sources", access.organization.id)
    context = {"active_route": "page-imports", "source": source}
    return render_page(request, "dashboard/source_delete.html", context)


@require_POST
@_editors_page
def run_source(request: HttpRequest, access: Access, source_id: UUID | None) -> HttpResponse:
    """Make a source due now."""
    return _change(request, access, source_id, editing.run_now, "{} is fetched now.")


@require_POST
@_editors_page
def pause_source(request: HttpRequest, access: Access, source_id: UUID | None) -> HttpResponse:
    """Pause a source, or resume it with ``resume``."""
    is_paused = "resume" not in request.POST
    return _change(
        request,
        access,
        source_id,
        lambda row: editing.change_source(row, {"is_paused": is_paused}),
        "{} is paused." if is_paused else "{} is resumed, and fetched now.",
    )


def _change(
    request: HttpRequest,
    access: Access,
    source_id: UUID | None,
    change: Callable[[ImportSource], object],
    sentence: str,
) -> HttpResponse:
    """Change a locked source and return to the list."""

    def write() -> ImportSource:
        row = _find(access, source_id, is_locked=True)
        change(row)
        return row

    messages.success(request, sentence.format(run_with_retry(write).name))
    return redirect("page-sources", access.organization.id)


def _find(access: Access, source_id: UUID | None, *, is_locked: bool = False) -> ImportSource:
    if source_id is None:
        raise Http404
    rows = ImportSource.objects.of(access.organization).filter(pk=source_id)
    return row_or_404(rows, is_locked=is_locked)
