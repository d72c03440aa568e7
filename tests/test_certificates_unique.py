"""A product has a certification once per certificate number, in the API, pages and admin."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import StateApps
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from catalog.models import Product
from certifications.models import Certification, CertificationAssignment
from closient.accounts.models import MemberRole
from closient.db.ids import format_id, uuid7
from tests.clients import API, client_of, problem, stats_path
from tests.counting import assert_exact
from tests.factories import (
    CertificationAssignmentFactory,
    CertificationFactory,
    MembershipFactory,
    ProductFactory,
)
from tests.migrating import migrate_to, migrate_to_latest

MESSAGE = "The product has this certification with this certificate number already."
SOON = timezone.localdate() + datetime.timedelta(days=30)


def body(product: Product, **fields: Any) -> dict[str, Any]:
    return {
        "gtin": product.gtin,
        "certification": "eu-organic",
        "certificate_number": "N1",
        "expiry_date": SOON.isoformat(),
        **fields,
    }


def post(client: Client, product: Product, **fields: Any) -> Any:
    path = f"{API}/certifications/{format_id(product.organization_id)}"
    return client.post(path, body(product, **fields), content_type="application/json")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("number", ["N1", ""])
def test_ten_concurrent_posts_add_a_certificate_once(number: str) -> None:
    product = ProductFactory()
    client = client_of(product.organization, role="editor")

    def send(_: int) -> Any:
        try:
            return post(client, product, certificate_number=number)
        finally:
            connection.close()

    with ThreadPoolExecutor(10) as threads:
        responses = list(threads.map(send, range(10)))
    assert Counter(response.status_code for response in responses) == {201: 1, 409: 9}
    (made,) = (response for response in responses if response.status_code == 201)
    rejected = next(response for response in responses if response.status_code == 409)
    assert problem(rejected)["detail"] == MESSAGE
    assert rejected.headers["Location"] == made.headers["Location"]
    assert problem(rejected)["conflicting_id"] == made.json()["id"]
    assert client.get(stats_path(product.organization)).json()["expiring_certifications"] == 1
    assert_exact(product.organization)


@pytest.mark.django_db
def test_number_is_compared_without_surrounding_blanks() -> None:
    product = ProductFactory()
    client = client_of(product.organization, role="editor")
    assert post(client, product).status_code == 201
    assert problem(post(client, product, certificate_number=" N1 "))["detail"] == MESSAGE


@pytest.mark.django_db
def test_another_number_certification_or_product_is_another_certificate() -> None:
    product = ProductFactory()
    other = ProductFactory(organization=product.organization)
    client = client_of(product.organization, role="editor")
    assert post(client, product).status_code == 201
    assert post(client, product, certificate_number="N2").status_code == 201
    assert post(client, product, certificate_number="").status_code == 201
    assert post(client, product, certification="fair-trade").status_code == 201
    assert post(client, other).status_code == 201
    elsewhere = ProductFactory(gtin=product.gtin)
    assert post(client_of(elsewhere.organization, role="editor"), elsewhere).status_code == 201


@pytest.mark.django_db
def test_change_to_an_existing_certificate_is_a_conflict() -> None:
    product = ProductFactory()
    client = client_of(product.organization, role="editor")
    first = post(client, product)
    second = post(client, product, certificate_number="N2")
    change = {"certificate_number": "N1"}
    rejected = client.patch(second.headers["Location"], change, content_type="application/json")
    assert (rejected.status_code, problem(rejected)["detail"]) == (409, MESSAGE)
    assert rejected.headers["Location"] == first.headers["Location"]
    renewal = {"expiry_date": (SOON + datetime.timedelta(days=365)).isoformat()}
    renewed = client.patch(first.headers["Location"], renewal, content_type="application/json")
    assert renewed.status_code == 200


@pytest.mark.django_db
def test_page_reports_the_conflict(client: Client) -> None:
    membership = MembershipFactory(role=MemberRole.EDITOR)
    client.force_login(membership.user)
    product = ProductFactory(organization=membership.organization)
    address = reverse("page-certificate-new", args=[membership.organization.id])
    form = {
        "gtin": product.gtin,
        "certification__code": "eu-organic",
        "certificate_number": "N1",
        "verification_status": "unverified",
    }
    assert client.post(address, form).status_code == 302
    again = client.post(address, form)
    assert again.status_code == 422
    assert MESSAGE in again.content.decode()
    assert CertificationAssignment.objects.count() == 1


@pytest.mark.django_db
def test_admin_reports_the_conflict(staff: Client) -> None:
    certificate = CertificationAssignmentFactory(certificate_number="N1")
    address = reverse("admin:certifications_certificationassignment_add")
    form = {
        "product": certificate.product_id,
        "certification": certificate.certification_id,
        "certificate_number": "N1",
        "verification_status": "unverified",
        "metadata": "{}",
    }
    response = staff.post(address, form)
    assert response.status_code == 200
    assert MESSAGE in response.content.decode()
    assert CertificationAssignment.objects.count() == 1


(BEFORE,) = (
    name
    for (app, rule), migration in MigrationLoader(None).disk_migrations.items()
    if app == "certifications" and rule.endswith("_assignment_unique")
    for on, name in migration.dependencies
    if on == "certifications"
)


@pytest.fixture
def product() -> Product:
    return ProductFactory()


@pytest.fixture
def earlier(product: Product) -> Iterator[StateApps]:
    """The models before the constraint; migrates to the latest afterwards."""
    yield migrate_to(("certifications", BEFORE))
    migrate_to_latest()


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.django_db(transaction=True)
def test_migration_removes_only_duplicates(earlier: StateApps, product: Product) -> None:
    organization = product.organization
    certification = CertificationFactory(organization=organization)

    def add(number: str, **fields: Any) -> Any:
        return earlier.get_model("certifications", "CertificationAssignment").objects.create(
            id=uuid7(),
            organization_id=organization.pk,
            product_id=product.pk,
            certification_id=certification.pk,
            certificate_number=number,
            **fields,
        )

    later = SOON + datetime.timedelta(days=365)
    copied = [add("N1", expiry_date=SOON, metadata={"a": "b"}) for _ in range(10)]
    old, renewed, taken = add("N2", expiry_date=SOON), add("N2", expiry_date=later), add("N2 (2)")
    endless, blank = add("", issuing_body="A"), add("", expiry_date=SOON)
    long, longer = add("x" * 100, expiry_date=SOON), add("x" * 100, expiry_date=later)
    alone = add("N3")

    migrate_to_latest()
    numbers = dict(CertificationAssignment.objects.values_list("pk", "certificate_number"))
    assert numbers == {
        copied[0].pk: "N1",
        renewed.pk: "N2",
        old.pk: "N2 (3)",
        taken.pk: "N2 (2)",
        endless.pk: "",
        blank.pk: "(2)",
        longer.pk: "x" * 100,
        long.pk: "x" * 96 + " (2)",
        alone.pk: "N3",
    }
    assert Certification.objects.count() == 1
    numbers_after = assert_exact(organization)
    assert numbers_after.expiring_certifications == 4
