"""The download of everything that an organization has, for its managers."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, StreamingHttpResponse
from django.views.decorators.http import require_safe

from closient.accounts.models import ApiKeyRole
from closient.accounts.permissions import Access
from dashboard.archive.writing import archive_pieces
from dashboard.exports.responses import archive_response
from dashboard.exports.snapshots import Exporter
from dashboard.pages.base import organization_page


@require_safe
@organization_page(read_role=ApiKeyRole.MANAGER)
def download_archive(request: HttpRequest, access: Access) -> StreamingHttpResponse:
    """Send the archive of the organization."""
    user: Any = request.user
    exporter = Exporter.of(user=user, key=None)
    return archive_response(exporter, access.organization, archive_pieces(access.organization))
