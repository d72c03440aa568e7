"""When each periodic job is due, the result of its last run, and which workers are running."""

from __future__ import annotations

import datetime
from typing import Self

from django.db import models
from django.db.models.functions import Now

from closient.periodic.reports import MAX_SILENCE_SECONDS

# A worker that was silent for longer is not running, or stuck. It reports every ten seconds.
MAX_SILENCE = datetime.timedelta(seconds=MAX_SILENCE_SECONDS)


class Job(models.Model):
    """A periodic job of the workers; the first worker creates the row."""

    name = models.CharField(primary_key=True, max_length=100)
    due_at = models.DateTimeField(db_default=Now(), help_text="When the job runs next.")
    last_started_at = models.DateTimeField(null=True)
    last_ended_at = models.DateTimeField(null=True)
    last_error = models.TextField(
        blank=True, help_text="Why the last run failed; blank if it succeeded."
    )

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def lasted(self) -> datetime.timedelta | None:
        """The duration of the last run; none during a run and before the first one."""
        if self.last_started_at is None or self.last_ended_at is None:
            return None
        lasted = self.last_ended_at - self.last_started_at
        return lasted if lasted >= datetime.timedelta() else None


class WorkerQuerySet(models.QuerySet["Worker"]):
    """Workers, by their last report."""

    def running(self) -> Self:
        """Return the workers that have reported recently."""
        return self.filter(seen_at__gt=Now() - MAX_SILENCE)


class Worker(models.Model):
    """A running worker, which reports every few seconds and deletes its row when it stops."""

    host = models.CharField(max_length=255, help_text="Name of its machine or container.")
    process_id = models.PositiveIntegerField()
    started_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now(), help_text="When it last reported.")

    objects = WorkerQuerySet.as_manager()

    class Meta:
        ordering = ["started_at"]

    def __str__(self) -> str:
        return f"{self.host}, process {self.process_id}"
