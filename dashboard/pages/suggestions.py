"""The suggestions below a text field, as options of a list."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from closient.accounts.permissions import Access
from dashboard.pages.base import organization_page, render_page
from dashboard.suggestions import KINDS, MAX_COUNT, suggestions

# Longer texts are not names.
MAX_TEXT_LENGTH = 255


@require_GET
@organization_page()
def show_suggestions(request: HttpRequest, access: Access) -> HttpResponse:
    """Return the options for the text ``q`` in a field of the kind ``of``."""
    kind = request.GET.get("of", "")
    if kind not in KINDS:
        raise Http404
    text = request.GET.get("q", "")[:MAX_TEXT_LENGTH]
    found = suggestions(access.organization.id, kind, text)
    context = {"found": found, "max_count": MAX_COUNT}
    return render_page(request, "dashboard/suggestions.html", context)
