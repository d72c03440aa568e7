"""Writing the demo catalogue: by COPY, all or nothing."""

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
from closient.accounts.models import Organization
from dashboard.demo.catalog import Catalogue
from dashboard.demo.history import CHANGING, DAYS, STEP_DAYS, History, Row
from dashboard.demo.rows import CertificateRow, Entry, ImageRow, OfferRow, ProductRow
from dashboard.demo.vocabulary import BRANDS, CERTIFICATES
from dashboard.snapshots import take_demo_snapshots
from offers.models import Offer

DEFAULT_PRODUCTS = 1_250
# The counting triggers run once a statement, so that few large ones are cheapest; a chunk is what
# is held in memory, and what the progress bar moves by.
CHUNK = 100_000


class AlreadySeeded(Exception):
    """The organization has products, so that a demo catalogue would mix with them."""


class Progress(Protocol):
    """What a progress bar has to offer (tqdm does)."""

    def update(self, n: float | None = 1) -> Any:
        """Move the bar on by so many products."""


class Written(NamedTuple):
    """What was written: rows and seconds by table, in the order of writing."""

    rows: dict[str, int]
    seconds: dict[str, float]


def seed(
    organization: Organization, *, products: int, progress: Progress, chunk: int = CHUNK
) -> Written:
    """Give an organization without products its demo catalogue, and return what was written.

    The catalogue is written as it was 90 days ago and changed step by step into that of today, and
    the numbers after each step become its history. The same number of products gives the same
    catalogue and history, but for keys, and for dates, which are relative to the organization's
    today. Raises :class:`AlreadySeeded`. One transaction.
    """
    written = Written({}, {})
    history = History(organization.today())
    with transaction.atomic():
        _plan_for_bulk()
        Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
        if Product.objects.of(organization).exists():
            raise AlreadySeeded(f"The organization {organization.name} has products already.")
        catalogue = Catalogue(
            organization_id=organization.pk,
            brand_ids=_brands(organization),
            certification_ids=_certifications(organization),
            today=organization.today(),
        )
        for entries in _chunks(catalogue.entries(products), chunk):
            _write(history.first_state(entries), written, progress)
        _analyze(*_MODELS.values())
        began = time.monotonic()
        snapshots = 0
        for step, changes in enumerate(history.changes):
            _write(changes.added, written, progress)
            _change(changes.changed)
            since = DAYS - step * STEP_DAYS
            days_back = range(since, max(since - STEP_DAYS, 0), -1)
            if days_back:
                snapshots += take_demo_snapshots(organization, days_back)
        written.rows["days of history"] = snapshots
        written.seconds["days of history"] = time.monotonic() - began
    return written


# The model of each kind of row, in the order of writing.
_MODELS: dict[type[Row], type[models.Model]] = {
    ProductRow: Product,
    ImageRow: ProductImage,
    OfferRow: Offer,
    CertificateRow: CertificationAssignment,
}


def _write(rows: Iterable[Row], written: Written, progress: Progress) -> None:
    """Write new rows of any kind."""
    for row_type, batch in _by_type(rows).items():
        model = _MODELS[row_type]
        name = str(model._meta.verbose_name_plural)
        began = time.monotonic()
        _copy(model, row_type._fields, batch)  # type: ignore[attr-defined]
        written.seconds[name] = written.seconds.get(name, 0) + time.monotonic() - began
        written.rows[name] = written.rows.get(name, 0) + len(batch)
        if model is Product:
            progress.update(len(batch))


def _change(rows: Iterable[Row]) -> None:
    """Give rows that are there their final values."""
    for row_type, batch in _by_type(rows).items():
        columns = CHANGING[row_type]
        table = sql.Identifier(_MODELS[row_type]._meta.db_table)
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


def _by_type(rows: Iterable[Row]) -> dict[type[Row], list[Row]]:
    """Return rows by their kind, in the order of writing."""
    batches: dict[type[Row], list[Row]] = {row_type: [] for row_type in _MODELS}
    for row in rows:
        batches[type(row)].append(row)
    return {row_type: batch for row_type, batch in batches.items() if batch}


def _plan_for_bulk() -> None:
    """Have the triggers' statements planned for many rows, until the end of the transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SET LOCAL jit = off; SET LOCAL random_page_cost = 1.1; SET LOCAL work_mem = '64MB'"
        )


def _brands(organization: Organization) -> list[UUID]:
    """Return the keys of the demo brands in the vocabulary's order, having made those missing."""
    return [Brand.objects.get_or_make(organization.pk, name).pk for name in BRANDS]


def _certifications(organization: Organization) -> list[UUID]:
    """Return the keys of the demo certifications, likewise."""
    Certification.objects.bulk_create(
        [
            Certification(organization=organization, code=code, label=label, body=body)
            for code, label, body in CERTIFICATES
        ],
        ignore_conflicts=True,
    )
    codes = [certificate.code for certificate in CERTIFICATES]
    keys = dict(
        Certification.objects.filter(organization=organization, code__in=codes).values_list(
            "code", "pk"
        )
    )
    return [keys[code] for code in codes]


def _chunks(entries: Iterator[Entry], size: int) -> Iterator[list[Entry]]:
    while chunk := list(itertools.islice(entries, size)):
        yield chunk


def _copy(
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
    """Tell the planner what has come in: autovacuum would do so only minutes later."""
    with connection.cursor() as cursor:
        for model in tables:
            cursor.execute(
                sql.SQL("ANALYZE {}").format(sql.Identifier(model._meta.db_table)).as_string()
            )
