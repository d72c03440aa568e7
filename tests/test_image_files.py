"""Files of images in their storage, and the rows that reference them."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, transaction
from django.test import Client
from django.test.utils import override_settings

from catalog.images.editing import NoSuchProduct, add_image, locked_image, remove_image
from catalog.images.reencoding import Picture, read_picture
from catalog.images.storage import NAME, remove_orphans, stored
from catalog.models import Product, ProductImage
from closient.db.transactions import run_with_retry
from tests.factories import ProductFactory, ProductImageFactory
from tests.pictures import HTML, picture


class BrokenStorage(FileSystemStorage):
    """A storage that writes the first half of a file and fails, or cannot delete."""

    fails: str = ""

    def _save(self, name: str, content: Any) -> str:
        if self.fails == "save":
            half = Path(self.path(name))
            half.parent.mkdir(parents=True, exist_ok=True)
            half.write_bytes(content.read()[:10])
            raise OSError(28, "No space left on device")
        return super()._save(name, content)

    def delete(self, name: str) -> None:
        if self.fails == "delete":
            raise OSError(5, "Input/output error")
        super().delete(name)


@pytest.fixture(autouse=True)
def media(tmp_path: Path) -> Iterator[Path]:
    storages = {
        "default": {"BACKEND": "tests.test_image_files.BrokenStorage"},
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    with override_settings(MEDIA_ROOT=tmp_path / "media", STORAGES=storages):
        yield tmp_path / "media"
        BrokenStorage.fails = ""


def files(media: Path) -> list[str]:
    return sorted(str(path.relative_to(media)) for path in media.rglob("*") if path.is_file())


def new_picture(kind: str = "PNG") -> Picture:
    content = picture(kind)
    return read_picture(io.BytesIO(content), len(content))


def create_image(product: Product) -> ProductImage:
    with stored(new_picture()) as keeping:
        return run_with_retry(lambda: add_image(product, keeping, title="", is_primary=False))


@pytest.mark.django_db(transaction=True)
def test_file_is_created_and_deleted_with_its_row(media: Path) -> None:
    product = ProductFactory()
    image = create_image(product)
    assert files(media) == [image.image.name]
    assert NAME.match(image.image.name)
    run_with_retry(lambda: remove_image(locked_image(product, image.pk)))
    assert files(media) == []


@pytest.mark.django_db(transaction=True)
def test_file_is_deleted_when_its_row_is_not_written(media: Path) -> None:
    product = ProductFactory()
    Product.objects.all().delete()
    with pytest.raises(NoSuchProduct):
        create_image(product)
    assert files(media) == []


@pytest.mark.django_db(transaction=True)
def test_file_is_kept_when_the_commit_is_uncertain(media: Path) -> None:
    """The connection broke while the database committed."""
    product = ProductFactory()

    def commit_and_disconnect(keeping: Any) -> None:
        with transaction.atomic():
            add_image(product, keeping, title="", is_primary=False)
        raise OperationalError("the connection is gone")

    with pytest.raises(OperationalError), stored(new_picture()) as keeping:
        commit_and_disconnect(keeping)
    assert files(media) == [ProductImage.objects.get().image.name]


@pytest.mark.django_db(transaction=True)
def test_file_is_kept_when_its_row_is(media: Path) -> None:
    product = ProductFactory()
    image = create_image(product)

    def remove_and_fail() -> None:
        remove_image(locked_image(product, image.pk))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        run_with_retry(remove_and_fail)
    assert files(media) == [ProductImage.objects.get().image.name]


@pytest.mark.django_db(transaction=True)
def test_row_is_deleted_even_if_its_file_cannot_be(media: Path) -> None:
    product = ProductFactory()
    image = create_image(product)
    BrokenStorage.fails = "delete"
    run_with_retry(lambda: remove_image(locked_image(product, image.pk)))
    assert not ProductImage.objects.exists()
    assert files(media) == [image.image.name]


# --- Orphans -----------------------------------------------------------------------------------


def make_old(path: Path, hours: float = 25) -> None:
    then = time.time() - hours * 3600
    os.utime(path, (then, then))


def removed(*options: str) -> list[str]:
    out = io.StringIO()
    call_command("remove_orphan_images", *options, stdout=out)
    return out.getvalue().splitlines()


@pytest.fixture
def orphan(media: Path) -> str:
    """Three old files, one with a row and one not of this service, and a recent orphan."""
    deleted, young, kept = (create_image(ProductFactory()) for _ in range(3))
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM catalog_product WHERE id = ANY(%s)",
            [[deleted.product_id, young.product_id]],
        )
    (media / "products/notes.txt").write_text("not ours")
    (media / "products/2026/11").mkdir(parents=True, exist_ok=True)
    (media / "products/2026/11/logo.png").write_bytes(b"not ours")
    for file in files(media):
        make_old(media / file)
    make_old(media / young.image.name, hours=23)
    ProductImageFactory(product=kept.product)
    return str(deleted.image.name)


@pytest.mark.django_db(transaction=True)
def test_only_orphans_are_removed(media: Path, orphan: str) -> None:
    before = files(media)
    assert len(before) == 5
    assert removed("--dry-run") == [
        orphan,
        "1 files older than 24 hours without a row would be deleted",
    ]
    assert files(media) == before
    assert removed() == [orphan, "1 files older than 24 hours without a row deleted"]
    assert files(media) == [file for file in before if file != orphan]
    assert removed() == ["0 files older than 24 hours without a row deleted"]


@pytest.mark.django_db(transaction=True)
def test_worker_removes_the_same_orphans(
    media: Path, orphan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(media)
    stop = threading.Event()
    stop.set()
    assert remove_orphans(stop) == remove_orphans(most=0) == 0
    assert files(media) == before
    # Compared with the rows one by one.
    monkeypatch.setattr("catalog.images.storage.CHUNK", 1)
    assert remove_orphans(threading.Event()) == 1
    assert files(media) == [file for file in before if file != orphan]
    assert remove_orphans() == 0


@pytest.mark.django_db(transaction=True)
def test_failed_removal_of_orphans_is_reported(media: Path, orphan: str) -> None:
    BrokenStorage.fails = "delete"
    with pytest.raises(CommandError, match=r"The storage failed after 0 files: .* Run the command"):
        removed()
    assert orphan in files(media)


@pytest.mark.django_db
def test_empty_storage_has_no_orphans() -> None:
    assert removed() == ["0 files older than 24 hours without a row deleted"]


@pytest.mark.django_db(transaction=True)
def test_orphan_search_takes_one_query_per_month(
    media: Path, django_assert_num_queries: Any
) -> None:
    for year, month in ((2025, 1), (2025, 2), (2026, 7)):
        folder = media / f"products/{year}/{month:02}"
        folder.mkdir(parents=True)
        for number in range(20):
            file = folder / f"{number:032x}.png"
            file.write_bytes(b"x")
            make_old(file)
    # One for each of three folders.
    with django_assert_num_queries(3):
        assert removed()[-1].startswith("60 files")


# --- Serving -----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_image_is_served_with_its_own_content_type(
    media: Path, settings: Any, client: Client
) -> None:
    settings.SERVE_IMAGES = True
    name = create_image(ProductFactory()).image.name
    response = client.get(f"/media/{name}")
    assert response.status_code == 200
    assert b"".join(response) == (media / name).read_bytes()  # type: ignore[arg-type]
    headers = response.headers
    assert headers["Content-Type"] == "image/png"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert client.post(f"/media/{name}").status_code == 405
    settings.SERVE_IMAGES = False
    assert client.get(f"/media/{name}").status_code == 404


@pytest.mark.django_db
def test_only_images_are_served(media: Path, settings: Any, client: Client) -> None:
    settings.SERVE_IMAGES = True
    folder = media / "products/2026/11"
    folder.mkdir(parents=True)
    (media.parent / "secret.png").write_bytes(b"secret")
    for name in ("page.html", "0123456789abcdef0123456789abcdef.html", "logo.png"):
        (folder / name).write_bytes(HTML)
    missing = "0123456789abcdef0123456789abcdef.png"
    for path in (
        "",
        "products/",
        "products/2026/11/",
        "products/2026/11/page.html",
        "products/2026/11/0123456789abcdef0123456789abcdef.html",
        "products/2026/11/logo.png",
        f"products/2026/11/{missing}",
        f"products/2026/11/{missing}%0a",
        "../secret.png",
        "%2e%2e/secret.png",
        "products/2026/11/../../../../secret.png",
        "/etc/passwd",
    ):
        assert client.get(f"/media/{path}").status_code == 404, path
