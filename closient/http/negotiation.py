"""The media types that a client may request with ``Accept`` (RFC 9110, section 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.utils.mediatypes import media_type_matches

from closient.http import problems

# Successful responses have no body, so every Accept fits.
METHODS_WITHOUT_CONTENT = ("DELETE", "OPTIONS")


class DocumentedContentNegotiation(DefaultContentNegotiation):
    """Accepts every media type of the OpenAPI document in ``Accept``.

    Generated clients copy ``Accept`` from the document. If an operation documents a body only for
    its errors, they accept only ``application/problem+json``: they get the JSON response. Errors
    are sent regardless of ``Accept``.
    """

    def select_renderer(
        self,
        request: Request,
        renderers: Sequence[BaseRenderer],  # type: ignore[override]
        format_suffix: str | None = None,
    ) -> Any:
        """Return the renderer and its media type; raises ``NotAcceptable``."""
        try:
            return super().select_renderer(request, renderers, format_suffix)
        except NotAcceptable:
            accepted = self.get_accept_list(request)
            if request.method in METHODS_WITHOUT_CONTENT or any(
                media_type_matches(problems.MEDIA_TYPE, media_type) for media_type in accepted
            ):
                return renderers[0], renderers[0].media_type
            raise
