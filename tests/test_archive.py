"""The archive of an organization: everything comes back, and nothing hostile comes in."""

from __future__ import annotations

import datetime
import io
import json
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from PIL import Image

from catalog.completeness import FACTS, Rule
from catalog.models import Brand, CompletenessRule, Product, ProductImage
from catalog.rule_editing import set_rule
from certifications.models import Certification, CertificationAssignment
from closient.accounts.models import ApiKey, Membership, Organization
from closient.db.ids import format_id
from dashboard.archive.writing import archive_pieces
from dashboard.numbers import current_numbers
from offers.models import Offer
from tests.clients import API, browser_of, client_of, problem
from tests.counting import assert_exact
from tests.factories import (
    BrandFactory,
    CertificationAssignmentFactory,
    CertificationFactory,
    MembershipFactory,
    OfferFactory,
    OrganizationFactory,
    ProductFactory,
    ProductImageFactory,
    gtin,
)
from tests.sessions import sessions
from tests.test_web_export import TEXTS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("media")]

LONG_AGO = datetime.datetime(2026, 11, 20, 7, 15, tzinfo=datetime.UTC)
ALL_FILES = {
    "manifest.json",
    "trade-items.jsonl",
    "offers.jsonl",
    "certifications.jsonl",
    "rule.json",
    "unused-brands.jsonl",
    "unused-certifications.jsonl",
}


def path_of(organization: Organization) -> str:
    return f"{API}/exports/{format_id(organization.id)}"


def picture(color: str, kind: str = "PNG") -> SimpleUploadedFile:
    file = io.BytesIO()
    Image.new("RGB", (7, 5), color).save(file, kind)
    return SimpleUploadedFile(f"{color}.{kind.lower()}", file.getvalue())


@pytest.fixture
def full() -> Organization:
    """An organization with something of everything, with texts that are hard to keep."""
    member: Membership = MembershipFactory(
        role="owner",
        organization__name="Äcme & Söhne",
        organization__time_zone="Europe/Berlin",
    )
    organization = member.organization
    today = organization.today()
    brand = BrandFactory(organization=organization, name="+Plus")
    for number, text in enumerate(TEXTS):
        line = text.replace("\t", " ")
        product = ProductFactory(
            organization=organization,
            gtin=gtin(number),
            name=line,
            description=f"{text}\r\nsecond line",
            brand=brand if number % 2 else None,
            category=line,
            country_of_origin="DE" if number % 3 else "",
            nutrition={
                "serving_size": "30 g",
                "nutrients": [{"name": "salt", "amount": "0.5", "unit": "g"}] * 2,
            },
            status=["draft", "active", "discontinued"][number % 3],
            metadata={"=key": text, "empty": "", "lines": " a\nb "},
        )
        OfferFactory(
            product=product,
            retailer=line,
            sku="007",
            price="1234567890.5",
            currency="EUR",
            url_status=["ok", "broken", "timeout", "blocked"][number % 4],
            http_status=404,
            url_checked_at=LONG_AGO,
            url_failing_since=LONG_AGO,
            url_detail="Gone.",
            status="active" if number % 2 else "seasonal",
            metadata={"a": "b"},
        )
        OfferFactory(product=product, in_store=True, store=line)
        CertificationAssignmentFactory(
            product=product,
            certification=Certification.objects.filter(code="eu-organic").first()
            or CertificationFactory(
                organization=organization, code="eu-organic", label="=EU", body="Union"
            ),
            certificate_number=f"{number:05}",
            valid_from=today - datetime.timedelta(days=number),
            expiry_date=today + datetime.timedelta(days=5 * number),
            verification_status="verified",
            verification_url="https://certificates.example.com/1",
        )
    with_images, imported = Product.objects.filter(gtin__in=[gtin(0), gtin(1)])
    client = browser_of(member.user)
    address = f"{API}/trade-items/{format_id(organization.id)}/{with_images.gtin}/images"
    for color, kind in (("red", "PNG"), ("blue", "JPEG"), ("lime", "GIF")):
        sent = {"image": picture(color, kind), "title": color}
        assert client.post(address, sent).status_code == 201
    ProductImageFactory(product=imported, is_imported=True, is_primary=True, title="Näme")
    BrandFactory(organization=organization, name="=Ünused")
    CertificationFactory(organization=organization, code="later", label="+Later", body="Ünion")
    set_rule(organization, Rule(tuple(range(1, len(FACTS) + 1)), 55))
    return organization


def archive_of(organization: Organization) -> bytes:
    response: Any = client_of(organization, role="manager").get(path_of(organization))
    assert response.status_code == 200
    return b"".join(response.streaming_content)


@pytest.fixture
def written(full: Organization, tmp_path: Path) -> Path:
    file = tmp_path / "archive.zip"
    file.write_bytes(archive_of(full))
    return file


@pytest.fixture(scope="module")
def archives() -> list[bytes]:
    """The archive that all tests of hostile ones change, once it is written."""
    return []


@pytest.fixture
def known(archives: list[bytes], request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An archive of an organization that need not be in the database."""
    if not archives:
        archives.append(request.getfixturevalue("written").read_bytes())
    file = tmp_path / "known.zip"
    file.write_bytes(archives[0])
    return file


def load(file: Path, organization: Organization, *options: str) -> str:
    output = io.StringIO()
    call_command(
        "import_archive",
        str(file),
        "--organization",
        format_id(organization.id),
        *options,
        stdout=output,
        stderr=output,
    )
    return output.getvalue()


def color_of(file: Path) -> Any:
    """Return the color of a picture's middle."""
    with Image.open(file) as opened:
        return opened.convert("RGB").getpixel((3, 3))


def stored_files(media: Path) -> list[Path]:
    """Return the files of images in the storage."""
    return sorted((media / "products").rglob("*.*"))


OWN = {
    Brand: "name",
    Certification: "code label body",
    Product: (
        "gtin name description brand__name manufacturer category gpc_brick_code country_of_origin "
        "net_content nutrition status metadata"
    ),
    ProductImage: "product__gtin external_url title is_primary priority width height is_imported",
    Offer: (
        "product__gtin channel retailer store sku url price currency status url_status http_status "
        "url_checked_at url_failing_since url_detail metadata"
    ),
    CertificationAssignment: (
        "product__gtin certification__code certification__label certification__body "
        "certificate_number issuing_body valid_from expiry_date verification_status "
        "verification_url metadata"
    ),
}


def rows_of(organization: Organization) -> dict[str, list[Any]]:
    """Return the values of all rows in the order of their creation, images as they are shown."""
    found: dict[str, list[Any]] = {}
    for model, names in OWN.items():
        rows: Any = model.objects.filter(organization=organization)  # type: ignore[attr-defined]
        order = ("product_id", *ProductImage._meta.ordering) if model is ProductImage else ("pk",)
        found[model.__name__] = list(rows.order_by(*order).values(*names.split()))
    return found


def test_an_archive_comes_back_as_the_same_organization(
    full: Organization, written: Path, media: Path
) -> None:
    other = OrganizationFactory(time_zone="Europe/Berlin")
    printed = load(written, other)
    assert printed == (
        f"trade_items {len(TEXTS)} images 4 image_files 3 offers {2 * len(TEXTS)} "
        f"certifications {len(TEXTS)} unused_brands 1 unused_certifications 1\n"
        "The seven numbers are those of the manifest.\n"
    )
    assert rows_of(other) == rows_of(full)
    assert current_numbers(other) == current_numbers(full)
    assert_exact(other)
    rules = CompletenessRule.objects.order_by("pk").values(*(f.name for f in FACTS), "threshold")
    assert len(rules) == 2
    assert rules[0] == rules[1]
    # The files are copies with names of their own, under which they are served.
    names = ProductImage.objects.exclude(image="").order_by("width", "title").values_list("image")
    pictures = [color_of(media / name) for (name,) in names]
    assert len(set(names)) == 6
    assert pictures[::2] == pictures[1::2]


def test_an_archive_contains_no_keys_people_or_names_of_files(
    full: Organization, written: Path
) -> None:
    with zipfile.ZipFile(written) as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())
        assert {name for name in names if not name.startswith("images/")} == ALL_FILES
        contents = b"".join(archive.read(name) for name in names)
        manifest = json.loads(archive.read("manifest.json"))
    assert manifest.pop("exported_at").endswith("+00:00")
    assert manifest == {
        "format": "closient-archive",
        "version": 1,
        "organization": {"name": "Äcme & Söhne", "time_zone": "Europe/Berlin"},
        "day": full.today().isoformat(),
        "counts": {
            "image_files": 3,
            "images": 4,
            "trade_items": len(TEXTS),
            "offers": 2 * len(TEXTS),
            "certifications": len(TEXTS),
            "unused_brands": 1,
            "unused_certifications": 1,
        },
        "images_without_file": 0,
        "numbers": current_numbers(full),
    }
    key = ApiKey.objects.get(organization=full)
    user = Membership.objects.get(organization=full).user
    stored = ProductImage.objects.exclude(image="").values_list("image", flat=True)
    secrets = [user.email, key.name, key.digest, key.prefix, str(full.id), *stored]
    assert [text for text in secrets if text.encode() in contents] == []


def test_an_archive_is_one_snapshot_and_reads_a_constant_number_of_queries(
    full: Organization, tmp_path: Path
) -> None:
    response: Any = client_of(full, role="manager").get(path_of(full))
    expected = current_numbers(full)
    with CaptureQueriesContext(connection) as captured:
        pieces = iter(response.streaming_content)
        first = next(pieces)

        def change() -> None:
            Product.objects.filter(organization=full).delete()

        with sessions(1) as [other]:
            other.run(change)
        file = tmp_path / "archive.zip"
        file.write_bytes(first + b"".join(pieces))
    assert Product.objects.count() == 0
    load(file, full.__class__.objects.create(name="Other", time_zone="Europe/Berlin"))
    assert current_numbers(Organization.objects.get(name="Other")) == expected
    reads = [q["sql"] for q in captured.captured_queries if " FROM " in q["sql"]]
    # Organization with rule; image files; products, their images; offers; certificates; unused
    # brands and certifications; numbers.
    assert len(reads) <= 10, reads


@pytest.mark.slow
@pytest.mark.campaign
def test_memory_of_an_archive_is_constant(organization: Organization) -> None:
    Product.objects.bulk_create(
        ProductFactory.build_batch(3_000, organization=organization, description="x" * 20_000)
    )
    tracemalloc.start()
    for piece in archive_pieces(organization):
        assert len(piece) < 1_000_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Half of the texts: some hundred rows at a time, and those that wait for the garbage collector.
    assert peak < 30_000_000


def test_only_managers_download_everything(full: Organization) -> None:
    page = f"/dashboard/{format_id(full.id)}/export"
    for role, status in (("manager", 200), ("editor", 403), ("viewer", 403)):
        client = browser_of(MembershipFactory(organization=full, role=role).user)
        for address in (page, path_of(full)):
            assert client.get(address).status_code == status
    response: Any = browser_of(Membership.objects.filter(role="owner")[0].user).get(page)
    assert response.headers["Content-Type"] == "application/zip"
    name = f"archive-%C3%A4cme-s%C3%B6hne-{full.today()}.zip"
    assert response.headers["Content-Disposition"] == f"attachment; filename*=utf-8''{name}"
    assert set(zipfile.ZipFile(io.BytesIO(response.getvalue())).namelist()) > ALL_FILES


def test_an_image_without_its_file_is_left_out_and_reported(
    full: Organization, media: Path, tmp_path: Path
) -> None:
    lost = ProductImage.objects.filter(title="blue").get()
    (media / lost.image.name).unlink()
    file = tmp_path / "archive.zip"
    file.write_bytes(archive_of(full))
    other = OrganizationFactory(time_zone="Europe/Berlin")
    assert "1 images are missing: their files were lost" in load(file, other)
    assert set(other.product_images.values_list("title", flat=True)) == {"red", "lime", "Näme"}
    assert_exact(other)


def test_a_dry_run_imports_nothing(full: Organization, written: Path, media: Path) -> None:
    other = OrganizationFactory(time_zone="UTC")
    files = stored_files(media)
    printed = load(written, other, "--dry-run")
    assert "The time zone of the archive is Europe/Berlin" in printed
    assert printed.endswith("Dry run: nothing was imported.\n")
    assert rows_of(other)["Product"] == []
    assert stored_files(media) == files
    assert_exact(other)


def test_an_organization_with_rows_takes_no_archive(full: Organization, written: Path) -> None:
    other = OrganizationFactory(name="Other")
    BrandFactory(organization=other)
    before = rows_of(full)
    for organization, what in ((other, "brands"), (full, "products")):
        with pytest.raises(CommandError, match=f"has {what}: an archive is imported into an empty"):
            load(written, organization)
    assert rows_of(full) == before


Edit = Callable[[dict[str, bytes]], None]


def changed(source: Path, edit: Edit) -> Path:
    """Return a copy of an archive with other contents."""
    with zipfile.ZipFile(source) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    edit(contents)
    target = source.with_name("changed.zip")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return target


def first_line(file: str, /, **values: Any) -> Edit:
    """Return an edit of members in the first line of a file."""

    def edit(contents: dict[str, bytes]) -> None:
        line, _, others = contents[file].partition(b"\n")
        item = {**json.loads(line), **values}
        contents[file] = json.dumps(item).encode() + b"\n" + others

    return edit


def member(name: str, **values: Any) -> Edit:
    """Return an edit of members of a JSON file."""

    def edit(contents: dict[str, bytes]) -> None:
        contents[name] = json.dumps({**json.loads(contents[name]), **values}).encode()

    return edit


def content(name: str, value: bytes) -> Edit:
    return lambda contents: contents.update({name: value})


def appended(name: str, value: bytes) -> Edit:
    return lambda contents: contents.update({name: contents[name] + value})


def an_image(value: bytes) -> Edit:
    def edit(contents: dict[str, bytes]) -> None:
        contents[next(name for name in contents if name.startswith("images/"))] = value

    return edit


def twice(name: str) -> Edit:
    return lambda contents: contents.update({name: contents[name] + contents[name]})


OTHER_IMAGE = "images/" + "0" * 32 + ".png"
HOSTILE: dict[str, tuple[Edit, str]] = {
    "no manifest": (lambda contents: contents.pop("manifest.json"), "manifest.json is missing"),
    "other format": (member("manifest.json", format="x"), "format must be"),
    "newer version": (
        member("manifest.json", version=2),
        "version is 2, and this installation reads version 1 only",
    ),
    "version true": (member("manifest.json", version=True), "version is True"),
    "no numbers": (member("manifest.json", numbers=[]), "numbers.total_products must be"),
    "negative count": (member("manifest.json", counts={"offers": -1}), "must be a number of 0"),
    "manifest is a list": (content("manifest.json", b"[]"), "manifest.json: must be an object"),
    "huge manifest": (content("manifest.json", b" " * 2_000_000), "at most 1,048,576 are allowed"),
    "cut off": (content("offers.jsonl", b""), "offers is .*, and the archive has 0"),
    "path upwards": (content("../evil.txt", b"x"), "does not belong into an archive"),
    "absolute path": (content("/etc/passwd", b"x"), "does not belong into an archive"),
    "folder": (content("images/", b""), "does not belong into an archive"),
    "image of no product": (content(OTHER_IMAGE, b"GIF89a"), f"{OTHER_IMAGE}: The file begins"),
    "unused image": (
        content(OTHER_IMAGE, picture("red").read()),
        f"{OTHER_IMAGE} belongs to no trade item",
    ),
    "no image": (an_image(b"<svg>"), "images/.*: The file is SVG"),
    "script as image": (an_image(b"#!/bin/sh"), "images/.*: The file is not a JPEG"),
    "huge image": (an_image(b"\x00" * 10_000_001), "at most 10,000,000 are allowed"),
    "bomb": (
        appended("offers.jsonl", b" " * 70_000_000),
        "offers.jsonl unpacks to more than 200 times its size",
    ),
    "long line": (
        appended("offers.jsonl", b'"' + b"ab" * 9_000_000),
        "has more than 16,777,216 bytes|more than 200 times its size",
    ),
    "not UTF-8": (appended("offers.jsonl", b"\xff\n"), "is not UTF-8"),
    "not JSON": (appended("offers.jsonl", b"{\n"), "is not valid JSON"),
    "not a number": (first_line("offers.jsonl", http_status=float("nan")), "is not valid JSON"),
    "infinite": (
        lambda contents: contents.update(
            {"offers.jsonl": contents["offers.jsonl"].replace(b"404", b"1e999", 1)}
        ),
        "line 1: http_status: Must be an integer",
    ),
    "deep": (appended("offers.jsonl", b"[" * 100_000 + b"\n"), "is not valid JSON"),
    "key twice": (appended("offers.jsonl", b'{"a": 1, "a": 1}\n'), "comes twice in an object"),
    "a list as line": (appended("offers.jsonl", b"[]\n"), "must be an object"),
    "products twice": (twice("trade-items.jsonl"), "line 25: gtin: comes twice in the file"),
    "offers twice": (twice("offers.jsonl"), "line 49: the product has an offer of this channel"),
    "certificates twice": (
        twice("certifications.jsonl"),
        "the product has this certification with this certificate number already in line 1",
    ),
    "wrong GTIN": (first_line("trade-items.jsonl", gtin="1234"), "line 1: gtin: "),
    "GTIN as a number": (first_line("trade-items.jsonl", gtin=40), "line 1: .*must be a string"),
    "long name": (first_line("trade-items.jsonl", name="x" * 256), "name: has 256 characters"),
    "metadata": (first_line("trade-items.jsonl", metadata={"a": 1}), "metadata: key 'a' must be"),
    "images": (first_line("trade-items.jsonl", images={}), "images: must be a list"),
    "image": (first_line("trade-items.jsonl", images=[1]), r"images\[0\]: "),
    "no source": (
        first_line(
            "trade-items.jsonl",
            images=[
                {
                    "external_url": None,
                    "file": None,
                    "title": "",
                    "is_primary": True,
                    "priority": 0,
                    "is_imported": False,
                }
            ],
        ),
        r"images\[0\]: must have either an external_url or a file",
    ),
    "other file": (
        first_line(
            "trade-items.jsonl",
            images=[
                {
                    "external_url": None,
                    "file": "../../etc/passwd",
                    "title": "",
                    "is_primary": True,
                    "priority": 0,
                    "is_imported": False,
                }
            ],
        ),
        "is not in the archive, or used twice",
    ),
    "foreign product": (
        first_line("offers.jsonl", gtin=gtin(99_999)),
        f"line 1: gtin: {gtin(99_999)} is not in trade-items.jsonl",
    ),
    "script as URL": (first_line("offers.jsonl", url="javascript:alert(1)"), "line 1: url: "),
    "no URL": (first_line("offers.jsonl", url=""), "url: An online offer needs a URL"),
    "price": (first_line("offers.jsonl", price="1.234"), "price: A price in EUR has at most 2"),
    "URL status": (first_line("offers.jsonl", url_status="fine"), "url_status: "),
    "status of a store": (first_line("offers.jsonl", url_status=None), "has a URL status"),
    "unknown member": (first_line("offers.jsonl", secret=1), "secret: Unknown field"),
    "dates": (
        first_line("certifications.jsonl", valid_from="2026-02-01", expiry_date="2026-01-01"),
        "expiry_date: expiry_date cannot be before valid_from",
    ),
    "labels": (
        first_line("certifications.jsonl", certification={"code": "eu-organic", "label": "x"}),
        "label and body of eu-organic differ from those in line 1",
    ),
    "weights": (member("rule.json", weights={}), "rule.json: "),
}


@pytest.mark.parametrize("label", HOSTILE)
def test_a_hostile_archive_is_rejected_as_a_whole(label: str, known: Path, media: Path) -> None:
    edit, sentence = HOSTILE[label]
    file = changed(known, edit)
    other = OrganizationFactory()
    stored = stored_files(media)
    with pytest.raises(CommandError, match=sentence) as raised:
        load(file, other)
    assert "Nothing was imported." in str(raised.value)
    assert all(rows == [] for rows in rows_of(other).values())
    assert not Brand.objects.filter(organization=other).exists()
    assert stored_files(media) == stored
    assert_exact(other)


def test_a_damaged_zip_file_is_rejected(known: Path, tmp_path: Path) -> None:
    other = OrganizationFactory()
    whole = known.read_bytes()
    damaged = tmp_path / "damaged.zip"
    at = whole.index(b"trade-items.jsonl") + 200
    for value, sentence in (
        (b"", "not a ZIP archive, or it is damaged"),
        (b"gtin,name\n", "not a ZIP archive, or it is damaged"),
        (whole[: len(whole) // 2], "not a ZIP archive, or it is damaged"),
        (whole[:at] + b"\x00" * 50 + whole[at + 50 :], "is damaged or incomplete|is not"),
    ):
        damaged.write_bytes(value)
        with pytest.raises(CommandError, match=sentence):
            load(damaged, other)
    with pytest.raises(CommandError, match="cannot be opened"):
        load(tmp_path / "nowhere.zip", other)
    assert all(rows == [] for rows in rows_of(other).values())


def test_overlapping_entries_are_rejected(known: Path) -> None:
    """A ZIP bomb has many entries with the same bytes."""
    whole = known.read_bytes()
    end = whole.rindex(b"PK\x05\x06")
    entries, size, start = struct.unpack_from("<HLL", whole, end + 10)
    directory = whole[start : start + size]
    entry = directory[: directory.index(b"PK\x01\x02", 4)]
    assert entry[46:53] == b"images/"
    names = (f"{number:032x}".encode() for number in range(5_000))
    bomb = directory + b"".join(entry[:53] + name + entry[85:] for name in names)
    tail = bytearray(whole[end:])
    struct.pack_into("<HHLL", tail, 8, entries + 5_000, entries + 5_000, len(bomb), start)
    file = known.with_name("bomb.zip")
    file.write_bytes(whole[:start] + bomb + tail)
    with pytest.raises(CommandError, match=r"The entries of the archive overlap"):
        load(file, OrganizationFactory())


def test_archive_counts_in_the_limits_of_exports(full: Organization, settings: Any) -> None:
    settings.EXPORT_LIMIT_PER_MINUTE = 1
    client = client_of(full, role="manager")
    client.get(path_of(full)).close()
    limited = problem(client.get(path_of(full)))
    assert (limited["status"], limited["error_code"]) == (429, "rate_limited")
    assert limited["detail"].startswith("Too many exports. Try again in ")
