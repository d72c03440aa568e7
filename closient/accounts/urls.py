"""URLs of the account pages, below ``/account/``."""

from __future__ import annotations

from django.contrib.auth import views
from django.urls import path, reverse_lazy

from closient.accounts.pages import (
    LoginPage,
    PasswordChangedPage,
    PasswordPage,
    revoke_personal_keys,
    show_personal_keys,
)

urlpatterns = [
    path("login", LoginPage.as_view(), name="login"),
    path("logout", views.LogoutView.as_view(next_page=reverse_lazy("login")), name="logout"),
    path("password", PasswordPage.as_view(), name="password"),
    path("password/changed", PasswordChangedPage.as_view(), name="password-changed"),
    path("keys", show_personal_keys, name="personal-keys"),
    path("keys/revoke", revoke_personal_keys, name="personal-keys-revoke"),
]
