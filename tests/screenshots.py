"""Screenshots for README.md and docs/pages.md: ``make screenshots``.

Not collected as a test because of its file name. It seeds a demo catalog in the test database,
opens each page in the tests' browser and writes ``docs/images``. As in the tests, an error on the
console, a violation of the content security policy or a serious axe finding is a failure.
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

from catalog.models import ImportRun, Product
from closient.accounts.models import Membership, Organization
from dashboard.demo.seeding import seed
from dashboard.imports.runs import actions
from dashboard.imports.runs.importer import work_on_next
from tests.browser import assert_accessible, assert_fits
from tests.factories import MembershipFactory, gtin

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
PRODUCTS = 1_250
MAX_HEIGHT = 1_400
COLORS = 96
WIDTH = 1_440


@pytest.fixture
def anna(settings: Settings, tmp_path: Path) -> Membership:
    """The owner of an organization with a demo catalog and a checked import."""
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
    actions.start(organization, member.user, ContentFile(text.encode()), "spring catalog.csv")
    while work_on_next(threading.Event()):
        pass
    return member


def addresses(organization: Organization) -> dict[str, str]:
    """Return the URL of each page by the name of its screenshot."""
    product = Product.objects.of(organization).exclude(brand=None).order_by("pk")[3]
    run = ImportRun.objects.get(organization=organization)
    return {
        "home": reverse("page-home", args=[organization.id]),
        "product": reverse("page-product", args=[organization.id, product.gtin]),
        "import": reverse("page-import", args=[organization.id, run.id]),
    }


@pytest.mark.django_db(transaction=True)
def test_screenshots(visit: Callable[..., Page], anna: Membership) -> None:
    IMAGES.mkdir(exist_ok=True)
    page = visit(anna.user, reverse("page-start"), width=WIDTH)
    for name, address in addresses(anna.organization).items():
        page.goto(address)
        assert_accessible(page)
        assert_fits(page)
        save(page, IMAGES / f"{name}.png")


def save(page: Page, path: Path) -> None:
    """Save a screenshot with a reduced palette: the pages contain no photographs."""
    width = page.evaluate("document.documentElement.clientWidth")
    height = page.evaluate("document.documentElement.scrollHeight")
    taken = page.screenshot(
        full_page=True,
        clip={"x": 0, "y": 0, "width": width, "height": min(height, MAX_HEIGHT)},
    )
    picture = Image.open(io.BytesIO(taken)).convert("RGB")
    picture.quantize(COLORS, dither=Image.Dither.NONE).save(path, optimize=True)
