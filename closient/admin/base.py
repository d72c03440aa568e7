"""The base of all admin classes: no full counts, and readable errors of the database."""

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

# An address without a scheme gets https.
FORM_FIELDS: dict[type[Field[Any, Any]], dict[str, Any]] = {
    URLField: {"assume_scheme": "https"},
    JSONModelField: {"form_class": JSONField},
}


class TabularInline(_TabularInline):
    """Related rows on a page, one per line."""

    form = EditForm
    formset = EditFormSet
    formfield_overrides = FORM_FIELDS


class StackedInline(_StackedInline):
    """Related rows on a page, one below the other."""

    form = EditForm
    formset = EditFormSet
    formfield_overrides = FORM_FIELDS


class SearchedChangeList(ChangeList):
    """A list that is empty if the search contains NUL, which PostgreSQL cannot store."""

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Return the rows of the list."""
        rows = super().get_queryset(request, *args, **kwargs)
        return rows.none() if "\x00" in request.GET.get(SEARCH_VAR, "") else rows


class BaseAdmin(_ModelAdmin):
    """Admin pages that stay fast with a million rows.

    Forms save only the fields that the user changed: see :mod:`closient.admin.forms`.
    """

    form = EditForm
    formfield_overrides = FORM_FIELDS
    paginator = CappedPaginator
    show_full_result_count = False
    # Facets would count the rows of every filter.
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 200

    @property
    def media(self) -> forms.Media:
        """Scripts and styles of all pages: lists and forms contain search fields."""
        # Listing jquery.init.js keeps it before our script, whatever else is loaded.
        own = forms.Media(
            js=["admin/js/jquery.init.js", "admin/organization_filter.js"],
            css={"screen": ["admin/closient.css"]},
        )
        search = AutocompleteSelect(None, self.admin_site).media
        return super().media + search + own

    def get_deleted_objects(
        self, objs: Rows, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Return what the confirmation page of a deletion shows."""
        return deleted_objects(objs, request, self.admin_site, self.model)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the class of the list."""
        return SearchedChangeList

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Return the page to add or change a row."""
        return self._show_database_errors(request, super().changeform_view, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Return the page to delete a row."""
        return self._show_database_errors(request, super().delete_view, *args, **kwargs)

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Return the list, or run an action on its rows."""
        return self._show_database_errors(request, super().changelist_view, *args, **kwargs)

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        """Return the row of a page; for a POST, lock it before reading it."""
        row = super().get_object(request, object_id, from_field)
        if row is None or request.method != "POST":
            return row
        self.model._base_manager.select_for_update(no_key=True).filter(pk=row.pk).first()
        return super().get_object(request, object_id, from_field)

    def get_changelist_form(self, request: HttpRequest, **kwargs: Any) -> Any:
        """Return the form of rows that are edited in the list."""
        return super().get_changelist_form(request, **{"form": EditForm, **kwargs})

    def save_model(self, request: HttpRequest, obj: Model, form: Any, change: bool) -> None:
        """Save a new row, or the changed fields of an existing one."""
        if change:
            save_changed(obj, form.changed_columns)
        else:
            super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        """Save the inlines, then check the deferred constraints."""
        super().save_related(request, *args, **kwargs)
        connection.check_constraints()

    def delete_model(self, request: HttpRequest, obj: Model) -> None:
        """Delete the row and what the database deletes with it."""
        with long_statements():
            super().delete_model(request, obj)
        connection.check_constraints()

    def _show_database_errors(
        self, request: HttpRequest, view: Callable[..., HttpResponse], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Return the view's response, or redirect to the same page with the database's error.

        Forms find most errors first. This is for users who save at the same time, and for rules
        that only the database checks.
        """
        try:
            return view(request, *args, **kwargs)
        except IntegrityError as error:
            self.message_user(request, error_sentence(error, self.model), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())


def error_sentence(error: IntegrityError, model: type[Model]) -> str:
    """Return a sentence about a rejected write.

    It is the constraint's ``violation_error_message``, or the message that a trigger raised.
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
