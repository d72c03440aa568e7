"""Runs periodic jobs when they are due, each in only one worker at a time.

A job is claimed by a lock that lives as long as the worker's database session, and by moving its
time ahead, only a little at first: so a worker that is killed costs a minute, and a job that kills
its worker does not do so without a pause.
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
from closient.periodic.models import Job

logger = logging.getLogger("closient.periodic")

# After a run that was cut off.
AGAIN_AFTER = datetime.timedelta(minutes=1)
# Seconds between checks for due jobs, and after a failed database connection.
LOOK_EVERY = 5.0
# Characters of a traceback, from its end, that are kept in the row; the log has all of it.
MAX_ERROR_LENGTH = 10_000


@dataclasses.dataclass(frozen=True)
class Periodic:
    """A job: what to run, and how long after its start it is due again.

    It may run more often than that, and twice at once, if a database session breaks. What it
    returns is logged.
    """

    name: str
    every: datetime.timedelta
    run: Callable[[], object]


def keep_running(jobs: Sequence[Periodic], stop: threading.Event) -> None:
    """Run the jobs that are due until ``stop`` is set; a job that is at work then is finished.

    Survives a database that goes away and comes back.
    """
    while not stop.is_set():
        try:
            run_due(jobs, stop)
        except (InterfaceError, OperationalError) as error:
            logger.warning("jobs: the database is away, trying again: %s", one_line(error))
            connection.close()
        stop.wait(LOOK_EVERY)
    connection.close()


def one_line(error: Exception) -> str:
    """Return what an error says in one line of a log."""
    return " ".join(str(error).split())


def run_due(jobs: Sequence[Periodic], stop: threading.Event | None = None) -> list[str]:
    """Run each job that is due and that no other worker is running; return their names.

    A job that fails is logged, and is due again at its usual time. Raises what the database raises
    when it cannot be reached.
    """
    _make_rows(jobs)
    due = set(_due(jobs))
    return [
        job.name
        for job in jobs
        if job.name in due and not (stop and stop.is_set()) and _run_alone(job)
    ]


def _run_alone(job: Periodic) -> bool:
    with advisory_lock(f"closient.periodic {job.name}") as is_mine:
        if not (is_mine and _claim(job)):
            return False
        began = time.monotonic()
        logger.info("job=%s begins", job.name)
        error = ""
        try:
            result = job.run()
        except Exception:
            error = traceback.format_exc()
            logger.exception("job=%s failed seconds=%.2f", job.name, time.monotonic() - began)
        else:
            logger.info(
                "job=%s done seconds=%.2f result=%s", job.name, time.monotonic() - began, result
            )
        _end(job, error)
        return True


def _make_rows(jobs: Sequence[Periodic]) -> None:
    known = set(Job.objects.values_list("name", flat=True))
    new = [Job(name=job.name) for job in jobs if job.name not in known]
    Job.objects.bulk_create(new, ignore_conflicts=True)


# By the database's clock, which is one for all workers.


def _due(jobs: Sequence[Periodic]) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name FROM public.jobs_job "
            "WHERE name = ANY (%s) AND due_at <= statement_timestamp()",
            [[job.name for job in jobs]],
        )
        return [name for (name,) in cursor.fetchall()]


def _claim(job: Periodic) -> bool:
    """Move a job's time ahead; false where another worker ran it since it was seen to be due."""
    values: list[Any] = [min(AGAIN_AFTER, job.every), job.name]
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
