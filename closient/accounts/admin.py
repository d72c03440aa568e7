"""Admin pages of users, organizations with their members, and API keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from closient.accounts.api_keys import create_api_key
from closient.accounts.copies import copy_organization
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
    changelist_url,
    models_with_organization_filter,
)
from closient.admin.base import BaseAdmin, TabularInline
from closient.cells.models import Placement
from closient.db.ids import format_id, parse_id


@admin.register(User)
class UserAdmin(BaseAdmin, DjangoUserAdmin):  # type: ignore[type-arg]
    """Users, who log in with their email address."""

    form = UserForm
    add_form = NewUserForm
    fieldsets = (
        (None, {"fields": ("email", "password")}),
        ("Person", {"fields": ("first_name", "last_name")}),
        ("Admin permissions", {"fields": ("is_active", "is_staff", "is_superuser")}),
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
        """Show and save the form of a new password; saving also revokes the user's API keys."""
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
        """Return the members with their users, ordered by email address."""
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows.select_related("user", "organization").order_by("user__email")


@admin.register(Organization)
class OrganizationAdmin(BaseAdmin):
    """Organizations. Other apps add inlines and fields with :meth:`extend`."""

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
        """Add inlines, and functions that return a read-only value of an organization."""
        cls.extra_inlines.extend(inlines)
        cls.extra_fields.extend(fields)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save the organization, and the copy in its cell after the commit."""
        super().save_model(request, obj, form, change)
        if settings.CELLS:
            transaction.on_commit(lambda: copy_organization(obj), robust=True)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Return what the confirmation page shows; organizations in other cells stay."""
        shown, counts, forbidden, protected = super().get_deleted_objects(objs, request)
        if settings.CELLS and Placement.objects.filter(organization__in=objs).exists():
            forbidden.add("organizations in other cells (use manage.py delete_organization)")
        return shown, counts, forbidden, protected

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        """Return the inlines; a new organization has only members."""
        inlines = super().get_inlines(request, obj)
        return [*inlines, *self.extra_inlines] if obj else inlines

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the fields in order; a new organization has only the editable ones."""
        return (
            [*self.fields, *self.extra_fields] if obj else ["name", "time_zone", "allowed_origins"]
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the read-only fields."""
        return [*super().get_readonly_fields(request, obj), *self.extra_fields]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Return the organizations whose name contains the search term, or whose id it is."""
        try:
            return queryset.filter(pk=parse_id(search_term.strip())), False
        except ValueError:
            return super().get_search_results(request, queryset, search_term)

    @admin.display(description="Id")
    def api_id(self, organization: Organization) -> str:
        """Return the id as the API writes it."""
        return format_id(organization.pk)

    @admin.display(description="Lists")
    def lists(self, organization: Organization) -> SafeString:
        """Return links to the lists of the organization's rows."""
        return format_html_join(
            " · ",
            '<a href="{}">{}</a>',
            (
                (
                    changelist_url(model, organization=format_id(organization.pk)),
                    model._meta.verbose_name_plural,
                )
                for model in models_with_organization_filter(self.admin_site)
            ),
        )


@admin.register(ApiKey)
class ApiKeyAdmin(BaseAdmin):
    """API keys. The text of a key is shown once; afterwards the lists show its first characters."""

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
    search_help_text = "First characters of the key after csb_, name, organization or user."
    ordering = ("-created_at", "-id")
    actions = ("revoke",)

    set_at_creation = ("kind", "organization", "user")
    automatic_fields = ("key", "digest", "last_used_at", "created_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the keys with their organizations and users."""
        return super().get_queryset(request).select_related("organization", "user")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the fields in order."""
        editable = [*self.set_at_creation, "name", "role", "expires_at"]
        limits = ["limit_per_minute", "limit_per_day"]
        if obj is None:
            return [*editable, *limits]
        return ["key", *editable, "is_active", *limits, *self.automatic_fields[1:]]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the read-only fields of an existing key."""
        return (*self.automatic_fields, *self.set_at_creation) if obj else ()

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        """Return the form, with the user's permission to create keys."""
        form: Any = super().get_form(request, obj, change, **kwargs)
        form.may_create = self.has_add_permission(request)
        return form

    @admin.display(description="Key", ordering="prefix")
    def key(self, api_key: ApiKey) -> str:
        """Return the first characters of a key."""
        return f"{api_key.kind}_{api_key.prefix}…"

    @admin.display(description="Access to")
    def holder(self, api_key: ApiKey) -> str:
        """Return the organization or the user of a key."""
        return str(api_key.organization or api_key.user)

    @admin.action(description="Revoke selected API keys", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Revoke the keys: their next requests are rejected."""
        keys = list(queryset.filter(is_active=True))
        queryset.filter(pk__in=[key.pk for key in keys]).update(is_active=False)
        for key in keys:
            self.log_change(request, key, "Revoked.")
        self.message_user(request, f"Revoked {len(keys)} API keys.", messages.SUCCESS)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save a key; a new one gets a text, which only this response shows."""
        if change:
            super().save_model(request, obj, form, change)
            return
        created, obj.text_shown_once = create_api_key(
            organization=obj.organization,
            user=obj.user,
            name=obj.name,
            role=ApiKeyRole(obj.role),
            kind=ApiKeyKind(obj.kind),
            expires_at=obj.expires_at,
            limit_per_minute=obj.limit_per_minute,
            limit_per_day=obj.limit_per_day,
        )
        obj.pk = created.pk
        obj.refresh_from_db()

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Show the text of a new key in the response; a message would store it in a cookie."""
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
