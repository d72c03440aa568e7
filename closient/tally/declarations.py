"""Declarations of what a model's rows count as, for the triggers and the recount.

class Meta:
    triggers = tally.triggers(
        Account("offers", bucket=("channel", "status", "url_status")),
        Counter("product", "active_offer_count", where={"status": "active"}),
    )
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from django.apps import apps
from django.db import models

BUCKET_SEPARATOR = "/"


@dataclasses.dataclass(frozen=True)
class DatedBit:
    """The days on which a row counts in another bucket.

    On the days in the ``datemultirange`` column the integer bucket also has ``bit`` set.
    """

    column: str
    bit: int


@dataclasses.dataclass(frozen=True)
class Account:
    """Counts of rows by bucket: the values of some columns joined by a slash, NULL as empty.

    With ``effective_on`` a row counts from the date in that column on; without a date, never.
    """

    name: str
    bucket: tuple[str, ...] = ()
    effective_on: str | None = None
    during: DatedBit | None = None


@dataclasses.dataclass(frozen=True)
class Counter:
    """A column of the parent with the number of its rows that have the given values."""

    parent: str
    column: str
    where: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class CoverageColumn:
    """A column of the parent with the days that its rows cover; a missing bound is open."""

    parent: str
    column: str
    starts: str
    ends: str


@dataclasses.dataclass(frozen=True)
class Declaration:
    """Everything that one model's rows count as."""

    accounts: tuple[Account, ...] = ()
    counters: tuple[Counter, ...] = ()
    coverages: tuple[CoverageColumn, ...] = ()

    @property
    def derived(self) -> tuple[Counter | CoverageColumn, ...]:
        """The parent's columns that are derived from this model's rows."""
        return (*self.counters, *self.coverages)


def declared() -> Iterator[tuple[type[models.Model], Declaration]]:
    """Yield each model that has a declaration, with the declaration."""
    for model in apps.get_models():
        for trigger in getattr(model._meta, "triggers", []):
            declaration = getattr(trigger, "declaration", None)
            if declaration is not None:
                yield model, declaration
                break
