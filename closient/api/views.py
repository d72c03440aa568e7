"""The view that every API endpoint is made from: order of checks, headers, conditional answers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Never

from django.http import HttpResponse, HttpResponseNotModified
from django.utils.cache import patch_vary_headers
from django.utils.http import parse_etags
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from closient.api.problems import Problem


class ApiView(APIView):
    """Checks in the order 401, 429, 404, 403, 405, 406, then the body (413, 415, 422, 409).

    ``extra_headers`` go onto the answer, whatever it is: authentication puts the state of the
    rate limit there. An answer of 200 to GET carries an ETag and honours ``If-None-Match``.
    """

    extra_headers: Mapping[str, str] = {}

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Check everything that can be checked before the handler runs."""
        self.format_kwarg = None
        self.perform_authentication(request)
        self.check_permissions(request)
        if request.method not in self.allowed_methods:
            self.http_method_not_allowed(request)
        request.accepted_renderer, request.accepted_media_type = self.perform_content_negotiation(
            request
        )

    def address_of(self, row: Any) -> str | None:
        """Return the address of a row of the view's resource, ``None`` where it has none."""
        return None

    def http_method_not_allowed(self, request: Any, *args: Any, **kwargs: Any) -> Never:
        """Raise the problem that names the methods there are."""
        raise Problem("method_not_allowed", headers={"Allow": ", ".join(self.allowed_methods)})

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """Answer which methods there are, without a body."""
        return Response(status=204, headers={"Allow": ", ".join(self.allowed_methods)})

    @property
    def default_response_headers(self) -> dict[str, str]:
        """No headers by default: ``Allow`` belongs to 405 and OPTIONS."""
        return {}

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the answer as it is sent: rendered, or 304 without a body, with all headers."""
        final: HttpResponse = super().finalize_response(request, response, *args, **kwargs)
        if isinstance(final, Response) and final.status_code == 200:
            final = conditional(request, final.render())
        patch_vary_headers(final, ["X-API-Key", "Cookie"])
        for name, value in self.extra_headers.items():
            final.headers[name] = value
        return final


def conditional(request: Request, response: HttpResponse) -> HttpResponse:
    """Return the answer with a strong ETag of its body, or 304 where the client has that body."""
    response.headers["Cache-Control"] = "private, no-cache"
    if request.method not in ("GET", "HEAD"):
        return response
    etag = f'"{hashlib.sha256(response.content).hexdigest()[:32]}"'
    response.headers["ETag"] = etag
    if not is_known(etag, request.META.get("HTTP_IF_NONE_MATCH", "")):
        return response
    kept = {name: response.headers[name] for name in ("Cache-Control", "ETag")}
    return HttpResponseNotModified(headers=kept)


def is_known(etag: str, if_none_match: str) -> bool:
    """Return whether an ``If-None-Match`` header names an ETag (weakly, RFC 9110, 13.1.2)."""
    known = parse_etags(if_none_match)
    return known == ["*"] or any(tag.removeprefix("W/") == etag for tag in known)
