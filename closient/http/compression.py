"""Compression of JSON responses (RFC 9110, sections 8.4 and 12.5.3).

Pages are not compressed: their forms contain secrets beside text that a link can choose (BREACH).
Responses of the API contain no secrets, except a new key, which differs each time.
"""

from __future__ import annotations

import functools
import gzip
import re
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers

from closient.http import etags, problems

CODING = "gzip"
MEDIA_TYPES = ("application/json", problems.MEDIA_TYPE)
# A shorter body fits into one network packet anyway.
MIN_LENGTH = 1024
# Higher levels take longer and save almost nothing for JSON.
LEVEL = 4
# The OpenAPI document has more bytes. It never changes, so its compressed form is cached.
MIN_CACHED_LENGTH = 100_000
_QUALITY = re.compile(r"\s*;\s*q=(?P<q>[01](?:\.[0-9]{0,3})?)\s*\Z", re.IGNORECASE)


class CompressJson:
    """Compresses JSON bodies of a kilobyte or more for clients that accept gzip."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if response.status_code == 304:
            _set_known_tag(request, response)
            return response
        if response.streaming or response.headers.get("Content-Type") not in MEDIA_TYPES:
            return response
        # The length depends on the data, so responses of the same URL may have either coding.
        patch_vary_headers(response, ["Accept-Encoding"])
        body = response.content
        if (
            len(body) < MIN_LENGTH
            or "Content-Encoding" in response.headers
            or not accepts_gzip(request.headers.get("Accept-Encoding", ""))
        ):
            return response
        compress = (
            _cached
            if len(body) >= MIN_CACHED_LENGTH and request.path_info.endswith("/openapi.json")
            else _compressed
        )
        response.content = compress(body)
        response.headers["Content-Encoding"] = CODING
        response.headers["Content-Length"] = str(len(response.content))
        if etag := response.headers.get("ETag"):
            response.headers["ETag"] = etags.of_coding(etag, CODING)
        return response


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether an ``Accept-Encoding`` header allows gzip."""
    any_coding = False
    for element in accept_encoding.lower().split(","):
        name, _, weight = element.strip().partition(";")
        match = _QUALITY.match(f";{weight}") if weight else None
        accepted = not weight or (match is not None and float(match["q"]) > 0)
        if name.strip() in (CODING, "x-gzip"):
            return accepted
        if name.strip() == "*":
            any_coding = accepted
    return any_coding


def _set_known_tag(request: HttpRequest, response: HttpResponse) -> None:
    """Give a 304 the tag of the coding that the client has (RFC 9110, section 15.4.5)."""
    patch_vary_headers(response, ["Accept-Encoding"])
    etag = response.headers.get("ETag")
    if etag is None:
        return
    coded = etags.of_coding(etag, CODING)
    if coded in request.headers.get("If-None-Match", ""):
        response.headers["ETag"] = coded


def _compressed(body: bytes) -> bytes:
    return gzip.compress(body, LEVEL, mtime=0)


@functools.lru_cache(maxsize=2)
def _cached(body: bytes) -> bytes:
    return _compressed(body)
