"""The admin site: titles, login, deletion, and autocomplete limited to one organization."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from closient.accounts.pages import AdminLoginForm, remember_browser
from closient.accounts.tenant_admin import TenantAdmin, requested_organization_id
from closient.admin.deletion import delete_selected


class TenantAutocompleteView(AutocompleteJsonView):
    """The choices of an autocomplete field, as JSON.

    With ``organization`` in the query, these are the rows of that organization. Otherwise the text
    of each choice includes its organization, since several can have the same brand or GTIN.
    """

    model_admin: Any

    def get_queryset(self) -> Any:
        """Return the rows that match the search term."""
        # PostgreSQL rejects NUL characters.
        if "\x00" in self.term:
            return self.model_admin.model._default_manager.none()
        rows = super().get_queryset()
        if isinstance(self.model_admin, TenantAdmin):
            organization = requested_organization_id(self.request)
            if organization:
                rows = rows.filter(organization=organization)
            rows = rows.select_related("organization")
        return rows

    def serialize_result(self, obj: Model, to_field_name: str) -> dict[str, str]:
        """Return the id and the text of a choice."""
        choice: dict[str, str] = super().serialize_result(obj, to_field_name)  # type: ignore[misc]
        is_limited = requested_organization_id(self.request) is not None
        if isinstance(self.model_admin, TenantAdmin) and not is_limited:
            choice["text"] += f" ({obj.organization})"  # type: ignore[attr-defined]
        return choice


class ClosientAdminSite(admin.AdminSite):
    """The admin site, for staff."""

    site_title = "Closient"
    site_header = "Closient dashboard administration"
    index_title = "Data administration"
    # The target of "View site".
    site_url = "/dashboard/"
    login_form = AdminLoginForm
    # Lists need the width.
    enable_nav_sidebar = False

    def __init__(self, name: str = "admin") -> None:
        super().__init__(name)
        self.add_action(delete_selected, "delete_selected")

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the login page of the admin; remember the browser after a login."""
        response: HttpResponse = super().login(request, extra_context)
        user: Any = request.user
        if request.method == "POST" and response.status_code == HTTPStatus.FOUND:
            remember_browser(response, user.email)
        return response

    def password_change(  # type: ignore[override]
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Redirect to the password page of the dashboard."""
        return redirect("password")

    def autocomplete_view(self, request: HttpRequest) -> HttpResponse:
        """Return the choices of an autocomplete field, as JSON."""
        view = TenantAutocompleteView.as_view(admin_site=self)
        response: HttpResponse = view(request)  # type: ignore[assignment]
        return response
