"""The files on a certificate's page: attach, download and delete them."""

from __future__ import annotations

import json
from uuid import UUID

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_GET, require_POST

from catalog.images.problems import image_problems
from catalog.images.storage import stored_file
from certifications.attachments import (
    add_attachment,
    download,
    problem_of_attachment,
    read_document,
    remove_attachment,
)
from certifications.models import CertificateAttachment, CertificationAssignment
from closient.accounts.permissions import Access
from closient.db.transactions import run_with_retry
from closient.http.problems import Problem
from closient.text.validators import InvalidField
from dashboard.pages.base import is_fragment, organization_page, render_page, row_or_404
from dashboard.pages.certificates import CERTIFICATE, attachments_context

# Files in one request, which together fit the body limit.
MAX_FILES = 6


@require_POST
@organization_page()
def add_attachments(
    request: HttpRequest, access: Access, assignment_id: UUID | None
) -> HttpResponse:
    """Attach the uploaded files, and report rejected ones."""
    assignment = CERTIFICATE.find(access, assignment_id)
    uploads = request.FILES.getlist("file")
    if not uploads:
        return _render(request, access, assignment, rejected=["Choose a file first."])
    if len(uploads) > MAX_FILES:
        rejected = [f"You chose {len(uploads)} files: attach at most {MAX_FILES} at a time."]
        return _render(request, access, assignment, rejected=rejected)
    rejected = []
    for upload in uploads:
        try:
            _add(assignment, upload)
        except (Problem, InvalidField) as problem:
            if isinstance(problem, Problem) and problem.kind.error_code == "not_found":
                # The certificate was deleted meanwhile.
                raise
            rejected.append(f"{upload.name}: {_sentence(problem)}")
    count = len(uploads) - len(rejected)
    sentence = f"{count} {'file' if count == 1 else 'files'} attached." if count else ""
    return _render(request, access, assignment, sentence=sentence, rejected=rejected)


def _sentence(problem: Problem | InvalidField) -> str:
    if isinstance(problem, Problem):
        return problem.errors[0].detail if problem.errors else str(problem.detail)
    return str(problem)


def _add(assignment: CertificationAssignment, upload: UploadedFile) -> None:
    """Attach a file. Raises :class:`Problem` and ``InvalidField``."""
    with image_problems(problem_of_attachment):
        document = read_document(assignment.organization_id, upload)
        with stored_file(CertificateAttachment, "file", document.file) as kept:
            run_with_retry(
                lambda: add_attachment(assignment, kept, document, name=upload.name or "")
            )


def _find(
    access: Access, assignment_id: UUID | None, attachment_id: UUID | None
) -> CertificateAttachment:
    assignment = CERTIFICATE.find(access, assignment_id)
    if attachment_id is None:
        raise Http404
    rows = CertificateAttachment.objects.of_assignment(assignment).filter(pk=attachment_id)
    return row_or_404(rows, is_locked=False)


@require_GET
@organization_page()
def download_attachment(
    request: HttpRequest, access: Access, assignment_id: UUID | None, attachment_id: UUID | None
) -> FileResponse:
    """Send a file as a download."""
    try:
        return download(_find(access, assignment_id, attachment_id))
    except FileNotFoundError:
        raise Http404("The file is missing in the storage.") from None


@require_POST
@organization_page()
def delete_attachment(
    request: HttpRequest, access: Access, assignment_id: UUID | None, attachment_id: UUID | None
) -> HttpResponse:
    """Delete a file."""
    attachment = _find(access, assignment_id, attachment_id)
    run_with_retry(lambda: remove_attachment(attachment))
    assignment = CERTIFICATE.find(access, assignment_id)
    return _render(request, access, assignment, sentence=f"{attachment.name} deleted.")


def _render(
    request: HttpRequest,
    access: Access,
    assignment: CertificationAssignment,
    *,
    sentence: str = "",
    rejected: list[str] | None = None,
) -> HttpResponse:
    """Return the current files, with a message and the reasons of rejected ones."""
    if not is_fragment(request):
        if sentence:
            messages.success(request, sentence)
        for reason in rejected or []:
            messages.error(request, reason)
        return redirect("page-certificate", access.organization.id, assignment.pk)
    context = {**attachments_context(assignment), "rejected": rejected}
    response = render_page(request, "dashboard/certificate_attachments.html", context)
    if sentence:
        response.headers["HX-Trigger"] = json.dumps({"say": sentence})
    return response
