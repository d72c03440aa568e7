"""Reports of running workers, for the admin and for the health check of containers."""

from __future__ import annotations

import datetime
import logging
import os
import threading
from collections.abc import Callable

from django.db import InterfaceError, OperationalError, connection
from django.db.models.functions import Now

from closient.periodic.models import Worker
from closient.periodic.reports import host_name
from closient.periodic.schedule import one_line

logger = logging.getLogger("closient.periodic")

REPORT_INTERVAL_SECONDS = 10.0
# Rows of killed workers are deleted after it.
KEPT = datetime.timedelta(hours=1)


def keep_reporting(stop: threading.Event, responds: Callable[[], bool]) -> None:
    """Report until ``stop`` is set, then delete the row.

    A worker that does not respond reports nothing, so that it counts as stuck. Continues after
    database outages.
    """
    row: Worker | None = None
    while not stop.is_set():
        if responds():
            try:
                row = report(row)
            except (InterfaceError, OperationalError) as error:
                logger.warning("heartbeat: the database is unavailable: %s", one_line(error))
                connection.close()
        else:
            logger.warning("heartbeat: the worker does not respond")
        stop.wait(REPORT_INTERVAL_SECONDS)
    try:
        if row:
            row.delete()
    except (InterfaceError, OperationalError):
        logger.info("heartbeat: the row stays, because the database is unavailable")
    connection.close()


def report(row: Worker | None) -> Worker:
    """Report that this process is running; return its row."""
    Worker.objects.filter(seen_at__lt=Now() - KEPT).delete()
    if row and Worker.objects.filter(pk=row.pk).update(seen_at=Now()):
        return row
    return Worker.objects.create(host=host_name(), process_id=os.getpid())
