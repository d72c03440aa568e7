"""The images of a trade item: adding, changing, ordering and deleting them."""

from __future__ import annotations

import functools
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from catalog.images import reencoding
from catalog.models import Product, ProductImage
from closient.accounts.models import Organization
from closient.db.ids import format_id
from closient.db.locks import try_lock_until_commit
from dashboard.thumbnails.worker import ThumbnailMaker
from tests import pictures
from tests.clients import API, ONE_ROW, client_of, key_of, problem, queries_of
from tests.counting import assert_exact
from tests.factories import OrganizationFactory, ProductFactory, ProductImageFactory
from tests.pictures import opened, picture
from tests.sessions import sessions

pytestmark = pytest.mark.usefixtures("media")


@pytest.fixture
def product() -> Product:
    return ProductFactory()


@pytest.fixture
def client(product: Product) -> Client:
    return client_of(product.organization, role="editor")


def path_of(product: Product, image: ProductImage | str | None = None) -> str:
    path = f"{API}/trade-items/{format_id(product.organization_id)}/{product.gtin}/images"
    if isinstance(image, ProductImage):
        return f"{path}/{format_id(image.pk)}"
    return f"{path}/{image}" if image else path


def upload(
    client: Client,
    product: Product,
    content: bytes | None = None,
    /,
    *,
    name: str = "a.png",
    headers: dict[str, str] | None = None,
    **fields: Any,
) -> Any:
    file = SimpleUploadedFile(name, picture() if content is None else content)
    return client.post(path_of(product), {"image": file, **fields}, headers=headers)


def ids(client: Client, product: Product) -> list[str]:
    page = client.get(path_of(product), {"page_size": 100}).json()
    return [row["id"] for row in page["data"]]


def primaries(product: Product) -> list[bool]:
    return list(ProductImage.objects.of_product(product).values_list("is_primary", flat=True))


def files(media: Path) -> list[str]:
    return sorted(str(path.relative_to(media)) for path in media.rglob("*") if path.is_file())


@pytest.mark.django_db(transaction=True)
def test_thumbnail_does_not_change_the_version(
    client: Client, product: Product, media: Path
) -> None:
    created = upload(client, product)
    path, order = created.headers["Location"], f"{path_of(product)}/order"
    etag, of_order = created.headers["ETag"], client.get(order).headers["ETag"]
    assert ThumbnailMaker().make_next(threading.Event())
    # What is cached is old, what is to be changed is not.
    made = client.get(path, headers={"If-None-Match": etag})
    assert made.status_code == 200
    assert made.json()["thumbnail_url"]
    assert client.get(path, headers={"If-None-Match": made.headers["ETag"]}).status_code == 304
    assert client.get(path, headers={"If-Match": etag}).status_code == 200
    body = {"ids": [created.json()["id"]]}
    answers = [
        client.put(order, body, "application/json", headers={"If-Match": of_order}),
        client.patch(path, {"title": "Front"}, "application/json", headers={"If-Match": etag}),
        client.patch(path, {"title": "Back"}, "application/json", headers={"If-Match": etag}),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 412]


# --- Adding ------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_image_is_added_and_counted_in_the_stats(
    client: Client, product: Product, media: Path
) -> None:
    ProductFactory(organization=product.organization)
    assert assert_exact(product.organization).missing_images == 2
    response = upload(client, product, picture("JPEG", (40, 30)), name="x.png", title=" Front ")
    assert response.status_code == 201
    image = ProductImage.objects.get()
    whole = response.json()
    body = dict(whole)
    created = body.pop("created")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", created)
    assert body == {
        "id": format_id(image.pk),
        "title": "Front",
        "is_primary": True,
        "priority": 0,
        "image_url": f"http://testserver/media/{image.image.name}",
        "width": 40,
        "height": 30,
        "file_size": None,
        "thumbnail_url": None,
        "thumbnail_problem": "",
    }
    # The type is detected from the content, not from the name.
    assert image.image.name.endswith(".jpg")
    assert files(media) == [image.image.name]
    assert response.headers["Location"] == path_of(product, image)
    assert client.get(response.headers["Location"]).json() == whole
    served = Client().get(body["image_url"])
    assert served.headers["Content-Type"] == "image/jpeg"
    assert opened(b"".join(served)).size == (40, 30)  # type: ignore[arg-type]
    assert assert_exact(product.organization).missing_images == 1


@pytest.mark.django_db(transaction=True)
def test_new_primary_image_replaces_the_first(client: Client, product: Product) -> None:
    first = upload(client, product, is_primary="false").json()
    assert first["is_primary"] is True
    second = upload(client, product).json()
    assert second["is_primary"] is False
    third = upload(client, product, is_primary="true").json()
    assert third["is_primary"] is True
    # Primary first, then priority, then newest.
    assert ids(client, product) == [third["id"], second["id"], first["id"]]
    assert primaries(product) == [True, False, False]
    assert assert_exact(product.organization).missing_images == 0


@pytest.mark.django_db(transaction=True)
def test_photo_is_stored_without_its_location(
    client: Client, product: Product, media: Path
) -> None:
    body = upload(client, product, pictures.photo_of_a_phone()).json()
    assert (body["width"], body["height"]) == (16, 32)
    stored = (media / files(media)[0]).read_bytes()
    assert b"Exif" not in stored
    assert b"GPS" not in stored


@pytest.mark.django_db(transaction=True)
def test_body_cannot_set_read_only_fields(client: Client, product: Product) -> None:
    other = ProductFactory()
    for name in ("organization_id", "product_id", "external_url", "is_imported"):
        rejected = upload(client, product, **{name: str(other.pk)})
        (error,) = problem(rejected)["errors"]
        assert (error["pointer"], error["code"]) == (f"#/{name}", "unknown_field")
    body = upload(
        client,
        product,
        id=str(uuid4()),
        priority="7",
        width="9999",
        height="9999",
        image_url="https://example.com/x.png",
        created="2000-01-01T00:00:00Z",
    ).json()
    image = ProductImage.objects.get()
    assert (image.organization_id, image.product_id) == (product.organization_id, product.pk)
    assert (body["priority"], body["width"], body["height"]) == (0, 32, 16)
    assert (image.external_url, image.is_imported, image.created_at.year > 2000) == (
        "",
        False,
        True,
    )


DAMAGED = (
    "The file begins like JPEG and is damaged or incomplete: upload it again, or save the picture "
    "again."
)
PIXELS = "The picture has more than 25,000,000 pixels, all frames together: make it smaller."


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("content", "code", "detail"),
    [
        (
            bytes(10_000_001),
            "payload_too_large",
            "The file has 10,000,001 bytes; at most 10,000,000 are allowed.",
        ),
        (
            pictures.SVG,
            "unsupported_media_type",
            "The file is SVG, which can contain scripts: use a JPEG, PNG, GIF, WebP, HEIC, AVIF or "
            "BMP image.",
        ),
        (
            pictures.HTML,
            "unsupported_media_type",
            "The file is not a JPEG, PNG, GIF, WebP, HEIC, AVIF or BMP image.",
        ),
        (picture("JPEG")[:-40], "damaged", DAMAGED),
        (pictures.png_of_one_color(13_000, 13_000), "too_many_pixels", PIXELS),
    ],
    ids=["bytes", "svg", "html", "cut off", "169 megapixels"],
)
def test_invalid_file_is_rejected_with_a_reason(
    client: Client, product: Product, content: bytes, code: str, detail: str
) -> None:
    body = problem(upload(client, product, content))
    if code in ("damaged", "too_many_pixels"):
        assert body["status"] == 422
        assert body["errors"] == [{"pointer": "#/image", "code": code, "detail": detail}]
    else:
        assert (body["error_code"], body["detail"]) == (code, detail)
    assert not ProductImage.objects.exists()
    assert files(settings.MEDIA_ROOT) == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({}, "#/image"),
        ({"image": "text"}, "#/image"),
        ({"image": SimpleUploadedFile("a.png", b"")}, "#/image"),
        ({"image": SimpleUploadedFile("a.png", picture()), "title": "x" * 256}, "#/title"),
        ({"image": SimpleUploadedFile("a.png", picture()), "title": "a\0b"}, "#/title"),
        (
            {
                "image": SimpleUploadedFile("a.png", picture()),
                "title": SimpleUploadedFile("t", b"x"),
            },
            "#/title",
        ),
        ({"image": SimpleUploadedFile("a.png", picture()), "is_primary": "maybe"}, "#/is_primary"),
    ],
    ids=["nothing", "text", "empty", "long", "control", "file", "maybe"],
)
def test_invalid_form_is_rejected_with_a_pointer(
    client: Client, product: Product, fields: dict[str, Any], pointer: str
) -> None:
    for value in fields.values():
        if isinstance(value, SimpleUploadedFile):
            value.seek(0)
    body = problem(client.post(path_of(product), fields))
    assert (body["status"], body["errors"][0]["pointer"]) == (422, pointer)
    assert not ProductImage.objects.exists()


@pytest.mark.django_db
def test_body_without_a_form_is_rejected(client: Client, product: Product) -> None:
    for body, content_type, status in (
        (b"{}", "application/json", 415),
        (picture(), "image/png", 415),
        (b"no form", "multipart/form-data", 400),
        (b"no form", "multipart/form-data; boundary=", 400),
        (b"no form", "multipart/form-data; boundary=x", 422),
    ):
        response = client.post(path_of(product), body, content_type=content_type)
        assert problem(response)["status"] == status, content_type


@pytest.mark.django_db(transaction=True)
def test_repeated_upload_with_the_same_key_creates_one_image(
    client: Client, product: Product, media: Path
) -> None:
    key = {"Idempotency-Key": "photo-1"}
    first = upload(client, product, title="Front", headers=key)
    again = upload(client, product, title="Front", headers=key)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["Location"] == first.headers["Location"]
    other = upload(client, product, picture(size=(8, 8)), title="Front", headers=key)
    assert problem(other)["error_code"] == "conflict"
    assert ProductImage.objects.count() == 1
    # Only the first file is stored.
    assert files(media) == [ProductImage.objects.get().image.name]


@pytest.mark.django_db(transaction=True)
def test_failed_storage_leaves_no_image(client: Client, product: Product, media: Path) -> None:
    (media / "products").write_text("a file where a folder has to be")
    body = problem(upload(client, product))
    assert body == {
        "type": "/docs/errors/unavailable",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "The image could not be stored; nothing was changed. Try again shortly.",
        "error_code": "unavailable",
        "retryable": True,
        "retry_after": 1,
    }
    assert not ProductImage.objects.exists()
    (media / "products").unlink()
    assert upload(client, product).status_code == 201


@pytest.mark.django_db(transaction=True)
def test_upload_without_a_free_decoder_is_unavailable(client: Client, product: Product) -> None:
    with reencoding._decoding_slots, reencoding._decoding_slots:
        began = time.monotonic()
        body = problem(upload(client, product))
        # Immediately: a waiting thread could not serve other requests.
        assert time.monotonic() - began < 4
    assert (body["status"], body["retryable"]) == (503, True)
    assert body["detail"].startswith("Too many images are being uploaded; nothing was changed.")
    assert upload(client, product).status_code == 201


# --- Reading -----------------------------------------------------------------------------------


@pytest.mark.django_db
def test_list_contains_urls_of_imported_images(client: Client, product: Product) -> None:
    image = ProductImageFactory(
        product=product,
        external_url="https://reencoding.example.com/a.jpg",
        is_primary=True,
        is_imported=True,
    )
    image.refresh_from_db()
    assert client.get(path_of(product)).json() == {
        "data": [
            {
                "id": format_id(image.pk),
                "title": "",
                "is_primary": True,
                "priority": 0,
                "created": image.created_at.isoformat().replace("+00:00", "Z"),
                "image_url": "https://reencoding.example.com/a.jpg",
                "width": None,
                "height": None,
                "file_size": None,
                "thumbnail_url": None,
                "thumbnail_problem": "",
            }
        ],
        "pagination": ONE_ROW,
    }


@pytest.mark.django_db
def test_list_is_paginated(client: Client, product: Product) -> None:
    for number in range(5):
        ProductImageFactory(product=product, priority=number)
    ProductImageFactory(product=ProductFactory(organization=product.organization))
    everything = ids(client, product)
    pages = [
        client.get(path_of(product), {"page": page, "page_size": 2}).json() for page in range(1, 5)
    ]
    assert [row["id"] for page in pages for row in page["data"]] == everything
    assert [len(page["data"]) for page in pages] == [2, 2, 1, 0]
    assert {page["pagination"]["total_count"] for page in pages} == {5}
    assert problem(client.get(path_of(product), {"page": "0"}))["status"] == 422


@pytest.mark.django_db
def test_image_of_another_product_or_organization_is_not_found(
    client: Client, product: Product
) -> None:
    mine = ProductImageFactory(product=product, is_primary=True)
    sibling = ProductImageFactory(product=ProductFactory(organization=product.organization))
    foreign = ProductImageFactory()
    bodies = set()
    for image in (sibling, foreign, "order2", format_id(uuid4()), "z" * 22):
        address = path_of(product, image)
        for response in (
            client.get(address),
            client.patch(address, {"title": "x"}, content_type="application/json"),
            client.delete(address),
        ):
            bodies.add(str(problem(response)))
    for address in (path_of(foreign.product), path_of(foreign.product, foreign)):
        bodies.add(str(problem(client.get(address))))
    unknown = path_of(product).replace(product.gtin, "04012345678901")
    for response in (client.get(unknown), client.post(unknown), client.put(f"{unknown}/order")):
        bodies.add(str(problem(response)))
    for address in (unknown, path_of(foreign.product)):
        # A product that is not found is reported before the query.
        bodies.add(str(problem(client.get(address, {"page": "0"}))))
    assert len(bodies) == 1
    assert "'status': 404" in bodies.pop()
    assert ProductImage.objects.count() == 3
    assert client.get(path_of(product, mine)).json()["id"] == format_id(mine.pk)


# --- Changing ----------------------------------------------------------------------------------


def change(client: Client, product: Product, image: ProductImage, **body: Any) -> Any:
    return client.patch(path_of(product, image), body, content_type="application/json")


@pytest.fixture
def three_images(product: Product) -> list[ProductImage]:
    """Three images in order, the first one primary."""
    return [
        ProductImageFactory(product=product, priority=number, is_primary=not number)
        for number in range(3)
    ]


@pytest.mark.django_db(transaction=True)
def test_patch_sets_the_title_and_the_primary_image(
    client: Client, product: Product, three_images: list[ProductImage]
) -> None:
    first, second, _ = three_images
    response = change(client, product, second, title="Back")
    assert (response.status_code, response.json()["title"]) == (200, "Back")
    assert response.json()["is_primary"] is False
    response = change(client, product, second, is_primary=True)
    assert (response.json()["title"], response.json()["is_primary"]) == ("Back", True)
    assert primaries(product) == [True, False, False]
    # The primary image already is primary: no change.
    assert change(client, product, second, is_primary=True, title="").json()["title"] == ""
    body = problem(change(client, product, second, is_primary=False))
    assert body["errors"] == [
        {
            "pointer": "#/is_primary",
            "code": "primary",
            "detail": "A trade item with images has a primary one: make another one primary "
            "instead.",
        }
    ]
    assert change(client, product, first, is_primary=False).status_code == 200
    assert_exact(product.organization)


@pytest.mark.django_db
def test_patch_changes_nothing_else(
    client: Client, product: Product, three_images: list[ProductImage]
) -> None:
    before = client.get(path_of(product, three_images[1])).json()
    response = change(
        client,
        product,
        three_images[1],
        id=format_id(uuid4()),
        priority=9,
        width=1,
        image_url="https://example.com/x.png",
        created="2000-01-01T00:00:00Z",
    )
    assert response.json() == before


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"title": "x" * 256}, "#/title"),
        ({"title": None}, "#/title"),
        ({"title": 7}, "#/title"),
        ({"is_primary": "maybe"}, "#/is_primary"),
        ({"is_primary": None}, "#/is_primary"),
        ([], "#"),
    ],
)
def test_invalid_patch_is_rejected_with_a_pointer(
    client: Client, product: Product, three_images: list[ProductImage], body: Any, pointer: str
) -> None:
    response = client.patch(
        path_of(product, three_images[1]), body, content_type="application/json"
    )
    details = problem(response)
    assert (details["status"], [error["pointer"] for error in details["errors"]]) == (
        422,
        [pointer],
    )


# --- Deleting ----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_next_image_becomes_primary_when_the_primary_is_deleted(
    client: Client, product: Product, media: Path
) -> None:
    old, new = upload(client, product).json(), upload(client, product).json()
    last = ProductImageFactory(product=product, priority=5)
    # By priority, then the newest.
    for gone, left in (
        (old["id"], [new["id"], format_id(last.pk)]),
        (new["id"], [format_id(last.pk)]),
        (format_id(last.pk), []),
    ):
        response = client.delete(path_of(product, gone))
        assert (response.status_code, response.content) == (204, b"")
        assert ids(client, product) == left
        assert primaries(product) == [True, *[False] * (len(left) - 1)][: len(left)]
        assert problem(client.delete(path_of(product, gone)))["status"] == 404
    assert files(media) == []
    assert assert_exact(product.organization).missing_images == 1


@pytest.mark.django_db(transaction=True)
def test_primary_image_stays_when_another_is_deleted(
    client: Client, product: Product, three_images: list[ProductImage]
) -> None:
    client.delete(path_of(product, three_images[1]))
    assert ids(client, product) == [format_id(three_images[0].pk), format_id(three_images[2].pk)]
    assert primaries(product) == [True, False]


# --- Ordering ----------------------------------------------------------------------------------


def order(client: Client, product: Product, body: Any) -> Any:
    return client.put(path_of(product, "order"), body, content_type="application/json")


@pytest.mark.django_db(transaction=True)
def test_put_changes_the_order_of_images(
    client: Client, product: Product, three_images: list[ProductImage]
) -> None:
    wanted = [format_id(three_images[number].pk) for number in (2, 0, 1)]
    response = order(client, product, {"ids": wanted})
    assert response.status_code == 200
    assert [(row["id"], row["priority"], row["is_primary"]) for row in response.json()["data"]] == [
        (key, place, place == 0) for place, key in enumerate(wanted)
    ]
    assert ids(client, product) == wanted
    assert client.get(path_of(product)).json()["data"] == response.json()["data"]
    # The same order with ids as UUIDs.
    assert order(client, product, {"ids": [str(three_images[n].pk) for n in (2, 0, 1)]}).json() == (
        response.json()
    )
    # A new image is last.
    later = upload(client, product).json()
    assert ids(client, product) == [*wanted, later["id"]]
    assert_exact(product.organization)


@pytest.mark.django_db
def test_order_must_contain_every_image_once(
    client: Client, product: Product, three_images: list[ProductImage]
) -> None:
    keys = [format_id(image.pk) for image in three_images]
    foreign = format_id(ProductImageFactory().pk)
    whole = {
        "pointer": "#/ids",
        "code": "other_images",
        "detail": "Must list the id of each image of the trade item once.",
    }
    for wrong in ([], keys[:2], [*keys, keys[0]], [*keys[:2], keys[0]], [*keys[:2], foreign]):
        assert problem(order(client, product, {"ids": wrong}))["errors"] == [whole]
    for body, pointer in (
        ({}, "#/ids"),
        ({"ids": None}, "#/ids"),
        ({"ids": "abc"}, "#/ids"),
        ({"ids": [*keys[:2], "nonsense"]}, "#/ids/2"),
        ({"ids": [*keys[:2], 7]}, "#/ids/2"),
        (keys, "#"),
    ):
        errors = problem(order(client, product, body))["errors"]
        assert [error["pointer"] for error in errors] == [pointer], body
    assert ids(client, product) == keys


@pytest.mark.django_db
def test_order_without_images_is_empty(client: Client, product: Product) -> None:
    assert order(client, product, {"ids": []}).json() == {"data": []}


# --- At the same time --------------------------------------------------------------------------


def retry_until_accepted(send: Callable[[], Any]) -> Any:
    """Retry an upload until no other one of its organization is being decoded."""
    deadline = time.monotonic() + 60
    while (response := send()).status_code == 503 and time.monotonic() < deadline:
        assert int(response.headers["Retry-After"]) >= 1
    return response


@pytest.mark.django_db(transaction=True)
def test_second_concurrent_upload_of_an_organization_is_rejected(
    product: Product, media: Path
) -> None:
    with sessions(1) as (other,):
        other.begin()
        name = f"picture of {product.organization_id}"
        other.run(lambda: try_lock_until_commit(name))
        response = upload(client_of(product.organization, role="editor"), product)
        elsewhere = ProductFactory()
        its_client = client_of(elsewhere.organization, role="editor")
        assert upload(its_client, elsewhere).status_code == 201
        other.end("rollback")
    assert problem(response)["status"] == 503
    assert response.headers["Retry-After"] == "1"
    assert files(media) == [ProductImage.objects.get().image.name]


@pytest.mark.django_db(transaction=True)
def test_concurrent_uploads_leave_one_primary_image(product: Product, media: Path) -> None:
    headers = {"X-API-Key": key_of(product.organization, role="editor")}

    def post() -> int:
        send = functools.partial(upload, Client(headers=headers), product, is_primary="true")
        return int(retry_until_accepted(send).status_code)

    with sessions(6) as opened_sessions:
        pending = [session.start(post) for session in opened_sessions for _ in range(3)]
        statuses = [future.result(timeout=60) for future in pending]
    assert statuses == [201] * 18
    assert sorted(primaries(product)) == [False] * 17 + [True]
    assert len(files(media)) == 18
    assert assert_exact(product.organization).missing_images == 0


@pytest.mark.django_db(transaction=True)
def test_concurrent_uploads_with_the_same_key_create_one_image(
    product: Product, media: Path
) -> None:
    headers = {"X-API-Key": key_of(product.organization, role="editor")}

    def post() -> Any:
        client, once = Client(headers=headers), {"Idempotency-Key": "1"}
        return retry_until_accepted(lambda: upload(client, product, headers=once)).json()

    with sessions(4) as opened_sessions:
        pending = [session.start(post) for session in opened_sessions]
        bodies = [future.result(timeout=60) for future in pending]
    image = ProductImage.objects.get()
    assert [body["id"] for body in bodies] == [format_id(image.pk)] * 4
    assert files(media) == [image.image.name]


@pytest.mark.django_db(transaction=True)
def test_concurrent_deletions_leave_no_image(product: Product) -> None:
    six = [ProductImageFactory(product=product, is_primary=not n) for n in range(6)]
    headers = {"X-API-Key": key_of(product.organization, role="editor")}

    def delete(image: ProductImage) -> int:
        return int(Client(headers=headers).delete(path_of(product, image)).status_code)

    with sessions(6) as opened_sessions:
        pending = [
            session.start(lambda image=image: delete(image))
            for session, image in zip(opened_sessions, six, strict=True)
        ]
        assert [future.result(timeout=60) for future in pending] == [204] * 6
    assert assert_exact(product.organization).missing_images == 1


# --- Queries -----------------------------------------------------------------------------------


def many_images(organization: Organization, count: int) -> Product:
    product = ProductFactory(organization=organization)
    for number in range(count):
        ProductImageFactory(product=product, priority=number, is_primary=not number)
    return product


@pytest.mark.django_db
@pytest.mark.parametrize("count", [2, 40])
def test_reads_use_a_constant_number_of_queries(count: int) -> None:
    organization = OrganizationFactory()
    product = many_images(organization, count)
    client = client_of(organization)
    client.get(path_of(product))
    # The key with its organization and the rate limit; the product; the images.
    response, queries = queries_of(client, path_of(product), data={"page_size": 100})
    assert len(response.json()["data"]) == count
    assert len(queries) == 3
    first = ProductImage.objects.of_product(product)[0]
    # The same, with one image.
    assert len(queries_of(client, path_of(product, first))[1]) == 3


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("count", [2, 40])
def test_writes_use_a_constant_number_of_queries(count: int) -> None:
    organization = OrganizationFactory()
    product = many_images(organization, count)
    client = client_of(organization, role="editor")
    client.get(path_of(product))

    def statements(send: Any) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert send().status_code in (200, 201, 204)
        kept = [q["sql"] for q in captured.captured_queries]
        return len([sql for sql in kept if sql not in ("BEGIN", "COMMIT")])

    second = ProductImage.objects.of_product(product)[1]
    # Each begins with: the key and the rate limit; the product; the lock's timeout; the lock.
    # The organization's decoding lock; the last priority; demote; insert.
    assert statements(lambda: upload(client, product, is_primary="true")) == 4 + 4
    # The image before the body is read; the image, locked; demote; update.
    assert statements(lambda: change(client, product, second, is_primary=True)) == 4 + 4
    # The image; delete; the next one; promote.
    assert statements(lambda: client.delete(path_of(product, second))) == 4 + 4
    keys = ids(client, product)
    # The images; demote; update all.
    assert statements(lambda: order(client, product, {"ids": keys[::-1]})) == 4 + 3
