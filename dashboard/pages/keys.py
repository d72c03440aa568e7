"""Being written."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse

from closient.accounts.permissions import Access
from dashboard.pages.base import organization_page


@organization_page()
def show_keys(request: HttpRequest, access: Access) -> HttpResponse:
    """Being written."""
    raise Http404
