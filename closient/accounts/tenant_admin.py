"""Admin pages of rows that belong to an organization."""

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


def organization_asked_for(request: HttpRequest) -> UUID | None:
    """Return the organization that the address names, or the filtered list that led to it.

    None without one. Raises ``ValueError`` where it is neither a shortuuid nor a UUID.
    """
    came_from = QueryDict(request.GET.get("_changelist_filters", ""))
    text = request.GET.get("organization") or came_from.get("organization")
    return parse_id(text) if text else None


class OrganizationFilter(admin.ListFilter):
    """Limits a list to one organization, which is searched for by name."""

    title = "organization"
    template = "admin/organization_filter.html"
    parameter = "organization"

    def __init__(
        self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: TenantAdmin
    ) -> None:
        super().__init__(request, params, model, model_admin)
        params.pop(self.parameter, None)
        try:
            self.organization_id = organization_asked_for(request)
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
        """Return the parameters of the address that belong to the filter."""
        return [self.parameter]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows of the chosen organization, or all."""
        if self.organization_id:
            return queryset.filter(organization=self.organization_id)
        return queryset

    def choices(self, changelist: ChangeList) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """Yield what the template needs: the search field and where a choice leads."""
        field = ModelChoiceField(queryset=Organization.objects.all(), required=False)
        widget = AutocompleteSelect(
            self.model._meta.get_field("organization"),
            self.site,
            attrs={
                "aria-label": "Organization",
                "data-filter-address": changelist.get_query_string(remove=[self.parameter]),
                "data-filter-parameter": self.parameter,
                # Select2 sets the width itself: the content security policy allows no style here.
                "data-width": "100%",
            },
            choices=field.choices,
        )
        yield {
            "field": widget.render("organization_filter", self.used_parameters.get(self.parameter)),
            "all": changelist.get_query_string(remove=[self.parameter]),
            "selected": self.organization_id is not None,
        }


class OwnChoices(AutocompleteSelect):
    """An autocomplete field that offers the rows of one organization."""

    organization_id: UUID | None = None

    def get_url(self) -> str:
        """Return the URL of the choices."""
        address = super().get_url()
        if self.organization_id:
            address += "?" + urlencode({"organization": str(self.organization_id)})
        return address


class TenantForm(EditForm):
    """A form whose row belongs to an organization for good.

    A new row gets the organization that is chosen, or that of the row in ``organization_from``;
    uniqueness within the organization is checked either way.
    """

    organization_from: str | None = None

    def clean(self) -> dict[str, Any]:
        """Give a new row its organization."""
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
    """Pages of a model whose rows belong to an organization and never move to another."""

    form = TenantForm
    list_select_related: ClassVar[Any] = ("organization",)
    # The row that a new one takes its organization from; without one it is asked for.
    organization_from: str | None = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the rows with what their lists and pages name."""
        return super().get_queryset(request).select_related(*self.list_select_related)

    def ordering_of_results(self, searched: str) -> tuple[str, ...] | None:
        """Return how the results of a search are sorted, where the usual order does not fit.

        By a column without an index, or the planner may walk the index of the usual order and
        test a million rows for a rare word.
        """
        return None

    def get_ordering(self, request: HttpRequest) -> Any:
        """Return the order of a list, which is another one while something is searched for."""
        searched = request.GET.get(SEARCH_VAR) or request.GET.get("term")
        if searched:
            return self.ordering_of_results(searched) or super().get_ordering(request)
        return super().get_ordering(request)

    def get_list_filter(self, request: HttpRequest) -> Any:
        """Return the filters, the organization first."""
        return [OrganizationFilter, *super().get_list_filter(request)]

    def get_autocomplete_fields(self, request: HttpRequest) -> Any:
        """Return the fields that are searched for: every reference, so that none is a select."""
        return [
            field.name
            for field in self.model._meta.fields
            if isinstance(field, ForeignKey) and not field.primary_key
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Return the fields that are shown only, among them the organization of an existing row."""
        fields = super().get_readonly_fields(request, obj)
        return [*fields, "organization"] if obj or self.organization_from else fields

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Return what an empty form begins with: what the address gives."""
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        organization = organization_asked_for(request)
        if organization:
            initial["organization"] = organization
        return initial

    def get_form(
        self, request: HttpRequest, obj: Any | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        """Return the form, its choices limited to the row's organization once that is known."""
        form: Any = super().get_form(request, obj, change, **kwargs)
        form.organization_from = self.organization_from
        organization = obj.organization_id if obj else organization_asked_for(request)
        for field in form.base_fields.values():
            widget = getattr(field.widget, "widget", field.widget)
            if isinstance(widget, OwnChoices):
                widget.organization_id = organization
        return form

    def formfield_for_foreignkey(
        self, db_field: ForeignKey[Any], request: HttpRequest, **kwargs: Any
    ) -> Any:
        """Return a reference's field, which searches among the organization's own rows."""
        remote = self.admin_site._registry.get(db_field.remote_field.model)
        if isinstance(remote, TenantAdmin):
            kwargs["widget"] = OwnChoices(db_field, self.admin_site, attrs={"class": "own-choices"})
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


def list_address(model: type[Model], **parameters: Any) -> str:
    """Return the address of a model's list in the admin, filtered by the parameters."""
    opts = model._meta
    address = reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist")
    return f"{address}?{urlencode(parameters)}" if parameters else address


def models_with_organization_filter(site: admin.AdminSite) -> Iterator[type[Model]]:
    """Yield the models whose lists can be limited to one organization."""
    for model, page in site._registry.items():
        if isinstance(page, TenantAdmin) or OrganizationFilter in page.list_filter:
            yield model
