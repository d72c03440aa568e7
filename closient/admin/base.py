"""The base of every model's admin page: no full counts, and refusals of the database in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.contrib.admin.widgets import AutocompleteSelect
from django.db import IntegrityError, connection
from django.db.models import Field, Model, URLField
from django.db.models import JSONField as JSONModelField
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from closient.admin.counting import CappedPaginator
from closient.admin.deletion import Rows, deleted_objects
from closient.admin.fields import JSONField
from closient.admin.forms import EditForm, EditFormSet, save_changed
from closient.db.limits import long_statements

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
    _TabularInline = admin.TabularInline[Any, Any]
    _StackedInline = admin.StackedInline[Any, Any]
else:
    _ModelAdmin = admin.ModelAdmin
    _TabularInline = admin.TabularInline
    _StackedInline = admin.StackedInline

# An address that is typed without a scheme is taken for https.
FORM_FIELDS: dict[type[Field[Any, Any]], dict[str, Any]] = {
    URLField: {"assume_scheme": "https"},
    JSONModelField: {"form_class": JSONField},
}


class TabularInline(_TabularInline):
    """Rows of another model on a page, one a line."""

    form = EditForm
    formset = EditFormSet
    formfield_overrides = FORM_FIELDS


class StackedInline(_StackedInline):
    """Rows of another model on a page, one below the other."""

    form = EditForm
    formset = EditFormSet
    formfield_overrides = FORM_FIELDS


class SearchedChangeList(ChangeList):
    """A list that shows no rows for a text that no row can hold, beside the error about it."""

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Return the rows of the list."""
        rows = super().get_queryset(request, *args, **kwargs)
        return rows.none() if "\x00" in request.GET.get(SEARCH_VAR, "") else rows


class BaseAdmin(_ModelAdmin):
    """A model's pages that stay quick and polite at a million rows.

    Their forms save what a person changed, and nothing else: see :mod:`closient.admin.forms`.
    """

    form = EditForm
    formfield_overrides = FORM_FIELDS
    paginator = CappedPaginator
    show_full_result_count = False
    # Facets count every filter's rows in full.
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 200

    @property
    def media(self) -> forms.Media:
        """The scripts and styles of every page: lists and forms have fields that search."""
        # Naming jQuery's set-up keeps it before our own script, whatever else there is.
        own = forms.Media(
            js=["admin/js/jquery.init.js", "admin/organization_filter.js"],
            css={"screen": ["admin/closient.css"]},
        )
        search = AutocompleteSelect(None, self.admin_site).media
        return super().media + search + own

    def get_deleted_objects(
        self, objs: Rows, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Return what the page before a deletion shows."""
        return deleted_objects(objs, request, self.admin_site, self.model)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the class of the list."""
        return SearchedChangeList

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Return the page to add or change a row."""
        return self._say_refusals(request, super().changeform_view, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Return the page to delete a row."""
        return self._say_refusals(request, super().delete_view, *args, **kwargs)

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Return the list, or run an action on its rows."""
        return self._say_refusals(request, super().changelist_view, *args, **kwargs)

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        """Return the row of a page; one that is about to be written is locked before it is read."""
        row = super().get_object(request, object_id, from_field)
        if row is None or request.method != "POST":
            return row
        self.model._base_manager.select_for_update(no_key=True).filter(pk=row.pk).first()
        return super().get_object(request, object_id, from_field)

    def get_changelist_form(self, request: HttpRequest, **kwargs: Any) -> Any:
        """Return the form of a row that can be edited in the list."""
        return super().get_changelist_form(request, **{"form": EditForm, **kwargs})

    def save_model(self, request: HttpRequest, obj: Model, form: Any, change: bool) -> None:
        """Save a new row, or of another one what the person changed."""
        if change:
            save_changed(obj, form.changed_columns)
        else:
            super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        """Save the inlines, then ask the database for its verdict on the whole."""
        super().save_related(request, *args, **kwargs)
        connection.check_constraints()

    def delete_model(self, request: HttpRequest, obj: Model) -> None:
        """Delete the row and what goes with it."""
        with long_statements():
            super().delete_model(request, obj)
        connection.check_constraints()

    def _say_refusals(
        self, request: HttpRequest, view: Callable[..., HttpResponse], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Return the view's response, or the same page with the error of the database.

        Forms find such errors first; this is for two people who save at the same moment, and for
        rules that only the database can judge.
        """
        try:
            return view(request, *args, **kwargs)
        except IntegrityError as error:
            self.message_user(request, refusal(error, self.model), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())


def refusal(error: IntegrityError, model: type[Model]) -> str:
    """Return in a sentence what the database refused.

    A constraint says it in its own words, a trigger in those that it raised.
    """
    diagnosis: Any = getattr(error.__cause__, "diag", None)
    name = getattr(diagnosis, "constraint_name", None)
    models: list[Any] = [
        model,
        *(relation.related_model for relation in model._meta.related_objects),
    ]
    for constraint in (c for m in models for c in m._meta.constraints):
        if constraint.name == name and constraint.violation_error_message:
            return f"Nothing was saved. {constraint.get_violation_error_message()}"
    if getattr(diagnosis, "sqlstate", "") == "23514" and (diagnosis.context or "").startswith("PL"):
        return f"Nothing was saved. {diagnosis.message_primary}"
    return "Nothing was saved: these rows have just changed. Check them and try again."
