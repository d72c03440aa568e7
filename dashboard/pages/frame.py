"""The layout of pages outside an organization: error pages and account pages."""

from __future__ import annotations

import functools
from typing import Any

from django.http import HttpRequest

from closient.accounts.models import Organization, User
from closient.accounts.permissions import Access, all_access
from dashboard.pages.base import LAST_ORGANIZATION, navigation_of


class Frame:
    """The navigation of the organization that the user opened last.

    Queries the database only when a template uses it.
    """

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    @functools.cached_property
    def _all(self) -> list[Access]:
        user = getattr(self._request, "user", None)
        if not isinstance(user, User) or not user.is_authenticated:
            return []
        return [access for access, _ in all_access(user=user, key=None)]

    @functools.cached_property
    def _access(self) -> Access | None:
        last = self._request.session.get(LAST_ORGANIZATION) if self._all else None
        opened = [access for access in self._all if str(access.organization.id) == last]
        return next(iter(opened or self._all), None)

    @property
    def template(self) -> str:
        """The template that the page extends."""
        if self._access is not None:
            return "dashboard/framed.html"
        user = getattr(self._request, "user", None)
        return "account_frame.html" if getattr(user, "is_authenticated", False) else "base.html"

    @property
    def organization(self) -> Organization | None:
        """The organization; ``None`` for anonymous users and users without one."""
        return self._access.organization if self._access else None

    @property
    def organizations(self) -> list[Organization]:
        """All organizations of the user."""
        return [access.organization for access in self._all]

    @property
    def navigation(self) -> list[tuple[str, str]]:
        """The entries of the navigation."""
        return navigation_of(self._access) if self._access else []


def frame(request: HttpRequest) -> dict[str, Any]:
    """Context processor that adds ``frame`` to every template."""
    return {"frame": Frame(request)}
