"""The base view of all API endpoints: order of checks, headers, conditional responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Never

from django.http import HttpResponse, HttpResponseNotModified
from django.utils.cache import patch_vary_headers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from closient.http import etags, problems
from closient.http.merge_patch import MergePatchParser
from closient.http.parameters import Parameter, reject_unknown
from closient.http.parsers import StrictJsonParser
from closient.http.problems import Problem


class ApiView(APIView):
    """Checks in the order 401, 429, 404, 403, 405, 406, query (422), body (413, 415, 422, 409).

    ``extra_headers`` go onto the answer, whatever it is: authentication puts the state of the
    rate limit there. An answer of 304 does not count against it.

    An answer of 200 or 201 carries an ETag; GET honors ``If-None-Match`` and ``If-Match``. A
    handler of PATCH, PUT or DELETE calls :meth:`check_version`. So does one of POST in a view
    with ``post_checks_version``; in the others there is no version, and no tag matches. Nor is
    there one in a view without ``has_version``.
    """

    extra_headers: Mapping[str, str] = {}
    # Undoes the count of the request in its rate limit; set by authentication.
    refund_rate_limit: Callable[[], None] | None = None
    post_checks_version: ClassVar[bool] = False
    # False for what is made for each request, as a file: it has no ETag.
    has_version: ClassVar[bool] = True
    if_match: etags.Tags | None = None
    # What GET takes; all other query parameters are rejected; other methods accept none.
    query_parameters: ClassVar[Sequence[Parameter]] = ()

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
        if request.query_params and request.method != "OPTIONS":
            is_read = request.method in ("GET", "HEAD")
            reject_unknown(request.query_params, self.query_parameters if is_read else ())
        self.if_match = etags.read_if_match(request.headers.get("If-Match"))
        is_unversioned = not self.has_version or (
            request.method == "POST" and not self.post_checks_version
        )
        if is_unversioned and self.names_versions:
            raise Problem(
                "precondition_failed", "This resource has no version that If-Match could match."
            )

    @property
    def names_versions(self) -> bool:
        """Whether the request is to be done only if the resource is of a certain version."""
        return self.if_match is not None and not self.if_match.is_any

    def check_version(self, current: Callable[[], Any]) -> None:
        """Raise ``precondition_failed`` unless the resource is a version that ``If-Match`` names.

        ``current`` returns the resource as GET shows it. A write calls this once it has locked
        the row, so that no other write comes between the check and its own.
        """
        if self.if_match is None or self.if_match.is_any:
            return
        if not self.if_match.match_strongly(self.etag_of(current())):
            raise Problem("precondition_failed")

    def etag_of(self, shown: Any) -> str:
        """Return the tag of the answer that shows this."""
        return self._etag(self._rendered(shown), shown)

    def version_of(self, shown: Any) -> Any:
        """Return what ``If-Match`` compares of an answer; ``None``, the default, for all of it."""
        return None

    def _etag(self, body: bytes, shown: Any) -> str:
        version = self.version_of(shown)
        return etags.etag_of(body, None if version is None else self._rendered(version))

    def _rendered(self, shown: Any) -> bytes:
        request = self.request
        body: bytes = request.accepted_renderer.render(shown, request.accepted_media_type, {})
        return body

    def get_parsers(self) -> list[Any]:
        """Return the parsers; PATCH takes a merge patch wherever it takes JSON."""
        parsers: list[Any] = super().get_parsers()
        is_patch = self.request is not None and self.request.method == "PATCH"
        takes_json = any(isinstance(parser, StrictJsonParser) for parser in parsers)
        return [*parsers, MergePatchParser()] if is_patch and takes_json else parsers

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
        if isinstance(final, Response) and final.status_code in (200, 201):
            final = self._tagged(final.render())
        if final.status_code == 304 and self.refund_rate_limit is not None:
            self.refund_rate_limit()
        patch_vary_headers(final, ["X-API-Key", "Cookie"])
        for name, value in self.extra_headers.items():
            final.headers[name] = value
        return final

    def _tagged(self, response: Response) -> HttpResponse:
        """Return an answer with a strong ETag of its body, or what a precondition makes of it."""
        if "ETag" not in response.headers:
            response.headers["ETag"] = self._etag(response.content, response.data)
        etag = response.headers["ETag"]
        if response.status_code == 200:
            response.headers["Cache-Control"] = "private, no-cache"
        if self.request.method not in ("GET", "HEAD"):
            return response
        if self.if_match is not None and not self.if_match.match_strongly(etag):
            return problems.response(self.request._request, Problem("precondition_failed"))
        if not etags.is_known(etag, self.request.headers.get("If-None-Match")):
            return response
        kept = {name: response.headers[name] for name in ("Cache-Control", "ETag")}
        return HttpResponseNotModified(headers=kept)
