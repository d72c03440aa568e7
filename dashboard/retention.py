"""Deletes rows that are older than the ``KEEP_..._DAYS`` settings allow; 0 keeps them forever."""

from __future__ import annotations

import datetime
from typing import Any

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.db.models import QuerySet
from django.utils import timezone

from closient.changes.models import Change, Deletion
from closient.tally.models import PastEntry
from dashboard.models import BulkEdit, Snapshot

BATCH_ROWS = 5_000
BATCH_CHANGES = 50


def delete_old_history() -> int:
    """Delete snapshots older than ``KEEP_HISTORY_DAYS``; return how many."""
    days = settings.KEEP_HISTORY_DAYS
    if not days:
        return 0
    # A day more: days are those of the organization's time zone.
    oldest = timezone.now().date() - datetime.timedelta(days=days + 1)
    return _delete(Snapshot.objects.filter(date__lt=oldest))


def delete_old_admin_log() -> int:
    """Delete entries of the admin's log older than ``KEEP_ADMIN_LOG_DAYS``; return how many."""
    days = settings.KEEP_ADMIN_LOG_DAYS
    if not days:
        return 0
    oldest = timezone.now() - datetime.timedelta(days=days)
    return _delete(LogEntry.objects.filter(action_time__lt=oldest))


def oldest_kept_deletion() -> datetime.datetime | None:
    """Return the time since which all deletions are known, ``None`` if they are kept forever."""
    days = settings.KEEP_DELETIONS_DAYS
    return timezone.now() - datetime.timedelta(days=days) if days else None


def delete_old_deletions() -> int:
    """Delete what is known of rows deleted before ``KEEP_DELETIONS_DAYS``; return how many."""
    oldest = oldest_kept_deletion()
    if oldest is None:
        return 0
    # A day more: a request that has just found its cursor young enough still reads them.
    oldest -= datetime.timedelta(days=1)
    return _delete(Deletion.objects.filter(deleted_at__lt=oldest))


def delete_old_changes() -> int:
    """Delete changes made before ``KEEP_CHANGES_DAYS`` with their records; return how many."""
    days = settings.KEEP_CHANGES_DAYS
    if not days:
        return 0
    oldest = timezone.now() - datetime.timedelta(days=days + 1)
    _delete(PastEntry.objects.filter(effective_on__lt=oldest.date()))
    _delete(BulkEdit.objects.filter(ended_at__lt=oldest))
    # Each may have a hundred thousand records.
    return _delete(Change.objects.filter(made_at__lt=oldest), BATCH_CHANGES)


def _delete(rows: QuerySet[Any], size: int = BATCH_ROWS) -> int:
    """Delete rows in batches, each in its own transaction."""
    count = 0
    while ids := list(rows.order_by().values_list("pk", flat=True)[:size]):
        count += rows.model._base_manager.filter(pk__in=ids).delete()[0]
    return count
