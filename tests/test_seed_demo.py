"""The demo catalog: reproducible, written in one transaction, and counted exactly."""

from __future__ import annotations

import dataclasses
import datetime
import io
import re

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection
from PIL import Image

from catalog.completeness import DEFAULT_RULE
from catalog.gtin import normalize_gtin
from catalog.images.reencoding import read_picture
from catalog.models import Brand, Product, ProductImage
from certifications.models import Certification, CertificationAssignment
from closient.accounts.models import Organization
from closient.db.ids import parse_id
from closient.tally.models import TallyEntry
from dashboard.demo.pictures import DemoPictures
from dashboard.demo.seeding import AlreadySeeded, seed
from dashboard.demo.shop import Shop
from dashboard.models import Snapshot
from dashboard.numbers import Stats, StatsQuery, recount, stats
from dashboard.snapshots import take_snapshots
from offers.models import Offer
from tests.counting import ZEROS
from tests.factories import OrganizationFactory, ProductFactory

pytestmark = pytest.mark.django_db

KEYS = {"id", "organization_id", "product_id", "brand_id", "certification_id"}
TIMESTAMPS = {"created_at", "updated_at"}


class Bar:
    """A progress bar that stores its position."""

    def __init__(self) -> None:
        self.products = 0

    def update(self, n: float | None = 1) -> None:
        self.products += int(n or 0)


def seeded(products: int, chunk: int = 100) -> Organization:
    organization = OrganizationFactory()
    seed(organization, products=products, progress=Bar(), chunk=chunk)
    return organization


def contents(organization: Organization) -> list[list[dict[str, object]]]:
    """Return all rows of an organization in the order of writing, without their ids."""
    querysets = [
        Product.objects.filter(organization=organization).order_by("gtin"),
        *(
            model.objects.filter(organization=organization).order_by("product__gtin", "id")
            for model in (ProductImage, Offer, CertificationAssignment)
        ),
    ]
    return [
        [
            {name: value for name, value in row.items() if name not in KEYS | TIMESTAMPS}
            for row in queryset.values()
        ]
        for queryset in querysets
    ]


def numbers(organization: Organization) -> tuple[Stats, Stats]:
    stats_query = StatsQuery(organization.pk, DEFAULT_RULE, organization.today())
    return stats(stats_query), recount(stats_query)


def test_seed_demo_prints_the_id_of_an_organization_with_numbers() -> None:
    output = io.StringIO()
    call_command("seed_demo", stdout=output)
    organization = Organization.objects.get(pk=parse_id(output.getvalue().splitlines()[-1]))
    assert organization.name == "Demo Foods"
    tallied, recounted = numbers(organization)
    assert tallied == recounted
    assert tallied.total_products == 1250
    assert 900 <= tallied.complete_products <= 1050
    assert 70 <= tallied.avg_completeness <= 90
    assert min(tallied.active_offers, tallied.broken_offers, tallied.missing_images) > 0
    assert tallied.expiring_certifications > 0


def test_seed_demo_creates_the_same_catalog_for_every_organization() -> None:
    assert contents(seeded(150)) == contents(seeded(150))


def test_seed_demo_starts_a_large_catalog_with_the_products_of_a_small_one() -> None:
    small, large = contents(seeded(40, chunk=7)), contents(seeded(60))
    assert small[0] == large[0][:40]
    assert [row["certificate_number"] for row in small[3]] == [
        row["certificate_number"] for row in large[3][: len(small[3])]
    ]


@pytest.mark.slow
def test_seed_demo_writes_valid_rows() -> None:
    organization = seeded(120)
    for model in (Brand, Product, ProductImage, Offer, Certification, CertificationAssignment):
        rows = model._default_manager.filter(organization=organization)
        assert rows.exists()
        for row in rows:
            row.full_clean()
    gtins = Product.objects.of(organization).values_list("gtin", flat=True)
    assert all(normalize_gtin(gtin) == gtin and gtin.startswith("02") for gtin in gtins)


def test_seed_demo_dates_certificates_from_the_organizations_today() -> None:
    organization = seeded(200)
    today = organization.today()
    certificates = CertificationAssignment.objects.of(organization)
    expiring = certificates.expiring_within(60, today)
    assert expiring.exists()
    assert certificates.filter(expiry_date__lt=today).exists()
    assert certificates.filter(expiry_date=None).exists()
    assert certificates.filter(expiry_date=datetime.date(9999, 12, 31)).exists()
    assert certificates.filter(valid_from__gt=today).exists()


def test_seed_demo_advances_the_progress_bar_to_the_end() -> None:
    bar = Bar()
    seed(OrganizationFactory(), products=25, progress=bar, chunk=10)
    assert bar.products == 25


def test_pictures_are_stored_and_change_no_number() -> None:
    without = seeded(20)
    organization = OrganizationFactory()
    seed(organization, products=20, progress=Bar(), pictures=DemoPictures())
    images = ProductImage.objects.filter(organization=organization)
    assert len(images) > 15
    for image in images:
        with image.image.open() as file, Image.open(file) as picture:
            assert (image.width, image.height) == picture.size
        with image.thumbnail.open() as file, Image.open(file) as thumbnail:
            assert thumbnail.format == "WEBP"
        assert image.file_size == image.image.size
        assert image.thumbnail_due_at is None
    assert {image.width for image in images} == {400, 1000}
    assert numbers(organization) == numbers(without)


def test_the_shop_has_a_picture_at_each_address_of_its_feed() -> None:
    shop = Shop("http://127.0.0.1")
    links = re.findall(r"<g:image_link>http://127.0.0.1(.*?)</g:image_link>", shop.feed)
    assert len(links) > 60
    for link in links:
        status, content_type, content = shop.respond(link)
        assert (status, content_type) == (200, "image/jpeg")
        assert read_picture(io.BytesIO(content), len(content)).width == 1000
    assert shop.respond("/images/1.jpg")[0] == 404


def test_seed_demo_rejects_an_organization_with_products() -> None:
    product = ProductFactory()
    organization = product.organization
    with pytest.raises(CommandError) as error:
        call_command("seed_demo", organization=organization.name, products=10)
    assert str(error.value) == (
        f"The organization {organization.name} already has products. "
        "Nothing was written. Choose another one with --organization."
    )
    assert list(Product.objects.of(organization)) == [product]
    assert not Brand.objects.filter(organization=organization).exists()
    with pytest.raises(AlreadySeeded):
        seed(organization, products=10, progress=Bar())


def test_seed_demo_rejects_a_name_of_several_organizations() -> None:
    OrganizationFactory.create_batch(2, name="Twins")
    with pytest.raises(CommandError, match="Several organizations are named Twins"):
        call_command("seed_demo", organization="Twins", products=10)
    assert not Product.objects.exists()


@pytest.mark.parametrize("products", [-1, 0, 10_000_001])
def test_seed_demo_rejects_a_number_out_of_range(products: int) -> None:
    with pytest.raises(CommandError, match=f"--products must be from 1 to .*; it is {products}"):
        call_command("seed_demo", products=products)
    assert not Organization.objects.exists()


def test_seed_demo_leaves_nothing_after_an_error() -> None:
    class Breaks(Bar):
        def update(self, n: float | None = 1) -> None:
            super().update(n)
            if self.products >= 20:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1/0")

    organization = OrganizationFactory()
    with pytest.raises(DatabaseError):
        seed(organization, products=30, progress=Breaks(), chunk=10)
    assert not Product.objects.of(organization).exists()
    assert not TallyEntry.objects.of(organization.pk).exists()
    assert numbers(organization)[0] == ZEROS


def test_seed_demo_writes_a_history_of_90_days() -> None:
    organization = seeded(1250)
    today = organization.today()
    history = list(Snapshot.objects.of(organization).between(datetime.date.min, today))
    assert [snapshot.date for snapshot in history] == [
        today - datetime.timedelta(days=back) for back in range(90, 0, -1)
    ]
    assert all(snapshot.is_demo for snapshot in history)
    now, _ = numbers(organization)
    names = [field.name for field in dataclasses.fields(Stats)]
    for name in names:
        values = [getattr(snapshot, name) for snapshot in history]
        # Every number changes, and none jumps to its value of today.
        assert len(set(values)) >= 3, name
        assert abs(values[-1] - getattr(now, name)) <= max(getattr(now, name) // 4, 3), name
    assert history[0].total_products < history[-1].total_products < now.total_products == 1250
    # The first real snapshot is today's.
    take_snapshots()
    assert not Snapshot.objects.of(organization).get(date=today).is_demo
    assert Snapshot.objects.filter(is_demo=True).count() == 90


def test_seed_demo_writes_the_same_history_each_time() -> None:
    first, second = (
        [
            [getattr(snapshot, field.name) for field in dataclasses.fields(Stats)]
            for snapshot in Snapshot.objects.of(seeded(150)).order_by("date")
        ]
        for _ in range(2)
    )
    assert first == second
