"""Files that are attached to certificates: the document itself, as a PDF or a picture.

They are stored beside the images of products, but are not public: only members and keys of the
organization can download them, and always as an attachment, so that no browser opens them as a
page of this service. A file is written before its row and deleted after it, as for images.
"""

from __future__ import annotations

import dataclasses
import pathlib
import secrets
import unicodedata
from typing import Any
from uuid import UUID

from django.core.files.base import ContentFile, File
from django.http import FileResponse

from catalog.images.problems import problem_of_image
from catalog.images.reencoding import ACCEPTED, InvalidImage, RejectReason
from catalog.images.storage import StoredFile, discard_after_commit, storage
from catalog.images.upload_lock import decode_for
from certifications.models import CertificateAttachment, CertificationAssignment
from closient.http.problems import Problem
from closient.text.validators import InvalidField

MAX_BYTES = 10_000_000
MAX_ATTACHMENTS = 20
PDF = "application/pdf"
ACCEPTED_FILES = f"PDF, {ACCEPTED}"
# PDF 2.0, sections 7.5.2 and 7.5.5; Adobe's readers look for the end in the last 1,024 bytes.
_BEGINNING, _END, _END_BYTES = b"%PDF-", b"%%EOF", 1024


class NoSuchCertificate(LookupError):
    """The certificate has been deleted."""


@dataclasses.dataclass(frozen=True)
class Document:
    """A file to store: under a new, unguessable name, with its media type and its size in bytes."""

    file: ContentFile[bytes]
    media_type: str
    suffix: str

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return int(self.file.size)


def read_document(organization_id: UUID, file: Any) -> Document:
    """Validate an uploaded file by its content.

    A PDF is stored as it is; a picture is decoded and encoded again, as images of products are.
    Raises :class:`InvalidImage`, also for a PDF, and ``DecoderBusy``.
    """
    size = file.size or 0
    if size > MAX_BYTES:
        raise InvalidImage(
            RejectReason.TOO_LARGE,
            f"The file has {size:,} bytes; at most {MAX_BYTES:,} are allowed.",
        )
    file.seek(0)
    if file.read(len(_BEGINNING)) == _BEGINNING:
        return _read_pdf(file)
    try:
        picture = decode_for(organization_id, file)
    except InvalidImage as error:
        if error.reason is not RejectReason.UNKNOWN_KIND:
            raise
        raise InvalidImage(error.reason, f"The file is not a {ACCEPTED_FILES} file.") from None
    return Document(picture.as_file(), picture.kind.media_type, picture.kind.suffix)


def _read_pdf(file: Any) -> Document:
    file.seek(0)
    content = file.read()
    if _END not in content[-_END_BYTES:]:
        raise InvalidImage(
            RejectReason.DAMAGED,
            "The file begins like PDF and is incomplete: upload it again, or save it again.",
        )
    stored = ContentFile(content, name=f"{secrets.token_hex(16)}.pdf")
    # Storages that keep a media type read it from here.
    stored.content_type = PDF  # type: ignore[attr-defined]
    return Document(stored, PDF, ".pdf")


def add_attachment(
    assignment: CertificationAssignment, kept: StoredFile, document: Document, *, name: str
) -> CertificateAttachment:
    """Create the row of a stored file and return it.

    Raises :class:`NoSuchCertificate` if the certificate was deleted meanwhile, and ``InvalidField``
    if it has the most attachments already.
    """
    kept.has_row = False
    # Waits for other uploads to this certificate, so that the number is exact.
    rows = CertificationAssignment.objects.filter(
        organization=assignment.organization_id, pk=assignment.pk
    )
    if rows.select_for_update(no_key=True).only("pk").order_by().first() is None:
        raise NoSuchCertificate
    attachments = CertificateAttachment.objects.of_assignment(assignment)
    if attachments.count() >= MAX_ATTACHMENTS:
        sentence = f"A certificate has at most {MAX_ATTACHMENTS} attachments: delete one first."
        raise InvalidField(sentence, field="file", code="too_many")
    attachment = CertificateAttachment.objects.create(
        organization_id=assignment.organization_id,
        assignment_id=assignment.pk,
        file=kept.name,
        name=shown_name(name, document),
        media_type=document.media_type,
        size=document.size,
    )
    kept.has_row = True
    return attachment


def shown_name(name: str, document: Document) -> str:
    """Return a name of an uploaded file with the suffix of its content.

    Without folders and control characters, of at most 255 characters. Normalized before it is
    cut: NFC, in which it is stored, makes a few characters longer.
    """
    name = unicodedata.normalize("NFC", name)
    base = pathlib.PurePosixPath(name.replace("\\", "/")).name
    stem = "".join(character for character in base if character.isprintable()).strip(" .")
    known = (".pdf", ".jpg", ".jpeg", ".png", ".gif", ".webp", ".heic", ".heif", ".avif", ".bmp")
    for suffix in known:
        if stem.lower().endswith(suffix):
            stem = stem[: -len(suffix)].rstrip(" .")
            break
    return f"{stem[: 255 - len(document.suffix)] or 'certificate'}{document.suffix}"


def problem_of_attachment(error: Exception) -> Problem | None:
    """Return the problem of an attachment's error, ``None`` for other errors."""
    if isinstance(error, NoSuchCertificate):
        return Problem("not_found")
    return problem_of_image(error, field="file")


def remove_attachment(attachment: CertificateAttachment) -> None:
    """Delete an attachment, and its file after the commit."""
    attachment.delete()
    discard_after_commit(attachment.file)


def download(attachment: CertificateAttachment) -> FileResponse:
    """Return a file as a download; raises ``FileNotFoundError`` if the storage has lost it."""
    file: File[bytes] = storage().open(attachment.file.name)
    return FileResponse(
        file,
        as_attachment=True,
        filename=attachment.name,
        # Nothing that a browser would open; the ending of the name says what it is.
        content_type="application/octet-stream",
        headers={
            "Cache-Control": "private, no-cache",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "X-Content-Type-Options": "nosniff",
        },
    )
