"""Writes the demo catalog with COPY, in one transaction."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from django.db import connection, models, transaction
from psycopg import sql

from catalog.models import Brand, Product, ProductImage
from certifications.models import Certification, CertificationAssignment
from closient.accounts.actors import acting_as
from closient.accounts.models import Organization
from closient.changes.models import Cause
from dashboard.demo.catalog import DemoCatalog
from dashboard.demo.history import CHANGING, DAYS, STEP_DAYS, DemoHistory, Row
from dashboard.demo.pictures import DemoPictures
from dashboard.demo.rows import CertificateRow, Entry, ImageRow, OfferRow, ProductRow
from dashboard.demo.vocabulary import BRANDS, CERTIFICATIONS
from dashboard.snapshots import take_demo_snapshots
from offers.models import Offer

DEFAULT_PRODUCTS = 1_250
# The triggers of the tally run once per statement, so few large statements are fastest. A chunk is
# kept in memory, and is the step of the progress bar.
CHUNK = 100_000


class AlreadySeeded(Exception):
    """The organization already has products."""


class Progress(Protocol):
    """The interface of a progress bar (of tqdm)."""

    def update(self, n: float | None = 1) -> Any:
        """Advance the bar by a number of products."""


class SeedResult(NamedTuple):
    """The rows written and the seconds it took, by table in the order of writing."""

    rows: dict[str, int]
    seconds: dict[str, float]


def seed(
    organization: Organization,
    *,
    products: int,
    progress: Progress,
    pictures: DemoPictures | None = None,
    chunk: int = CHUNK,
) -> SeedResult:
    """Write the demo catalog of an organization without products.

    The catalog is written as it was 90 days ago and changed step by step into today's; the numbers
    after each step become its history. The same number of products gives the same catalog and
    history, except for ids, and for dates, which are relative to the organization's today. Images
    have addresses at which there is nothing; with ``pictures`` they have files instead. Raises
    :class:`AlreadySeeded`. One transaction.
    """
    result = SeedResult({}, {})
    history = DemoHistory(organization.today())
    with acting_as("Demo data", Cause.DATABASE), transaction.atomic():
        _plan_for_bulk()
        Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
        if Product.objects.of(organization).exists():
            raise AlreadySeeded(f"The organization {organization.name} already has products.")
        catalog = DemoCatalog(
            organization_id=organization.pk,
            brand_ids=brand_ids(organization),
            certification_ids=certification_ids(organization),
            today=organization.today(),
        )
        made = catalog.entries(products)
        for entries in _chunks(map(pictures.add_to, made) if pictures else made, chunk):
            _write(history.first_state(entries), result, progress)
        _analyze(*MODELS.values())
        began = time.monotonic()
        snapshots = 0
        for step, changes in enumerate(history.changes):
            _write(changes.added, result, progress)
            _change(changes.changed)
            since = DAYS - step * STEP_DAYS
            days_back = range(since, max(since - STEP_DAYS, 0), -1)
            if days_back:
                snapshots += take_demo_snapshots(organization, days_back)
        result.rows["days of history"] = snapshots
        result.seconds["days of history"] = time.monotonic() - began
    return result


# The model of each type of row, in the order of writing.
MODELS: dict[type[Row], type[models.Model]] = {
    ProductRow: Product,
    ImageRow: ProductImage,
    OfferRow: Offer,
    CertificateRow: CertificationAssignment,
}


def _write(rows: Iterable[Row], result: SeedResult, progress: Progress) -> None:
    """Insert rows of any type."""
    for row_type, batch in by_type(rows).items():
        model = MODELS[row_type]
        name = str(model._meta.verbose_name_plural)
        began = time.monotonic()
        copy_rows(model, row_type._fields, batch)  # type: ignore[attr-defined]
        result.seconds[name] = result.seconds.get(name, 0) + time.monotonic() - began
        result.rows[name] = result.rows.get(name, 0) + len(batch)
        if model is Product:
            progress.update(len(batch))


def _change(rows: Iterable[Row]) -> None:
    """Update existing rows to their final values."""
    for row_type, batch in by_type(rows).items():
        columns = CHANGING[row_type]
        table = sql.Identifier(MODELS[row_type]._meta.db_table)
        values = json.dumps(
            [{name: getattr(row, name) for name in ("id", *columns)} for row in batch], default=str
        )
        statement = sql.SQL(
            "UPDATE {table} AS row SET ({columns}) = ROW ({new}) "
            "FROM json_populate_recordset(NULL::{table}, %s) AS new WHERE row.id = new.id"
        ).format(
            table=table,
            columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
            new=sql.SQL(", ").join(sql.Identifier("new", column) for column in columns),
        )
        with connection.cursor() as cursor:
            cursor.execute(statement.as_string(), [values])


def by_type(rows: Iterable[Row]) -> dict[type[Row], list[Row]]:
    """Group rows by type, in the order of writing."""
    batches: dict[type[Row], list[Row]] = {row_type: [] for row_type in MODELS}
    for row in rows:
        batches[type(row)].append(row)
    return {row_type: batch for row_type, batch in batches.items() if batch}


def _plan_for_bulk() -> None:
    """Set planner options for the bulk statements of the triggers, for this transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SET LOCAL jit = off; SET LOCAL random_page_cost = 1.1; SET LOCAL work_mem = '64MB'"
        )


def brand_ids(organization: Organization) -> list[UUID]:
    """Return the ids of the demo brands in the vocabulary's order; creates missing ones."""
    return [Brand.objects.get_or_make(organization.pk, name).pk for name in BRANDS]


def certification_ids(organization: Organization) -> list[UUID]:
    """Return the ids of the demo certifications in the vocabulary's order; creates missing ones."""
    Certification.objects.bulk_create(
        [
            Certification(organization=organization, code=code, label=label, body=body)
            for code, label, body in CERTIFICATIONS
        ],
        ignore_conflicts=True,
    )
    codes = [certificate.code for certificate in CERTIFICATIONS]
    keys = dict(
        Certification.objects.filter(organization=organization, code__in=codes).values_list(
            "code", "pk"
        )
    )
    return [keys[code] for code in codes]


def _chunks(entries: Iterator[Entry], size: int) -> Iterator[list[Entry]]:
    while chunk := list(itertools.islice(entries, size)):
        yield chunk


def copy_rows(
    model: type[models.Model], columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(model._meta.db_table),
        sql.SQL(", ").join(map(sql.Identifier, columns)),
    )
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


def _analyze(*tables: type[models.Model]) -> None:
    """Update the planner statistics; autovacuum would do so only minutes later."""
    with connection.cursor() as cursor:
        for model in tables:
            cursor.execute(
                sql.SQL("ANALYZE {}").format(sql.Identifier(model._meta.db_table)).as_string()
            )
