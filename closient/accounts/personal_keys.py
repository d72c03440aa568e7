"""A person's own API keys (csu): which of them work, and revoking them."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from closient.accounts.models import ApiKey, User
from closient.db.ids import parse_id


def working_keys(user: User) -> QuerySet[ApiKey]:
    """Return the keys that act for a user now, newest first."""
    unexpired = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    return ApiKey.objects.filter(unexpired, user=user, is_active=True)


@require_safe
@login_required
def show_personal_keys(request: HttpRequest) -> HttpResponse:
    """Show the person's keys that work."""
    user: Any = request.user
    return render(request, "accounts/personal_keys.html", {"keys": working_keys(user)})


@require_POST
@login_required
def revoke_personal_keys(request: HttpRequest) -> HttpResponse:
    """Revoke one of the person's keys, or all of them."""
    user: Any = request.user
    keys = working_keys(user)
    if "all" not in request.POST:
        try:
            keys = keys.filter(pk=parse_id(request.POST.get("key", "")))
        except ValueError:
            keys = keys.none()
    revoked = keys.update(is_active=False)
    if revoked:
        noun = "API key" if revoked == 1 else "API keys"
        messages.success(request, f"Revoked {revoked} {noun}.")
    else:
        messages.info(request, "No API key was revoked: it was already inactive.")
    return redirect("personal-keys")
