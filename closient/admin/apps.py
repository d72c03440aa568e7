"""Django's admin with this project's site."""

from django.contrib.admin.apps import AdminConfig


class ClosientAdminConfig(AdminConfig):
    default_site = "closient.accounts.admin_site.ClosientAdminSite"
