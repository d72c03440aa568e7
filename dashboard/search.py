"""One search over everything of an organization that has a name or a number."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from urllib.parse import urlencode

from django.db.models import Q
from django.db.models.functions import Upper

from certifications.models import CertificationAssignment
from closient.accounts.models import Organization
from closient.db.replicas import reads_on_replica
from dashboard.suggestions import Suggestion, find
from offers.models import Offer

# Hits of each group, and of products.
AT_MOST = 4
MAX_PRODUCTS = 6


@dataclasses.dataclass(frozen=True)
class Hit:
    """Something found: what it is called, and the route and query of its page or list.

    ``arguments`` of the route follow the organization. ``count`` is as in :class:`Suggestion`.
    """

    label: str
    note: str
    route: str
    arguments: tuple[str, ...] = ()
    query: str = ""
    count: int | None = None


@dataclasses.dataclass(frozen=True)
class Group:
    """Hits of one kind."""

    title: str
    hits: Sequence[Hit]


@reads_on_replica
def search(organization: Organization, text: str) -> list[Group]:
    """Return what a text may mean, in groups without empty ones; none without letters or digits.

    Products by GTIN or words of the name, and by the SKU of an offer; brands, categories, retailers
    and certifications as in :mod:`dashboard.suggestions`; certificates by the beginning of their
    number. One statement for each, in one snapshot.
    """
    text = " ".join(text.replace("\x00", " ").split())
    if not any(character.isalnum() for character in text):
        return []

    def named(title: str, kind: str, route: str) -> Group:
        found = find(organization.pk, kind, text, AT_MOST)
        return Group(title, [_list(one, kind, route) for one in found])

    groups = (
        Group("Products", _products(organization, text)),
        named("Brands", "brand", "page-products"),
        named("Categories", "category", "page-products"),
        named("Retailers", "retailer", "page-offers"),
        named("Certifications", "certification", "page-certifications"),
        Group("Certificates", _certificates(organization, text)),
    )
    return [group for group in groups if group.hits]


def _list(one: Suggestion, kind: str, route: str) -> Hit:
    return Hit(one.label, one.note, route, query=urlencode({kind: one.value}), count=one.count)


def _products(organization: Organization, text: str) -> list[Hit]:
    """Return products: those that have an offer with this SKU first."""
    sold = Offer.objects.of(organization).filter(Q(sku=text) & ~Q(sku="")).with_gtin()
    hits = {
        offer.product.gtin: Hit(
            offer.product.name or "Without a name",
            f"{offer.product.gtin}, SKU {offer.sku}",
            "page-product",
            (offer.product.gtin,),
        )
        for offer in sold.order_by("-pk")[:MAX_PRODUCTS]
    }
    for one in find(organization.pk, "product", text, MAX_PRODUCTS):
        hits.setdefault(one.value, Hit(one.label, one.note, "page-product", (one.value,)))
    return list(hits.values())[:MAX_PRODUCTS]


def _certificates(organization: Organization, text: str) -> list[Hit]:
    certificates = (
        CertificationAssignment.objects.of(organization)
        .alias(number=Upper("certificate_number"))
        .filter(number__startswith=text.upper())
        .with_names()
    )
    return [
        Hit(
            certificate.certificate_number,
            f"{certificate.certification}, {certificate.product.name or certificate.product.gtin}",
            "page-certificate",
            (str(certificate.pk),),
        )
        for certificate in certificates.order_by()[:AT_MOST]
    ]
