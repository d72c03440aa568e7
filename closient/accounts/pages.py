"""The account pages: login, password and personal API keys.

Attempts to log in are limited, and no response reveals which accounts exist.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.contrib.auth.views import LoginView, PasswordChangeDoneView, PasswordChangeView
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse_lazy
from django.views.decorators.http import require_POST, require_safe

from closient.accounts import ratelimit
from closient.accounts.api_keys import personal_keys
from closient.accounts.emails import normal_email
from closient.accounts.models import ApiKey
from closient.db.ids import parse_id
from closient.http.forms import CountsErrors
from closient.http.proxies import client_address

KNOWN_BROWSER_COOKIE_PREFIX = "known_login_"
KNOWN_BROWSER_MAX_AGE_SECONDS = 180 * 86_400


# --- Known browsers ------------------------------------------------------------------------------


def remember_browser(response: HttpResponse, email: str) -> None:
    """Set a signed cookie with a random id in a browser that has just logged in to an account.

    Later attempts with this cookie have their own limit, so that guesses from elsewhere do not lock
    out the owner (OWASP, "Slow Down Online Guessing Attacks with Device Cookies").
    """
    name, salt = _known_browser_cookie(email)
    response.set_signed_cookie(
        name,
        secrets.token_hex(16),
        salt=salt,
        max_age=KNOWN_BROWSER_MAX_AGE_SECONDS,
        httponly=True,
        samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )


def _known_browser(request: HttpRequest, email: str) -> str:
    """Return the id that :func:`remember_browser` stored for an account; empty without one."""
    name, salt = _known_browser_cookie(email)
    max_age = KNOWN_BROWSER_MAX_AGE_SECONDS
    return request.get_signed_cookie(name, default="", salt=salt, max_age=max_age) or ""


def _known_browser_cookie(email: str) -> tuple[str, str]:
    """Return the name of an account's cookie and the salt of its signature."""
    account = hashlib.sha256(normal_email(email).encode()).hexdigest()
    return KNOWN_BROWSER_COOKIE_PREFIX + account[:16], f"known-login:{account}"


# --- Login ---------------------------------------------------------------------------------------


def _count_login_attempt(request: HttpRequest, email: str) -> None:
    """Count an attempt; raises ``ValidationError`` after too many attempts."""
    result = ratelimit.count_login_attempt(
        address=client_address(request), email=email, known_browser=_known_browser(request, email)
    )
    if not result.is_allowed:
        raise ValidationError(
            "Too many attempts: wait %(seconds)s seconds, then try again.",
            code="throttled",
            params={"seconds": result.retry_after},
        )


class _ThrottledLoginForm(AuthenticationForm):
    """Counts attempts before the password is hashed, so guessing costs no CPU time."""

    def clean(self) -> dict[str, Any]:
        """Reject the login after too many attempts from one address or on one account."""
        email, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if email and password and self.request is not None:
            _count_login_attempt(self.request, email)
        return super().clean()


class LoginForm(_ThrottledLoginForm):
    """The login form of the dashboard."""

    error_messages = {
        **AuthenticationForm.error_messages,
        "invalid_login": "Wrong email or password.",
    }


class AdminLoginForm(_ThrottledLoginForm, AdminAuthenticationForm):
    """The login form of the admin."""


class LoginPage(LoginView):
    """The login page of the dashboard."""

    template_name = "accounts/login.html"
    authentication_form = LoginForm
    redirect_authenticated_user = True

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        """Log in and remember the browser."""
        response = super().form_valid(form)
        remember_browser(response, form.get_user().email)
        return response


# --- Password ------------------------------------------------------------------------------------


class PasswordForm(CountsErrors, PasswordChangeForm):
    """The password change form; guesses of the old password are limited as at the login."""

    def __init__(self, *args: Any, request: HttpRequest, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request
        if personal_keys(self.user).exists():
            self.fields["revoke_api_keys"] = forms.BooleanField(
                label="Also revoke my personal API keys", required=False
            )

    def clean_old_password(self) -> str:
        """Return the old password; the attempt is counted before the check."""
        _count_login_attempt(self.request, self.user.email)
        return super().clean_old_password()

    def save(self, commit: bool = True) -> Any:
        """Save the password, and revoke the user's API keys if the box is checked."""
        self.user.keeps_api_keys = not self.cleaned_data.get("revoke_api_keys")
        return super().save(commit)


class PasswordPage(PasswordChangeView):
    """The password change page of the dashboard and of the admin."""

    form_class = PasswordForm
    template_name = "accounts/password.html"
    success_url = reverse_lazy("password-changed")

    def get_form_kwargs(self) -> dict[str, Any]:
        """Pass the request to the form."""
        return {**super().get_form_kwargs(), "request": self.request}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the user's API keys."""
        return super().get_context_data(**kwargs, keys=_keys_of(self.request))

    def form_valid(self, form: Any) -> HttpResponse:
        """Save the password and remember the browser."""
        response = super().form_valid(form)
        remember_browser(response, form.user.email)
        return response


class PasswordChangedPage(PasswordChangeDoneView):
    """The page after a password change."""

    template_name = "accounts/password_changed.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the API keys that still work."""
        return super().get_context_data(**kwargs, keys=_keys_of(self.request))


# --- Personal API keys ---------------------------------------------------------------------------


@require_safe
@login_required
def show_personal_keys(request: HttpRequest) -> HttpResponse:
    """Show the user's API keys."""
    return render(request, "accounts/personal_keys.html", {"keys": _keys_of(request)})


@require_POST
@login_required
def revoke_personal_keys(request: HttpRequest) -> HttpResponse:
    """Revoke one of the user's API keys, or all of them."""
    user: Any = request.user
    keys = personal_keys(user)
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


def _keys_of(request: HttpRequest) -> list[ApiKey]:
    user: Any = request.user
    return list(personal_keys(user))
