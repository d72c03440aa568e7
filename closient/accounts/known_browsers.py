"""Browsers that have logged in to an account before.

A login leaves a signed cookie for its account. Attempts that carry it have a limit of their own,
so guesses made elsewhere do not keep the owner out (OWASP, "Slow Down Online Guessing Attacks with
Device Cookies").
"""

from __future__ import annotations

import hashlib
import secrets

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from closient.accounts.emails import normal_email

COOKIE_PREFIX = "known_login_"
MAX_AGE_SECONDS = 180 * 86_400


def known_browser(request: HttpRequest, email: str) -> str:
    """Return the id that an earlier login to an account gave this browser, or an empty text."""
    name, salt = _cookie_of(email)
    return request.get_signed_cookie(name, default="", salt=salt, max_age=MAX_AGE_SECONDS) or ""


def remember_browser(response: HttpResponse, email: str) -> None:
    """Give the browser an id for an account that it has just logged in to."""
    name, salt = _cookie_of(email)
    response.set_signed_cookie(
        name,
        secrets.token_hex(16),
        salt=salt,
        max_age=MAX_AGE_SECONDS,
        httponly=True,
        samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )


def _cookie_of(email: str) -> tuple[str, str]:
    """Return the name of an account's cookie, and the salt of its signature."""
    account = hashlib.sha256(normal_email(email).encode()).hexdigest()
    return COOKIE_PREFIX + account[:16], f"known-login:{account}"
