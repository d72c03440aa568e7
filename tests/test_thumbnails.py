"""Thumbnails of uploaded and external images: made by the worker, kept with their rows."""

from __future__ import annotations

import dataclasses
import io
import os
import re
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from PIL import Image, ImageCms

from catalog.images import storage
from catalog.images.editing import add_image, locked_image, remove_image
from catalog.images.reencoding import THUMBNAIL_PIXELS, make_thumbnail, read_picture
from catalog.models import Product, ProductImage
from closient.accounts.models import Membership
from closient.db.transactions import run_with_retry
from dashboard.thumbnails import fetch, schedule
from dashboard.thumbnails.worker import ThumbnailMaker
from offers.models import CheckedHost
from tests.clients import browser_of
from tests.factories import (
    CertificationAssignmentFactory,
    MembershipFactory,
    OfferFactory,
    ProductFactory,
    ProductImageFactory,
)
from tests.feed_server import FeedServer, allow_loopback, feed_server, status
from tests.pictures import (
    BLUE,
    GREEN,
    RED,
    color,
    encoded,
    halves,
    is_like,
    moving,
    opened,
    photo_of_a_phone,
    picture,
    png_of_one_color,
)

transactional = pytest.mark.django_db(transaction=True)


@pytest.fixture
def media(tmp_path: Path, settings: Any) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.SERVE_IMAGES = True
    return tmp_path / "media"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FeedServer]:
    """A server that may be requested without a pause."""
    allow_loopback(monkeypatch)
    limits = dataclasses.replace(fetch.LIMITS, interval=timedelta(0))
    monkeypatch.setattr("dashboard.thumbnails.fetch.LIMITS", limits)
    with feed_server() as served:
        yield served


def files(media: Path) -> list[str]:
    return sorted(str(path.relative_to(media)) for path in media.rglob("*") if path.is_file())


def make_due(stop: threading.Event | None = None) -> None:
    """Make all thumbnails that are due now."""
    # A few hosts at a time, as a worker looks at those of a million images.
    maker = ThumbnailMaker(max_hosts=2)
    for _ in range(30):
        if not maker.make_next(stop or threading.Event()):
            return
    raise AssertionError("It never ends.")


def make_due_again(image: ProductImage) -> None:
    ProductImage.objects.filter(pk=image.pk).update(thumbnail_due_at=timezone.now())


def external(url: str, product: Product | None = None, **values: Any) -> ProductImage:
    product = product or ProductFactory()
    return ProductImageFactory(product=product, external_url=url, is_primary=True, **values)


def thumbnail(content: bytes) -> Image.Image:
    return opened(make_thumbnail(content).picture.content)


def swapped_profile() -> bytes:
    """Return a profile whose red is sRGB's green, and the other way round."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = profile[128 + 4 :]
    places = {bytes(tags[at : at + 4]): 132 + at for at in range(0, 12 * profile[131], 12)}
    red, green = (places[name] for name in (b"rXYZ", b"gXYZ"))
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(profile)


def test_thumbnail_is_small_upright_and_in_srgb() -> None:
    photo = encoded(halves((3000, 1500)), "JPEG", exif=opened(photo_of_a_phone()).getexif())
    made = make_thumbnail(photo)
    assert (made.width, made.height) == (1500, 3000)
    small = opened(made.picture.content)
    assert (small.format, small.size) == ("WEBP", (THUMBNAIL_PIXELS // 2, THUMBNAIL_PIXELS))
    assert is_like(color(small, (80, 20)), RED)
    assert is_like(color(small, (80, 300)), BLUE)
    assert not small.getexif()
    assert "icc_profile" not in small.info
    # A small picture is not enlarged.
    assert thumbnail(picture("PNG")).size == (32, 16)
    swapped = encoded(halves((64, 64), RED, GREEN), "PNG", icc_profile=swapped_profile())
    assert is_like(color(thumbnail(swapped), (4, 8)), GREEN)
    assert is_like(color(thumbnail(swapped), (60, 8)), RED)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("L", "JPEG"), ("CMYK", "JPEG"), ("P", "PNG"), ("LA", "PNG"), ("P", "GIF"), ("1", "BMP")],
)
def test_thumbnail_is_made_of_every_mode(mode: str, kind: str) -> None:
    source = halves((64, 64), (255, 255, 255), (0, 0, 0)).convert(mode)
    small = thumbnail(encoded(source, kind))
    assert is_like(color(small, (8, 8)), (255, 255, 255))
    assert is_like(color(small, (56, 8)), (0, 0, 0))


def test_thumbnail_keeps_depth_transparency_and_the_first_frame() -> None:
    gray = Image.new("I;16", (8, 8), 0x8000)
    assert is_like(color(thumbnail(encoded(gray, "PNG")), (4, 4)), (128, 128, 128))
    clear = Image.new("RGBA", (8, 8), (*RED, 0))
    assert thumbnail(encoded(clear, "PNG")).convert("RGBA").getpixel((4, 4))[3] == 0  # type: ignore[index]
    frames = [Image.new("RGB", (8, 8), shade) for shade in (GREEN, BLUE)]
    assert is_like(color(thumbnail(moving("GIF", frames, duration=100)), (4, 4)), GREEN)


@transactional
def test_external_image_gets_a_thumbnail_on_this_service(media: Path, server: FeedServer) -> None:
    member: Membership = MembershipFactory(role="owner")
    product = ProductFactory(organization=member.organization)
    content = encoded(halves((400, 200)), "JPEG")
    # The content type and the name say nothing.
    server.serve(content, "/page.html", Content_Type="text/html")
    image = external(server.url("/page.html"), product)
    client = browser_of(member.user)
    path = f"/dashboard/{member.organization.id}/products/{product.gtin}"
    assert "Fetching the image" in client.get(path).content.decode()
    frames = f"{path}/images/frames?image={image.pk}"
    assert client.get(frames).status_code == 204
    make_due()
    image.refresh_from_db()
    assert (image.width, image.height, image.file_size) == (400, 200, len(content))
    assert (image.thumbnail_due_at, image.thumbnail_problem) == (None, "")
    assert files(media) == [image.thumbnail.name]
    assert storage.NAME.match(image.thumbnail.name)
    sent = server.requests[0].headers
    assert sent["user-agent"].startswith("ClosientDashboard/1.0 (product image")
    assert not {"cookie", "authorization", "referer"} & set(sent)
    # Once only.
    make_due()
    assert len(server.requests) == 1
    for shown in (client.get(frames), client.get(path)):
        assert f'src="{image.thumbnail.url}"' in shown.content.decode()
        assert f'src="{server.url("")}' not in shown.content.decode()
    served = client.get(image.thumbnail.url)
    assert opened(b"".join(served)).size == (320, 160)  # type: ignore[arg-type]
    assert (served.status_code, served["Content-Type"]) == (200, "image/webp")
    assert "immutable" in served["Cache-Control"]
    run_with_retry(lambda: remove_image(locked_image(product, image.pk)))
    assert files(media) == []


@transactional
def test_uploaded_image_gets_a_thumbnail(media: Path) -> None:
    product = ProductFactory()
    content = picture("PNG", (900, 600))
    with storage.stored(read_picture(io.BytesIO(content), len(content))) as kept:
        image = run_with_retry(lambda: add_image(product, kept, title="", is_primary=False))
    make_due()
    image.refresh_from_db()
    assert (image.width, image.height) == (900, 600)
    assert image.file_size == (media / image.image.name).stat().st_size
    assert opened((media / image.thumbnail.name).read_bytes()).size == (320, 213)
    # Rows of a deleted product are deleted by the database, and their files by the daily job.
    assert len(files(media)) == 2
    product.delete()
    old = time.time() - 2 * 86_400
    for name in files(media):
        os.utime(media / name, (old, old))
    assert storage.remove_orphans() == 2
    assert files(media) == []


@transactional
def test_failed_image_is_tried_again_and_then_given_up(media: Path, server: FeedServer) -> None:
    member: Membership = MembershipFactory(role="owner")
    product = ProductFactory(organization=member.organization)
    image = external(server.url("/a.jpg"), product)
    problem = "The server returned 404 Not Found."
    pauses = []
    for attempt in range(1, schedule.MAX_ATTEMPTS + 1):
        make_due_again(image)
        make_due()
        image.refresh_from_db()
        assert (image.thumbnail_problem, image.thumbnail_failures) == (problem, attempt)
        assert len(server.requests) == attempt
        if image.thumbnail_due_at is not None:
            pauses.append(image.thumbnail_due_at - timezone.now())
    assert len(pauses) == schedule.MAX_ATTEMPTS - 1
    assert pauses == sorted(pauses)
    assert pauses[0] > timedelta(seconds=30)
    assert image.thumbnail_due_at is None
    client = browser_of(member.user)
    path = f"/dashboard/{member.organization.id}/products/{product.gtin}"
    page = client.get(path).content.decode()
    assert problem in page
    assert "No further attempts" in page
    # A person can have it fetched again.
    server.serve(picture("JPEG"), "/a.jpg")
    assert client.post(f"{path}/images/{image.pk}", {"action": "retry"}).status_code == 302
    make_due()
    image.refresh_from_db()
    assert (bool(image.thumbnail), image.thumbnail_problem) == (True, "")
    # Without a problem there is nothing to fetch again.
    client.post(f"{path}/images/{image.pk}", {"action": "retry"})
    image.refresh_from_db()
    assert image.thumbnail_due_at is None


@transactional
def test_picture_that_kills_its_worker_is_given_up(media: Path, server: FeedServer) -> None:
    server.serve(picture("JPEG"), "/a.jpg")
    image, other = (external(server.url(path)) for path in ("/killer.jpg", "/a.jpg"))
    ProductImage.objects.filter(pk=other.pk).update(
        thumbnail_due_at=timezone.now() + timedelta(hours=1)
    )
    for attempt in range(1, schedule.MAX_ATTEMPTS + 1):
        make_due_again(image)
        # A worker that dies writes no result.
        claimed = schedule.claim("feeds.test")
        assert claimed is not None
        assert (claimed.pk, claimed.thumbnail_failures) == (image.pk, attempt)
        assert claimed.is_thumbnail_expected
        # One that is stopped gives the attempt back.
        schedule.release(claimed)
        assert schedule.claim("feeds.test") == image
    make_due_again(image)
    make_due_again(other)
    make_due()
    image.refresh_from_db()
    other.refresh_from_db()
    assert (image.thumbnail_due_at, image.thumbnail_problem) == (None, schedule.WORKER_ENDED)
    assert other.thumbnail
    assert [one.path for one in server.requests] == ["/a.jpg"]


@transactional
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"<!doctype html><p>Not here</p>", "The address returns a web page (HTML), not an image"),
        (b"%PDF-1.7", "The file is not a JPEG, PNG, GIF, WebP, HEIC, AVIF or BMP image."),
        (b"<svg onload='x'/>", "The file is SVG, which can contain scripts"),
        (png_of_one_color(13_000, 13_000), "The picture has more than 25,000,000 pixels"),
        (
            picture("JPEG")[:-20],
            "The file begins like JPEG and is damaged or incomplete: replace the file at",
        ),
        (b"\xff" * 10_000_001, "The file is larger than 10 MB: use a smaller copy of the image."),
        (b"", "The file is empty."),
    ],
    ids=["html", "pdf", "svg", "bomb", "damaged", "too large", "empty"],
)
def test_what_is_no_picture_is_refused(
    media: Path, server: FeedServer, content: bytes, problem: str
) -> None:
    server.serve(content, "/a.jpg", Content_Type="image/jpeg")
    image = external(server.url("/a.jpg"))
    make_due()
    image.refresh_from_db()
    assert image.thumbnail_problem.startswith(problem)
    assert files(media) == []


@transactional
@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://feeds.test:22/a", "The address has port 22"),
        ("https://user:secret@feeds.test/a", "The address contains a user name or password"),
        ("javascript:alert(1)", "Only URLs that start with http:// or https:// are checked."),
        ("http://169.254.169.254/latest", "The address leads to a network that is not public."),
        ("http://10.0.0.1/a.jpg", "The address leads to a network that is not public."),
    ],
)
def test_only_public_addresses_are_requested(media: Path, url: str, problem: str) -> None:
    image = external(url)
    make_due()
    image.refresh_from_db()
    assert image.thumbnail_problem.startswith(problem)


@transactional
def test_redirect_is_followed_within_the_limits_of_both_hosts(
    media: Path, server: FeedServer
) -> None:
    held: dict[str, list[str]] = {}

    def note(name: str, then: Any) -> Any:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            busy = CheckedHost.objects.filter(first_busy_until__gt=timezone.now())
            held[name] = list(busy.values_list("host", flat=True))
            connection.close()
            then(handler)

        return answer

    target = server.url("/b.jpg", host="other.test")
    server.serve(picture("PNG"), "/b.jpg")
    server.answers["/a.jpg"] = note("a", status(302, Location=target))
    server.answers["/b.jpg"] = note("b", server.answers["/b.jpg"])
    image = external(server.url("/a.jpg"))
    make_due()
    image.refresh_from_db()
    assert image.width == 32
    assert held == {"a": ["feeds.test"], "b": ["other.test"]}
    assert not CheckedHost.objects.filter(first_busy_until__gt=timezone.now()).exists()


@transactional
def test_busy_and_throttling_hosts_do_not_delay_others(media: Path, server: FeedServer) -> None:
    server.answers["/slow.jpg"] = status(429, Retry_After="600")
    server.serve(picture("PNG"), "/a.jpg")
    slow = [external(server.url("/slow.jpg", host="a.feeds.test")) for _ in range(5)]
    for name in ("b", "c", "d"):
        CheckedHost.objects.create(
            host=f"{name}.feeds.test", paused_until=timezone.now() + timedelta(hours=1)
        )
        external(server.url("/a.jpg", host=f"{name}.feeds.test"))
    other = external(server.url("/a.jpg", host="z.feeds.test"))
    make_due()
    other.refresh_from_db()
    assert other.thumbnail
    # The host was asked once, and is paused as it has asked for, also for the URL checker.
    assert [each.host for each in server.requests] == ["a.feeds.test", "z.feeds.test"]
    paused = CheckedHost.objects.get(host="a.feeds.test").paused_until
    assert paused is not None
    assert timedelta(seconds=500) < paused - timezone.now() <= timedelta(seconds=600)
    kept = ProductImage.objects.filter(pk__in=[one.pk for one in slow])
    assert sorted(kept.values_list("thumbnail_failures", flat=True)) == [0, 0, 0, 0, 1]
    assert kept.get(thumbnail_failures=1).thumbnail_problem == (
        "The server returned 429 Too Many Requests."
    )


@transactional
def test_picture_that_is_changed_during_the_fetch_wins(media: Path, server: FeedServer) -> None:
    new = server.url("/new.png")
    server.serve(picture("PNG", (64, 64)), "/new.png")

    def change(handler: BaseHTTPRequestHandler) -> None:
        ProductImage.objects.update(external_url=new)
        connection.close()
        server.serve(picture("PNG"), "/old.png")
        server.answers["/old.png"](handler)

    server.answers["/old.png"] = change
    image = external(server.url("/old.png"))
    make_due()
    image.refresh_from_db()
    assert (image.external_url, image.width, len(files(media))) == (new, 64, 1)
    # Deleted meanwhile: nothing is left.
    ProductImage.objects.update(external_url=server.url("/gone.png"))

    def delete(handler: BaseHTTPRequestHandler) -> None:
        ProductImage.objects.all().delete()
        connection.close()
        server.answers["/new.png"](handler)

    server.answers["/gone.png"] = delete
    make_due()
    assert files(media) == [image.thumbnail.name]


@transactional
def test_stop_ends_a_fetch_and_the_image_is_due_again(media: Path, server: FeedServer) -> None:
    stop = threading.Event()

    def hang(handler: BaseHTTPRequestHandler) -> None:
        stop.set()
        server.ended.wait(20)

    server.answers["/a.jpg"] = hang
    image = external(server.url("/a.jpg"))
    began = time.monotonic()
    ThumbnailMaker().make_next(stop)
    assert time.monotonic() - began < 5
    image.refresh_from_db()
    assert image.thumbnail_due_at is not None
    assert image.thumbnail_due_at <= timezone.now()
    assert image.thumbnail_failures == 0


@transactional
def test_lists_show_thumbnails_with_one_more_query(media: Path) -> None:
    member: Membership = MembershipFactory(role="owner")
    organization = member.organization
    products = [ProductFactory(organization=organization, name=f"Oats {n}") for n in range(3)]
    for product in products:
        OfferFactory(product=product)
        CertificationAssignmentFactory(product=product)
    content = picture("PNG")
    with storage.stored(read_picture(io.BytesIO(content), len(content))) as kept:
        run_with_retry(lambda: add_image(products[0], kept, title="Front", is_primary=False))
    make_due()
    image = ProductImage.objects.get()
    # The second product has an image without a thumbnail, the third one has none.
    external("https://images.example.com/a.jpg", products[1])
    client = browser_of(member.user)
    for name in ("products", "offers", "certifications"):
        path = f"/dashboard/{organization.id}/{name}"
        client.get(path)
        with CaptureQueriesContext(connection) as queries:
            page = client.get(path).content.decode()
        about_images = [q for q in queries if 'FROM "catalog_productimage"' in q["sql"]]
        assert len(about_images) == 1, name
        assert page.count('class="thumbnail"') == 1
        assert page.count('class="thumbnail thumbnail-none"') == 2
        shown = re.search(r'<img class="thumbnail"[^>]*>', page)
        assert shown is not None
        for attribute in (
            f'src="{image.thumbnail.url}"',
            'alt="Front"',
            'width="44" height="44"',
            'loading="lazy"',
        ):
            assert attribute in shown[0]
        assert "images.example.com" not in page
