"""The hosts of checked URLs, with the state of their request limits."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class CheckedHost(models.Model):
    """The request limits of one host, by the database's clock.

    See ``offers.url_checks.schedule.host_limits``.

    At most two requests at a time: each holds one of two slots until it ends, or until the slot
    expires because its worker died.
    """

    host = models.CharField(primary_key=True, max_length=253)
    # The earliest start of the next request.
    next_start_at = models.DateTimeField(db_default=Now())
    first_busy_until = models.DateTimeField(null=True, blank=True)
    second_busy_until = models.DateTimeField(null=True, blank=True)
    # Until then queued requests have priority over new claims.
    wanted_until = models.DateTimeField(null=True, blank=True)
    # How many responses in a row were throttled, and until when the host is paused for that.
    objections = models.PositiveSmallIntegerField(default=0, db_default=0)
    paused_until = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager[CheckedHost]] = models.Manager()

    class Meta:
        ordering = ["host"]

    def __str__(self) -> str:
        return self.host
