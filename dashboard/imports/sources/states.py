"""What people see of a source: its state, and its last run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet, TextChoices
from django.utils import timezone

from catalog.models import ImportRun, ImportSource
from catalog.models.import_run import ASKING, QUEUED, WORKING
from dashboard.imports.sources import schedule


class SourceState(TextChoices):
    """The state of a source, the most urgent first."""

    ASKING = "asking", "Needs confirmation"
    FAILING = "failing", "Failing"
    RUNNING = "running", "Running"
    PAUSED = "paused", "Paused"
    OK = "ok", "Up to date"
    WAITING = "waiting", "Not fetched yet"


# A worker is about to change these.
MOVING = (SourceState.RUNNING, SourceState.WAITING)


@dataclasses.dataclass(frozen=True)
class ShownSource:
    """A source with its state and its last run."""

    source: ImportSource
    state: SourceState
    run: ImportRun | None


def shown_sources(sources: Iterable[ImportSource]) -> list[ShownSource]:
    """Return sources with their states; one query."""
    sources = list(sources)
    runs: dict[Any, ImportRun] = {
        run.source_id: run
        for run in _runs_of(sources)
        .order_by("source_id", "-created_at", "-id")
        .distinct("source_id")
    }
    return [
        ShownSource(source, _state(source, runs.get(source.pk)), runs.get(source.pk))
        for source in sources
    ]


def _runs_of(sources: list[ImportSource]) -> QuerySet[ImportRun]:
    return ImportRun.objects.filter(source__in=[source.pk for source in sources])


def _state(source: ImportSource, run: ImportRun | None) -> SourceState:
    is_due = source.next_run_at is not None and source.next_run_at <= timezone.now()
    if run and run.status in ASKING:
        return SourceState.ASKING
    if schedule.is_claimed(source) or (run and run.status in (*QUEUED, *WORKING)):
        return SourceState.RUNNING
    if source.failures:
        return SourceState.FAILING
    if source.is_paused:
        return SourceState.PAUSED
    if source.last_run_at is None:
        return SourceState.WAITING
    return SourceState.RUNNING if is_due else SourceState.OK
