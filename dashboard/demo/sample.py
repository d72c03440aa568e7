"""Sample data: a few products to try the pages with, which are removed again without a trace."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction

from catalog.models import Brand, Product, ProductImage
from certifications.models import (
    CertificateAttachment,
    Certification,
    CertificationAssignment,
)
from closient.accounts.models import Organization
from dashboard.demo.catalog import DemoCatalog
from dashboard.demo.rows import CertificateRow, Entry, ImageRow, OfferRow, ProductRow
from dashboard.demo.seeding import (
    MODELS,
    AlreadySeeded,
    brand_ids,
    by_type,
    certification_ids,
    copy_rows,
)
from dashboard.models import SampleRow, SampleTable
from offers.models import Offer

PRODUCTS = 60
# How the name of a sample product begins, also in exports and in the API.
NAME_PREFIX = "Sample: "
_METADATA = '{"sample": "true"}'

_TABLES: dict[type[Any], SampleTable] = {
    ProductRow: SampleTable.PRODUCT,
    ImageRow: SampleTable.IMAGE,
    OfferRow: SampleTable.OFFER,
    CertificateRow: SampleTable.CERTIFICATE,
}


_OF_PRODUCTS: dict[Any, SampleTable] = {
    Offer: SampleTable.OFFER,
    ProductImage: SampleTable.IMAGE,
    CertificationAssignment: SampleTable.CERTIFICATE,
}


class Removal(NamedTuple):
    """How many sample products were removed, and how many stay because people added to them."""

    removed: int
    kept: int


def add_sample(organization: Organization) -> int:
    """Add the sample data to an organization without products; return the number of products.

    It is the beginning of the demo catalog, with names that begin with ``NAME_PREFIX``. One
    transaction, in a fraction of a second. Raises :class:`AlreadySeeded`.
    """
    with transaction.atomic():
        _lock(organization)
        if Product.objects.of(organization).exists():
            raise AlreadySeeded(f"{organization.name} already has products.")
        brands_before = _ids(Brand, organization)
        certifications_before = _ids(Certification, organization)
        catalog = DemoCatalog(
            organization_id=organization.pk,
            brand_ids=brand_ids(organization),
            certification_ids=certification_ids(organization),
            today=organization.today(),
        )
        _record(organization, SampleTable.BRAND, _ids(Brand, organization) - brands_before)
        certifications = _ids(Certification, organization) - certifications_before
        _record(organization, SampleTable.CERTIFICATION, certifications)
        rows: list[Any] = [row for entry in catalog.entries(PRODUCTS) for row in _marked(entry)]
        for row_type, batch in by_type(rows).items():
            copied: list[Any] = [*batch]
            columns = row_type._fields  # type: ignore[attr-defined]
            copy_rows(MODELS[row_type], columns, copied)
            _record(organization, _TABLES[row_type], {row.id for row in copied})
    return PRODUCTS


def remove_sample(organization: Organization) -> Removal:
    """Remove the rows that :func:`add_sample` added, also those that were changed since.

    Rows that people added stay: so do a sample certificate with attachments, a sample product with
    such offers, images or certificates, and a sample brand or certification that is in use. They
    are sample data no longer. One transaction.
    """
    with transaction.atomic():
        _lock(organization)
        sample = SampleRow.objects.of(organization)
        for model in (Offer, ProductImage):
            _rows(model, organization, sample.ids_in(_OF_PRODUCTS[model])).delete()
        # In this order: a certificate that stays keeps its product and its certification.
        uses: dict[SampleTable, tuple[Any, list[tuple[Any, str]]]] = {
            SampleTable.CERTIFICATE: (
                CertificationAssignment,
                [(CertificateAttachment, "assignment_id")],
            ),
            SampleTable.PRODUCT: (Product, [(model, "product_id") for model in _OF_PRODUCTS]),
            SampleTable.BRAND: (Brand, [(Product, "brand_id")]),
            SampleTable.CERTIFICATION: (
                Certification,
                [(CertificationAssignment, "certification_id")],
            ),
        }
        removals = {
            table: _remove_unused(model, organization, sample.ids_in(table), used_by)
            for table, (model, used_by) in uses.items()
        }
        sample.delete()
    return removals[SampleTable.PRODUCT]


def sample_product_count(organization: Organization) -> int:
    """Return how many of the sample products are still there."""
    ids = SampleRow.objects.of(organization).ids_in(SampleTable.PRODUCT)
    return Product.objects.of(organization).filter(pk__in=ids).count()


def _lock(organization: Organization) -> None:
    """Let one request at a time add or remove sample data."""
    Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)


def _marked(entry: Entry) -> Iterable[Any]:
    """Yield the rows of a demo product that is recognizable as a sample."""
    product = entry.product
    yield product._replace(
        name=NAME_PREFIX + (product.name or product.net_content),
        manufacturer="Sample data",
        metadata=_METADATA,
    )
    yield from (*entry.images, *entry.offers, *entry.certificates)


def _rows(model: Any, organization: Organization, ids: Iterable[UUID]) -> Any:
    return model.objects.filter(organization=organization, pk__in=ids)


def _ids(model: Any, organization: Organization) -> set[UUID]:
    return set(model.objects.filter(organization=organization).values_list("pk", flat=True))


def _record(organization: Organization, table: SampleTable, ids: Iterable[UUID]) -> None:
    SampleRow.objects.bulk_create(
        SampleRow(organization=organization, row_id=row_id, table=table) for row_id in ids
    )


def _remove_unused(
    model: Any, organization: Organization, ids: Iterable[UUID], uses: Iterable[tuple[Any, str]]
) -> Removal:
    """Remove the rows that no other row refers to; ``uses`` are the models and columns that may."""
    # Locked before references are read, or one that is added meanwhile would go along.
    locked = _rows(model, organization, ids).select_for_update().order_by("pk")
    found = set(locked.values_list("pk", flat=True))
    used: set[UUID] = set()
    for user, column in uses:
        references = user.objects.filter(organization=organization, **{f"{column}__in": found})
        used.update(references.values_list(column, flat=True))
    _rows(model, organization, found - used).delete()
    return Removal(len(found - used), len(used))
