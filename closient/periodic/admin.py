"""The periodic jobs in the admin: when each is due, and why it failed."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from closient.admin.base import BaseAdmin
from closient.periodic.models import Job


@admin.register(Job)
class JobAdmin(BaseAdmin):
    """The periodic jobs of the workers; read-only."""

    list_display = ("name", "last_run_ok", "due_at", "last_started_at", "lasted")
    fields = ("name", "due_at", "last_started_at", "last_ended_at", "lasted", "last_error")
    readonly_fields = fields

    @admin.display(boolean=True, description="Last run OK", ordering="last_error")
    def last_run_ok(self, job: Job) -> bool:
        """Whether the last run succeeded."""
        return not job.last_error

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return ``False``: only workers add jobs."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return ``False``: jobs are read-only."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return ``False``: jobs are read-only."""
        return False
