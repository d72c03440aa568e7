"""The base of admin pages for rows that belong to an organization."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.contrib.admin.widgets import AutocompleteSelect
from django.db.models import ForeignKey, Model, QuerySet
from django.forms import ModelChoiceField
from django.http import HttpRequest, QueryDict
from django.urls import reverse
from django.utils.http import urlencode

from closient.accounts.models import Organization
from closient.admin.base import BaseAdmin
from closient.admin.forms import EditForm
from closient.db.ids import parse_id


def requested_organization_id(request: HttpRequest) -> UUID | None:
    """Return the organization id in the query, or in the query of the list that led here.

    ``None`` without one. Raises ``ValueError`` if it is neither a shortuuid nor a UUID.
    """
    list_filters = QueryDict(request.GET.get("_changelist_filters", ""))
    text = request.GET.get("organization") or list_filters.get("organization")
    return parse_id(text) if text else None


class OrganizationFilter(admin.ListFilter):
    """Limits a list to one organization, chosen by searching for its name."""

    title = "organization"
    template = "admin/organization_filter.html"
    parameter = "organization"

    def __init__(
        self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: TenantAdmin
    ) -> None:
        super().__init__(request, params, model, model_admin)
        params.pop(self.parameter, None)
        try:
            self.organization_id = requested_organization_id(request)
        except ValueError as error:
            raise IncorrectLookupParameters from error
        self.used_parameters = {}
        if self.organization_id:
            self.used_parameters[self.parameter] = str(self.organization_id)
        self.model = model
        self.site = model_admin.admin_site

    def has_output(self) -> bool:
        """Return whether the filter is shown: always."""
        return True

    def expected_parameters(self) -> list[str | None]:
        """Return the query parameters of the filter."""
        return [self.parameter]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows of the chosen organization, or all rows."""
        if self.organization_id:
            return queryset.filter(organization=self.organization_id)
        return queryset

    def choices(self, changelist: ChangeList) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """Yield the template's context: the search field and the URL without a choice."""
        field = ModelChoiceField(queryset=Organization.objects.all(), required=False)
        widget = AutocompleteSelect(
            self.model._meta.get_field("organization"),
            self.site,
            attrs={
                "aria-label": "Organization",
                "data-filter-address": changelist.get_query_string(remove=[self.parameter]),
                "data-filter-parameter": self.parameter,
                # Set by Select2: the content security policy allows no inline style.
                "data-width": "100%",
            },
            choices=field.choices,
        )
        yield {
            "field": widget.render("organization_filter", self.used_parameters.get(self.parameter)),
            "all": changelist.get_query_string(remove=[self.parameter]),
            "selected": self.organization_id is not None,
        }


class OrganizationAutocompleteSelect(AutocompleteSelect):
    """An autocomplete field for the rows of one organization."""

    organization_id: UUID | None = None

    def get_url(self) -> str:
        """Return the URL of the choices."""
        url = super().get_url()
        if self.organization_id:
            url += "?" + urlencode({"organization": str(self.organization_id)})
        return url


class TenantForm(EditForm):
    """A form of a row whose organization never changes.

    A new row gets the chosen organization, or that of the row in the field ``organization_from``.
    Uniqueness within the organization is checked in both cases.
    """

    organization_from: str | None = None

    def clean(self) -> dict[str, Any]:
        """Set the organization of a new row."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if self.instance._state.adding and self.organization_from:
            source = cleaned.get(self.organization_from)
            if source is not None:
                self.instance.organization_id = source.organization_id
        return cleaned

    def _get_validation_exclusions(self) -> set[str]:
        exclude: set[str] = super()._get_validation_exclusions()  # type: ignore[misc]
        if self.instance.organization_id:
            exclude.discard("organization")
        return exclude


class TenantAdmin(BaseAdmin):
    """Pages of a model whose rows belong to an organization and never move to another one."""

    form = TenantForm
    list_select_related: ClassVar[Any] = ("organization",)
    # The field with the row whose organization a new row gets; without it, the form has a field
    # for the organization.
    organization_from: str | None = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the rows with their ``list_select_related``."""
        return super().get_queryset(request).select_related(*self.list_select_related)

    def search_ordering(self, searched: str) -> tuple[str, ...] | None:
        """Return the order of search results, or ``None`` for the usual order.

        It should start with a column without an index. Otherwise the planner may scan the index of
        the usual order and test a million rows for a rare word.
        """
        return None

    def get_ordering(self, request: HttpRequest) -> Any:
        """Return the order of the list, or of the search results."""
        searched = request.GET.get(SEARCH_VAR) or request.GET.get("term")
        if searched:
            return self.search_ordering(searched) or super().get_ordering(request)
        return super().get_ordering(request)

    def get_list_filter(self, request: HttpRequest) -> Any:
        """Return the filters, starting with the organization."""
        return [OrganizationFilter, *super().get_list_filter(request)]

    def get_autocomplete_fields(self, request: HttpRequest) -> Any:
        """Return all foreign keys: a select would list every row."""
        return [
            field.name
            for field in self.model._meta.fields
            if isinstance(field, ForeignKey) and not field.primary_key
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Return the read-only fields, including the organization of an existing row."""
        fields = super().get_readonly_fields(request, obj)
        return [*fields, "organization"] if obj or self.organization_from else fields

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Return the initial values of an empty form, from the query."""
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        organization = requested_organization_id(request)
        if organization:
            initial["organization"] = organization
        return initial

    def get_form(
        self, request: HttpRequest, obj: Any | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        """Return the form, with choices limited to the row's organization if it is known."""
        form: Any = super().get_form(request, obj, change, **kwargs)
        form.organization_from = self.organization_from
        organization = obj.organization_id if obj else requested_organization_id(request)
        for field in form.base_fields.values():
            widget = getattr(field.widget, "widget", field.widget)
            if isinstance(widget, OrganizationAutocompleteSelect):
                widget.organization_id = organization
        return form

    def formfield_for_foreignkey(
        self, db_field: ForeignKey[Any], request: HttpRequest, **kwargs: Any
    ) -> Any:
        """Return the field of a foreign key, which searches the organization's own rows."""
        remote = self.admin_site._registry.get(db_field.remote_field.model)
        if isinstance(remote, TenantAdmin):
            kwargs["widget"] = OrganizationAutocompleteSelect(
                db_field, self.admin_site, attrs={"class": "organization-choices"}
            )
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


def changelist_url(model: type[Model], **parameters: Any) -> str:
    """Return the URL of a model's list in the admin, filtered by the parameters."""
    opts = model._meta
    url = reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist")
    return f"{url}?{urlencode(parameters)}" if parameters else url


def models_with_organization_filter(site: admin.AdminSite) -> Iterator[type[Model]]:
    """Yield the models whose lists have the organization filter."""
    for model, page in site._registry.items():
        if isinstance(page, TenantAdmin) or OrganizationFilter in page.list_filter:
            yield model
