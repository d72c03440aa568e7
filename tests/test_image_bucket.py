"""Images in a small S3 bucket on this machine."""

from __future__ import annotations

import datetime
import io
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.management import call_command
from django.test.utils import override_settings

from catalog.models import ProductImage
from closient import settings as project
from tests.clients import client_of
from tests.factories import ProductFactory
from tests.pictures import opened
from tests.test_api_images import path_of, upload
from tests.test_house import PROJECT


class Bucket(BaseHTTPRequestHandler):
    """The part of S3 that the project uses; every object is two days old."""

    objects: ClassVar[dict[str, tuple[bytes, str, str]]] = {}

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    @property
    def key(self) -> str:
        return urlsplit(self.path).path.removeprefix("/pictures/")

    def respond(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        age = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=2)
        headers["Last-Modified"] = age.strftime("%a, %d %b %Y %H:%M:%S GMT")
        headers.setdefault("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.objects[self.key] = (
            body,
            self.headers["Content-Type"],
            self.headers["Cache-Control"],
        )
        self.respond(200)

    def do_HEAD(self) -> None:
        found = self.objects.get(self.key)
        self.respond(200 if found else 404)

    def do_DELETE(self) -> None:
        self.objects.pop(self.key, None)
        self.respond(204)

    def do_GET(self) -> None:
        """List a folder."""
        prefix = parse_qs(urlsplit(self.path).query)["prefix"][0]
        below = [name.removeprefix(prefix) for name in self.objects if name.startswith(prefix)]
        folders = {name.split("/")[0] for name in below if "/" in name}
        body = "".join(
            [f"<Contents><Key>{prefix}{n}</Key></Contents>" for n in below if "/" not in n]
            + [f"<CommonPrefixes><Prefix>{prefix}{f}/</Prefix></CommonPrefixes>" for f in folders]
        )
        self.respond(200, f"<ListBucketResult>{body}</ListBucketResult>".encode())


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Bucket]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    for name, value in {
        "S3_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "S3_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(project, "S3_BUCKET", "pictures")
    monkeypatch.setattr(project, "S3_PUBLIC_HOST", "pictures.example.com")
    storages = {**project.STORAGES, "default": project.IMAGE_STORAGES["s3"]()}
    with override_settings(STORAGES=storages):
        yield Bucket
    server.shutdown()
    thread.join()
    server.server_close()
    Bucket.objects.clear()


@pytest.mark.django_db(transaction=True)
def test_image_is_stored_in_the_bucket(bucket: type[Bucket]) -> None:
    product = ProductFactory()
    client = client_of(product.organization, role="editor")
    body = upload(client, product).json()
    image = ProductImage.objects.get()
    [(name, (content, media_type, caching))] = bucket.objects.items()
    assert name == image.image.name
    assert body["image_url"] == f"https://pictures.example.com/{name}"
    assert opened(content).size == (32, 16)
    assert media_type == "image/png"
    assert caching == "public, max-age=31536000, immutable"
    # The list does not fetch the image.
    assert client.get(path_of(product)).json()["data"] == [body]
    assert client.delete(path_of(product, image)).status_code == 204
    assert bucket.objects == {}


@pytest.mark.django_db(transaction=True)
def test_orphans_in_the_bucket_are_removed(bucket: type[Bucket]) -> None:
    kept, gone = ProductFactory(), ProductFactory()
    for product in (kept, gone):
        upload(client_of(product.organization, role="editor"), product)
    orphan = ProductImage.objects.get(product=gone).image.name
    gone.delete()
    bucket.objects["products/2026/11/notes.txt"] = (b"", "", "")
    out = io.StringIO()
    call_command("remove_orphan_images", stdout=out)
    assert out.getvalue().splitlines()[0] == orphan
    assert set(bucket.objects) == {
        ProductImage.objects.get().image.name,
        "products/2026/11/notes.txt",
    }


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"IMAGE_STORAGE": "ftp"}, "IMAGE_STORAGE is 'ftp': it must be one of files, s3."),
        ({"IMAGE_STORAGE": "s3"}, "IMAGE_STORAGE is 's3': set S3_BUCKET"),
    ],
)
def test_settings_reject_an_invalid_storage(
    environment: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    started = subprocess.run(
        [sys.executable, "-c", "import closient.settings"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert started.returncode == 1
    assert message in started.stderr
