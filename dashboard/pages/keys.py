"""API keys: made and shown once, later recognised by the beginning of their text."""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from closient.accounts import api_keys
from closient.accounts.api.fields import NewApiKeySerializer, RotationSerializer
from closient.accounts.forms import OriginsForm
from closient.accounts.key_policy import grantor
from closient.accounts.models import ApiKey, ApiKeyKind, ApiKeyRole
from closient.accounts.organizations import set_allowed_origins
from closient.accounts.permissions import Access
from closient.db.transactions import commit
from closient.http.problems import Problem
from dashboard.pages.base import is_fragment, organization_page, show
from dashboard.pages.forms import BodyForm, shown_as, text_input

MOST_SHOWN = 200
# What each role is called, and what a key of it may do.
ROLES = {
    ApiKeyRole.READONLY: ("Read only", "can see everything and change nothing"),
    ApiKeyRole.EDITOR: ("Editor", "can also change products, offers and certifications"),
    ApiKeyRole.MANAGER: ("Manager", "can also change the rule and these keys"),
}
# Who sends a key of each kind.
KINDS = {
    ApiKeyKind.ORGANIZATION.value: "A program (secret key)",
    ApiKeyKind.PUBLISHABLE.value: "A web page (publishable key)",
}
# How much longer an old key works beside its successor.
GRACE = {
    "day": datetime.timedelta(days=1),
    "week": datetime.timedelta(days=7),
    "month": datetime.timedelta(days=30),
}

_managers_page = organization_page(read_role=ApiKeyRole.MANAGER, write_role=ApiKeyRole.MANAGER)


class KeyForm(BodyForm):
    """What a person decides about a new key."""

    serializer_class = NewApiKeySerializer

    name = shown_as(
        "Name",
        widget=text_input(maxlength=100),
        help_text="What the key is for, for example “Nightly export”.",
    )
    kind = shown_as(
        "Used by",
        initial=ApiKeyKind.ORGANIZATION.value,
        widget=forms.Select(choices=list(KINDS.items())),
        help_text="Everyone can read the key of a web page. It only reads the numbers, the "
        "forecast and the history, and only from the allowed origins below.",
    )
    role = shown_as("Access", initial=ApiKeyRole.READONLY.value)
    expires_at = forms.DateField(
        label="Expires (optional)",
        required=False,
        widget=forms.DateInput({"type": "date"}, format="%Y-%m-%d"),
        error_messages={"invalid": "Enter a date, for example 2027-12-31."},
    )

    def __init__(self, data: Mapping[str, Any] | None = None, *, access: Access) -> None:
        super().__init__(data)
        self._time_zone = zoneinfo.ZoneInfo(access.organization.time_zone)
        self._today = access.organization.today()
        self.fields["role"].widget = forms.Select(
            choices=[
                (role.value, f"{name}: {text}")
                for role, (name, text) in ROLES.items()
                if access.may(role)
            ]
        )
        self.fields["expires_at"].help_text = (
            f"The last day on which the key works ({self._time_zone.key}). "
            "Leave empty if it never expires."
        )

    def clean_expires_at(self) -> datetime.date | None:
        """Refuse a day that is over."""
        day: datetime.date | None = self.cleaned_data["expires_at"]
        if day is not None and day < self._today:
            raise forms.ValidationError("This date is in the past.")
        return day

    def body(self) -> dict[str, Any]:
        """Return what the API would be sent: the moment at which the last day is over."""
        body = super().body()
        if day := body.get("expires_at"):
            # A date that no day comes after is as good as the one before it.
            after = min(day, datetime.date.max - datetime.timedelta(2)) + datetime.timedelta(1)
            midnight = datetime.datetime.combine(after, datetime.time(), self._time_zone)
            body["expires_at"] = midnight.astimezone(datetime.UTC).isoformat()
        return body


@require_http_methods(["GET", "HEAD", "POST"])
@_managers_page
@sensitive_variables("text", "created")
def show_keys(request: HttpRequest, access: Access) -> HttpResponse:
    """Show the keys, and make one: its text stands in the answer to that request alone."""
    form = KeyForm(request.POST if request.method == "POST" else None, access=access)
    if form.is_valid():
        giver = grantor(access, None)
        created = form.save(
            lambda: api_keys.grant_api_key(giver, access.organization, dict(form.values))
        )
        if created is not None:
            key, text = created
            return _show_once(request, access, key, text)
    status = 422 if form.is_bound else 200
    return _show(request, access, {"form": form}, status=status)


def _show(
    request: HttpRequest, access: Access, context: Mapping[str, Any], *, status: int = 200
) -> HttpResponse:
    keys = list(ApiKey.objects.filter(organization=access.organization)[: MOST_SHOWN + 1])
    template = "dashboard/keys_body.html" if is_fragment(request) else "dashboard/keys.html"
    whole = {
        "place": "page-keys",
        "keys": [(key, _role(key), _state(key)) for key in keys[:MOST_SHOWN]],
        "has_more": len(keys) > MOST_SHOWN,
        "origins_form": OriginsForm(
            initial={"origins": access.organization.allowed_origins}, label_suffix=""
        ),
        **context,
    }
    return show(request, template, whole, status=status)


@sensitive_variables("text")
def _show_once(request: HttpRequest, access: Access, key: ApiKey, text: str) -> HttpResponse:
    """Show a new key's text, with a command that uses it."""
    address = request.build_absolute_uri(reverse("stats", args=[access.organization.id]))
    context = {
        "form": KeyForm(access=access),
        "made": key,
        "text": text,
        # A publishable key is for pages of other origins.
        "command": ""
        if key.kind == ApiKeyKind.PUBLISHABLE
        else f"curl -H 'X-API-Key: {text}' {address}",
    }
    answer = _show(request, access, context, status=201)
    # A reload shows the list, wherever the key was made.
    answer.headers["HX-Replace-Url"] = reverse("page-keys", args=[access.organization.id])
    return answer


def _role(key: ApiKey) -> str:
    """Return what a key may do, in a word or two."""
    if key.kind == ApiKeyKind.PUBLISHABLE:
        return "Numbers only"
    return ROLES[ApiKeyRole(key.role)][0]


def _state(key: ApiKey) -> str:
    """Return in a word whether a key works."""
    if not key.is_active:
        return "revoked"
    is_over = key.expires_at is not None and key.expires_at <= timezone.now()
    return "expired" if is_over else "works"


@require_POST
@_managers_page
def change_origins(request: HttpRequest, access: Access) -> HttpResponse:
    """Change the origins of web pages that may call the API."""
    form = OriginsForm(request.POST, label_suffix="")
    if not form.is_valid():
        context = {"form": KeyForm(access=access), "origins_form": form}
        return _show(request, access, context, status=422)
    origins = form.cleaned_data["origins"]
    commit(lambda: set_allowed_origins(access.organization.id, origins))
    messages.success(request, "The allowed origins are saved.")
    return redirect("page-keys", access.organization.id)


@require_GET
@_managers_page
def show_key(request: HttpRequest, access: Access, key_id: UUID | None) -> HttpResponse:
    """Show a key, and what can be done with it."""
    key = _find(access, key_id)
    context = {"place": "page-keys", "key": key, "role": _role(key), "state": _state(key)}
    return show(request, "dashboard/key.html", context)


@require_POST
@_managers_page
def revoke_key(request: HttpRequest, access: Access, key_id: UUID | None) -> HttpResponse:
    """Revoke a key, whose next request is then refused, or reactivate it."""
    is_active = request.POST.get("is_active") == "yes"
    giver = grantor(access, None)

    def write() -> ApiKey:
        key = _find(access, key_id, is_locked=True)
        api_keys.change_api_key(giver, key, {"is_active": is_active})
        return key

    try:
        key = commit(write)
    except Problem as problem:
        messages.error(request, "The key is still revoked. " + _sentences(problem))
        return redirect("page-key", access.organization.id, key_id)
    done = "is active again" if is_active else "is revoked: its next request is refused"
    messages.success(request, f"The key “{key.name}” {done}.")
    return redirect(_address(key))


def _sentences(problem: Problem) -> str:
    """Return why a key cannot be what was asked for."""
    return " ".join([error.detail for error in problem.errors] or [problem.detail])


@require_POST
@_managers_page
@sensitive_variables("text", "new")
def rotate_key(request: HttpRequest, access: Access, key_id: UUID | None) -> HttpResponse:
    """Make a key like this one, and show its text; the old one works on for as long as is said."""
    given: dict[str, Any] = {}
    old = _find(access, key_id)
    if grace := GRACE.get(request.POST.get("grace", "")):
        ends_at = timezone.now() + grace
        # A key that ends sooner by itself goes on as it is.
        if old.expires_at is None or ends_at < old.expires_at:
            serializer = RotationSerializer(data={"old_expires_at": ends_at})
            serializer.is_valid(raise_exception=True)
            given = serializer.validated_data
    giver = grantor(access, None)
    try:
        new, text = commit(
            lambda: api_keys.rotate_api_key(giver, _find(access, key_id, is_locked=True), given)
        )
    except Problem as problem:
        if problem.kind.error_code == "not_found":
            raise
        messages.error(request, "No key was made. " + _sentences(problem))
        # Followed by htmx, a redirect would put the whole page into the middle of this one.
        if is_fragment(request):
            return HttpResponse(status=204, headers={"HX-Redirect": _address(old)})
        return redirect(_address(old))
    return _show_once(request, access, new, text)


@require_POST
@_managers_page
def delete_key(request: HttpRequest, access: Access, key_id: UUID | None) -> HttpResponse:
    """Delete a key: revoked at once, and forgotten."""

    def write() -> str:
        key = _find(access, key_id, is_locked=True)
        key.delete()
        return key.name

    name = commit(write)
    messages.success(request, f"The key “{name}” is deleted.")
    return redirect("page-keys", access.organization.id)


def _find(access: Access, key_id: UUID | None, *, is_locked: bool = False) -> ApiKey:
    """Return a key of the organization, or answer that there is none."""
    try:
        return api_keys.find(access.organization, key_id, is_locked=is_locked)
    except Problem:
        raise Http404 from None


def _address(key: ApiKey) -> str:
    return reverse("page-key", args=[key.organization_id, key.id])
