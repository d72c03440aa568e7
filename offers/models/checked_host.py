"""The hosts that URL checks go to: how much each may be asked, shared by all workers."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class CheckedHost(models.Model):
    """The budget of one host, kept by the database's clock (offers.url_checks.schedule.hosts).

    At most two requests at a time: each one in flight holds one of the two places until it ends,
    or until the time in that place has passed because its worker died.
    """

    host = models.CharField(primary_key=True, max_length=253)
    # The next request begins no sooner.
    next_start_at = models.DateTimeField(db_default=Now())
    first_busy_until = models.DateTimeField(null=True, blank=True)
    second_busy_until = models.DateTimeField(null=True, blank=True)
    # Somebody who cannot wait long stands in line: new claims stand back until then.
    wanted_until = models.DateTimeField(null=True, blank=True)
    # Answers in a row with which the host objected, and until when nobody asks it therefore.
    objections = models.PositiveSmallIntegerField(default=0, db_default=0)
    paused_until = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager[CheckedHost]] = models.Manager()

    class Meta:
        ordering = ["host"]

    def __str__(self) -> str:
        return self.host
