"""``/dashboard/``: redirects to the last organization, or shows a choice."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from closient.accounts.permissions import all_access
from dashboard.pages.base import LAST_ORGANIZATION


@login_required
def start(request: HttpRequest) -> HttpResponse:
    """Redirect to the only or the last organization; else list them or explain how to join one."""
    user: Any = request.user
    organizations = [access.organization for access, _ in all_access(user=user, key=None)]
    last = request.session.get(LAST_ORGANIZATION)
    for organization in organizations:
        if len(organizations) == 1 or str(organization.id) == last:
            return redirect("page-home", organization_id=organization.id)
    return render(request, "dashboard/start.html", {"organizations": organizations})
