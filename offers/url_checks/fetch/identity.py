"""How the checker introduces itself to shops."""

from __future__ import annotations

from django.conf import settings

# Firewalls turn away what calls itself a link checker, bot, crawler or spider.
NAME = "ClosientDashboard/1.0"
PURPOSE = "product page availability"


def user_agent() -> str:
    """Return the User-Agent of every check: who asks, why, and where to complain if one can."""
    contact = f"; +{settings.URL_CHECK_CONTACT}" if settings.URL_CHECK_CONTACT else ""
    return f"{NAME} ({PURPOSE}{contact})"
