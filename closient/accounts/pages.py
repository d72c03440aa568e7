"""Login and password pages: throttled, and without revealing which accounts exist."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.contrib.auth.views import LoginView, PasswordChangeDoneView, PasswordChangeView
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.urls import reverse_lazy

from closient.accounts import ratelimit
from closient.accounts.known_browsers import known_browser, remember_browser
from closient.accounts.models import ApiKey
from closient.accounts.personal_keys import working_keys
from closient.http.proxies import client_address


def _count_attempt(request: HttpRequest, email: str) -> None:
    """Count an attempt; raises ``ValidationError`` after too many attempts."""
    result = ratelimit.count_login_attempt(
        address=client_address(request), email=email, known_browser=known_browser(request, email)
    )
    if not result.is_allowed:
        raise ValidationError(
            "Too many attempts: wait %(seconds)s seconds, then try again.",
            code="throttled",
            params={"seconds": result.retry_after},
        )


class _Throttled(AuthenticationForm):
    """Counts attempts before the password is hashed, so guessing costs no CPU time."""

    def clean(self) -> dict[str, Any]:
        """Reject the login after too many attempts from one address or on one account."""
        email, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if email and password and self.request is not None:
            _count_attempt(self.request, email)
        return super().clean()


class LoginForm(_Throttled):
    """The form of the dashboard."""

    error_messages = {
        **AuthenticationForm.error_messages,
        "invalid_login": "Wrong email or password.",
    }


class AdminLoginForm(_Throttled, AdminAuthenticationForm):
    """The form of the admin."""


class LoginPage(LoginView):
    """The login page of the dashboard."""

    template_name = "accounts/login.html"
    authentication_form = LoginForm
    redirect_authenticated_user = True

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        """Log in, and let the browser be recognized at its next login."""
        response = super().form_valid(form)
        remember_browser(response, form.get_user().email)
        return response


class PasswordForm(PasswordChangeForm):
    """The password change form; guessing the old password is throttled as at the login."""

    def __init__(self, *args: Any, request: HttpRequest, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request

        if working_keys(self.user).exists():
            self.fields["revoke_api_keys"] = forms.BooleanField(
                label="Also revoke my personal API keys", required=False
            )

    def save(self, commit: bool = True) -> Any:
        """Save the password; the person has decided about the API keys."""
        self.user.keeps_api_keys = not self.cleaned_data.get("revoke_api_keys")
        return super().save(commit)

    def clean_old_password(self) -> str:
        """Return the old password; the attempt is counted before the check."""
        _count_attempt(self.request, self.user.email)
        return super().clean_old_password()


class PasswordView(PasswordChangeView):
    """The password change page of the dashboard and the admin."""

    form_class = PasswordForm
    template_name = "accounts/password.html"
    success_url = reverse_lazy("password-changed")

    def get_form_kwargs(self) -> dict[str, Any]:
        """Let the form know where the attempt comes from."""
        return {**super().get_form_kwargs(), "request": self.request}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Show the API keys that work beside the password."""
        return super().get_context_data(**kwargs, keys=_keys_of(self.request))

    def form_valid(self, form: Any) -> HttpResponse:
        """Save the password; the browser stays known under it."""
        response = super().form_valid(form)
        remember_browser(response, form.user.email)
        return response


class PasswordChangedPage(PasswordChangeDoneView):
    """The page after a password change: lists the API keys that still work."""

    template_name = "accounts/password_changed.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Show the API keys that still work."""
        return super().get_context_data(**kwargs, keys=_keys_of(self.request))


def _keys_of(request: HttpRequest) -> list[ApiKey]:
    user: Any = request.user
    return list(working_keys(user))
