"""Where a password is asked for: throttled, and strangers learn nothing about accounts."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.contrib.auth.views import PasswordChangeView
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.urls import reverse_lazy

from closient.accounts import ratelimit
from closient.accounts.addresses import client_address


def _count_attempt(request: HttpRequest, email: str) -> None:
    """Count an attempt; raises ``ValidationError`` for whoever has tried too often."""
    verdict = ratelimit.take_for_login(address=client_address(request), email=email)
    if not verdict.is_allowed:
        raise ValidationError(
            "Too many attempts: wait %(seconds)s seconds, then try again.",
            code="throttled",
            params={"seconds": verdict.retry_after},
        )


class _Throttled(AuthenticationForm):
    """Counts attempts before a password is looked at: guessing costs a hash a time otherwise."""

    def clean(self) -> dict[str, Any]:
        """Refuse who has tried too often, from one address or on one account."""
        email, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if email and password and self.request is not None:
            _count_attempt(self.request, email)
        return super().clean()


class LoginForm(_Throttled):
    """The form of the dashboard."""

    error_messages = {
        **AuthenticationForm.error_messages,
        "invalid_login": "This e-mail address and password do not belong together.",
    }


class AdminLoginForm(_Throttled, AdminAuthenticationForm):
    """The form of the admin."""


class PasswordForm(PasswordChangeForm):
    """The form of another password: the old one is no easier to guess here than at the login."""

    def __init__(self, *args: Any, request: HttpRequest, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request

    def clean_old_password(self) -> str:
        """Return the old password; counts the attempt before it is looked at."""
        _count_attempt(self.request, self.user.email)
        return super().clean_old_password()


class PasswordView(PasswordChangeView):
    """The page of another password, for the dashboard and the admin."""

    form_class = PasswordForm
    template_name = "accounts/password.html"
    success_url = reverse_lazy("password-changed")

    def get_form_kwargs(self) -> dict[str, Any]:
        """Let the form know where the attempt comes from."""
        return {**super().get_form_kwargs(), "request": self.request}
