"""Serving stored pictures from the Django process: for evaluation and small installations."""

from __future__ import annotations

from django.conf import settings
from django.http import FileResponse, Http404, HttpRequest
from django.views.decorators.http import require_safe

from catalog.images.storage import MEDIA_TYPES, NAME, storage


@require_safe
def serve_image(request: HttpRequest, name: str) -> FileResponse:
    """Return a stored picture with the media type of its kind.

    Responds 404 to anything but the name of a picture: there are no listings and no other files.
    The content of a name never changes, so browsers may cache it forever.
    """
    matched = NAME.match(name)
    if not settings.SERVE_IMAGES or matched is None:
        raise Http404
    try:
        file = storage().open(name)
    except FileNotFoundError:
        raise Http404 from None
    return FileResponse(
        file,
        content_type=MEDIA_TYPES[matched["suffix"]],
        headers={
            "Cache-Control": "public, max-age=31536000, immutable",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Cross-Origin-Resource-Policy": "cross-origin",
            "X-Content-Type-Options": "nosniff",
        },
    )
