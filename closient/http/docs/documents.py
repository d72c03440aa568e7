"""The OpenAPI document and the page that shows it; both are public."""

from __future__ import annotations

import functools
import threading

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views import View
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


_generating = threading.Lock()


def document() -> bytes:
    """Return the OpenAPI document as JSON; generated once, because it depends only on the code.

    drf-spectacular cannot run in two threads at the same time: other threads wait.
    """
    with _generating:
        return generate()


@functools.cache
def generate() -> bytes:
    """Generate the OpenAPI document."""
    schema = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    rendered: bytes = OpenApiJsonRenderer().render(schema)
    return rendered


class OpenApiView(View):
    """``GET /dashboard/api/v1/openapi.json``."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """Return the document."""
        return HttpResponse(document(), content_type="application/json")


class DocsView(View):
    """``GET /dashboard/api/v1/docs``: Swagger UI, served by the project itself."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """Return the page; its policy allows only scripts from its files."""
        page = render(request, "api/docs.html")
        page.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return page
