"""The admin's site: its name, its deletions, and choices limited to one organization."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from closient.accounts.pages import AdminLoginForm, remember_browser
from closient.accounts.tenant_admin import TenantAdmin, organization_asked_for
from closient.admin.deletion import delete_selected


class ChoicesView(AutocompleteJsonView):
    """The choices of an autocomplete field.

    With ``organization`` in the query they are that organization's rows; else each row is shown
    with the name of its organization, since two may well have a brand or a GTIN in common.
    """

    model_admin: Any

    def get_queryset(self) -> Any:
        """Return the rows that fit what was typed; no text of a row holds a NUL."""
        if "\x00" in self.term:
            return self.model_admin.model._default_manager.none()
        rows = super().get_queryset()
        if isinstance(self.model_admin, TenantAdmin):
            organization = organization_asked_for(self.request)
            if organization:
                rows = rows.filter(organization=organization)
            rows = rows.select_related("organization")
        return rows

    def serialize_result(self, obj: Model, to_field_name: str) -> dict[str, str]:
        """Return a choice's id and text."""
        choice: dict[str, str] = super().serialize_result(obj, to_field_name)  # type: ignore[misc]
        if isinstance(self.model_admin, TenantAdmin) and not organization_asked_for(self.request):
            choice["text"] += f" ({obj.organization})"  # type: ignore[attr-defined]
        return choice


class ClosientAdminSite(admin.AdminSite):
    """The one admin site, for staff."""

    site_title = "Closient"
    site_header = "Closient dashboard administration"
    index_title = "Care for the data"
    # Where "View site" leads.
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
        """Show the login of the admin; a login lets the browser be recognized at its next one."""
        response: HttpResponse = super().login(request, extra_context)
        user: Any = request.user
        if request.method == "POST" and response.status_code == HTTPStatus.FOUND:
            remember_browser(response, user.email)
        return response

    def password_change(  # type: ignore[override]
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Lead to the one page on which people change their password."""
        return redirect("password")

    def autocomplete_view(self, request: HttpRequest) -> HttpResponse:
        """Answer with the choices of an autocomplete field, as JSON."""
        answer: HttpResponse = ChoicesView.as_view(admin_site=self)(request)  # type: ignore[assignment]
        return answer
