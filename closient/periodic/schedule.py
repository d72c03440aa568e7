"""Runs periodic jobs when they are due, each in only one worker at a time.

A worker claims a job with a lock that ends with its database session, and by moving the job's due
time ahead by a minute. So after a killed worker the job runs again a minute later, and a job that
kills its worker does not run in a tight loop.
"""

from __future__ import annotations

import dataclasses
import datetime
import logging
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from django.db import InterfaceError, OperationalError, connection

from closient.db.locks import advisory_lock
from closient.metrics.worker import JOB_RUNS
from closient.periodic.models import Job

logger = logging.getLogger("closient.periodic")

# After an interrupted run.
RETRY_DELAY = datetime.timedelta(minutes=1)
# Between checks for due jobs, and after a failed database connection.
CHECK_INTERVAL_SECONDS = 5.0
# Last characters of a traceback that are stored; the log contains all of it.
MAX_ERROR_LENGTH = 10_000


@dataclasses.dataclass(frozen=True)
class Periodic:
    """A job: what to run, and the time from one start to the next.

    It may run more often, and twice at the same time, if a database session breaks. The result is
    logged. With ``takes_stop`` it gets the event that ends the worker, and ends early.
    """

    name: str
    every: datetime.timedelta
    run: Callable[..., object]
    takes_stop: bool = False


def keep_running(jobs: Sequence[Periodic], stop: threading.Event) -> None:
    """Run due jobs until ``stop`` is set; a running job is finished first.

    Continues after database outages.
    """
    while not stop.is_set():
        try:
            run_due(jobs, stop)
        except (InterfaceError, OperationalError) as error:
            logger.warning("jobs: the database is unavailable, retrying: %s", one_line(error))
            connection.close()
        stop.wait(CHECK_INTERVAL_SECONDS)
    connection.close()


def one_line(error: Exception) -> str:
    """Return the message of an error on one line, for a log."""
    return " ".join(str(error).split())


def run_due(jobs: Sequence[Periodic], stop: threading.Event | None = None) -> list[str]:
    """Run each job that is due and not running in another worker; return their names.

    A failed job is logged and runs again at its usual time. Raises the errors of an unavailable
    database.
    """
    _make_rows(jobs)
    due = set(_due(jobs))
    return [
        job.name
        for job in jobs
        if job.name in due and not (stop and stop.is_set()) and _run_alone(job, stop)
    ]


def _run_alone(job: Periodic, stop: threading.Event | None) -> bool:
    with advisory_lock(f"closient.periodic {job.name}") as is_held:
        if not (is_held and _claim(job)):
            return False
        started = time.monotonic()
        logger.info("job=%s started", job.name)
        error = ""
        try:
            result = job.run(stop) if job.takes_stop else job.run()
        except Exception:
            error = traceback.format_exc()
            logger.exception("job=%s failed seconds=%.2f", job.name, time.monotonic() - started)
        else:
            logger.info(
                "job=%s done seconds=%.2f result=%s", job.name, time.monotonic() - started, result
            )
        _end(job, error)
        JOB_RUNS.labels(job.name, "failed" if error else "succeeded").inc()
        return True


def _make_rows(jobs: Sequence[Periodic]) -> None:
    known = set(Job.objects.values_list("name", flat=True))
    new = [Job(name=job.name) for job in jobs if job.name not in known]
    Job.objects.bulk_create(new, ignore_conflicts=True)


# All workers use the database's clock.


def _due(jobs: Sequence[Periodic]) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name FROM public.jobs_job "
            "WHERE name = ANY (%s) AND due_at <= statement_timestamp()",
            [[job.name for job in jobs]],
        )
        return [name for (name,) in cursor.fetchall()]


def _claim(job: Periodic) -> bool:
    """Move the job's due time ahead; false if another worker has run it meanwhile."""
    values: list[Any] = [min(RETRY_DELAY, job.every), job.name]
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE public.jobs_job SET due_at = statement_timestamp() + %s, "
            "last_started_at = statement_timestamp() "
            "WHERE name = %s AND due_at <= statement_timestamp()",
            values,
        )
        return bool(cursor.rowcount == 1)


def _end(job: Periodic, error: str) -> None:
    values: list[Any] = [job.every, error[-MAX_ERROR_LENGTH:].replace("\0", ""), job.name]
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE public.jobs_job SET due_at = last_started_at + %s, "
            "last_ended_at = statement_timestamp(), last_error = %s WHERE name = %s",
            values,
        )
