"""The API key pages: create, rotate, revoke and delete keys; allowed origins."""

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
from closient.accounts.cors import change_allowed_origins
from closient.accounts.forms import OriginsForm
from closient.accounts.key_policy import key_policy
from closient.accounts.models import ApiKey, ApiKeyKind, ApiKeyRole
from closient.accounts.permissions import Access
from closient.accounts.serializers import NewApiKeySerializer, RotationSerializer
from closient.db.transactions import run_with_retry
from closient.http.problems import Problem
from dashboard.pages.base import is_fragment, organization_page, render_page
from dashboard.pages.forms import BodyForm, form_field, text_input

MAX_SHOWN = 200
# The label and description of each role.
ROLES = {
    ApiKeyRole.READONLY: ("Read only", "can see everything and change nothing"),
    ApiKeyRole.EDITOR: ("Editor", "can also change products, offers and certifications"),
    ApiKeyRole.MANAGER: ("Manager", "can also change the rule and these keys"),
}
# The label of each kind of key.
KINDS = {
    ApiKeyKind.ORGANIZATION.value: "A program (secret key)",
    ApiKeyKind.PUBLISHABLE.value: "A web page (publishable key)",
}
# How long a rotated key keeps working.
GRACE_PERIODS = {
    "day": datetime.timedelta(days=1),
    "week": datetime.timedelta(days=7),
    "month": datetime.timedelta(days=30),
}

_managers_page = organization_page(read_role=ApiKeyRole.MANAGER, write_role=ApiKeyRole.MANAGER)


class KeyForm(BodyForm):
    """The form of a new key."""

    serializer_class = NewApiKeySerializer

    name = form_field(
        "Name",
        widget=text_input(maxlength=100),
        help_text="What the key is for, for example “Nightly export”.",
    )
    kind = form_field(
        "Used by",
        initial=ApiKeyKind.ORGANIZATION.value,
        widget=forms.Select(choices=list(KINDS.items())),
        help_text="Everyone can read the key of a web page. It only reads the numbers, the "
        "forecast and the history, and only from the allowed origins below.",
    )
    role = form_field("Access", initial=ApiKeyRole.READONLY.value)
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
        """Reject past dates."""
        day: datetime.date | None = self.cleaned_data["expires_at"]
        if day is not None and day < self._today:
            raise forms.ValidationError("This date is in the past.")
        return day

    def body(self) -> dict[str, Any]:
        """Return the body for the serializer, with ``expires_at`` as the end of the last day."""
        body = super().body()
        if day := body.get("expires_at"):
            # The day after the last supported date would overflow.
            after = min(day, datetime.date.max - datetime.timedelta(2)) + datetime.timedelta(1)
            midnight = datetime.datetime.combine(after, datetime.time(), self._time_zone)
            body["expires_at"] = midnight.astimezone(datetime.UTC).isoformat()
        return body


@require_http_methods(["GET", "HEAD", "POST"])
@_managers_page
@sensitive_variables("text", "created")
def show_keys(request: HttpRequest, access: Access) -> HttpResponse:
    """Show the keys, and create one; only this response contains the text of the new key."""
    form = KeyForm(request.POST if request.method == "POST" else None, access=access)
    if form.is_valid():
        giver = key_policy(access, None)
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
    keys = list(ApiKey.objects.filter(organization=access.organization)[: MAX_SHOWN + 1])
    template = "dashboard/keys_body.html" if is_fragment(request) else "dashboard/keys.html"
    whole = {
        "active_route": "page-keys",
        "keys": [(key, _role(key), _state(key)) for key in keys[:MAX_SHOWN]],
        "has_more": len(keys) > MAX_SHOWN,
        "origins_form": OriginsForm(
            initial={"origins": access.organization.allowed_origins}, label_suffix=""
        ),
        **context,
    }
    return render_page(request, template, whole, status=status)


@sensitive_variables("text")
def _show_once(request: HttpRequest, access: Access, key: ApiKey, text: str) -> HttpResponse:
    """Show the text of a new key, with a curl command that uses it."""
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
    response = _show(request, access, context, status=201)
    # A reload shows the list, whichever page created the key.
    response.headers["HX-Replace-Url"] = reverse("page-keys", args=[access.organization.id])
    return response


def _role(key: ApiKey) -> str:
    """Return the label of the access of a key."""
    if key.kind == ApiKeyKind.PUBLISHABLE:
        return "Numbers only"
    return ROLES[ApiKeyRole(key.role)][0]


def _state(key: ApiKey) -> str:
    """Return ``active``, ``expired`` or ``revoked``."""
    if not key.is_active:
        return "revoked"
    is_expired = key.expires_at is not None and key.expires_at <= timezone.now()
    return "expired" if is_expired else "active"


@require_POST
@_managers_page
def change_origins(request: HttpRequest, access: Access) -> HttpResponse:
    """Save the origins of web pages that may call the API."""
    form = OriginsForm(request.POST, label_suffix="")
    if not form.is_valid():
        context = {"form": KeyForm(access=access), "origins_form": form}
        return _show(request, access, context, status=422)
    origins = form.cleaned_data["origins"]
    change_allowed_origins(access.organization.id, origins)
    messages.success(request, "Allowed origins saved.")
    return redirect("page-keys", access.organization.id)


@require_GET
@_managers_page
def show_key(request: HttpRequest, access: Access, key_id: UUID | None) -> HttpResponse:
    """Show a key and the actions on it."""
    key = _find(access, key_id)
    context = {"active_route": "page-keys", "key": key, "role": _role(key), "state": _state(key)}
    return render_page(request, "dashboard/key.html", context)


@require_POST
@_managers_page
def revoke_key(request: HttpRequest, access: Access, key_id: UUID | None) -> HttpResponse:
    """Revoke or reactivate a key; a revoked key is rejected from the next request on."""
    is_active = request.POST.get("is_active") == "yes"
    giver = key_policy(access, None)

    def write() -> ApiKey:
        key = _find(access, key_id, is_locked=True)
        api_keys.change_api_key(giver, key, {"is_active": is_active})
        return key

    try:
        key = run_with_retry(write)
    except Problem as problem:
        messages.error(request, "The key is still revoked. " + _sentences(problem))
        return redirect("page-key", access.organization.id, key_id)
    done = "reactivated" if is_active else "revoked. Requests with it are rejected from now on"
    messages.success(request, f"Key “{key.name}” {done}.")
    return redirect(_address(key))


def _sentences(problem: Problem) -> str:
    """Return the sentences of a problem."""
    return " ".join([error.detail for error in problem.errors] or [problem.detail])


@require_POST
@_managers_page
@sensitive_variables("text", "new")
def rotate_key(request: HttpRequest, access: Access, key_id: UUID | None) -> HttpResponse:
    """Replace a key and show the text of the new one; the old one works for a grace period."""
    given: dict[str, Any] = {}
    old = _find(access, key_id)
    if grace := GRACE_PERIODS.get(request.POST.get("grace", "")):
        ends_at = timezone.now() + grace
        # A key that expires sooner keeps its expiry.
        if old.expires_at is None or ends_at < old.expires_at:
            serializer = RotationSerializer(data={"old_expires_at": ends_at})
            serializer.is_valid(raise_exception=True)
            given = serializer.validated_data
    giver = key_policy(access, None)
    try:
        new, text = run_with_retry(
            lambda: api_keys.rotate_api_key(giver, _find(access, key_id, is_locked=True), given)
        )
    except Problem as problem:
        if problem.kind.error_code == "not_found":
            raise
        messages.error(request, "No key was created. " + _sentences(problem))
        # htmx would follow a redirect and swap the whole page into this one.
        if is_fragment(request):
            return HttpResponse(status=204, headers={"HX-Redirect": _address(old)})
        return redirect(_address(old))
    return _show_once(request, access, new, text)


@require_POST
@_managers_page
def delete_key(request: HttpRequest, access: Access, key_id: UUID | None) -> HttpResponse:
    """Delete a key; it stops working at once."""

    def write() -> str:
        key = _find(access, key_id, is_locked=True)
        key.delete()
        return key.name

    name = run_with_retry(write)
    messages.success(request, f"Key “{name}” deleted.")
    return redirect("page-keys", access.organization.id)


def _find(access: Access, key_id: UUID | None, *, is_locked: bool = False) -> ApiKey:
    """Return the organization's key with an id, or raise :class:`Http404`."""
    try:
        return api_keys.find(access.organization, key_id, is_locked=is_locked)
    except Problem:
        raise Http404 from None


def _address(key: ApiKey) -> str:
    return reverse("page-key", args=[key.organization_id, key.id])
