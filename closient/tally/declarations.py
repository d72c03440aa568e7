"""What a model counts as: declared beside its fields, turned into triggers and into a recount.

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
    """The days on which a row counts under another bucket.

    On the days in the ``datemultirange`` column the integer bucket has ``bit`` set as well.
    """

    column: str
    bit: int


@dataclasses.dataclass(frozen=True)
class Account:
    """Rows counted by bucket: the values of some columns, NULL as empty, joined by a slash.

    With ``effective_on`` a row counts from the date in that column on, and not at all without one.
    """

    name: str
    bucket: tuple[str, ...] = ()
    effective_on: str | None = None
    during: DatedBit | None = None


@dataclasses.dataclass(frozen=True)
class Counter:
    """A column of the parent that holds how many rows it has, of those with the given values."""

    parent: str
    column: str
    where: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class CoverageColumn:
    """A column of the parent that holds the days its rows cover, bounds included, empty = open."""

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
    """Yield each model that counts as something, with its declaration."""
    for model in apps.get_models():
        for trigger in getattr(model._meta, "triggers", []):
            declaration = getattr(trigger, "declaration", None)
            if declaration is not None:
                yield model, declaration
                break
