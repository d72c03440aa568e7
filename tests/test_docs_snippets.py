"""The snippets in README.md and docs/api.md work as printed, against a running service."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from django.test import Client
from playwright.sync_api import Browser
from pytest_django.live_server_helper import LiveServer

from catalog.models import Product
from closient.accounts.models import ApiKeyKind, ApiKeyRole, Organization
from closient.db.ids import format_id
from tests.clients import API, key_of, stats_path
from tests.factories import OrganizationFactory, ProductFactory
from tests.operations import picture
from tests.programs import need
from tests.servers import ROOT, environment, serving
from tests.test_cors import shop_page
from tests.test_walkthrough import outputs
from tests.wire import TIMEOUT_SECONDS

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = (ROOT / "docs" / "api.md").read_text()
README = (ROOT / "README.md").read_text()
HOST = "https://dashboard.example.com"


def snippets(page: str, language: str) -> list[str]:
    """The code blocks of a page in a language; blocks without one are commands."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [text for found, text in blocks if found == language]


def commands() -> list[str]:
    """The curl commands of both pages."""
    blocks = [*snippets(README, ""), *snippets(PAGE, "")]
    return [block for block in blocks if block.startswith("curl ")]


@pytest.fixture
def organization() -> Organization:
    made: Organization = OrganizationFactory()
    ProductFactory(organization=made, name="Oat milk")
    return made


def test_curl_commands_return_what_the_pages_show(
    organization: Organization, tmp_path: Path
) -> None:
    need("curl")
    (tmp_path / ".curlrc").write_text("silent\nshow-error\nfail\n")
    (tmp_path / "front.jpg").write_bytes(picture().read())
    key = key_of(organization, role="manager")
    product = Product.objects.get()
    path = f"{API}/trade-items/{format_id(organization.pk)}/{product.gtin}"
    etag = Client(headers={"X-API-Key": key}).get(path).headers["ETag"]
    meant = {
        "csb_...": key,
        "<organization_id>": format_id(organization.pk),
        "<organization id>": format_id(organization.pk),
        "<gtin>": product.gtin,
        "@front.jpg": f"@{tmp_path}/front.jpg",
        '"5e884898da28047151d0e56f8dc62927"': etag,
    }
    written = re.compile("|".join(map(re.escape, meant)))
    filled = [written.sub(lambda found: meant[found[0]], command) for command in commands()]
    # Adding the image changes the version of the trade item, so it comes last.
    filled.sort(key=lambda command: " -F " in command)
    variables = {"CURL_HOME": str(tmp_path), "MEDIA_ROOT": str(tmp_path / "media")}
    with serving(**variables) as (port, _):
        responses = outputs(filled, port, environment(**variables))
    of_readme, of_page, changed, image = map(json.loads, responses)
    assert of_readme == of_page
    [printed] = (json.loads(block) for block in snippets(README, "json"))
    assert of_page.keys() == printed.keys()
    assert of_page["total_products"] == 1
    assert changed["name"] == "Oat drink"
    assert (image["title"], image["is_primary"]) == ("Front", True)


@pytest.mark.slow
def test_backend_returns_the_numbers(organization: Organization, tmp_path: Path) -> None:
    program, _ = snippets(PAGE, "python")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        own_port = listener.getsockname()[1]
    key = key_of(organization)
    variables = {"ORGANIZATION_ID": format_id(organization.pk), "CLOSIENT_API_KEY": key}
    with serving() as (port, _):
        assert HOST in program
        assert "8080" in program
        program = program.replace(HOST, f"http://127.0.0.1:{port}").replace("8080", str(own_port))
        backend = subprocess.Popen(
            [sys.executable, "-c", program], env={**os.environ, **variables}, cwd=tmp_path
        )
        try:
            response = read_once_started(own_port)
        finally:
            backend.terminate()
            backend.wait(TIMEOUT_SECONDS)
    assert response == Client(headers={"X-API-Key": key}).get(stats_path(organization)).json()


def test_nightly_sync_sends_rows_and_reads_changes(organization: Organization) -> None:
    _, program = snippets(PAGE, "python")
    product = Product.objects.get()
    night = f"""
send("trade-items", [{{"gtin": {product.gtin!r}, "name": "Oats"}}, {{"gtin": "1"}}], "1")
print(json.dumps(changes()[0]))
"""
    with serving() as (port, _):
        variables = {
            "CLOSIENT_URL": f"http://127.0.0.1:{port}",
            "CLOSIENT_ORGANIZATION": format_id(organization.pk),
            "CLOSIENT_API_KEY": key_of(organization, role=ApiKeyRole.EDITOR),
        }
        done = subprocess.run(
            [sys.executable, "-c", program + night],
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=TIMEOUT_SECONDS,
        )
    rejected, changes = done.stdout.splitlines()
    assert rejected.startswith("trade-items {'gtin': '1'} A GTIN has 8, 12, 13 or 14 digits")
    (change,) = json.loads(changes)
    assert (change["id"], change["change"]) == (format_id(product.pk), "changed")
    product.refresh_from_db()
    assert product.name == "Oats"


def read_once_started(port: int) -> Any:
    """Return the JSON of a server that may still be starting."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            with urlopen(f"http://127.0.0.1:{port}/", timeout=TIMEOUT_SECONDS) as response:
                assert response.headers["Content-Type"] == "application/json"
                return json.load(response)
        except URLError:
            if time.monotonic() > deadline:
                raise


def test_web_page_reads_a_number(
    organization: Organization, chromium: Browser, live_server: LiveServer
) -> None:
    [script] = snippets(PAGE, "js")
    assert HOST in script
    script = script.replace(HOST, live_server.url)
    script = script.replace("cpk_...", key_of(organization, kind=ApiKeyKind.PUBLISHABLE))
    with shop_page() as origin, contextlib.closing(chromium.new_context()) as context:
        organization.allowed_origins = [origin]
        organization.save()
        page = context.new_page()
        page.goto(origin)
        read = f"async organizationId => {{ {script}\nreturn broken_offers }}"
        assert page.evaluate(read, format_id(organization.pk)) == 0
