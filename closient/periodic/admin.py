"""The periodic jobs in the admin (when each is due, why it failed), and the running workers."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone

from closient.admin.base import BaseAdmin
from closient.periodic.models import MAX_SILENCE, Job, Worker


class ReadOnlyAdmin(BaseAdmin):
    """Rows that only workers write."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return ``False``: only workers add rows."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return ``False``: only workers change rows."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return ``False``: only workers delete rows."""
        return False


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    """The running workers, and those that ended without a stop in the last hour."""

    list_display = ("host", "process_id", "is_running", "started_at", "seen_at")
    fields = ("host", "process_id", "started_at", "seen_at")
    readonly_fields = fields

    @admin.display(boolean=True, description="Running", ordering="seen_at")
    def is_running(self, worker: Worker) -> bool:
        """Whether the worker has reported recently."""
        return timezone.now() - worker.seen_at < MAX_SILENCE


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    """The periodic jobs of the workers."""

    list_display = ("name", "last_run_ok", "due_at", "last_started_at", "lasted")
    fields = ("name", "due_at", "last_started_at", "last_ended_at", "lasted", "last_error")
    readonly_fields = fields

    @admin.display(boolean=True, description="Last run OK", ordering="last_error")
    def last_run_ok(self, job: Job) -> bool:
        """Whether the last run succeeded."""
        return not job.last_error
