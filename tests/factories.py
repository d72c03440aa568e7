"""Factories of valid rows with their parents."""

from __future__ import annotations

from typing import Any

import factory
from factory.django import DjangoModelFactory

from catalog.gtin import check_digit
from catalog.models import (
    Brand,
    ImportRun,
    ImportSource,
    Product,
    ProductImage,
    SourcedRow,
)
from certifications.models import (
    CertificateAttachment,
    Certification,
    CertificationAssignment,
)
from closient.accounts.models import Membership, Organization, User
from closient.db.ids import uuid7
from offers.models import Offer, UrlStatus


def gtin(number: int) -> str:
    """Return the GTIN-14 of a number, from the range GS1 reserves for use within a company."""
    digits = f"02{number:011d}"
    return digits + check_digit(digits)


class UserFactory(DjangoModelFactory):
    class Meta:
        model = User
        skip_postgeneration_save = True

    email = factory.Sequence(lambda n: f"user{n}@example.com")
    password = factory.django.Password("correct horse")


class OrganizationFactory(DjangoModelFactory):
    class Meta:
        model = Organization

    name = factory.Sequence(lambda n: f"Organization {n}")


class MembershipFactory(DjangoModelFactory):
    class Meta:
        model = Membership

    organization = factory.SubFactory(OrganizationFactory)
    user = factory.SubFactory(UserFactory)


class BrandFactory(DjangoModelFactory):
    class Meta:
        model = Brand

    organization = factory.SubFactory(OrganizationFactory)
    name = factory.Sequence(lambda n: f"Brand {n}")


class ProductFactory(DjangoModelFactory):
    """A product with only a GTIN and a name."""

    class Meta:
        model = Product

    class Params:
        described = factory.Trait(
            description="What it is.",
            brand=factory.SubFactory(
                BrandFactory, organization=factory.SelfAttribute("..organization")
            ),
            category="Groceries",
            nutrition={"nutrients": [{"name": "energy", "amount": "100", "unit": "kJ"}]},
            country_of_origin="DE",
        )

    organization = factory.SubFactory(OrganizationFactory)
    gtin = factory.Sequence(gtin)
    name = factory.Sequence(lambda n: f"Product {n}")


class _OfProduct(DjangoModelFactory):
    """A row of a product; with only an organization, the product is one of that organization."""

    class Meta:
        abstract = True

    @classmethod
    def _generate(cls, strategy: Any, params: dict[str, Any]) -> Any:
        if "organization" in params and not any(name.startswith("product") for name in params):
            params = {**params, "product": ProductFactory(organization=params["organization"])}
        return super()._generate(strategy, params)

    product = factory.SubFactory(ProductFactory)
    organization = factory.SelfAttribute("product.organization")


class ProductImageFactory(_OfProduct):
    class Meta:
        model = ProductImage

    external_url = factory.Sequence(lambda n: f"https://images.example.com/{n}.jpg")


class OfferFactory(_OfProduct):
    """An active online offer that was never checked."""

    class Meta:
        model = Offer

    class Params:
        in_store = factory.Trait(channel="in_store", url="", url_status=None, store="Main Street")

    retailer = factory.Sequence(lambda n: f"Retailer {n}")
    url = factory.Sequence(lambda n: f"https://shop.example.com/{n}")
    url_status = UrlStatus.UNCHECKED


class CertificationFactory(DjangoModelFactory):
    class Meta:
        model = Certification

    organization = factory.SubFactory(OrganizationFactory)
    code = factory.Sequence(lambda n: f"certification-{n}")


class CertificationAssignmentFactory(_OfProduct):
    """A certificate without dates: valid on every day."""

    class Meta:
        model = CertificationAssignment

    certification = factory.SubFactory(
        CertificationFactory, organization=factory.SelfAttribute("..organization")
    )
    # A product has a certification only once per number.
    certificate_number = factory.Sequence(lambda n: f"C-{n}")


class ImportSourceFactory(DjangoModelFactory):
    class Meta:
        model = ImportSource

    organization = factory.SubFactory(OrganizationFactory)
    name = factory.Sequence(lambda n: f"Source {n}")
    url = factory.Sequence(lambda n: f"https://feeds.example.com/{n}.csv")


class _OfSource(DjangoModelFactory):
    """Rows of a source, in its organization unless one is given."""

    class Meta:
        abstract = True

    source = factory.SubFactory(ImportSourceFactory)
    organization = factory.SelfAttribute("source.organization")


class ImportRunFactory(_OfSource):
    class Meta:
        model = ImportRun

    name = "products.csv"
    size = 10
    file = "0" * 32


class SourcedRowFactory(_OfSource):
    class Meta:
        model = SourcedRow

    row_id = factory.LazyFunction(uuid7)
    is_offer = False


class CertificateAttachmentFactory(DjangoModelFactory):
    """An attachment whose file does not exist."""

    class Meta:
        model = CertificateAttachment

    assignment = factory.SubFactory(CertificationAssignmentFactory)
    organization = factory.SelfAttribute("assignment.organization")
    file = factory.Sequence(lambda n: f"certificates/2026/11/{n:032x}.pdf")
    name = "certificate.pdf"
    media_type = "application/pdf"
    size = 1_000
