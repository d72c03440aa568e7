"""Writing the demo catalogue: by COPY, all or nothing."""

from __future__ import annotations

import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar
from uuid import UUID

from django.db import connection, models, transaction
from psycopg import sql

from catalog.models import Brand, Product, ProductImage
from certifications.models import Certification, CertificationAssignment
from closient.accounts.models import Organization
from dashboard.demo.catalogue import Catalogue
from dashboard.demo.rows import CertificateRow, Entry, ImageRow, OfferRow, ProductRow
from dashboard.demo.vocabulary import BRANDS, CERTIFICATES
from offers.models import Offer

DEFAULT_PRODUCTS = 1_250
# The counting triggers run once a statement, so that few large ones are cheapest; a chunk is what
# is held in memory, and what the progress bar moves by.
CHUNK = 100_000


_Row = TypeVar("_Row")


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

    The same number of products gives the same catalogue, but for keys, and for dates, which are
    relative to the organization's today. Raises :class:`AlreadySeeded`. One transaction.
    """
    rows: Counter[str] = Counter()
    seconds: defaultdict[str, float] = defaultdict(float)
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
            for model, row_type, batch in (
                (Product, ProductRow, [entry.product for entry in entries]),
                (ProductImage, ImageRow, _flat(entry.images for entry in entries)),
                (Offer, OfferRow, _flat(entry.offers for entry in entries)),
                (
                    CertificationAssignment,
                    CertificateRow,
                    _flat(entry.certificates for entry in entries),
                ),
            ):
                name = str(model._meta.verbose_name_plural)
                began = time.monotonic()
                _copy(model, row_type._fields, batch)
                seconds[name] += time.monotonic() - began
                rows[name] += len(batch)
            progress.update(len(entries))
        _analyze(Product, ProductImage, Offer, CertificationAssignment)
    return Written(dict(rows), dict(seconds))


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


def _flat(rows: Iterable[list[_Row]]) -> list[_Row]:
    return list(itertools.chain.from_iterable(rows))


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
