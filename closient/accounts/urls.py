"""Addresses of a person's account, below ``/account/``."""

from __future__ import annotations

from django.contrib.auth import views
from django.urls import path, reverse_lazy

from closient.accounts.login import LoginForm, PasswordView

urlpatterns = [
    path(
        "login",
        views.LoginView.as_view(
            template_name="accounts/login.html",
            authentication_form=LoginForm,
            redirect_authenticated_user=True,
        ),
        name="login",
    ),
    path("logout", views.LogoutView.as_view(next_page=reverse_lazy("login")), name="logout"),
    path("password", PasswordView.as_view(), name="password"),
    path(
        "password/changed",
        views.PasswordChangeDoneView.as_view(template_name="accounts/password_changed.html"),
        name="password-changed",
    ),
]
