"""Declarations of what a model's rows count as, for the triggers and the recount.

class Meta:
    triggers = tally.triggers(
        Account("offers", bucket=("channel", "status", "url_status")),
        Counter("product", "active_offer_count", where={"status": "active"}),
    )

The columns that are derived from other rows are not in the model that they describe, but in its
summary: a narrow table beside it, with one row for each row, which is cheap to write.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from django.apps import apps
from django.db import models

BUCKET_SEPARATOR = "/"


@dataclasses.dataclass(frozen=True)
class DatedBit:
    """The days on which a row counts in another bucket.

    On the days in the ``datemultirange`` column the integer at the end of the bucket also has
    ``bit`` set.
    """

    column: str
    bit: int


@dataclasses.dataclass(frozen=True)
class Account:
    """Counts of rows by bucket: the values of some columns joined by a slash, NULL as empty.

    With ``effective_on`` a row counts from the date in that column on; without a date, never. Rows
    with one of the values in ``exclude`` do not count.
    """

    name: str
    bucket: tuple[str, ...] = ()
    effective_on: str | None = None
    during: DatedBit | None = None
    exclude: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Summary:
    """A row beside each row of the model, in the table of a one-to-one relation.

    Its primary key is the relation. It has the row's organization, copies of the columns
    ``copies``, and columns that are derived from other rows. Only triggers write it.
    """

    relation: str
    copies: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Counter:
    """A column of the parent's summary with the number of its rows that have the given values."""

    parent: str
    column: str
    where: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class CoverageColumn:
    """A column of the parent's summary with the days that its rows cover.

    A missing bound is open.
    """

    parent: str
    column: str
    starts: str
    ends: str


@dataclasses.dataclass(frozen=True)
class Declaration:
    """Everything that one model's rows count as."""

    summary: Summary | None = None
    accounts: tuple[Account, ...] = ()
    counters: tuple[Counter, ...] = ()
    coverages: tuple[CoverageColumn, ...] = ()

    @property
    def derived(self) -> tuple[Counter | CoverageColumn, ...]:
        """The columns of parents' summaries that are derived from this model's rows."""
        return (*self.counters, *self.coverages)


def declared() -> Iterator[tuple[type[models.Model], Declaration]]:
    """Yield each model that has a declaration, with the declaration."""
    for model in apps.get_models():
        declaration = declaration_of(model)
        if declaration is not None:
            yield model, declaration


def declaration_of(model: type[models.Model]) -> Declaration | None:
    """Return the declaration of a model, if it has one."""
    declarations = (
        getattr(trigger, "declaration", None) for trigger in getattr(model._meta, "triggers", [])
    )
    return next(filter(None, declarations), None)


def summary_of(model: type[models.Model]) -> tuple[type[models.Model], Summary]:
    """Return the model of a model's summaries, with the declaration."""
    declaration = declaration_of(model)
    if declaration is None or declaration.summary is None:
        raise LookupError(f"{model} declares no summary.")
    relation: Any = model._meta.get_field(declaration.summary.relation)
    return relation.related_model, declaration.summary
