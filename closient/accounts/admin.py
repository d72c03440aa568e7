"""Admin pages of users, organizations with their members, and API keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from closient.accounts.api_keys import create_api_key
from closient.accounts.forms import (
    ApiKeyForm,
    MembershipForm,
    MembershipFormSet,
    NewUserForm,
    OrganizationForm,
    UserForm,
)
from closient.accounts.models import (
    ApiKey,
    ApiKeyKind,
    ApiKeyRole,
    Membership,
    Organization,
    User,
)
from closient.accounts.tenant_admin import (
    OrganizationFilter,
    list_address,
    models_with_organization_filter,
)
from closient.admin.base import BaseAdmin, TabularInline
from closient.db.ids import format_id, parse_id


@admin.register(User)
class UserAdmin(BaseAdmin, DjangoUserAdmin):  # type: ignore[type-arg]
    """People who log in with their email address."""

    form = UserForm
    add_form = NewUserForm
    fieldsets = (
        (None, {"fields": ("email", "password")}),
        ("Person", {"fields": ("first_name", "last_name")}),
        ("Rights in this administration", {"fields": ("is_active", "is_staff", "is_superuser")}),
        ("Groups", {"classes": ("collapse",), "fields": ("groups", "user_permissions")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = (
        (
            None,
            {
                "classes": ("wide",),
                "fields": ("email", "usable_password", "password1", "password2"),
            },
        ),
    )
    readonly_fields = ("last_login", "date_joined")
    list_display = ("email", "first_name", "last_name", "is_staff", "is_active", "last_login")
    list_filter = ("is_staff", "is_superuser", "is_active")
    search_fields = ("email", "first_name", "last_name")
    ordering = ("email", "id")

    @transaction.atomic
    def user_change_password(
        self, request: HttpRequest, id: str, form_url: str = ""
    ) -> HttpResponse:
        """Show the form of another password; saving it also revokes the user's API keys."""
        user = self.get_object(request, id)
        before = user.api_keys.filter(is_active=True).count() if user else 0
        response: HttpResponse = super().user_change_password(request, id, form_url)
        if user and before:
            revoked = before - user.api_keys.filter(is_active=True).count()
            if revoked:
                self.message_user(
                    request,
                    f"Revoked the personal API keys of {user.email}: {revoked}.",
                    messages.WARNING,
                )
            elif request.method != "POST":
                self.message_user(
                    request,
                    f"Saving a new password revokes the personal API keys of {user.email}: "
                    f"{before}.",
                    messages.WARNING,
                )
        return response


class MembershipInline(TabularInline):
    """The members of an organization."""

    model = Membership
    form = MembershipForm
    formset = MembershipFormSet
    autocomplete_fields = ("user",)
    extra = 0
    verbose_name = "member"
    verbose_name_plural = "members"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the members, each with its user."""
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows.select_related("user", "organization").order_by("user__email")


@admin.register(Organization)
class OrganizationAdmin(BaseAdmin):
    """Brand owners. Apps that know more about an organization extend this page."""

    form = OrganizationForm
    fields = ("name", "time_zone", "allowed_origins", "api_id", "created_at", "lists")
    readonly_fields = ("api_id", "created_at", "lists")
    list_display = ("name", "api_id", "time_zone", "created_at")
    search_fields = ("name",)
    search_help_text = "Part of the name, or the id."
    ordering = ("name", "id")
    inlines = (MembershipInline,)

    extra_inlines: ClassVar[list[Any]] = []
    extra_fields: ClassVar[list[Callable[[Any], Any]]] = []

    @classmethod
    def extend(
        cls, *, inlines: Iterable[Any] = (), fields: Iterable[Callable[[Any], Any]] = ()
    ) -> None:
        """Add to the page: inlines, and functions that show something of an organization."""
        cls.extra_inlines.extend(inlines)
        cls.extra_fields.extend(fields)

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        """Return the inlines: only members for a new organization."""
        inlines = super().get_inlines(request, obj)
        return [*inlines, *self.extra_inlines] if obj else inlines

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the fields in order, what only a saved organization has behind them."""
        return (
            [*self.fields, *self.extra_fields] if obj else ["name", "time_zone", "allowed_origins"]
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the fields that are shown only."""
        return [*super().get_readonly_fields(request, obj), *self.extra_fields]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Return the organizations of a name, or the one of an id."""
        try:
            return queryset.filter(pk=parse_id(search_term.strip())), False
        except ValueError:
            return super().get_search_results(request, queryset, search_term)

    @admin.display(description="Id")
    def api_id(self, organization: Organization) -> str:
        """Return the id that the API takes."""
        return format_id(organization.pk)

    @admin.display(description="Its lists")
    def lists(self, organization: Organization) -> SafeString:
        """Return links to the lists of all that belongs to the organization."""
        return format_html_join(
            " · ",
            '<a href="{}">{}</a>',
            (
                (
                    list_address(model, organization=format_id(organization.pk)),
                    model._meta.verbose_name_plural,
                )
                for model in models_with_organization_filter(self.admin_site)
            ),
        )


@admin.register(ApiKey)
class ApiKeyAdmin(BaseAdmin):
    """Keys for the API: made and shown once, later recognised by the beginning of their text."""

    form = ApiKeyForm
    autocomplete_fields = ("organization", "user")
    list_display = (
        "key",
        "name",
        "holder",
        "role",
        "is_active",
        "expires_at",
        "last_used_at",
        "created_at",
    )
    list_select_related = ("organization", "user")
    list_filter = (OrganizationFilter, "is_active", "kind", "role")
    search_fields = ("prefix__startswith", "name", "organization__name", "user__email")
    search_help_text = "Beginning of the key after csb_, name, organization or user."
    ordering = ("-created_at", "-id")
    actions = ("revoke",)

    decided_at_creation = ("kind", "organization", "user")
    kept_by_the_service = ("key", "digest", "last_used_at", "created_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the keys with their holders."""
        return super().get_queryset(request).select_related("organization", "user")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the fields in order."""
        decided = [*self.decided_at_creation, "name", "role", "expires_at"]
        limits = ["limit_per_minute", "limit_per_day"]
        return (
            ["key", *decided, "is_active", *limits, *self.kept_by_the_service[1:]]
            if obj
            else [*decided, *limits]
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the fields that are shown only: all that makes the key this key."""
        return (*self.kept_by_the_service, *self.decided_at_creation) if obj else ()

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        """Return the form, which knows whether the person may create keys."""
        form: Any = super().get_form(request, obj, change, **kwargs)
        form.may_create = self.has_add_permission(request)
        return form

    @admin.display(description="Key", ordering="prefix")
    def key(self, api_key: ApiKey) -> str:
        """Return what a key is recognised by."""
        return f"{api_key.kind}_{api_key.prefix}…"

    @admin.display(description="Opens")
    def holder(self, api_key: ApiKey) -> str:
        """Return the organization or the user of a key."""
        return str(api_key.organization or api_key.user)

    @admin.action(description="Revoke selected API keys", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Revoke the keys: the very next request with one of them is refused."""
        keys = list(queryset.filter(is_active=True))
        queryset.filter(pk__in=[key.pk for key in keys]).update(is_active=False)
        for key in keys:
            self.log_change(request, key, "Revoked.")
        self.message_user(request, f"Revoked {len(keys)} API keys.", messages.SUCCESS)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save a key; make a new one with its text, which only the answer to this request shows."""
        if change:
            super().save_model(request, obj, form, change)
            return
        made, obj.text_shown_once = create_api_key(
            organization=obj.organization,
            user=obj.user,
            name=obj.name,
            role=ApiKeyRole(obj.role),
            kind=ApiKeyKind(obj.kind),
            expires_at=obj.expires_at,
            limit_per_minute=obj.limit_per_minute,
            limit_per_day=obj.limit_per_day,
        )
        obj.pk = made.pk
        obj.refresh_from_db()

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Show the new key's text in the answer itself: a message would store it in a cookie."""
        context = {
            **self.admin_site.each_context(request),
            "title": "API key created",
            "opts": self.opts,
            "api_key": obj,
            "text": obj.text_shown_once,
        }
        return TemplateResponse(
            request,
            "admin/accounts/apikey/created.html",
            context,
            headers={"Cache-Control": "no-store"},
        )
