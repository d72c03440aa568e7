"""Pictures of every page, for people to look at and for the documentation: ``make screenshots``.

Run by pytest, but no test by its name: it makes a demo catalogue in the tests' database, shows each
page in the tests' browser and writes ``docs/images``. Like in the tests an error on the console, a
violation of the content security policy or something serious that axe finds makes it fail.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.urls import reverse
from PIL import Image
from playwright.sync_api import Page
from pytest_django import Settings
from tqdm import tqdm

from catalog.importing import runs
from catalog.importing.run_work import work_on_next
from catalog.models import ImportRun, Product
from closient.accounts.models import Membership, Organization
from dashboard.demo.seeding import seed
from tests.browser import assert_accessible, assert_fits
from tests.clients import key_of
from tests.factories import MembershipFactory, OrganizationFactory, gtin

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
PRODUCTS = 1_250
TALLEST = 1_400
COLOURS = 96
# Width, and whether dark.
LOOKS = ((390, False), (1440, False), (1440, True))


@pytest.fixture
def anna(settings: Settings, tmp_path: Path) -> Membership:
    """The owner of an organization with a demo catalogue, an import and keys."""
    kept = settings.STORAGES["imports"]
    settings.STORAGES = settings.STORAGES | {
        "imports": {**kept, "OPTIONS": {**kept["OPTIONS"], "location": tmp_path}}
    }
    member: Membership = MembershipFactory.create(
        role="owner",
        user__email="anna@example.com",
        organization__name="Haferhof",
        organization__time_zone="Europe/Berlin",
    )
    organization = member.organization
    seed(organization, products=PRODUCTS, progress=tqdm(disable=True))
    organization.offers.update(url_check_at=None)
    rows = [f"{gtin(number)},Oat drink {number},DE" for number in range(1, 200)]
    bad = "1234567890123,A wrong check digit,DE"
    text = "\n".join(["gtin,name,country_of_origin", *rows, bad])
    runs.start(organization, member.user, ContentFile(text.encode()), "spring catalogue.csv")
    while work_on_next(threading.Event()):
        pass
    key_of(organization, name="Webshop")
    key_of(organization, name="Warehouse", role="editor")
    return member


def pages(organization: Organization) -> dict[str, str]:
    """Return the address of each page by the name of its picture."""
    own = reverse("page-home", args=[organization.id])
    product = Product.objects.of(organization).exclude(brand=None).order_by("pk")[3]
    run = ImportRun.objects.get(organization=organization)
    return {
        "home": own,
        "products": f"{own}products?complete=false&missing=images",
        "product": reverse("page-product", args=[organization.id, product.gtin]),
        "offers": f"{own}offers?url_status=failing",
        "certifications": f"{own}certifications?expiring_within=60",
        "imports": f"{own}imports",
        "import": reverse("page-import", args=[organization.id, run.id]),
        "rule": f"{own}rule",
        "keys": f"{own}keys",
    }


@pytest.mark.django_db(transaction=True)
def test_pictures_of_every_page(visit: Callable[..., Page], anna: Membership) -> None:
    new = MembershipFactory(
        role="owner", organization=OrganizationFactory(name="A new brand"), user=anna.user
    )
    addresses = pages(anna.organization)
    addresses["empty"] = reverse("page-home", args=[new.organization.id])
    IMAGES.mkdir(exist_ok=True)
    for width, dark in LOOKS:
        page = visit(None, "/account/login", width=width, dark=dark)
        if not dark:
            keep(page, f"login-{width}")
        page = visit(anna.user, addresses["home"], width=width, dark=dark)
        for name, address in addresses.items():
            page.goto(address)
            if name == "rule":
                page.get_by_label("Nutrition", exact=True).fill("0")
                page.get_by_label("Images", exact=True).fill("25")
                page.locator(".rule-then").first.wait_for()
                page.get_by_role("heading", level=1).click()
            assert_accessible(page)
            assert_fits(page)
            # All pages in the dark have been looked at by axe; one is kept.
            if not dark:
                keep(page, f"{name}-{width}")
            elif name == "home":
                keep(page, f"{name}-{width}-dark")


def keep(page: Page, name: str) -> None:
    """Write a picture of a page, in few colours: what is drawn here has no photographs."""
    width = page.evaluate("document.documentElement.clientWidth")
    height = page.evaluate("document.documentElement.scrollHeight")
    taken = page.screenshot(
        full_page=True,
        clip={"x": 0, "y": 0, "width": width, "height": min(height, TALLEST)},
    )
    picture = Image.open(io.BytesIO(taken)).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(IMAGES / f"{name}.png", optimize=True)
