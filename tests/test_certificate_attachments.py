"""Files that are attached to certificates: upload, download, deletion; on the page and the API."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from catalog.images import storage
from certifications.attachments import MAX_ATTACHMENTS
from certifications.models import CertificateAttachment, CertificationAssignment
from closient.accounts.api_keys import create_api_key
from closient.db.ids import format_id
from tests.clients import browser_of
from tests.factories import (
    CertificateAttachmentFactory,
    CertificationAssignmentFactory,
    MembershipFactory,
    ProductFactory,
)
from tests.pictures import HTML, SVG, photo_of_a_phone, picture
from tests.sessions import sessions

pytestmark = pytest.mark.django_db(transaction=True)

PDF = b"%PDF-1.7\n1 0 obj <</Type /Catalog>> endobj\ntrailer <</Root 1 0 R>>\n%%EOF\n"


@pytest.fixture
def media(tmp_path: Path, settings: Any) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.SERVE_IMAGES = True
    return tmp_path / "media"


@pytest.fixture
def assignment() -> CertificationAssignment:
    return CertificationAssignmentFactory()


@pytest.fixture
def client(assignment: CertificationAssignment) -> Client:
    _, key = create_api_key(name="Files", organization=assignment.organization, role="editor")
    return Client(headers={"X-API-Key": key})


def files(media: Path) -> list[str]:
    return sorted(str(path.relative_to(media)) for path in media.rglob("*") if path.is_file())


def path_of(assignment: CertificationAssignment) -> str:
    organization = format_id(assignment.organization_id)
    key = format_id(assignment.pk)
    return f"/dashboard/api/v1/certifications/{organization}/{key}/attachments"


def upload(client: Client, path: str, content: bytes, name: str = "a.pdf", **more: Any) -> Any:
    return client.post(path, {"file": SimpleUploadedFile(name, content, "text/html")}, **more)


def test_pdf_is_attached_downloaded_and_deleted(
    media: Path, client: Client, assignment: CertificationAssignment
) -> None:
    path = path_of(assignment)
    made = upload(client, path, PDF, "..\\Zertifikat Öko 2026.PDF")
    assert made.status_code == 201, made.content
    found = made.json()
    assert (found["name"], found["media_type"]) == (
        "Zertifikat \u00d6ko 2026.pdf",
        "application/pdf",
    )
    assert found["size"] == len(PDF)
    assert client.get(path).json()["data"] == [found]
    assert client.get(made["Location"]).json() == found
    sent = client.get(f"{made['Location']}/content")
    assert b"".join(sent.streaming_content) == PDF  # type: ignore[attr-defined]
    assert sent["Content-Type"] == "application/octet-stream"
    assert sent["X-Content-Type-Options"] == "nosniff"
    assert sent["Content-Disposition"] == (
        "attachment; filename*=utf-8''Zertifikat%20%C3%96ko%202026.pdf"
    )
    assert "sandbox" in sent["Content-Security-Policy"]
    # The file is not public, whatever serves the images.
    (name,) = files(media)
    assert name.startswith("certificates/")
    assert client.get(f"/media/{name}").status_code == 404
    assert client.delete(made["Location"]).status_code == 204
    assert (files(media), client.get(path).json()["data"]) == ([], [])


def test_picture_is_encoded_again(
    media: Path, client: Client, assignment: CertificationAssignment
) -> None:
    made = upload(client, path_of(assignment), photo_of_a_phone(), "scan.pdf")
    assert (made.json()["name"], made.json()["media_type"]) == ("scan.jpg", "image/jpeg")
    assert b"Alice" not in (media / files(media)[0]).read_bytes()


def test_other_files_are_rejected(
    media: Path, client: Client, assignment: CertificationAssignment
) -> None:
    for content, status, detail in (
        (HTML, 415, "The file is not a PDF, JPEG, PNG"),
        (SVG, 415, "The file is not a PDF, JPEG, PNG"),
        (b"\n" + PDF, 415, "The file is not a PDF, JPEG, PNG"),
        (PDF[:-6], 422, "The file begins like PDF and is incomplete"),
        (picture("JPEG")[:-20], 422, "The file begins like JPEG and is damaged"),
        (PDF.ljust(10_000_001), 413, "The file has 10,000,001 bytes; at most 10,000,000"),
    ):
        refused = upload(client, path_of(assignment), content)
        body = refused.json()
        assert refused.status_code == status, body
        if status == 422:
            assert body["errors"][0]["pointer"] == "#/file"
            body = body["errors"][0]
        assert body["detail"].startswith(detail)
    assert files(media) == []


def test_attachments_are_limited_and_created_once(
    media: Path, client: Client, assignment: CertificationAssignment
) -> None:
    path = path_of(assignment)
    sent = {"headers": {"Idempotency-Key": "one"}}
    first, again = (upload(client, path, PDF, **sent) for _ in range(2))
    assert first.json() == again.json()
    assert len(files(media)) == 1
    CertificateAttachmentFactory.create_batch(MAX_ATTACHMENTS - 1, assignment=assignment)
    refused = upload(client, path, PDF)
    assert (refused.status_code, len(files(media))) == (422, 1)
    assert "at most 20 attachments" in refused.json()["errors"][0]["detail"]


def test_long_names_are_cut_as_they_are_stored(
    media: Path, client: Client, assignment: CertificationAssignment
) -> None:
    # Two characters each in NFC.
    made = upload(client, path_of(assignment), PDF, "\u0958" * 200 + ".pdf")
    assert made.status_code == 201, made.content
    assert made.json()["name"] == ("\u0915\u093c" * 126)[:251] + ".pdf"


def test_certificate_that_is_deleted_during_the_upload_is_not_found(
    media: Path, assignment: CertificationAssignment
) -> None:
    organization = assignment.organization
    member = MembershipFactory(organization=organization, role="editor")
    other = CertificationAssignmentFactory(product=assignment.product)
    _, key = create_api_key(name="Race", organization=organization, role="editor")
    page = f"/dashboard/{format_id(organization.pk)}/certifications/{format_id(other.pk)}"
    for row, path, client in (
        (assignment, path_of(assignment), Client(headers={"X-API-Key": key})),
        (other, f"{page}/attachments", browser_of(member.user)),
    ):
        with sessions(2) as (deleter, uploader):
            deleter.begin()
            deleter.run(row.delete)
            uploading = uploader.start(lambda c=client, p=path: upload(c, p, PDF))
            uploader.wait_until_blocked()
            deleter.end()
            assert uploading.result(timeout=30).status_code == 404
    assert files(media) == []


def test_files_are_deleted_with_the_certificate(
    media: Path, client: Client, assignment: CertificationAssignment
) -> None:
    upload(client, path_of(assignment), PDF)
    product = ProductFactory(organization=assignment.organization)
    other = CertificationAssignmentFactory(product=product)
    upload(client, path_of(other), PDF)
    assert len(files(media)) == 2
    assert client.delete(path_of(assignment).removesuffix("/attachments")).status_code == 204
    assert len(files(media)) == 1
    # With its product the database deletes the row, and the daily job the file.
    other.product.delete()
    assert not CertificateAttachment.objects.exists()
    assert storage.remove_orphans() == 0
    old = time.time() - 2 * 86_400
    for name in files(media):
        os.utime(media / name, (old, old))
    assert storage.remove_orphans() == 1
    assert files(media) == []


def test_page_attaches_lists_and_deletes(media: Path, assignment: CertificationAssignment) -> None:
    owner = MembershipFactory(organization=assignment.organization, role="editor").user
    viewer = MembershipFactory(organization=assignment.organization, role="viewer").user
    start = f"/dashboard/{format_id(assignment.organization_id)}/certifications"
    path = f"{start}/{format_id(assignment.pk)}"
    browser = browser_of(owner)
    given = [
        SimpleUploadedFile("a & b.pdf", PDF),
        SimpleUploadedFile("bad.pdf", HTML),
        SimpleUploadedFile("scan.png", picture("PNG")),
    ]
    answer = browser.post(
        f"{path}/attachments", {"file": given}, headers={"HX-Request": "true"}
    ).content.decode()
    assert "bad.pdf: The file is not a PDF" in answer
    assert "a &amp; b.pdf" in answer
    kept = CertificateAttachment.objects.order_by("pk")
    assert [one.name for one in kept] == ["a & b.pdf", "scan.png"]
    # A viewer may download, and no more; others see nothing.
    file = f"{path}/attachments/{format_id(kept[0].pk)}"
    shown = browser_of(viewer).get(path).content.decode()
    assert file in shown
    assert "Attach files" not in shown
    sent = browser_of(viewer).get(file)
    assert b"".join(sent.streaming_content) == PDF  # type: ignore[attr-defined]
    assert sent["Content-Disposition"] == 'attachment; filename="a & b.pdf"'
    assert browser_of(viewer).post(f"{file}/delete").status_code == 403
    assert browser_of(MembershipFactory().user).get(file).status_code == 404
    product = ProductFactory(organization=assignment.organization)
    foreign = f"{start}/{format_id(CertificationAssignmentFactory(product=product).pk)}"
    assert browser.get(f"{foreign}/attachments/{format_id(kept[0].pk)}").status_code == 404
    assert browser.post(f"{file}/delete").status_code == 302
    assert [one.name for one in CertificateAttachment.objects.all()] == ["scan.png"]
    assert len(files(media)) == 1
