"""Logging in with a password: throttled, and strangers learn nothing about who has an account."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import ValidationError

from closient.accounts import ratelimit
from closient.accounts.addresses import client_address


class _Throttled(AuthenticationForm):
    """Counts attempts before a password is looked at: guessing costs a hash a time otherwise."""

    def clean(self) -> dict[str, Any]:
        """Refuse who has tried too often, from one address or on one account."""
        email, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if email and password and self.request is not None:
            address = client_address(self.request)
            verdict = ratelimit.take_for_login(address=address, email=email)
            if not verdict.is_allowed:
                raise ValidationError(
                    "Too many attempts to log in: wait %(seconds)s seconds, then try again.",
                    code="throttled",
                    params={"seconds": verdict.retry_after},
                )
        return super().clean()


class LoginForm(_Throttled):
    """The form of the dashboard."""

    error_messages = {
        **AuthenticationForm.error_messages,
        "invalid_login": "This e-mail address and password do not belong together.",
    }


class AdminLoginForm(_Throttled, AdminAuthenticationForm):
    """The form of the admin."""
