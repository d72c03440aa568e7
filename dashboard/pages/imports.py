"""Importing a file of products: hand it in, look at what it would do, let it be done.

The worker does the work (``dashboard.imports.runs``); these pages ask for it and show how far it
is, so a closed tab loses nothing.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from catalog.models import ImportRun
from closient.accounts.models import ApiKeyRole
from closient.accounts.permissions import Access
from closient.http.bodies import accepts_body, announced_length
from dashboard.imports import run_files, runs
from dashboard.imports.runs import InvalidTransition, RefusedFile
from dashboard.pages.base import is_fragment, organization_page, show

MOST_SHOWN = 50
# A worker that runs looks at the line every second.
PATIENCE = datetime.timedelta(seconds=15)
# Bytes of a form beside the file in it.
FORM_AROUND_FILE = 64 * 1024

_editors_page = organization_page(read_role=ApiKeyRole.EDITOR)


def _max_body() -> int:
    return int(settings.IMPORT_LARGEST_FILE) + FORM_AROUND_FILE


@accepts_body(_max_body)
# A form is protected below: once it is known whose it is and that it is not too large. Django's
# own protection would read the whole file first, of anybody.
@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
@_editors_page
def show_imports(request: HttpRequest, access: Access) -> HttpResponse:
    """Show the imports of an organization, and take a file."""
    if request.method == "POST":
        if announced_length(request) > _max_body():
            return _refuse(request, access, _too_large(), status=413)
        answer: HttpResponse = csrf_protect(_hand_in)(request, access)
        return answer
    if is_fragment(request):
        return show(request, "dashboard/import_list.html", _list(access))
    return show(request, "dashboard/imports.html", {**_list(access), **_form()})


def _hand_in(request: HttpRequest, access: Access) -> HttpResponse:
    """Store the file of a form and lead to its page."""
    file: Any = request.FILES.get("file")
    if file is None:
        return _refuse(request, access, "Choose a file first.")
    user: Any = request.user
    try:
        run = runs.start(
            access.organization,
            user,
            file,
            file.name,
            overwrite_blank="overwrite_blank" in request.POST,
        )
    except RefusedFile as refusal:
        return _refuse(request, access, str(refusal))
    address = _address(run)
    if is_fragment(request):
        return HttpResponse(status=204, headers={"HX-Redirect": address})
    return redirect(address)


def _refuse(
    request: HttpRequest, access: Access, sentence: str, *, status: int = 422
) -> HttpResponse:
    """Show the form again, with why the file is not taken."""
    if is_fragment(request):
        # The one status of refusals whose body htmx shows.
        return show(request, "dashboard/import_form.html", _form(sentence), status=422)
    context = {**_list(access), **_form(sentence)}
    return show(request, "dashboard/imports.html", context, status=status)


def _too_large() -> str:
    most = filesizeformat(settings.IMPORT_LARGEST_FILE)
    return f"The file is larger than {most}: compress it with gzip, or split it."


def _form(refusal: str = "") -> dict[str, Any]:
    return {
        "place": "page-imports",
        "refusal": refusal,
        "largest": settings.IMPORT_LARGEST_FILE,
        "too_large": _too_large(),
    }


def _list(access: Access) -> dict[str, Any]:
    """Return the newest imports, those whose worker was killed known for it."""
    newest = ImportRun.objects.of(access.organization).select_related("asked_by")
    shown = list(newest[: MOST_SHOWN + 1])
    for run in shown:
        if run.is_working and runs.notice_interruption(run):
            run.refresh_from_db(fields=["status", "detail"])
    return {
        "place": "page-imports",
        "runs": shown[:MOST_SHOWN],
        "has_more": len(shown) > MOST_SHOWN,
        "is_moving": any(run.is_queued or run.is_working for run in shown),
    }


@require_GET
@_editors_page
def show_import(request: HttpRequest, access: Access, run_id: UUID | None) -> HttpResponse:
    """Show one import; a part of the page shows how far it is.

    The part asks with ``was``, the state that it shows: while that is the state, only the progress
    is answered, so that nothing moves under the reader's finger; else all of the state.
    """
    run = runs.refresh(_run(access, run_id))
    if not is_fragment(request):
        return show(request, "dashboard/import.html", _state(run))
    if request.GET.get("was") == _shown_state(run):
        return show(request, "dashboard/import_progress.html", _state(run))
    answer = show(request, "dashboard/import_state.html", {**_state(run), "is_news": True})
    answer.headers["HX-Retarget"] = "#import"
    answer.headers["HX-Reswap"] = "outerHTML"
    return answer


def _state(run: ImportRun) -> dict[str, Any]:
    return {
        "place": "page-imports",
        "run": run,
        "state": _shown_state(run),
        "to_import": (run.total or 0) - (run.rejected or 0),
        "waits_long": run.is_queued and timezone.now() - run.queued_at > PATIENCE,
    }


def _shown_state(run: ImportRun) -> str:
    """Return which of its faces the page shows."""
    return "cancelling" if run.is_cancel_asked and run.is_working else run.status


@require_POST
@_editors_page
def confirm_import(request: HttpRequest, access: Access, run_id: UUID | None) -> HttpResponse:
    """Have a checked file imported."""
    skip = "skip_bad_rows" in request.POST
    return _change(request, access, run_id, lambda run: runs.confirm(run, skip_bad_rows=skip))


@require_POST
@_editors_page
def check_import_again(request: HttpRequest, access: Access, run_id: UUID | None) -> HttpResponse:
    """Have a file checked from the beginning, with empty cells as they are to be taken now."""
    overwrite = {"yes": True, "no": False}.get(request.POST.get("overwrite_blank", ""))
    return _change(
        request, access, run_id, lambda run: runs.start_again(run, overwrite_blank=overwrite)
    )


@require_POST
@_editors_page
def cancel_import(request: HttpRequest, access: Access, run_id: UUID | None) -> HttpResponse:
    """Cancel an import."""
    return _change(request, access, run_id, runs.cancel)


def _change(
    request: HttpRequest, access: Access, run_id: UUID | None, change: Callable[[ImportRun], Any]
) -> HttpResponse:
    """Change an import and lead to its page, which says why where it could not be."""
    run = _run(access, run_id)
    try:
        change(run)
    except InvalidTransition as refusal:
        messages.error(request, str(refusal))
    return redirect(_address(run))


@require_GET
@_editors_page
def download_rejects(request: HttpRequest, access: Access, run_id: UUID | None) -> HttpResponse:
    """Answer with the refused rows as a file: to be mended and handed in again."""
    run = _run(access, run_id)
    try:
        file = run_files.open_rejects(run)
    except run_files.FileMissing:
        raise Http404 from None
    # No media type that a browser would show by itself.
    answer: Any = FileResponse(
        file,
        as_attachment=True,
        filename=run_files.rejects_name(run),
        content_type="application/octet-stream",
    )
    return answer  # type: ignore[no-any-return]


def _run(access: Access, run_id: UUID | None) -> ImportRun:
    """Return an import of the organization, or answer that there is none."""
    run = run_id and ImportRun.objects.of(access.organization).filter(pk=run_id).first()
    if not run:
        raise Http404
    return run


def _address(run: ImportRun) -> str:
    return reverse("page-import", args=[run.organization_id, run.id])
