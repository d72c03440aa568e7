"""PATCH with ``application/merge-patch+json`` (RFC 7396), which merges objects too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework.request import Request

from closient.http.parsers import StrictJsonParser

MEDIA_TYPE = "application/merge-patch+json"


class MergePatchParser(StrictJsonParser):
    """Reads a merge patch, which is JSON."""

    media_type = MEDIA_TYPE


def body_of(request: Request, shown: Mapping[str, Any]) -> Any:
    """Return the body of a PATCH, for a merge patch with its objects merged into those shown.

    Metadata is merged by the write itself, whatever the media type.
    """
    body = request.data
    if not (request.content_type or "").startswith(MEDIA_TYPE) or not isinstance(body, dict):
        return body
    return {
        name: merge(shown.get(name), value)
        if isinstance(value, dict) and name != "metadata"
        else value
        for name, value in body.items()
    }


def merge(target: Any, patch: Any) -> Any:
    """Return a value with a patch applied (RFC 7396, section 2)."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged
