"""Endpoints that send a stored file."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponseNotModified
from rest_framework.exceptions import NotAcceptable
from rest_framework.request import Request

from closient.http.etags import etag_of, is_known
from closient.http.problems import Problem
from closient.http.views import ApiView


class Download(ApiView):
    """A view that sends a file, which has its own name in the storage and never changes."""

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """Accept any media type: the file has that of no renderer."""
        try:
            return super().perform_content_negotiation(request, force)
        except NotAcceptable:
            return super().perform_content_negotiation(request, force=True)

    def cache_headers(self, name: str) -> dict[str, str]:
        """Return the headers of a file with this name in the storage."""
        return {"ETag": etag_of(name.encode()), "Cache-Control": "private, no-cache"}

    def not_modified(self, name: str) -> HttpResponseNotModified | None:
        """Return the answer to a client that has the file already, if it has.

        Raises ``precondition_failed``.
        """
        headers = self.cache_headers(name)
        if self.if_match is not None and not self.if_match.match_strongly(headers["ETag"]):
            raise Problem("precondition_failed")
        known = self.request.headers.get("If-None-Match")
        return (
            HttpResponseNotModified(headers=headers) if is_known(headers["ETag"], known) else None
        )
