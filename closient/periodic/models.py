"""When each periodic job is due, and the result of its last run."""

from __future__ import annotations

import datetime

from django.db import models
from django.db.models.functions import Now


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
