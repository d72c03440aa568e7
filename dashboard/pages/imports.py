"""The import pages: upload a file, review its changes, confirm the import.

The worker processes the file (``dashboard.imports.runs``) and these pages show its progress, so
closing the tab loses nothing.
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
from dashboard.imports.runs import actions, files
from dashboard.imports.runs.actions import InvalidTransition, RefusedFile, RunOptions
from dashboard.pages.base import is_fragment, organization_page, render_page
from dashboard.pages.reading_options import UploadForm

MAX_SHOWN = 50
# A running worker polls the queue every second.
PICKUP_TIMEOUT = datetime.timedelta(seconds=15)
# The part of an upload request that is not the file, in bytes.
MAX_FORM_BYTES = 64 * 1024

editors_page = organization_page(read_role=ApiKeyRole.EDITOR)


def _max_body() -> int:
    return int(settings.IMPORT_LARGEST_FILE) + MAX_FORM_BYTES


@accepts_body(_max_body)
# CSRF is checked below, after access and size: Django's middleware would first read the whole
# file, even from anonymous users.
@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
@editors_page
def show_imports(request: HttpRequest, access: Access) -> HttpResponse:
    """Show the imports of an organization, and accept an upload."""
    if request.method == "POST":
        if announced_length(request) > _max_body():
            return _reject(request, access, _too_large(), status=413)
        response: HttpResponse = csrf_protect(_upload)(request, access)
        return response
    if is_fragment(request):
        return render_page(request, "dashboard/import_list.html", _list(access))
    return render_page(request, "dashboard/imports.html", {**_list(access), **_form()})


def _upload(request: HttpRequest, access: Access) -> HttpResponse:
    """Store the uploaded file and redirect to the page of its import."""
    file: Any = request.FILES.get("file")
    form = UploadForm(request.POST)
    if file is None:
        return _reject(request, access, "Choose a file first.", form=form)
    if not form.is_valid():
        sentence = "Correct the options below, and choose the file again."
        return _reject(request, access, sentence, form=form)
    user: Any = request.user
    try:
        run = actions.start(access.organization, user, file, file.name, RunOptions(**form.values))
    except RefusedFile as error:
        return _reject(request, access, str(error), form=form)
    address = import_address(run)
    if is_fragment(request):
        return HttpResponse(status=204, headers={"HX-Redirect": address})
    return redirect(address)


def _reject(
    request: HttpRequest,
    access: Access,
    sentence: str,
    *,
    form: UploadForm | None = None,
    status: int = 422,
) -> HttpResponse:
    """Show the form again, with the reason why the file or an option is rejected."""
    if is_fragment(request):
        # htmx swaps the body of an error response only for 422.
        return render_page(request, "dashboard/import_form.html", _form(sentence, form), status=422)
    context = {**_list(access), **_form(sentence, form)}
    return render_page(request, "dashboard/imports.html", context, status=status)


def _too_large() -> str:
    most = filesizeformat(settings.IMPORT_LARGEST_FILE)
    return f"The file is larger than {most}: compress it with gzip, or split it."


def _form(error: str = "", form: UploadForm | None = None) -> dict[str, Any]:
    return {
        "active_route": "page-imports",
        "form": form or UploadForm(),
        "error": error,
        "largest": settings.IMPORT_LARGEST_FILE,
        "too_large": _too_large(),
    }


def _list(access: Access) -> dict[str, Any]:
    """Return the context of the list: the newest imports, with interrupted ones marked failed."""
    newest = ImportRun.objects.of(access.organization).select_related("asked_by")
    shown = list(newest[: MAX_SHOWN + 1])
    actions.attach_users(shown)
    for run in shown:
        if run.is_working and actions.notice_interruption(run):
            run.refresh_from_db(fields=["status", "detail"])
    return {
        "active_route": "page-imports",
        "runs": shown[:MAX_SHOWN],
        "has_more": len(shown) > MAX_SHOWN,
        "is_moving": any(run.is_queued or run.is_working for run in shown),
    }


@require_GET
@editors_page
def show_import(request: HttpRequest, access: Access, run_id: UUID | None) -> HttpResponse:
    """Show an import, or for htmx the part with its state.

    The parameter ``was`` is the state that the page shows. While it is still the state, only the
    progress is rendered, so the rest of the page does not move; otherwise the whole part is.
    """
    run = actions.refresh(run_of(access, run_id))
    if not is_fragment(request):
        actions.attach_users([run])
        return render_page(request, "dashboard/import.html", _state(run))
    if request.GET.get("was") == _shown_state(run):
        return render_page(request, "dashboard/import_progress.html", _state(run))
    context = {**_state(run), "is_new_state": True}
    response = render_page(request, "dashboard/import_state.html", context)
    response.headers["HX-Retarget"] = "#import"
    response.headers["HX-Reswap"] = "outerHTML"
    return response


def _state(run: ImportRun) -> dict[str, Any]:
    return {
        "active_route": "page-imports",
        "run": run,
        "state": _shown_state(run),
        "to_import": (run.total or 0) - (run.rejected or 0),
        "can_choose_columns": actions.can_map_columns(run),
        "waits_long": run.is_queued and timezone.now() - run.queued_at > PICKUP_TIMEOUT,
    }


def _shown_state(run: ImportRun) -> str:
    """Return the state that the page shows: the status, or ``cancelling``."""
    return "cancelling" if run.is_cancel_asked and run.is_working else run.status


@require_POST
@editors_page
def confirm_import(request: HttpRequest, access: Access, run_id: UUID | None) -> HttpResponse:
    """Start the import of a checked file."""
    skip = "skip_bad_rows" in request.POST
    return _change(request, access, run_id, lambda run: actions.confirm(run, skip_bad_rows=skip))


@require_POST
@editors_page
def check_import_again(request: HttpRequest, access: Access, run_id: UUID | None) -> HttpResponse:
    """Check a file again, optionally with the other meaning of empty cells."""
    overwrite = {"yes": True, "no": False}.get(request.POST.get("overwrite_blank", ""))
    return _change(
        request, access, run_id, lambda run: actions.start_again(run, overwrite_blank=overwrite)
    )


@require_POST
@editors_page
def cancel_import(request: HttpRequest, access: Access, run_id: UUID | None) -> HttpResponse:
    """Cancel an import."""
    return _change(request, access, run_id, actions.cancel)


def _change(
    request: HttpRequest, access: Access, run_id: UUID | None, change: Callable[[ImportRun], Any]
) -> HttpResponse:
    """Change an import and redirect to its page, with a message if the change is not possible."""
    run = run_of(access, run_id)
    try:
        change(run)
    except InvalidTransition as error:
        messages.error(request, str(error))
    return redirect(import_address(run))


@require_GET
@editors_page
def download_rejects(request: HttpRequest, access: Access, run_id: UUID | None) -> HttpResponse:
    """Download the rejected rows as a file, to correct and upload again."""
    run = run_of(access, run_id)
    try:
        file = files.open_rejects(run)
    except files.FileMissing:
        raise Http404 from None
    # A media type that browsers download and never render.
    response: Any = FileResponse(
        file,
        as_attachment=True,
        filename=files.rejects_name(run),
        content_type="application/octet-stream",
    )
    return response  # type: ignore[no-any-return]


def run_of(access: Access, run_id: UUID | None) -> ImportRun:
    """Return the organization's import with an id, or raise :class:`Http404`."""
    run = run_id and ImportRun.objects.of(access.organization).filter(pk=run_id).first()
    if not run:
        raise Http404
    return run


def import_address(run: ImportRun) -> str:
    """Return the path of the page of an import."""
    return reverse("page-import", args=[run.organization_id, run.id])
